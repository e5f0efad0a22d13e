package envoy

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// The random cases again, by rules.Trace: through a kernel that has no rules and calls every
// address its own, as the namespace has it, through Envoy as often as the connection comes to
// it, and joined. What Envoy did must be one of the ways that the trace tells.
func TestJoined(t *testing.T) {
	if !Isolated(t) {
		return
	}
	seed, worlds := *seedFlag, 40
	if seed == 0 {
		seed = 1
	}
	if testing.Short() {
		worlds = 8
	}
	o, kernel := startOracle(t), kernelParts(t)
	var n joined
	for stream := *oracleFrom; stream < *oracleFrom+uint64(worlds); stream++ {
		b := Generate(seed, stream, *oracleFamily)
		addAgain(newDice(seed, stream), b)
		r := runClear(t, o, b)
		files := r.Files
		for name, raw := range kernel {
			files[name] = raw
		}
		s, err := rules.ParseSnapshot(files, nil)
		if err != nil || len(s.Gaps) > 0 {
			t.Fatalf("%s: %v %v", b.World.ID, err, s.Gaps)
		}
		for i := range r.Cases {
			c := &r.Cases[i]
			if r.refused(c.Request.Accept) {
				continue
			}
			n.judge(t, s, c)
		}
	}
	t.Logf("seed %d: %+v", seed, n)
	if n.Again == 0 {
		t.Error("no case came to Envoy more than once")
	}
	if n.Cases == 0 || n.Unknown*100 > 6*n.Cases {
		t.Errorf("too little was judged, or too much is unknown")
	}
}

// addAgain lets some of a batch's requests come to their listener by Envoy itself: a listener
// more hands them on, as bytes, to an endpoint at the listener's own address, or to where a
// PROXY header says that they went. Only what says no more of its connection is taken: neither
// a header of its own nor a state.
func addAgain(d *dice, b *Batch) {
	const most = 4
	n := 0
	for _, i := range d.Perm(len(b.Requests)) {
		q := b.Requests[i]
		if q.Proxy != nil || q.Group != "" || !strings.HasSuffix(q.Accept, ":"+strconv.Itoa(acceptPort)) {
			continue
		}
		name, addr := fmt.Sprintf("again%d", n), fmt.Sprintf("127.0.2.%d", 1+n)
		l, cluster := listener(name, addr, acceptPort), name
		if n%2 == 0 {
			b.World.Clusters = append(b.World.Clusters, raw(static(name, endpoint(q.Accept))))
		} else {
			l["listener_filters"] = A{proxyProtocol()}
			cluster = name + ".odst"
			b.World.Clusters = append(b.World.Clusters, raw(toOriginal(cluster, nil)))
			q.Proxy = &Proxy{Src: "127.9.9.9:4000", Dst: q.Accept}
		}
		l["filter_chains"] = A{M{"name": "f", "filters": A{tcpProxy(name, M{"cluster": cluster})}}}
		b.World.Listeners = append(b.World.Listeners, raw(l))
		q.ID, q.Accept = q.ID+" again", netip.AddrPortFrom(netip.MustParseAddr(addr), acceptPort).String()
		b.Requests = append(b.Requests, q)
		if n++; n == most {
			return
		}
	}
}

// kernelParts are what the namespace's kernel says of itself, and whose process Envoy is.
func kernelParts(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"), "ip6tables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"),
		"meta.json": []byte(`{"envoy_uid": 0, "envoy_gid": 0}`)}
	for name, args := range map[string]string{"addr.json": "-j addr", "route.json": "-j -4 route show table all", "route6.json": "-j -6 route show table all", "rule.json": "-j rule"} {
		raw, err := exec.Command("ip", strings.Fields(args)...).Output()
		if err != nil {
			t.Fatal(args, err)
		}
		out[name] = raw
	}
	return out
}

// joined counts what became of the cases.
type joined struct {
	Cases, Agreed, Unknown int
	Again                  int // of the agreed ones: came to Envoy more than once
}

func (n *joined) judge(t *testing.T, s *rules.Snapshot, c *Case) {
	t.Helper()
	_, req, err := c.Request.Flow()
	if err != nil {
		t.Fatal(err)
	}
	tr := rules.Trace(s, req)
	n.Cases++
	ways := tr.Variants
	if len(ways) == 0 {
		ways = []flow.Variant{{Verdict: tr.Verdict, Outcome: tr.Outcome, Caller: tr.Caller, Upstream: tr.Upstream, Legs: tr.Legs}}
	}
	for i := range c.Outcomes {
		best := ""
		for k := range ways {
			d := wayDiff(&c.Outcomes[i], &ways[k])
			if d == "" {
				best = ""
				break
			}
			if best == "" || len(d) < len(best) {
				best = d
			}
		}
		if best != "" && !tr.Cut {
			t.Errorf("%s/%s: %v of %d ways: %s\n%s", c.World, c.Request.ID, tr.Verdict, len(ways), best, last(ways[0].Legs))
			return
		}
	}
	if tr.Verdict == flow.Unknown {
		n.Unknown++
		if j := judgeCase(t, s.Envoy, c); j.Word == Agree && !tr.Cut {
			t.Errorf("%s/%s: unknown, where Envoy's half alone agrees\n%s", c.World, c.Request.ID, last(tr.Legs))
		}
		return
	}
	n.Agreed++
	if slices.ContainsFunc(ways, func(v flow.Variant) bool { return passes(v.Legs) > 1 }) {
		n.Again++
	}
}

// passes is how often a connection of the legs comes to Envoy.
func passes(legs []flow.Leg) (n int) {
	for _, l := range legs {
		if slices.ContainsFunc(l.Steps, func(s flow.Step) bool { return s.Stage == flow.Listener }) {
			n++
		}
	}
	return n
}

func last(legs []flow.Leg) string {
	var out []string
	for _, l := range legs {
		for _, s := range l.Steps {
			out = append(out, fmt.Sprintf("  %v %q %v: reason %d %q", s.Stage, s.Subject, s.Verdict, s.Reason.Kind, s.Reason.Args))
		}
	}
	return strings.Join(out, "\n")
}

// drawnLater says whether a pass after the first drew an endpoint: ways that differ in it alone
// are told as one.
func drawnLater(legs []flow.Leg) bool {
	return slices.ContainsFunc(legs, func(l flow.Leg) bool {
		return slices.ContainsFunc(l.Steps, func(s flow.Step) bool {
			return slices.ContainsFunc(s.Assumed, func(a flow.Assumption) bool { return strings.Contains(a.Flag, "leg ") })
		})
	})
}

// wayDiff names the fields in which one way of a trace differs from what Envoy did.
func wayDiff(o *Outcome, v *flow.Variant) string {
	d := differ{open: v.Verdict == flow.Unknown}
	if o.Log != "none" {
		d.field("listener", o.Listener, v.Outcome.Listener)
		d.field("chain", o.Chain, v.Outcome.FilterChain)
		d.field("vhost", o.VHost, v.Outcome.VirtualHost)
		d.field("route", o.Route, v.Outcome.Route)
		d.field("cluster", o.Cluster, v.Outcome.Cluster)
		d.field("host", o.Host, v.Outcome.Endpoint)
	}
	r := envoy.Result{Verdict: v.Verdict, Outcome: v.Outcome, Caller: v.Caller}
	for _, l := range v.Legs { // they tell the answer's headers, which none of the proxies before the last touches as bytes
		r.Steps = append(r.Steps, l.Steps...)
	}
	if v.Verdict == flow.Delivered && v.Outcome.Endpoint != "" {
		r.Verdict = flow.Continue // as Envoy's half says it
	}
	// That nobody listens there the first pass's flags tell, and of a later one nothing does: the
	// snapshot has no sockets.
	unheard := passes(v.Legs) > 1 && v.Legs[len(v.Legs)-1].To.Dst.String() == dead
	if d.open || unheard || beyond(o, &r) {
		return d.text()
	}
	d.field("flags", o.Flags, v.Caller.Flags)
	if o.Log == "http" {
		d.field("code", strconv.Itoa(o.Code), strconv.Itoa(v.Caller.Code))
	}
	d.client(o, &r)
	if u := o.Upstream; u != nil && u.Addr != "" && len(v.Legs) > 0 && !drawnLater(v.Legs) {
		d.field("the last connection's end", u.Addr, v.Legs[len(v.Legs)-1].To.Dst.String())
	}
	if u, h := o.Upstream, v.Upstream; u != nil && h != nil && u.Method != "" && (u.Addr == "" || u.Addr == o.Host) {
		d.field("upstream target", u.Target, h.Path)
		d.field("upstream host", u.Host, h.Authority)
	}
	return d.text()
}
