package confirm

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// barredTrace is the trace of a request that a rule of the table filter ends, behind another one.
func barredTrace(v flow.Verdict, tcp flow.TCPEnd) flow.Trace {
	tr := mesh()
	tr.Verdict, tr.Caller, tr.Outcome, tr.Legs = v, flow.Symptom{TCP: tcp}, flow.Outcome{}, tr.Legs[:1]
	l := &tr.Legs[0]
	l.To, l.Steps = l.From, []flow.Step{{Stage: flow.Socket, Verdict: flow.Continue}, {Stage: flow.Netfilter, Subject: "ip filter OUTPUT 1", Verdict: flow.Continue},
		{Stage: flow.Netfilter, Subject: "ip filter OUTPUT 3", Verdict: v}}
	return tr
}

// A reject shows one RST on lo, which acknowledges a SYN that nobody saw, and leaves no entry in
// conntrack; any other RST is the end of a connection.
func TestRejectionOnTheWire(t *testing.T) {
	rst := func(dev string, seq uint32, flags flow.TCPFlags) flow.Observation {
		o := pkt(3, dev, svc, app, flags, 0)
		o.Seq = seq
		return o
	}
	reset := rst("lo", 0, flow.RST|flow.ACK)
	halfOpen := track(0, app, svc, svc)
	halfOpen.State = "SYN_SENT"
	for _, c := range []struct {
		what string
		seen []flow.Observation
		loss flow.Loss
		want Word
	}{
		{"a rejection", []flow.Observation{reset}, flow.Loss{}, Confirmed},
		{"on another device", []flow.Observation{rst("eth0", 0, flow.RST|flow.ACK)}, flow.Loss{}, NotObserved},
		{"in the midst of a connection", []flow.Observation{rst("lo", 998877, flow.RST|flow.ACK)}, flow.Loss{}, NotObserved},
		{"one that acknowledges nothing", []flow.Observation{rst("lo", 0, flow.RST)}, flow.Loss{}, NotObserved},
		{"beside loss", []flow.Observation{reset}, flow.Loss{Dropped: 9}, Unverifiable},
		{"with conntrack unread", []flow.Observation{reset}, flow.Loss{Blind: []flow.Gap{{Part: "conntrack events", Reason: "no power"}}}, Unverifiable},
		{"of a connection that conntrack knows", []flow.Observation{halfOpen, reset}, flow.Loss{}, NotObserved},
		{"of one that was answered", []flow.Observation{track(0, app, svc, svc), reset}, flow.Loss{}, Contradicted},
		{"of one that was answered, beside loss", []flow.Observation{track(0, app, svc, svc), rst("eth0", 998877, flow.RST)}, flow.Loss{Dropped: 9}, Contradicted},
	} {
		r := Check(barredTrace(flow.Refused, flow.TCPRefused), c.seen, c.loss, ours)
		if got := word(r, 0, 2); got != c.want && (c.want != NotObserved || got != Unverifiable) {
			t.Errorf("%s: %v %v, want %v", c.what, got, r.Steps[2].Why, c.want)
		}
		if got := r.Steps[0].Why.Kind; c.want == Confirmed && got != flow.SeenRefused {
			t.Errorf("%s: the socket: %v", c.what, r.Steps[0].Why)
		}
	}
}

// Where a rule refuses the proxy's own connection, the caller gets what the proxy makes of that, and
// the endpoint counts no request.
func TestProxysConnectionRejected(t *testing.T) {
	tr := mesh()
	tr.Verdict, tr.Caller = flow.Refused, flow.Symptom{Code: 503, Flags: "UF", TCP: flow.TCPOK}
	tr.Legs[1].Steps = []flow.Step{{Stage: flow.Socket, Verdict: flow.Continue}, {Stage: flow.Netfilter, Subject: "inet meshtop out 2", Verdict: flow.Refused}}
	reset := pkt(5, "lo", svc, up, flow.RST|flow.ACK, 0)
	first := append(asSeen()[:4:4], counter("cluster c endpoint "+svc.String()+" rq_total", "", 3, 3), counter("cluster.c.upstream_cx_connect_fail", "", 1, 2))
	for _, c := range []struct {
		what     string
		seen     []flow.Observation
		rule     Word
		endpoint flow.ReasonKind
	}{
		{"as predicted", append(first[:6:6], reset, answer("503", "ok")), Confirmed, flow.SeenRefused},
		{"the RST was not seen", append(first[:6:6], answer("503", "ok")), NotObserved, flow.SeenNoneOfIt},
		{"the endpoint answered", append(first[:6:6], answer("200", "ok")), Contradicted, flow.SeenNoneOfIt},
	} {
		r := Check(tr, c.seen, flow.Loss{}, ours)
		if word(r, 1, 1) != c.rule || r.Steps[5].Why.Kind != c.endpoint {
			t.Errorf("%s: %v, endpoint %v, want %v and %v", c.what, r.Steps[7], r.Steps[5], c.rule, c.endpoint)
		}
	}
}

// Rules that others' packets grew are not counted by the request.
func TestRulesCountedByOthers(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("10.9.9.9:15012")
	timeout := answer("0", flow.TCPTimeout.String())
	beside := []flow.Observation{track(1, client(30000), elsewhere, elsewhere), pkt(1, "eth0", client(30000), elsewhere, flow.SYN, 0)}
	grew := func(by uint64) []flow.Observation {
		return []flow.Observation{counter("ip filter OUTPUT 1", "", 100, 100+by), counter("ip filter OUTPUT 3", "", 40, 40+by)}
	}
	for _, c := range []struct {
		what string
		seen []flow.Observation
		want Word
	}{
		{"the SYN, sent six times", slices.Concat([]flow.Observation{timeout}, grew(6)), Confirmed},
		{"more than one connect sends", slices.Concat([]flow.Observation{timeout}, grew(37)), NotObserved},
		{"another connection began", slices.Concat([]flow.Observation{timeout}, grew(1), beside), NotObserved},
		{"another one came to Envoy", slices.Concat([]flow.Observation{timeout, counter("listener.x.downstream_cx_total", "", 1, 2)}, grew(1)), NotObserved},
	} {
		r := Check(barredTrace(flow.Dropped, flow.TCPTimeout), c.seen, flow.Loss{}, ours)
		if word(r, 0, 1) != c.want || word(r, 0, 2) != c.want {
			t.Errorf("%s: %v %v, %v, want %v", c.what, word(r, 0, 1), r.Steps[1].Why, word(r, 0, 2), c.want)
		}
	}
	// A rule that lets pass is counted by the proxy's own connection, too.
	tr := mesh()
	tr.Legs[0].Steps = slices.Insert(tr.Legs[0].Steps, 1, flow.Step{Stage: flow.Netfilter, Subject: "ip filter OUTPUT 5", Verdict: flow.Continue})
	passed := counter("ip filter OUTPUT 5", "", 10, 11)
	if r := Check(tr, append(asSeen(), passed), flow.Loss{}, ours); word(r, 0, 1) != NotObserved {
		t.Errorf("beside the proxy's own connection: %v %v", word(r, 0, 1), r.Steps[1].Why)
	}
	if r := Check(tr, append(asSeen()[:4:4], passed), flow.Loss{}, ours); word(r, 0, 1) != Confirmed {
		t.Errorf("alone: %v %v", word(r, 0, 1), r.Steps[1].Why)
	}
}

// What another process of the proxy's user dials is no endpoint, and where packets were lost the
// connection to the expected one may be among them.
func TestNoOtherEndpoint(t *testing.T) {
	agents := netip.MustParseAddrPort("10.9.9.9:15012")
	seen := append(asSeen()[:4:4], sock(client(44000), agents, 1337), counter("cluster.c.upstream_cx_total", "", 1, 2),
		counter("listener.l.downstream_cx_total", "", 1, 2))
	named := append(seen[:len(seen):len(seen)], counter("cluster c endpoint 10.9.9.9:15012 cx_total", "", 1, 2))
	for _, c := range []struct {
		what string
		seen []flow.Observation
		loss flow.Loss
		want Word
	}{
		{"no endpoint of the cluster's", seen, flow.Loss{}, NotObserved},
		{"one that counted nothing", append(seen[:len(seen):len(seen)], counter("cluster c endpoint 10.9.9.9:15012 cx_total", "", 1, 1)), flow.Loss{}, NotObserved},
		{"an endpoint", named, flow.Loss{}, Contradicted},
		{"beside loss", seen, flow.Loss{Dropped: 3}, Unverifiable},
	} {
		if r := Check(mesh(), c.seen, c.loss, ours); word(r, 0, 5) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 5), r.Steps[5].Why, c.want)
		}
	}
}
