package confirm

import (
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// inStream gives packets of one direction their place in its stream.
func inStream(all []flow.Observation) []flow.Observation {
	next := uint32(1)
	for i := range all {
		if all[i].Kind == flow.SeenPacket && all[i].Tuple.Src == svc && all[i].Len > 0 {
			all[i].Seq = next
			next += uint32(all[i].Len)
		}
	}
	return all
}

// What a proxy writes before it answers is no answer: a handshake of TLS, the settings of HTTP/2
// and an interim status.
func TestNoAnswerYet(t *testing.T) {
	const refusal = 4
	const settings, head, body = "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88", "\x00\x00\x02\x00\x01\x00\x00\x00\x01ok"
	secret := blocked()
	secret.Request.TLS = &flow.TLS{SNI: "svc"}
	h2 := blocked()
	h2.Request.HTTP = &flow.HTTP{Method: "GET", Authority: "svc", Path: "/cart", Version: "2"}
	plain, posted := blocked(), blocked()
	plain.Request.HTTP = &flow.HTTP{Method: "GET", Authority: "svc", Path: "/cart"}
	posted.Request.HTTP = &flow.HTTP{Method: "POST", Authority: "svc", Path: "/cart"}
	post := "POST /cart HTTP/1.1\r\nHost: svc\r\nExpect: 100-continue\r\n\r\n"
	denied := refusedAt(flow.HTTPFilter, "", 403)
	denied.Request.HTTP = &flow.HTTP{Method: "POST", Authority: "svc", Path: "/cart"}
	end := pkt(9, "lo", svc, app, flow.FIN|flow.ACK, 0)
	back := func(request string, payloads ...string) []flow.Observation {
		out := asks(0, app, request)[:4:4]
		for i, p := range payloads {
			out = append(out, wrote(2+i, "lo", svc, app, p))
		}
		return append(inStream(out), end)
	}
	overTLS := back(hello, "\x16\x03\x03\x00\x7a\x02")
	over2 := overH2(t, "GET", "/cart", "svc")
	for _, c := range []struct {
		what  string
		trace flow.Trace
		seen  []flow.Observation
		want  Word
	}{
		{"TLS: a handshake, then a close", secret, overTLS, NotObserved},
		{"TLS: a handshake alone", secret, overTLS[:5], NotObserved},
		{"TLS: a status was got", secret, append(overTLS[:5:5], answer("200", "ok")), Contradicted},
		{"HTTP/2: settings, then a close", h2, back(over2, settings), NotObserved},
		{"HTTP/2: an answer behind them", h2, back(over2, settings+head+body), Contradicted},
		{"HTTP/2: an answer in a packet of its own", h2, back(over2, settings, head), Contradicted},
		{"HTTP/2: a body", h2, back(over2, settings, body), Contradicted},
		{"HTTP/1: an answer", plain, back(cart, "HTTP/1.1 200 OK\r\n\r\n"), Contradicted},
		{"100 and a close", posted, back(post, "HTTP/1.1 100 Continue\r\n\r\n"), NotObserved},
		{"100, then the status", denied, back(post, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n"), NotObserved},
		{"100 and the status in one packet", denied, back(post, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n"), NotObserved},
		{"100, then another status", denied, back(post, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"), Contradicted},
		{"100 and another status in one packet", denied, back(post, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Contradicted},
		{"101", denied, back(post, "HTTP/1.1 101 Switching Protocols\r\n\r\n"), Contradicted},
	} {
		if r := Check(c.trace, c.seen, flow.Loss{}, ours); word(r, 0, refusal) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, refusal), r.Steps[refusal].Why, c.want)
		}
	}
}

// A line of a connection that cannot be read can be another request's: its path tells.
func TestLineOfAnUnreadRequest(t *testing.T) {
	secret := watched()
	secret.Request.TLS = &flow.TLS{SNI: "svc"}
	line := func(path string) flow.Observation {
		l := logLine("c", "10.0.0.9:80", "-")
		l.Fields["method"], l.Fields["path"] = "GET", path
		return l
	}
	kept := slices.Concat(asks(0, app, hello)[:5], []flow.Observation{wrote(4, "lo", app, trap, "\x17\x03\x03"), wrote(5, "lo", svc, app, "\x17\x03\x03"), wrote(6, "lo", app, trap, "\x17\x03\x03")})
	unread := slices.Concat(asks(0, app, cart)[:5], []flow.Observation{wrote(4, "lo", app, trap, other), wrote(5, "lo", svc, app, "HTTP/1.1 200 OK\r\n")})
	for i := range unread {
		unread[i].Head = nil
	}
	for _, c := range []struct {
		what  string
		trace flow.Trace
		seen  []flow.Observation
		want  Word
	}{
		{"another's, TLS", secret, append(kept, line("/other")), NotObserved},
		{"ours, TLS", secret, append(kept, line("/cart")), Contradicted},
		{"another's, headers only", watched(), append(unread, line("/other")), NotObserved},
		{"written anew, and there was one", watched(), append(asks(0, app, cart), line("/rewritten")), Contradicted},
	} {
		if r := Check(c.trace, c.seen, flow.Loss{}, Known{}); word(r, 0, 5) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 5), r.Steps[5].Why, c.want)
		}
	}
}

// The access log names the proxy's connection also where that was open before and no packet of
// it was kept.
func TestPooledByTheLog(t *testing.T) {
	for _, c := range []struct {
		what string
		line flow.Observation
		loss flow.Loss
		want Word
	}{
		{"to the endpoint", logLine("c", svc.String(), "-"), flow.Loss{}, Confirmed},
		{"to another one", logLine("c", "10.0.0.9:80", "-"), flow.Loss{}, NotObserved},
		{"how it began may have been lost", logLine("c", svc.String(), "-"), flow.Loss{Dropped: 1}, Unverifiable},
	} {
		r := Check(mesh(), append(asSeen()[:4:4], c.line), c.loss, ours)
		st := r.Steps[6]
		if st.Word != c.want || c.want == Confirmed && (st.Why.Kind != flow.SeenPooled || st.Evidence[0].Source != "access log") {
			t.Errorf("%s: %v %v %v, want %v", c.what, st.Word, st.Why, st.Evidence, c.want)
		}
	}
}
