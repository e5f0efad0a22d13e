package session

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// hostsPart is the pod's hosts file in a snapshot.
const hostsPart = "hosts"

// Resolve is the draft with its name looked up as the process would that makes the request. Of
// several addresses it goes to the first that a client tries, of the source's family where the
// source is said; the request holds all of them, and who gave them.
func Resolve(ctx context.Context, pod inspect.Pod, r Reading, d request.Draft) (flow.Request, error) {
	if d.Host == "" {
		return d.Request, nil
	}
	n, err := Lookup(ctx, pod, r, d.Host, d.Request.UID, d.Request.GID)
	if err != nil {
		return d.Request, err
	}
	return d.Named(n), nil
}

// Lookup is what a process of this user in the pod would get for a name: of the pod's hosts
// file where the reading has it, else of the pod's own resolver. Where the rules that were read
// bring the question elsewhere than to the name server, such as to a mesh's own, that is said.
func Lookup(ctx context.Context, pod inspect.Pod, r Reading, name string, uid, gid uint32) (flow.Named, error) {
	if a, ok := hosts(r.Files[hostsPart], name); ok {
		return flow.Named{Name: name, By: flow.NamedHosts, Where: hostsPart, Addrs: []netip.Addr{a}}, nil
	}
	p, ok := pod.(inspect.Resolver)
	if ok {
		n, err := p.Resolve(ctx, name, uid, gid)
		switch {
		case err == nil && len(n.Addrs) > 0:
			n.Via = via(r, n)
			return n, nil
		case !isLocalhost(name) && err != nil:
			return n, fmt.Errorf("name %q: %w", name, err)
		}
	}
	if isLocalhost(name) { // RFC 6761, 6.3: it needs nobody's answer
		return flow.Named{Name: name, By: flow.NamedLocal, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}}, nil
	}
	return flow.Named{}, fmt.Errorf("name %q: %w: write the address, and the name with --authority", name, inspect.ErrNotFound)
}

func isLocalhost(name string) bool {
	return strings.EqualFold(strings.TrimSuffix(name, "."), "localhost")
}

// via is where the rules bring a question for the name server that answered; zero: to itself,
// or it cannot be told.
func via(r Reading, n flow.Named) netip.AddrPort {
	if n.By != flow.NamedServer || !n.Server.IsValid() || r.Snapshot == nil || r.Snapshot.Rules == nil {
		return netip.AddrPort{}
	}
	t := rules.Trace(r.Snapshot, flow.Request{Dst: n.Server, Proto: flow.UDP, UID: n.UID, GID: n.GID})
	if len(t.Variants) > 0 || len(t.Legs) == 0 || t.Legs[0].To.Dst == n.Server {
		return netip.AddrPort{}
	}
	return t.Legs[0].To.Dst
}

// hosts looks a name up in a hosts file (hosts(5)); the first line that has it wins.
func hosts(file []byte, name string) (netip.Addr, bool) {
	for line := range strings.Lines(string(file)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		for _, n := range f[1:] {
			if a, err := netip.ParseAddr(f[0]); err == nil && strings.EqualFold(n, strings.TrimSuffix(name, ".")) {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}
