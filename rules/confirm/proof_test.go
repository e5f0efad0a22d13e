package confirm

import (
	"net/netip"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// readings are of one moment each, from t0 on.
func readings(before, after time.Duration) *flow.Readings {
	return &flow.Readings{Before: flow.Interval{Begin: t0.Add(before), End: t0.Add(before)}, After: flow.Interval{Begin: t0.Add(after), End: t0.Add(after)}}
}

// counter was read before all that is seen, and after it.
func counter(name, rule string, before, after uint64) flow.Observation {
	o := flow.Observation{Kind: flow.SeenCounter, Name: name, Before: before, After: after, Readings: readings(-time.Second, time.Minute)}
	if rule != "" {
		o.Fields = map[string]string{"rule": rule}
	}
	return o
}

func answer(code, tcp string) flow.Observation {
	return flow.Observation{Kind: flow.SeenAnswer, Fields: map[string]string{"code": code, "tcp": tcp}}
}

// ours is a request that meshtop sent from the app's address.
var ours = Known{ClientPort: 21000, ProxyUID: 1337, HasProxy: true}

// A rule's number names another rule when one before it is taken away: only the counter of
// the same rule counts, wherever it stands.
func TestRuleCounters(t *testing.T) {
	other := "-A OUTPUT -p tcp -j LOG"
	plain := []flow.Observation{track(0, app, svc, svc), pkt(0, "eth0", app, svc, flow.SYN, 0)}
	for _, c := range []struct {
		what string
		seen []flow.Observation
		want Word
		why  flow.ReasonKind
	}{
		{"its own grew", append(asSeen(), counter("ip nat OUTPUT 2", redirect, 1, 2)), Confirmed, flow.SeenCounted},
		{"it stands elsewhere by now", append(asSeen(), counter("ip nat OUTPUT 2", other, 1, 1), counter("ip nat OUTPUT 3", redirect, 1, 2)), Confirmed, flow.SeenCounted},
		{"another one's grew, and conntrack decides", append(asSeen(), counter("ip nat OUTPUT 2", other, 1, 2)), Confirmed, flow.SeenNAT},
		{"its own stays", append(asSeen(), counter("ip nat OUTPUT 2", redirect, 1, 1)), Contradicted, flow.SeenNotCounted},
		{"it is gone, and with it all that conntrack was for", []flow.Observation{pkt(0, "eth0", app, svc, flow.SYN, 0), counter("ip rules", "", 0, 0)}, Contradicted, flow.SeenRuleGone},
		{"it is gone, and another took its place", append(plain, counter("ip nat OUTPUT 2", other, 1, 2), counter("ip rules", "", 0, 0)), Contradicted, flow.SeenRuleGone},
		{"it grew for others, ours was not translated", append(plain, counter("ip nat OUTPUT 2", redirect, 1, 2)), Contradicted, flow.SeenNoNAT},
	} {
		r := Check(mesh(), c.seen, flow.Loss{}, ours)
		if st := r.Steps[1]; st.Word != c.want || st.Why.Kind != c.why {
			t.Errorf("%s: %v %v, want %v %v", c.what, st.Word, st.Why, c.want, c.why)
		}
	}
	// The exemption of the proxy is gone: its own connection is redirected.
	seen := append(asSeen()[:3:3], sock(up, svc, 1337), track(2, up, svc, trap), counter("ip nat OUTPUT 1", redirect, 1, 3), counter("ip rules", "", 0, 0))
	if r := Check(mesh(), seen, flow.Loss{}, ours); word(r, 1, 1) != Contradicted || r.Word != Contradicted {
		t.Errorf("exemption gone: %v, whole %v", word(r, 1, 1), r.Word)
	}
}

// A redirection out is proven by the SYN and an answer from the address that was dialled:
// the SYN alone goes to the proxy whatever was dialled.
func TestRedirectNeedsItsAnswer(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("203.0.113.10:80")
	syn := pkt(0, "lo", app, trap, flow.SYN, 0)
	if r := Check(mesh(), []flow.Observation{syn, pkt(1, "lo", elsewhere, app, flow.SYN|flow.ACK, 0)}, flow.Loss{}, Known{}); r.Count(Confirmed) != 0 || r.Word == Contradicted {
		t.Errorf("another's connection: %v, %d confirmed", r.Word, r.Count(Confirmed))
	}
	if r := Check(mesh(), []flow.Observation{syn, pkt(1, "lo", svc, app, flow.SYN|flow.ACK, 0)}, flow.Loss{}, Known{}); word(r, 0, 1) != Confirmed || word(r, 0, 2) != Confirmed {
		t.Errorf("ours: rule %v, listener %v", word(r, 0, 1), word(r, 0, 2))
	}
}

// inbound is a trace whose first leg comes from outside, with or without a redirection.
func inbound(to netip.AddrPort) flow.Trace {
	t := mesh()
	t.Request.Dir = flow.Inbound
	pod := netip.MustParseAddrPort("10.244.1.7:80")
	l := &t.Legs[0]
	l.Owner, l.From, l.To = flow.OwnerPeer, flow.Conn{Dst: pod, In: "eth0"}, flow.Conn{Dst: to, In: "eth0"}
	return t
}

// On the way in packets never show a redirection: conntrack alone does.
func TestInboundRedirect(t *testing.T) {
	peer, pod, in := netip.MustParseAddrPort("10.244.1.1:21000"), netip.MustParseAddrPort("10.244.1.7:80"), netip.MustParseAddrPort("10.244.1.7:15006")
	packets := []flow.Observation{pkt(0, "eth0", peer, pod, flow.SYN, 0), pkt(1, "eth0", pod, peer, flow.SYN|flow.ACK, 0)}
	for _, c := range []struct {
		what string
		seen []flow.Observation
		to   netip.AddrPort
		want Word
	}{
		{"packets alone", packets, in, NotObserved},
		{"conntrack", append([]flow.Observation{track(0, peer, pod, in)}, packets...), in, Confirmed},
		{"conntrack has no translation", append([]flow.Observation{track(0, peer, pod, pod)}, packets...), in, Contradicted},
		{"not redirected, and conntrack is inactive", packets, pod, NotObservable},
		{"not redirected, says conntrack", append([]flow.Observation{track(0, peer, pod, pod)}, packets...), pod, Confirmed},
	} {
		if r := Check(inbound(c.to), c.seen, flow.Loss{}, ours); word(r, 0, 1) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 1), r.Steps[1].Why, c.want)
		}
	}
	// That conntrack could not be read does not make it inactive.
	blind := flow.Loss{Blind: []flow.Gap{{Part: "conntrack events", Reason: "no power"}}}
	if r := Check(inbound(pod), packets, blind, ours); word(r, 0, 1) != Unverifiable || r.Steps[1].Why.Kind != flow.SeenBlind {
		t.Errorf("blind: %v %v", word(r, 0, 1), r.Steps[1].Why)
	}
}

// A connection whose beginning was not seen is late: what shows only at the beginning is
// unverifiable, and its end contradicts nothing.
func TestLate(t *testing.T) {
	seen := []flow.Observation{pkt(1, "lo", app, trap, flow.ACK|flow.PSH, 80), pkt(2, "lo", svc, app, flow.RST|flow.ACK, 0)}
	r := Check(mesh(), seen, flow.Loss{}, Known{ClientPort: 21000})
	if !r.Loss.Late || r.Word != Unverifiable || word(r, 0, 1) != Unverifiable || word(r, 0, 2) != Unverifiable {
		t.Errorf("late %v, whole %v, rule %v, listener %v", r.Loss.Late, r.Word, word(r, 0, 1), word(r, 0, 2))
	}
	// Its answer may be to what was asked before the watch, and counted then.
	seen = append(seen[:1:1], pkt(2, "lo", svc, app, flow.ACK|flow.PSH, 200), counter("cluster.c.upstream_rq_total", "", 4, 4))
	if r := Check(mesh(), seen, flow.Loss{}, Known{ClientPort: 21000}); word(r, 0, 4) == Contradicted {
		t.Errorf("an answer on a connection that was there before: %v", r.Steps[4].Why)
	}
}

// With loss an RST refuses the SYN only if its numbers say so.
func TestRefusalBesideLoss(t *testing.T) {
	syn, rst := pkt(0, "lo", app, trap, flow.SYN, 0), pkt(3, "lo", svc, app, flow.RST|flow.ACK, 0)
	syn.Seq = 1000
	for _, c := range []struct {
		what     string
		seq, ack uint32
		loss     flow.Loss
		want     Word
	}{
		{"nothing lost", 77, 1001, flow.Loss{}, Contradicted},
		{"the answer was lost", 77, 1001, flow.Loss{Dropped: 1}, Unverifiable},
		{"the client's data were lost, too", 0, 1200, flow.Loss{Dropped: 1}, Unverifiable},
		{"it answers the SYN", 0, 1001, flow.Loss{Dropped: 1}, Contradicted},
	} {
		rst.Seq, rst.Ack = c.seq, c.ack
		if r := Check(mesh(), []flow.Observation{closed(track(0, app, svc, trap)), syn, rst}, c.loss, ours); word(r, 0, 2) != c.want {
			t.Errorf("%s: %v, want %v", c.what, word(r, 0, 2), c.want)
		}
	}
}

// A request that goes over the proxy's pool is said to do so, by data that came after it
// and not by what the pool carried before.
func TestPooled(t *testing.T) {
	before := []flow.Observation{pkt(-9, "eth0", up, svc, flow.SYN, 0), pkt(-8, "eth0", up, svc, flow.ACK|flow.PSH, 80)}
	seen := append(before, asSeen()[:3]...)
	r := Check(mesh(), seen, flow.Loss{}, ours)
	if word(r, 0, 5) != NotObserved || word(r, 1, 0) != NotObserved {
		t.Errorf("the pool carried nothing for it: endpoint %v, socket %v", word(r, 0, 5), word(r, 1, 0))
	}
	r = Check(mesh(), append(seen, pkt(3, "eth0", up, svc, flow.ACK|flow.PSH, 80)), flow.Loss{}, ours)
	for _, s := range r.Steps {
		if s.Leg == 0 && s.Step == 5 || s.Leg == 1 {
			if s.Why.Kind != flow.SeenPooled || s.Word == NotObserved {
				t.Errorf("%v %s: %v %v, want it to be said pooled", s.Stage, s.Subject, s.Word, s.Why)
			}
		}
	}
	if r.Word != Confirmed {
		t.Errorf("whole %v", r.Word)
	}
}

// refusedAt is a trace that ends in the proxy at a stage.
func refusedAt(stage flow.Stage, flags string, code int) flow.Trace {
	t := blocked()
	t.Caller = flow.Symptom{Flags: flags, Code: code, TCP: flow.TCPResetOrClosed}
	t.Legs[0].Steps[4] = flow.Step{Stage: stage, Verdict: flow.Refused}
	return t
}

// What looks alike on the wire is told apart by counters: each cause by its own, and by
// nothing else; without any of them it is ambiguous.
func TestCausesApart(t *testing.T) {
	shut := append(asSeen()[:4:4], pkt(2, "lo", svc, app, flow.FIN|flow.ACK, 0))
	causes := []struct {
		what    string
		trace   flow.Trace
		counter string
	}{
		{"no host", refusedAt(flow.Endpoint, "UH", 0), "cluster.c.upstream_cx_none_healthy"},
		{"overflow", refusedAt(flow.Cluster, "UO", 0), "cluster.c.upstream_cx_overflow"},
		{"listener limit", refusedAt(flow.Listener, "", 0), "listener.0.0.0.0_15001.downstream_cx_overflow"},
		{"rate limit", refusedAt(flow.NetworkFilter, "RL", 0), "local_rate_limit.x.rate_limited"},
		{"no chain", refusedAt(flow.FilterChain, "NR", 0), "listener.0.0.0.0_15001.no_filter_chain_match"},
	}
	for i, c := range causes {
		if r := Check(c.trace, shut, flow.Loss{}, ours); word(r, 0, 4) != NotObserved || r.Steps[4].Why.Kind != flow.SeenAmbiguous {
			t.Errorf("%s, a close alone: %v %v", c.what, word(r, 0, 4), r.Steps[4].Why)
		}
		for j, d := range causes {
			want := Contradicted
			if i == j {
				want = Confirmed
			}
			seen := append(shut[:len(shut):len(shut)], counter(d.counter, "", 3, 4))
			if i != j {
				seen = append(seen, counter(c.counter, "", 3, 3))
			}
			if r := Check(c.trace, seen, flow.Loss{}, ours); word(r, 0, 4) != want {
				t.Errorf("%s, counted as %s: %v %v, want %v", c.what, d.what, word(r, 0, 4), r.Steps[4].Why, want)
			}
		}
	}
	refused := append(shut[:len(shut):len(shut)], counter("cluster.c.upstream_cx_none_healthy", "", 3, 3), counter("cluster.c.upstream_cx_connect_fail", "", 1, 2))
	if r := Check(blocked(), refused, flow.Loss{}, ours); word(r, 0, 4) != Contradicted || r.Steps[4].Why.Kind != flow.SeenOtherCause {
		t.Errorf("the upstream refused: %v %v", word(r, 0, 4), r.Steps[4].Why)
	}
	// A busy proxy's counters grow for others.
	busy := append(refused, pkt(1, "lo", netip.MustParseAddrPort("10.244.1.7:21001"), trap, flow.SYN, 0))
	if r := Check(blocked(), busy, flow.Loss{}, ours); word(r, 0, 4) == Contradicted {
		t.Errorf("busy: %v", r.Steps[4].Why)
	}
	// A status that several causes share is ambiguous, another one contradicts.
	for code, want := range map[string]Word{"503": NotObserved, "200": Contradicted} {
		if r := Check(refusedAt(flow.Cluster, "UO", 503), append(asSeen()[:3:3], answer(code, "ok")), flow.Loss{}, ours); word(r, 0, 4) != want {
			t.Errorf("answered %s: %v, want %v", code, word(r, 0, 4), want)
		}
	}
}

// A rule that drops or rejects is proven by its counter, or by the one packet that a reject
// shows; a connection that was made contradicts it.
func TestBarred(t *testing.T) {
	barred := func(v flow.Verdict) flow.Trace {
		tr := mesh()
		tr.Verdict, tr.Caller, tr.Outcome, tr.Legs = v, flow.Symptom{TCP: flow.TCPTimeout}, flow.Outcome{}, tr.Legs[:1]
		l := &tr.Legs[0]
		l.To, l.Steps = l.From, []flow.Step{{Stage: flow.Socket, Verdict: flow.Continue}, {Stage: flow.Netfilter, Subject: "ip filter OUTPUT 1", Verdict: v,
			Evidence: []flow.Evidence{{Ref: "ip filter OUTPUT 1", Text: "-A OUTPUT -j X"}}}}
		return tr
	}
	grew := counter("ip filter OUTPUT 1", "-A OUTPUT -j X", 1, 2)
	made := []flow.Observation{pkt(0, "eth0", app, svc, flow.SYN, 0), pkt(1, "eth0", svc, app, flow.SYN|flow.ACK, 0)}
	for _, c := range []struct {
		what string
		v    flow.Verdict
		seen []flow.Observation
		want Word
	}{
		{"dropped and counted", flow.Dropped, []flow.Observation{answer("0", "timeout"), grew}, Confirmed},
		{"counted for somebody", flow.Dropped, []flow.Observation{grew}, NotObserved},
		{"silence alone", flow.Dropped, []flow.Observation{answer("0", "timeout")}, NotObserved},
		{"it was answered", flow.Dropped, []flow.Observation{answer("200", "ok"), grew}, Contradicted},
		{"a connection was made", flow.Refused, made, Contradicted},
		{"its SYN left", flow.Dropped, made[:1], Contradicted},
		{"one RST and no SYN", flow.Refused, []flow.Observation{pkt(0, "lo", svc, app, flow.RST|flow.ACK, 0)}, Confirmed},
	} {
		if r := Check(barred(c.v), c.seen, flow.Loss{}, Known{ClientPort: 21000}); word(r, 0, 1) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 1), r.Steps[1].Why, c.want)
		}
	}
}

// Where an owner's rule treats who sent the request otherwise than who was asked for, the
// steps from that rule on are unverifiable; where none does, they are judged.
func TestOtherOwner(t *testing.T) {
	k := ours
	k.As = &Owner{0, 0}
	k.Tells = func(_ flow.Leg, by Owner) (int, bool) { return 2, by == Owner{0, 0} }
	r := Check(mesh(), asSeen(), flow.Loss{}, k)
	if r.Word != Unverifiable || word(r, 0, 0) != Confirmed || word(r, 0, 1) != Confirmed || word(r, 0, 2) != Unverifiable || word(r, 1, 2) != Unverifiable || word(r, 0, 3) != NotObservable {
		t.Errorf("told apart at step 2: %v, %+v", r.Word, r.Steps)
	}
	k.Tells = func(flow.Leg, Owner) (int, bool) { return 0, false }
	if r := Check(mesh(), asSeen(), flow.Loss{}, k); r.Word != Confirmed {
		t.Errorf("treated alike: %v", r.Word)
	}
	// Of a connection that was watched, the socket table names the owner.
	k.As, k.Tells = nil, func(_ flow.Leg, by Owner) (int, bool) { return 1, by.UID == 7 }
	if r := Check(mesh(), append(asSeen(), sock(app, svc, 7)), flow.Loss{}, k); r.Word != Unverifiable {
		t.Errorf("another user's connection: %v", r.Word)
	}
}
