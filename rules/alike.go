package rules

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// maxWalks bounds the ways of one packet that are compared; with more, it is like no other.
const maxWalks = 16

// alikes remembers how packets fare. It lives for one trace.
type alikes map[netfilter.Packet]alike

type alike struct {
	key    string
	inside bool
}

// alike tells apart how a connection of the proxy on leg n fares (envoy.Conn.Alike): by
// every choice of the kernel's walk, and its end. Only what a process or a listener of the
// pod takes is told apart further.
func (r *run) alike(c envoy.Conn, n int) func(envoy.Upstream) (string, bool) {
	return func(up envoy.Upstream) (string, bool) {
		if up.Internal != "" {
			return "", true // the listener's name tells them apart
		}
		if r.s.Rules == nil || !r.s.owner.known {
			return "", false // nothing is known of any of them
		}
		p := r.packet(c, up)
		p.Ref = legRef(n)
		a, ok := r.alikes[p]
		if !ok {
			a = r.walks(p)
			r.alikes[p] = a
		}
		return a.key, a.inside
	}
}

// walks follows a packet in every way that the kernel's choices leave open.
func (r *run) walks(p netfilter.Packet) alike {
	var b strings.Builder
	out := alike{}
	n := 0
	for ch := (&flow.Choices{Pick: r.req.Pick}); ch != nil; ch = ch.Next() {
		if n++; n > maxWalks {
			return alike{p.Dst.String(), true}
		}
		k := r.s.Rules.Walk(r.s.Host, p, ch)
		for _, m := range ch.Made() {
			b.WriteString(m.Choice.Ref + "=" + m.Option().Value + " ")
		}
		b.WriteString(strconv.Itoa(int(k.Fate)))
		if k.Fate == netfilter.FateLocal {
			end, inside := r.localEnd(k)
			b.WriteString(" " + end)
			out.inside = out.inside || inside
		}
		b.WriteString("\n")
	}
	out.key = b.String()
	return out
}

// localEnd is who takes a connection that the kernel delivers inside the pod (see local);
// inside: Envoy does.
func (r *run) localEnd(k netfilter.Result) (end string, inside bool) {
	at, orig := accepted(k)
	if _, ok := r.takenByZtunnel(k, at); ok {
		return "ztunnel", false
	}
	if r.takenByProxy(k) {
		return at.String() + " " + orig.String(), true
	}
	_, open := r.s.Host.Listening(k.To.Proto, at)
	return "application " + strconv.Itoa(int(open)), false
}
