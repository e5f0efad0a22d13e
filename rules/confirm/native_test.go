package confirm

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

const tproxyList = `{"nftables": [{"metainfo": {"version": "1.0.6"}},
{"chain": {"family": "inet", "table": "m", "name": "pre", "handle": 1, "type": "filter", "hook": "prerouting", "prio": -150}},
{"chain": {"family": "inet", "table": "n", "name": "out", "handle": 1, "type": "nat", "hook": "output", "prio": -100}},
{"chain": {"family": "inet", "table": "n", "name": "own", "handle": 2}},
{"rule": {"family": "inet", "table": "m", "chain": "pre", "handle": 4, "expr": [{"counter": {"packets": 7, "bytes": 400}}, {"jump": {"target": "tp"}}]}},
{"rule": {"family": "inet", "table": "m", "chain": "pre", "handle": 5, "expr": [{"counter": "shared"}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "m", "chain": "pre", "handle": 9, "expr": [{"accept": null}]}},
{"rule": {"family": "inet", "table": "n", "chain": "own", "handle": 6, "expr": [{"counter": {"packets": 1, "bytes": 60}}, {"redirect": {"port": 15001}}]}},
{"rule": {"family": "ip", "table": "nat", "chain": "OUTPUT", "handle": 3, "expr": [{"counter": {"packets": 99, "bytes": 1}}]}}]}`

// Of native rules those are counted that hold a counter of their own; a table of iptables stands
// in its save. A number counts all rules of a chain, and another handle is another rule.
func TestNativeCounters(t *testing.T) {
	save := []byte("*nat\n:OUTPUT ACCEPT [0:0]\n[9:540] -A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n")
	got := Counters(map[string][]byte{"nft.json": []byte(tproxyList), "iptables-save": save})
	want := map[string]Counter{
		"inet m pre 1": {N: 7, Rule: "handle 4"}, "inet n own 1": {N: 1, Rule: "handle 6", NAT: true},
		"ip nat OUTPUT 1": {N: 9, Rule: "-A OUTPUT -j ISTIO_OUTPUT"}, "ip rules": {},
	}
	for name, c := range want {
		if got[name] != c {
			t.Errorf("%s: %+v, want %+v", name, got[name], c)
		}
	}
	if len(got) != len(want) {
		t.Errorf("counted: %v", got)
	}
	after := Counters(map[string][]byte{"nft.json": []byte(strings.NewReplacer(`"packets": 7`, `"packets": 8`, `"handle": 6`, `"handle": 8`).Replace(tproxyList))})
	d := Deltas(got, after, nil)
	if len(d) != 1 || d[0].Name != "inet m pre 1" || d[0].Before != 7 || d[0].After != 8 {
		t.Errorf("%v", d)
	}
}

// tproxied is a request from a peer that TPROXY gives to the proxy, which goes on to the
// application with the peer's own address: both connections are to one address.
func tproxied() (flow.Trace, netip.AddrPort) {
	t, pod := inbound(netip.MustParseAddrPort("10.244.1.7:80")), netip.MustParseAddrPort("10.244.1.7:80")
	rule := func(subject string, why flow.ReasonKind, arg string) flow.Step {
		return flow.Step{Stage: flow.Netfilter, Subject: subject, Verdict: flow.Continue, Reason: flow.Because(why, arg)}
	}
	first := t.Legs[0].Steps
	t.Legs[0].Steps = append([]flow.Step{first[0], rule("inet m pre 1", flow.WhyJump, "tp"), rule("inet m tp 1", flow.WhyTProxy, "10.244.1.7:15006")}, first[2:]...)
	t.Request.HTTP = &flow.HTTP{Method: "GET", Authority: "svc", Path: "/cart"}
	t.Outcome.Endpoint = pod.String()
	t.Legs[1].From, t.Legs[1].To = flow.Conn{Dst: pod, Out: "lo"}, flow.Conn{Dst: pod, In: "lo"}
	t.Legs[1].Steps = []flow.Step{{Stage: flow.Socket, Verdict: flow.Continue}, {Stage: flow.Socket, Verdict: flow.Delivered}}
	return t, pod
}

// Of the two connections the peer's is the one that came in by the device; the other is no further
// request either. The rule of TPROXY leaves no trace but its counter, which shows the jump to it, too,
// however much else came by there.
func TestTProxied(t *testing.T) {
	tr, pod := tproxied()
	peer, lent := netip.MustParseAddrPort("10.244.0.32:54810"), netip.MustParseAddrPort("10.244.0.32:54822")
	seen := []flow.Observation{
		track(0, peer, pod, pod), pkt(0, "eth0", peer, pod, flow.SYN, 0), pkt(1, "eth0", pod, peer, flow.SYN|flow.ACK, 0),
		wrote(2, "eth0", peer, pod, cart),
		track(3, lent, pod, pod), sock(lent, pod, 0), pkt(3, "lo", lent, pod, flow.SYN, 0), pkt(4, "lo", pod, lent, flow.SYN|flow.ACK, 0),
		wrote(5, "lo", lent, pod, cart),
		counter("inet m pre 1", "handle 4", 1546, 1576), counter("inet m tp 1", "handle 7", 5, 6),
	}
	for _, first := range []bool{false, true} { // whichever was seen first
		if first {
			seen = append(append(seen[4:9:9], seen[:4]...), seen[9:]...)
		}
		r := Check(tr, seen, flow.Loss{}, Known{ProxyUID: 0, HasProxy: true})
		for _, s := range r.Steps {
			if s.Word != Confirmed && (s.Leg == 1 || s.Step < 4) {
				t.Errorf("%d.%d: %v %v", s.Leg, s.Step, s.Word, s.Why)
			}
			for _, e := range s.Evidence {
				if strings.Contains(e.Text, lent.String()) == (s.Leg == 0) && s.Step < 4 && e.Source != "counter" {
					t.Errorf("%d.%d is shown by %s", s.Leg, s.Step, e.Text)
				}
			}
		}
	}
	// Without the counter of TPROXY's own rule the jump to it may be another's.
	r := Check(tr, seen[:len(seen)-1], flow.Loss{}, Known{ProxyUID: 0, HasProxy: true})
	if word(r, 0, 1) != NotObserved || word(r, 0, 2) != NotObserved {
		t.Errorf("uncounted: %v, %v", word(r, 0, 1), word(r, 0, 2))
	}
	// A peer that speaks TLS asked for something else than this; what the proxy then writes in plain
	// text is not the peer's.
	seen[slices.IndexFunc(seen, func(o flow.Observation) bool { return o.Tuple.Src == peer && o.Len > 0 })] = wrote(2, "eth0", peer, pod, string(helloOf(t, "svc")))
	r = Check(tr, seen, flow.Loss{}, Known{ProxyUID: 0, HasProxy: true})
	if r.Word == Confirmed || word(r, 0, 0) != NotObserved || r.Steps[0].Why.Kind != flow.SeenOthersOnly {
		t.Errorf("a peer with TLS: %v, %v %v", r.Word, word(r, 0, 0), r.Steps[0].Why)
	}
}
