package confirm

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

var (
	app  = netip.MustParseAddrPort("10.244.1.7:21000")
	svc  = netip.MustParseAddrPort("10.107.42.16:80")
	up   = netip.MustParseAddrPort("10.244.1.7:56198")
	trap = netip.MustParseAddrPort("127.0.0.1:15001")
	t0   = time.Unix(1795400789, 0)
)

// The rules of the trace, as iptables-save has them.
const (
	exempt   = "-A OUTPUT -m owner --uid-owner 1337 -j RETURN"
	redirect = "-A OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001"
)

// mesh is the trace of a request that is redirected, routed and sent on.
func mesh() flow.Trace {
	any := netip.AddrPortFrom(app.Addr(), 0)
	return flow.Trace{
		Request: flow.Request{Dst: svc, Proto: flow.TCP},
		Verdict: flow.Delivered, Caller: flow.Symptom{Code: 200, TCP: flow.TCPOK},
		Outcome: flow.Outcome{Listener: "l", Cluster: "c", Endpoint: svc.String(), RouteIndex: 0},
		Legs: []flow.Leg{
			{Owner: flow.OwnerApp, From: flow.Conn{Src: any, Dst: svc, UID: 1000, Out: "eth0"}, To: flow.Conn{Src: any, Dst: trap, In: "lo"}, Steps: []flow.Step{
				{Stage: flow.Socket, Verdict: flow.Continue},
				{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 2", Verdict: flow.Continue, Reason: flow.Because(flow.WhyRedirected, trap.String(), "15001"),
					Evidence: []flow.Evidence{{Source: "iptables-save", Ref: "ip nat OUTPUT 2", Text: "[15:900] " + redirect}}},
				{Stage: flow.Listener, Subject: "virtualOutbound", Verdict: flow.Continue},
				{Stage: flow.VirtualHost, Verdict: flow.Continue},
				{Stage: flow.Cluster, Subject: "c", Verdict: flow.Continue},
				{Stage: flow.Endpoint, Subject: svc.String(), Verdict: flow.Continue},
			}},
			{Owner: flow.OwnerProxy, From: flow.Conn{Src: any, Dst: svc, UID: 1337, Out: "eth0"}, To: flow.Conn{Src: any, Dst: svc, Out: "eth0"}, Steps: []flow.Step{
				{Stage: flow.Socket, Verdict: flow.Continue},
				{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 1", Verdict: flow.Continue, Reason: flow.Because(flow.WhyVerdictReturn),
					Evidence: []flow.Evidence{{Source: "iptables-save", Ref: "ip nat OUTPUT 1", Text: "[9:540] " + exempt}}},
				{Stage: flow.Wire, Subject: "eth0", Verdict: flow.Delivered},
			}},
		},
	}
}

func pkt(ms int, dev string, src, dst netip.AddrPort, flags flow.TCPFlags, n int) flow.Observation {
	return flow.Observation{Kind: flow.SeenPacket, At: t0.Add(time.Duration(ms) * time.Millisecond), Device: dev, Tuple: flow.Tuple{Src: src, Dst: dst, Proto: flow.TCP}, Flags: flags, Len: n}
}

func track(ms int, src, dst, reply netip.AddrPort) flow.Observation {
	return flow.Observation{Kind: flow.SeenConntrack, At: t0.Add(time.Duration(ms) * time.Millisecond), Event: "NEW", State: "ESTABLISHED",
		Tuple: flow.Tuple{Src: src, Dst: dst, Proto: flow.TCP}, Reply: flow.Tuple{Src: reply, Dst: src, Proto: flow.TCP}}
}

// closed is an entry of a connection that was refused.
func closed(o flow.Observation) flow.Observation { o.State = "CLOSE"; return o }

func sock(src, dst netip.AddrPort, uid uint32) flow.Observation {
	return flow.Observation{Kind: flow.SeenSocket, At: t0.Add(2 * time.Millisecond), Tuple: flow.Tuple{Src: src, Dst: dst, Proto: flow.TCP}, UID: uid}
}

func logLine(cluster, host, flags string) flow.Observation {
	return flow.Observation{Kind: flow.SeenAccessLog, Fields: map[string]string{"downstream_remote_address": app.String(), "upstream_cluster_raw": cluster,
		"upstream_host": host, "response_flags": flags, "upstream_local_address": up.String(), "listener_name": "l"}}
}

// asSeen is what a request that goes as predicted shows.
func asSeen() []flow.Observation {
	return []flow.Observation{
		track(0, app, svc, trap),
		pkt(0, "lo", app, trap, flow.SYN, 0), pkt(1, "lo", svc, app, flow.SYN|flow.ACK, 0), pkt(1, "lo", app, trap, flow.ACK|flow.PSH, 80),
		track(2, up, svc, svc),
		pkt(2, "eth0", up, svc, flow.SYN, 0), pkt(3, "eth0", svc, up, flow.SYN|flow.ACK, 0), pkt(4, "lo", svc, app, flow.ACK|flow.PSH, 200),
		logLine("c", svc.String(), "-"),
	}
}

func word(r Report, leg, step int) Word {
	for _, s := range r.Steps {
		if s.Leg == leg && s.Step == step {
			return s.Word
		}
	}
	return 99
}

func TestConfirmed(t *testing.T) {
	for _, k := range []Known{{}, {ClientPort: 21000}, {ClientPort: 21000, ProxyUID: 1337, HasProxy: true}} {
		r := Check(mesh(), asSeen(), flow.Loss{}, k)
		if r.Word != Confirmed {
			t.Errorf("known %+v: %v", k, r.Word)
			for _, s := range r.Steps {
				t.Logf("  %d.%d %v %v %v", s.Leg, s.Step, s.Stage, s.Word, s.Why)
			}
		}
		if w := word(r, 0, 3); w != NotObservable {
			t.Errorf("virtual host: %v", w)
		}
	}
}

// Each sabotage is contradicted at exactly the step that it concerns.
func TestContradicted(t *testing.T) {
	other := netip.MustParseAddrPort("10.107.42.99:80")
	for _, c := range []struct {
		what      string
		seen      []flow.Observation
		leg, step int
	}{
		{"rule removed: the app's SYN leaves as it was dialled", []flow.Observation{track(0, app, svc, svc), pkt(0, "eth0", app, svc, flow.SYN, 0), pkt(1, "eth0", svc, app, flow.SYN|flow.ACK, 0)}, 0, 1},
		{"redirected elsewhere", []flow.Observation{track(0, app, svc, netip.MustParseAddrPort("127.0.0.1:15009"))}, 0, 1},
		{"proxy down", []flow.Observation{closed(track(0, app, svc, trap)), pkt(0, "lo", app, trap, flow.SYN, 0), pkt(0, "lo", svc, app, flow.RST|flow.ACK, 0)}, 0, 2},
		{"another cluster", append(asSeen()[:8:8], logLine("d", svc.String(), "-")), 0, 4},
		{"another endpoint, by the log", append(asSeen()[:8:8], logLine("c", other.String(), "-")), 0, 5},
		{"another endpoint, by the socket's owner", append(asSeen()[:4:4], sock(up, other, 1337), track(2, up, other, other),
			counter("cluster.c.upstream_cx_total", "", 1, 2), counter("cluster c endpoint 10.107.42.99:80 cx_total", "", 0, 1)), 0, 5},
		{"another cluster, by its counters", append(asSeen()[:8:8], counter("cluster.c.upstream_rq_total", "", 1, 1)), 0, 4},
	} {
		r := Check(mesh(), c.seen, flow.Loss{}, Known{ClientPort: 21000, ProxyUID: 1337, HasProxy: true})
		if r.Word != Contradicted || word(r, c.leg, c.step) != Contradicted {
			t.Errorf("%s: whole %v, step %v", c.what, r.Word, word(r, c.leg, c.step))
		}
		for _, s := range r.Steps {
			if s.Word == Contradicted && (s.Leg != c.leg || s.Step != c.step) {
				t.Errorf("%s: also step %d.%d (%v)", c.what, s.Leg, s.Step, s.Why)
			}
		}
	}
}

// A busy proxy dials others all the time: that contradicts nothing.
func TestBusyProxy(t *testing.T) {
	other, second := netip.MustParseAddrPort("10.107.42.99:80"), netip.MustParseAddrPort("10.244.1.7:21001")
	seen := append(asSeen()[:4:4], sock(up, other, 1337), counter("cluster.c.upstream_cx_total", "", 1, 2),
		pkt(1, "lo", second, trap, flow.SYN, 0))
	if r := Check(mesh(), seen, flow.Loss{}, Known{ClientPort: 21000, ProxyUID: 1337, HasProxy: true}); r.Word != NotObserved {
		t.Errorf("%v", r.Word)
	}
}

// Absence never contradicts, and with loss it is unverifiable.
func TestAbsence(t *testing.T) {
	if r := Check(mesh(), nil, flow.Loss{}, Known{}); r.Word != NotObserved {
		t.Errorf("nothing seen: %v", r.Word)
	}
	for _, l := range []flow.Loss{{Dropped: 1}, {Late: true}} {
		if r := Check(mesh(), asSeen()[:4], l, Known{ClientPort: 21000}); r.Word != Unverifiable {
			t.Errorf("loss %+v: %v", l, r.Word)
		}
	}
	// What was seen in spite of loss is still evidence.
	if r := Check(mesh(), asSeen(), flow.Loss{Dropped: 1}, Known{ClientPort: 21000}); r.Word != Confirmed {
		t.Errorf("everything seen beside loss: %v", r.Word)
	}
}

// blocked is a trace that ends in the proxy because the cluster has no host.
func blocked() flow.Trace {
	t := mesh()
	t.Verdict, t.Caller = flow.Refused, flow.Symptom{Flags: "UH", TCP: flow.TCPResetOrClosed}
	t.Outcome.Endpoint, t.Legs = "", t.Legs[:1]
	t.Legs[0].Steps = t.Legs[0].Steps[:5:5]
	t.Legs[0].Steps[4].Verdict = flow.Refused
	return t
}

// On the wire the causes of a close look alike: the flags or a counter decide.
func TestCloseIsAmbiguous(t *testing.T) {
	seen := append(asSeen()[:4:4], pkt(2, "lo", svc, app, flow.FIN|flow.ACK, 0))
	r := Check(blocked(), seen, flow.Loss{}, Known{ClientPort: 21000})
	if word(r, 0, 4) != NotObserved || r.Steps[4].Why.Kind != flow.SeenAmbiguous {
		t.Errorf("a close alone: %v %v", word(r, 0, 4), r.Steps[4].Why)
	}
	for _, c := range []struct {
		what string
		more flow.Observation
		want Word
	}{
		{"flag", logLine("c", "", "UH"), Confirmed},
		{"another flag", logLine("c", "", "UO"), Contradicted},
		{"counter", counter("cluster.c.upstream_cx_none_healthy", "", 3, 4), Confirmed},
		{"an answer", pkt(3, "lo", svc, app, flow.ACK|flow.PSH, 200), Contradicted},
	} {
		if r := Check(blocked(), append(seen[:len(seen):len(seen)], c.more), flow.Loss{}, Known{ClientPort: 21000}); word(r, 0, 4) != c.want {
			t.Errorf("%s: %v, want %v", c.what, word(r, 0, 4), c.want)
		}
	}
}

func TestWordsHaveNames(t *testing.T) {
	for w := NotObserved; w <= Unverifiable; w++ {
		if w.String() == "invalid" {
			t.Errorf("word %d has no name", w)
		}
	}
	if (Unverifiable + 1).String() != "invalid" {
		t.Error("the last word is not the last")
	}
}

func TestCounters(t *testing.T) {
	before := Counters(map[string][]byte{
		"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\n[9:540] -A OUTPUT -m owner --uid-owner 1337 -j RETURN\n[15:900] -A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n*filter\n-A OUTPUT -j ACCEPT\n"),
		"stats":         []byte("cluster.a|b.upstream_cx_total: 3\nhistogram: P0(nan,0)\n"),
	})
	if len(before) != 4 || before["ip nat OUTPUT 2"] != (Counter{N: 15, Rule: "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"}) || before["cluster.a|b.upstream_cx_total"].N != 3 {
		t.Errorf("%v", before)
	}
	d := Deltas(before, map[string]Counter{"ip nat OUTPUT 1": {N: 10, Rule: "-A OUTPUT -j ACCEPT"}, "ip nat OUTPUT 2": {N: 16, Rule: "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"}, "new": {N: 1}}, nil)
	if len(d) != 1 || d[0].Name != "ip nat OUTPUT 2" || d[0].Before != 15 || d[0].After != 16 {
		t.Errorf("%v", d)
	}
}

// The counters of what the trace goes through are told in its order, those that stayed too;
// those of failures where they grew, and none of anything else.
func TestCountsOfTheWay(t *testing.T) {
	counted := func(name string, before, after uint64) flow.Observation {
		return counter(name, "", before, after)
	}
	r := Check(mesh(), append(asSeen(), counted("cluster.c.upstream_cx_overflow", 1, 1), counted("cluster.c.upstream_cx_connect_fail", 1, 2), counted("cluster.c.upstream_cx_total", 4, 4),
		counted("cluster.c.upstream_rq_total", 7, 8), counted("cluster.d.upstream_rq_total", 1, 2), counted("listener.l.downstream_cx_total", 2, 3),
		counted("cluster c endpoint 10.107.42.16:80 rq_total", 7, 8), counter("ip nat OUTPUT 2", redirect, 41, 42), counter("ip nat OUTPUT 3", "-A OUTPUT -j LOG", 1, 2)), flow.Loss{}, ours)
	want := []Count{{flow.Netfilter, "ip nat OUTPUT 2", "", 41, 42}, {flow.Listener, "l", "downstream_cx_total", 2, 3}, {flow.Cluster, "c", "upstream_rq_total", 7, 8}, {flow.Cluster, "c", "upstream_cx_total", 4, 4},
		{flow.Cluster, "c", "upstream_cx_connect_fail", 1, 2}, {flow.Endpoint, "10.107.42.16:80", "rq_total", 7, 8}}
	if !slices.Equal(r.Counts, want) {
		t.Errorf("%+v", r.Counts)
	}
	if r := Check(mesh(), asSeen(), flow.Loss{}, ours); r.Counts != nil {
		t.Errorf("nothing was counted: %+v", r.Counts)
	}
}

// A counter that fell was set back, and connections alone are pooled: neither tells that the
// request went elsewhere.
func TestCountersThatTellNothing(t *testing.T) {
	for _, o := range []flow.Observation{
		counter("cluster.c.upstream_rq_total", "", 9, 1),
		counter("cluster.c.upstream_cx_total", "", 1, 1),
	} {
		r := Check(mesh(), append(asSeen()[:8:8], o), flow.Loss{}, Known{ClientPort: 21000, ProxyUID: 1337, HasProxy: true})
		if w := word(r, 0, 4); w != NotObservable || r.Word == Contradicted {
			t.Errorf("%s from %d to %d: cluster %v, whole %v", o.Name, o.Before, o.After, w, r.Word)
		}
	}
}

// A lookup of names from the port that the request has too is no part of its connection.
func TestSamePortOfAnotherProtocol(t *testing.T) {
	dns := track(1, app, netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("10.244.0.2:53"))
	dns.Tuple.Proto, dns.Reply.Proto = flow.UDP, flow.UDP
	r := Check(mesh(), append(asSeen(), dns), flow.Loss{}, Known{ClientPort: 21000, ProxyUID: 1337, HasProxy: true})
	if r.Word != Confirmed {
		t.Errorf("beside a DNS lookup: %v %+v", r.Word, r.Steps)
	}
}
