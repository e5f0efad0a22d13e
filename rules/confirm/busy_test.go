package confirm

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// the counters of the trace's cluster, endpoint and listener.
const (
	clusterCount  = "cluster.c.upstream_rq_total"
	endpointCount = "cluster c endpoint 10.107.42.16:80 rq_total"
	handoffCount  = "listener.l.downstream_cx_total"
)

// handedOff is the watched trace with a hand-off, which a counter shows, too.
func handedOff() flow.Trace {
	t := watched()
	t.Legs[0].Steps = append(t.Legs[0].Steps, flow.Step{Stage: flow.Handoff, Verdict: flow.Continue})
	return t
}

// What others make a counter count or the proxy dial confirms nothing: beside the request there
// must have been no other one, and the request itself must have been seen.
func TestConfirmedByOthers(t *testing.T) {
	const socket, rule, cluster, endpoint, handoff = 0, 1, 4, 5, 6
	grew := []flow.Observation{counter("ip nat OUTPUT 2", redirect, 1, 2), counter(clusterCount, "", 7, 8), counter(endpointCount, "", 7, 8), counter(handoffCount, "", 7, 8)}
	tproxy := handedOff()
	tproxy.Legs[0].Steps[rule].Reason = flow.Because(flow.WhyTProxy, trap.String())
	beside := asks(1, client(20999), cart) // like ours, at the same time
	kept := []flow.Observation{wrote(2, "lo", client(20998), trap, "GET /other HTTP/1.1\r\nHost: svc\r\n\r\n"), wrote(3, "lo", svc, client(20998), "HTTP/1.1 200 OK\r\n")}
	unread := func(all []flow.Observation) []flow.Observation {
		for i := range all {
			all[i].Head = nil
		}
		return all
	}
	again := []flow.Observation{wrote(4, "lo", app, trap, cart)}
	for _, c := range []struct {
		what  string
		trace flow.Trace
		seen  []flow.Observation
		want  map[int]Word
	}{
		{"alone, headers only", handedOff(), unread(slices.Concat(asks(0, app, cart), dials(2, up, cart), grew)),
			map[int]Word{socket: Confirmed, cluster: Confirmed, endpoint: Confirmed}},
		{"asked twice, headers only", handedOff(), unread(slices.Concat(asks(0, app, cart)[:5], again, dials(2, up, cart), grew)),
			map[int]Word{socket: Confirmed, cluster: NotObserved, endpoint: NotObserved}},
		{"alone", handedOff(), slices.Concat(asks(0, app, cart), dials(2, up, cart), grew),
			map[int]Word{socket: Confirmed, rule: Confirmed, cluster: Confirmed, endpoint: Confirmed, handoff: Confirmed}},
		{"not seen at all", tproxy, grew,
			map[int]Word{socket: NotObserved, rule: NotObserved, cluster: NotObserved, endpoint: NotObserved, handoff: NotObserved}},
		{"not seen, but a pool carries data", tproxy, slices.Concat(grew, []flow.Observation{wrote(2, "eth0", up, svc, cart)}),
			map[int]Word{cluster: NotObserved, endpoint: NotObserved}},
		{"busy", handedOff(), slices.Concat(asks(0, app, cart), beside, dials(2, up, cart), grew),
			map[int]Word{socket: Confirmed, rule: Confirmed, cluster: NotObserved, endpoint: NotObserved, handoff: NotObserved}},
		{"busy, TPROXY", tproxy, slices.Concat(asks(0, app, cart), beside, grew[:1]),
			map[int]Word{rule: NotObserved}},
		{"busy with a connection that was open before", handedOff(), slices.Concat(asks(0, app, cart), kept, grew),
			map[int]Word{cluster: NotObserved, endpoint: NotObserved, handoff: NotObserved}},
		{"busy over a pool", handedOff(), slices.Concat([]flow.Observation{pkt(-9, "eth0", up, svc, flow.SYN, 0)}, asks(0, app, cart), beside, []flow.Observation{wrote(2, "eth0", up, svc, cart)}),
			map[int]Word{endpoint: NotObserved}},
		{"busy with others that can be read", handedOff(), slices.Concat(asks(0, app, cart), asks(1, client(20999), other), dials(2, up, cart), grew),
			map[int]Word{cluster: NotObserved, endpoint: Confirmed}},
		{"others before and after", handedOff(), slices.Concat(asks(-20, client(20999), cart), asks(0, app, "GET /cart HTTP/1.1\r\nHost: svc\r\nx: y\r\n\r\n"), asks(20, client(20998), other), dials(2, up, cart)),
			map[int]Word{endpoint: Confirmed}},
		{"what the proxy dialled later", handedOff(), slices.Concat(asks(0, app, cart), dials(22, up, cart)),
			map[int]Word{endpoint: NotObserved}},
		{"a second request on the same connection", handedOff(), slices.Concat(asks(0, app, cart)[:4], []flow.Observation{wrote(4, "lo", app, trap, other)}, dials(5, up, other), grew),
			map[int]Word{cluster: NotObserved, endpoint: NotObserved, handoff: NotObserved}},
		{"Envoy counted two requests", handedOff(), slices.Concat(asks(0, app, cart), grew, []flow.Observation{counter("http.out.downstream_rq_total", "", 1, 3)}),
			map[int]Word{cluster: NotObserved, endpoint: NotObserved, handoff: NotObserved}},
		{"our own questions to the admin interface", handedOff(), slices.Concat(asks(0, app, cart), grew, []flow.Observation{counter("http.admin.downstream_rq_total", "", 1, 9)}),
			map[int]Word{cluster: Confirmed, endpoint: Confirmed, handoff: Confirmed}},
	} {
		known := Known{}
		if c.what == "others before and after" {
			known.ClientPort = app.Port()
		}
		r := Check(c.trace, c.seen, flow.Loss{}, known)
		for step, want := range c.want {
			if word(r, 0, step) != want {
				t.Errorf("%s: %v %v %v, want %v", c.what, r.Steps[step].Stage, word(r, 0, step), r.Steps[step].Why, want)
			}
		}
		if r.Word == Contradicted {
			t.Errorf("%s: contradicted", c.what)
		}
	}
}

// The cluster was swapped, and others still go to the one that was: its counter confirms
// nothing. Without others it contradicts.
func TestSwappedCluster(t *testing.T) {
	sent := asks(0, app, cart)
	for _, c := range []struct {
		what string
		seen []flow.Observation
		want Word
	}{
		{"others go there", slices.Concat(sent, asks(2, client(20999), cart), []flow.Observation{counter(clusterCount, "", 7, 8)}), NotObserved},
		{"nobody goes there", slices.Concat(sent, []flow.Observation{counter(clusterCount, "", 7, 7)}), Contradicted},
	} {
		if r := Check(watched(), c.seen, flow.Loss{}, ours); word(r, 0, 4) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 4), r.Steps[4].Why, c.want)
		}
	}
}

// One port of a client can open two connections: another entry of conntrack or another
// destination is another one, with or without conntrack.
func TestTwoConnectionsOfOnePort(t *testing.T) {
	db := netip.MustParseAddrPort("10.107.42.99:5432")
	id := func(n uint32, all []flow.Observation) []flow.Observation {
		out := slices.Clone(all)
		for i := range out {
			out[i].ConntrackID = n
			if out[i].Flags&flow.SYN != 0 {
				out[i].Seq, out[i].Ack = n, n+1
			}
		}
		return out
	}
	refused := []flow.Observation{closed(track(20, app, svc, trap)), pkt(20, "lo", app, trap, flow.SYN, 0), pkt(20, "lo", svc, app, flow.RST|flow.ACK, 0)}
	toDB := []flow.Observation{track(-9, app, db, db), pkt(-9, "eth0", app, db, flow.SYN, 0), pkt(-8, "eth0", db, app, flow.SYN|flow.ACK, 0)}
	packets := func(all []flow.Observation) []flow.Observation {
		return slices.DeleteFunc(slices.Clone(all), func(o flow.Observation) bool { return o.Kind == flow.SeenConntrack })
	}
	for _, c := range []struct {
		what     string
		seen     []flow.Observation
		rule     Word
		listener Word
	}{
		{"to another destination before", slices.Concat(id(1, toDB), id(2, asks(0, app, cart))), Confirmed, Confirmed},
		{"to another destination after", slices.Concat(id(2, asks(0, app, cart)), id(3, []flow.Observation{track(9, app, db, db)})), Confirmed, Confirmed},
		{"to the same one again", slices.Concat(id(2, asks(0, app, cart)), id(3, refused)), Confirmed, Confirmed},
		{"without conntrack", packets(slices.Concat(id(1, toDB), id(2, asks(0, app, cart)))), Confirmed, Confirmed},
		{"without conntrack, again", packets(slices.Concat(id(2, asks(0, app, cart)), id(3, refused))), Confirmed, Confirmed},
	} {
		r := Check(watched(), c.seen, flow.Loss{}, Known{})
		if word(r, 0, 1) != c.rule || word(r, 0, 2) != c.listener {
			t.Errorf("%s: rule %v %v, listener %v %v", c.what, word(r, 0, 1), r.Steps[1].Why, word(r, 0, 2), r.Steps[2].Why)
		}
	}
}

// Another endpoint that was counted contradicts only if the expected one was not.
func TestBothEndpointsCounted(t *testing.T) {
	at := func(host string, before, after uint64) flow.Observation {
		return counter("cluster c endpoint "+host+" rq_total", "", before, after)
	}
	cx := counter("cluster c endpoint 10.107.42.99:80 cx_total", "", 1, 2)
	for _, c := range []struct {
		what string
		more []flow.Observation
		want Word
	}{
		{"only the other", []flow.Observation{at("10.107.42.99:80", 1, 2), at(svc.String(), 1, 1)}, Contradicted},
		{"ours by two, the other by one", []flow.Observation{at("10.107.42.99:80", 1, 2), at(svc.String(), 1, 3)}, NotObserved},
		{"both by one", []flow.Observation{at("10.107.42.99:80", 1, 2), at(svc.String(), 1, 2)}, NotObserved},
		{"a connection to the other for nobody", []flow.Observation{cx, at("10.107.42.99:80", 1, 1), at(svc.String(), 1, 2)}, Confirmed},
	} {
		if r := Check(watched(), append(asks(0, app, cart), c.more...), flow.Loss{}, ours); word(r, 0, 5) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 5), r.Steps[5].Why, c.want)
		}
	}
}

// A limit is confirmed by its own counter, not by that of another filter.
func TestOtherLimits(t *testing.T) {
	tr := refusedAt(flow.HTTPFilter, "RL", 429)
	tr.Legs[0].Steps[4].Evidence = []flow.Evidence{{Text: `{"name":"x","typed_config":{"stat_prefix":"mine"}}`}}
	for name, want := range map[string]Word{
		"mine.http_local_rate_limit.rate_limited":   Confirmed,
		"others.http_local_rate_limit.rate_limited": NotObserved,
		"local_rate_limit.mine.rate_limited":        NotObserved,
		"connection_limit.mine.limited_connections": NotObserved,
	} {
		if r := Check(tr, append(asSeen()[:4:4], counter(name, "", 3, 4)), flow.Loss{}, ours); word(r, 0, 4) != want {
			t.Errorf("%s: %v %v, want %v", name, word(r, 0, 4), r.Steps[4].Why, want)
		}
	}
}

// A route can put a configuration in the place of the filter's: the counter is its own, also
// where the evidence is cut.
func TestLimitOfARoute(t *testing.T) {
	tr := refusedAt(flow.HTTPFilter, "RL", 429)
	tr.Legs[0].Steps[4].Evidence = []flow.Evidence{{Text: `{"name":"x","typed_config":{"@type":"t/a.LocalRateLimit","stat_prefix":"all"}}`}, {Text: `{"@type":"t/a.LocalRateLimit","stat_prefix":"mine","token_bucket":{"max_tok…`}}
	for name, want := range map[string]Word{"mine.http_local_rate_limit.rate_limited": Confirmed, "all.http_local_rate_limit.rate_limited": NotObserved} {
		if r := Check(tr, append(asSeen()[:4:4], counter(name, "", 3, 4)), flow.Loss{}, ours); word(r, 0, 4) != want {
			t.Errorf("%s: %v %v, want %v", name, word(r, 0, 4), r.Steps[4].Why, want)
		}
	}
}

// Packets were lost: that Envoy counted one connection and one request in all tells that a
// counter grew for the request, and two that it may not have.
func TestCountedBesideLoss(t *testing.T) {
	cx := func(n uint64) flow.Observation { return counter("listener.l.downstream_cx_total", "", 1, 1+n) }
	rq := func(n uint64) flow.Observation { return counter("http.in.downstream_rq_total", "", 1, 1+n) }
	grew := counter(clusterCount, "", 7, 8)
	for _, c := range []struct {
		what string
		seen []flow.Observation
		want Word
	}{
		{"one", []flow.Observation{track(0, app, svc, trap), answer("200", "ok"), grew, cx(1), rq(1)}, Confirmed},
		{"one, and it is not known when ours came", []flow.Observation{track(0, app, svc, trap), grew, cx(1), rq(1)}, Unverifiable},
		{"two connections", []flow.Observation{track(0, app, svc, trap), grew, cx(2), rq(1)}, Unverifiable},
		{"two requests", []flow.Observation{track(0, app, svc, trap), grew, cx(1), rq(2)}, Unverifiable},
		{"not counted", []flow.Observation{track(0, app, svc, trap), grew}, Unverifiable},
		{"nothing of it was seen", []flow.Observation{answer("200", "ok"), grew, cx(1), rq(1)}, Unverifiable},
	} {
		if r := Check(watched(), c.seen, flow.Loss{Dropped: 9}, ours); word(r, 0, 4) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 4), r.Steps[4].Why, c.want)
		}
	}
}
