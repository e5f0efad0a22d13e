package confirm

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

const (
	otherEndpointCount = "cluster c endpoint 10.107.42.99:80 rq_total"
	healthCheck        = "GET /healthz HTTP/1.1\r\nhost: c\r\nuser-agent: Envoy/HC\r\n\r\n"
)

// The request went to another endpoint. What else Envoy sends to the expected one in the
// meantime confirms neither that one nor the leg to it.
func TestEnvoysOtherTraffic(t *testing.T) {
	open := asks(0, app, cart)[:5] // the client keeps the connection
	unanswered := asks(0, app, cart)[:4]
	rewritten := dials(2, up, other)
	stays := []flow.Observation{sock(up, svc, 1337), counter(endpointCount, "", 7, 7)}
	elsewhere := append(stays[:2:2], counter(otherEndpointCount, "", 3, 4))
	oneListener := []flow.Observation{counter("listener.l.downstream_cx_total", "", 3, 4), counter("http.out.downstream_rq_total", "", 3, 4)}
	second := append(oneListener[:2:2], counter("listener.0.0.0.0_8443.downstream_cx_total", "", 7, 8), counter("http.other.downstream_rq_total", "", 7, 8))
	tcpCheck := []flow.Observation{track(2, up, svc, svc), pkt(2, "eth0", up, svc, flow.SYN, 0), pkt(2, "eth0", svc, up, flow.SYN|flow.ACK, 0), pkt(3, "eth0", up, svc, flow.FIN|flow.ACK, 0)}
	refusal := []flow.Observation{closed(track(2, up, svc, svc)), pkt(2, "eth0", up, svc, flow.SYN, 0), pkt(3, "eth0", svc, up, flow.RST|flow.ACK, 0)}
	pooled := func(ms int, payload string) []flow.Observation {
		return []flow.Observation{pkt(-9, "eth0", up, svc, flow.SYN, 0), wrote(ms, "eth0", up, svc, payload)}
	}
	for _, c := range []struct {
		what  string
		trace flow.Trace
		seen  []flow.Observation
		never Word
		leg   Word
	}{
		{"a health check", watched(), slices.Concat(unanswered, dials(2, up, healthCheck)), Confirmed, NotObserved},
		{"a health check of the request's path", watched(), slices.Concat(unanswered, dials(2, up, "GET /cart HTTP/1.1\r\nhost: svc\r\nuser-agent: Envoy/HC\r\n\r\n")), Confirmed, NotObserved},
		{"a health check over the connection of those before", watched(), slices.Concat(unanswered, pooled(2, healthCheck)), Confirmed, NotObserved},
		{"a health check by TCP", mesh(), slices.Concat(asSeen()[:4], tcpCheck, elsewhere), Confirmed, NotObserved},
		{"the endpoint counted nothing", watched(), slices.Concat(unanswered, rewritten, stays), Confirmed, NotObserved},
		{"another listener's like request, and another endpoint counted", watched(), slices.Concat(unanswered, dials(2, up, cart), elsewhere), Confirmed, NotObserved},
		{"a second listener's request", watched(), slices.Concat(unanswered, rewritten, second), Confirmed, NotObserved},
		{"a second listener's request over a pool", watched(), slices.Concat(unanswered, pooled(2, other), second), Confirmed, NotObserved},
		{"ten seconds after the answer", watched(), slices.Concat(open, pooled(10000, other)), Confirmed, NotObserved},
		{"ten seconds after the answer, the request's path", watched(), slices.Concat(open, pooled(10000, cart)), Confirmed, NotObserved},
		// The request itself, with another path on the way out.
		{"rewritten", watched(), slices.Concat(unanswered, rewritten, oneListener, []flow.Observation{counter(endpointCount, "", 7, 8)}), Contradicted, Confirmed},
		// A connection that the endpoint refuses carries nothing that it could count.
		{"refused by the endpoint, which counted nothing", watched(), slices.Concat(unanswered, refusal, stays), Contradicted, Confirmed},
		{"rewritten, before the answer", watched(), slices.Concat(open, rewritten), Contradicted, Confirmed},
	} {
		r := Check(c.trace, c.seen, flow.Loss{}, ours)
		if word(r, 0, 5) == c.never || word(r, 1, 0) != c.leg || word(r, 1, 2) != c.leg {
			t.Errorf("%s: endpoint %v %v, leg 2 %v, want %v", c.what, word(r, 0, 5), r.Steps[5].Why, word(r, 1, 0), c.leg)
		}
	}
	// With the only other arrivals in sight, the other endpoint's counter contradicts.
	if r := Check(watched(), slices.Concat(asks(0, app, cart), dials(2, up, healthCheck), elsewhere), flow.Loss{}, ours); word(r, 0, 5) != Contradicted {
		t.Errorf("the other endpoint counted it: %v %v", word(r, 0, 5), r.Steps[5].Why)
	}
}

// A request ends with what comes after all that its client wrote: a handshake or an interim
// answer is no answer to it.
func TestUntilItsAnswer(t *testing.T) {
	post := watched()
	post.Request.HTTP.Method = "POST"
	head := "POST /cart HTTP/1.1\r\nHost: svc\r\nExpect: 100-continue\r\n\r\n"
	at := func(ms int, dst netip.AddrPort, payload string) flow.Observation {
		if dst == app {
			return wrote(ms, "lo", svc, app, payload)
		}
		return wrote(ms, "lo", app, trap, payload)
	}
	begun := asks(0, app, head)[:4]
	more := []flow.Observation{at(2, app, "HTTP/1.1 100 Continue\r\n\r\n"), at(4, trap, "body"), at(9, app, "HTTP/1.1 200 OK\r\n\r\n")}
	for ms, want := range map[int]Word{6: Confirmed, 12: NotObserved} {
		if r := Check(post, slices.Concat(begun, more, dials(ms, up, "POST /cart HTTP/1.1\r\nHost: svc\r\n\r\n")), flow.Loss{}, ours); word(r, 1, 0) != want {
			t.Errorf("dialled at %d ms: %v, want %v", ms, word(r, 1, 0), want)
		}
	}
}

// In a pod of Istio's the proxy dials the pod's own address from 127.0.0.6. It is no other client's,
// though clients dial that address, too; and on one that was open before no rule is asked again.
func TestInboundByOwnAddress(t *testing.T) {
	peer, pod, in, own := netip.MustParseAddrPort("10.244.1.1:21000"), netip.MustParseAddrPort("10.244.1.7:80"), netip.MustParseAddrPort("10.244.1.7:15006"), netip.MustParseAddrPort("127.0.0.6:36266")
	tr := inbound(in)
	tr.Request.HTTP, tr.Outcome.Endpoint = watched().Request.HTTP, pod.String()
	tr.Legs[1].From, tr.Legs[1].To = flow.Conn{Src: netip.AddrPortFrom(own.Addr(), 0), Dst: pod, Proto: flow.TCP, UID: 1337, Out: "lo"}, flow.Conn{Dst: pod, Proto: flow.TCP, In: "lo"}
	tr.Legs[1].Steps[2] = flow.Step{Stage: flow.Socket, Verdict: flow.Delivered}
	came := []flow.Observation{track(0, peer, pod, in), pkt(0, "eth0", peer, pod, flow.SYN, 0), pkt(0, "eth0", pod, peer, flow.SYN|flow.ACK, 0), wrote(1, "eth0", peer, pod, cart)}
	passed := []flow.Observation{wrote(2, "lo", own, pod, cart), pkt(3, "lo", pod, own, flow.PSH|flow.ACK, 200), pkt(4, "eth0", pod, peer, flow.PSH|flow.ACK, 200)}
	opened := []flow.Observation{track(1, own, pod, pod), pkt(1, "lo", own, pod, flow.SYN, 0), pkt(1, "lo", pod, own, flow.SYN|flow.ACK, 0)}
	others := counter("ip nat OUTPUT 1", "", 7, 9)
	for _, c := range []struct {
		what string
		seen []flow.Observation
		rule Word
	}{
		{"opened for it", slices.Concat(came, opened, passed), Confirmed},
		{"open before, and the rule counted others", append(slices.Concat(came, passed), others), NotObservable},
	} {
		r := Check(tr, c.seen, flow.Loss{}, ours)
		if word(r, 0, 5) != Confirmed || word(r, 1, 0) != Confirmed || word(r, 1, 1) != c.rule || word(r, 1, 2) != Confirmed {
			t.Errorf("%s: endpoint %v, leg 2 %v, %v, %v, want the rule %v", c.what, word(r, 0, 5), word(r, 1, 0), word(r, 1, 1), word(r, 1, 2), c.rule)
		}
	}
}

// Where the endpoint that was foretold is dialled in vain, no other one was: it counts no request
// then, and the connection to it is the request's all the same.
func TestEndpointDialledInVain(t *testing.T) {
	seen := append(asSeen()[:4:4], track(2, up, svc, svc), pkt(2, "eth0", up, svc, flow.SYN, 0), pkt(3, "eth0", svc, up, flow.RST|flow.ACK, 0), answer("0", "reset"),
		counter("cluster.c.upstream_cx_total", "", 1, 2), counter("cluster.c.upstream_cx_connect_fail", "", 1, 2), counter(endpointCount, "", 7, 7),
		counter("cluster c endpoint "+svc.String()+" cx_total", "", 1, 2))
	if r := Check(mesh(), seen, flow.Loss{}, ours); word(r, 0, 5) != Confirmed || word(r, 1, 0) != Confirmed {
		t.Errorf("endpoint %v %v, leg 2 %v", word(r, 0, 5), r.Steps[5].Why, word(r, 1, 0))
	}
	// Without the failure's counter nothing tells whether the connection was for the request.
	seen = slices.DeleteFunc(seen, func(o flow.Observation) bool { return o.Name == "cluster.c.upstream_cx_connect_fail" })
	if r := Check(mesh(), seen, flow.Loss{}, ours); word(r, 0, 5) != NotObserved {
		t.Errorf("endpoint %v %v", word(r, 0, 5), r.Steps[5].Why)
	}
}
