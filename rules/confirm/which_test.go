package confirm

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/meshtop/meshtop/rules/flow"
)

// watched is the mesh's trace of a GET, as --watch looks for it.
func watched() flow.Trace {
	t := mesh()
	t.Request.HTTP = &flow.HTTP{Method: "GET", Authority: "svc", Path: "/cart"}
	return t
}

// wrote is a packet with payload.
func wrote(ms int, dev string, src, dst netip.AddrPort, payload string) flow.Observation {
	o := pkt(ms, dev, src, dst, flow.ACK|flow.PSH, len(payload))
	o.Head = []byte(payload)
	return o
}

// client is another client port of the app.
func client(port uint16) netip.AddrPort { return netip.AddrPortFrom(app.Addr(), port) }

// asks is a redirected connection on which a client writes something and is answered, from a
// time on.
func asks(ms int, from netip.AddrPort, payload string) []flow.Observation {
	end := closed(track(ms+4, from, svc, trap))
	end.Event, end.State = "UPDATE", "TIME_WAIT"
	return []flow.Observation{track(ms, from, svc, trap), pkt(ms, "lo", from, trap, flow.SYN, 0), pkt(ms+1, "lo", svc, from, flow.SYN|flow.ACK, 0),
		wrote(ms+1, "lo", from, trap, payload), wrote(ms+3, "lo", svc, from, "HTTP/1.1 200 OK\r\n"), pkt(ms+4, "lo", from, trap, flow.FIN|flow.ACK, 0), end}
}

// dials is a connection of the proxy's to the endpoint.
func dials(ms int, from netip.AddrPort, payload string) []flow.Observation {
	return []flow.Observation{track(ms, from, svc, svc), pkt(ms, "eth0", from, svc, flow.SYN, 0), pkt(ms, "eth0", svc, from, flow.SYN|flow.ACK, 0), wrote(ms, "eth0", from, svc, payload)}
}

const (
	cart  = "GET /cart HTTP/1.1\r\nHost: svc\r\n\r\n"
	other = "GET /other HTTP/1.1\r\nHost: svc\r\n\r\n"
	hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
)

// overH2 is what a client writes that speaks HTTP/2 with prior knowledge.
func overH2(t testing.TB, method, path, authority string) string {
	t.Helper()
	var out, block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, kv := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", authority}, {":path", path}, {"user-agent", "x"}} {
		if err := e.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]}); err != nil {
			t.Fatal(err)
		}
	}
	frame := func(kind, flags, stream byte, body string) { // RFC 9113, 4.1
		out.Write([]byte{0, byte(len(body) >> 8), byte(len(body)), kind, flags, 0, 0, 0, stream})
		out.WriteString(body)
	}
	out.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frame(4, 0, 0, "")                 // SETTINGS
	frame(8, 0, 0, "\x00\x10\x00\x00") // WINDOW_UPDATE
	half := block.Len() / 2
	frame(1, 0x1|0x8|0x20, 1, "\x03"+"\x00\x00\x00\x00\x04"+block.String()[:half]+"\x00\x00\x00") // HEADERS: END_STREAM, padded, with a priority
	frame(9, 0x4, 1, block.String()[half:])                                                       // CONTINUATION: END_HEADERS
	return out.String()
}

// The connection that is watched for is told from others to the same address by what its
// client wrote: its method, host and path, and the headers that the request names. The others
// come first.
func TestOthersToTheSameAddress(t *testing.T) {
	long := "GET /cart" + strings.Repeat("x", 200) + " HTTP/1.1\r\nHost: svc\r\n\r\n"
	withHeader := watched()
	withHeader.Request.HTTP.Headers = [][2]string{{"Version", "v2"}, {"User-Agent", "curl/8"}}
	h2 := watched()
	h2.Request.HTTP.Version = "2"
	for _, c := range []struct {
		what         string
		trace        flow.Trace
		ours, theirs string
	}{
		{"another method", watched(), cart, "HEAD /cart HTTP/1.1\r\nHost: svc\r\n\r\n"},
		{"another path", watched(), cart, other},
		{"another path, cut", watched(), cart, long[:150]},
		{"another host", watched(), cart, "GET /cart HTTP/1.1\r\nUser-Agent: x\r\nhost:other\r\n\r\n"},
		{"another version of the host's name", watched(), cart, "GET /cart HTTP/1.1\r\nHost: svc:81\r\n\r\n"},
		{"absolute form", watched(), "GET http://svc/cart HTTP/1.1\r\n\r\n", "GET http://other/cart HTTP/1.1\r\n\r\n"},
		{"TLS", watched(), cart, hello},
		{"another header", withHeader, "GET /cart HTTP/1.1\r\nHost: svc\r\nversion: v2\r\n\r\n", cart},
		{"another path, HTTP/2", h2, overH2(t, "GET", "/cart", "svc"), overH2(t, "GET", "/other", "svc")},
		{"another method, HTTP/2", h2, overH2(t, "GET", "/cart", "svc"), overH2(t, "POST", "/cart", "svc")},
		{"another host, HTTP/2", h2, overH2(t, "GET", "/cart", "svc"), overH2(t, "GET", "/cart", "other")},
	} {
		theirs := asks(0, client(20999), c.theirs)
		if c.what == "another path, cut" {
			theirs[3].Len = len(long)
		}
		r := Check(c.trace, append(theirs, asks(20, app, c.ours)...), flow.Loss{}, Known{})
		if r.Steps[0].Word != Confirmed || !strings.Contains(r.Steps[0].Why.Args[0], app.String()) {
			t.Errorf("%s: %v %v, want %v's", c.what, r.Steps[0].Word, r.Steps[0].Why, app)
		}
		r = Check(c.trace, theirs, flow.Loss{}, Known{})
		if r.Word != NotObserved || r.Count(Confirmed) > 0 || r.Steps[0].Why.Kind != flow.SeenOthersOnly {
			t.Errorf("%s, alone: %v, %d confirmed, %v", c.what, r.Word, r.Count(Confirmed), r.Steps[0].Why)
		}
	}
}

// Where nothing can be read, one connection is taken for the request's, and of two none; the
// access log tells them apart.
func TestUnreadable(t *testing.T) {
	secret := watched()
	secret.Request.TLS = &flow.TLS{SNI: "svc"}
	line := func(port uint16, method, path string) flow.Observation {
		return flow.Observation{Kind: flow.SeenAccessLog, Fields: map[string]string{"downstream_remote_address": client(port).String(), "req_method": method, "req_path": path}}
	}
	headersOnly := asks(20, app, cart)
	headersOnly[3].Head = nil
	for _, c := range []struct {
		what  string
		trace flow.Trace
		seen  []flow.Observation
		port  uint16 // of the connection that is taken; 0: none
	}{
		{"one", secret, asks(20, app, hello), 21000},
		{"two", secret, slices.Concat(asks(0, client(20999), hello), asks(20, app, hello)), 0},
		{"two, and the log", secret, slices.Concat(asks(0, client(20999), hello), asks(20, app, hello), []flow.Observation{line(20999, "GET", "/x"), line(21000, "GET", "/cart")}), 21000},
		{"no payload kept", watched(), headersOnly, 21000},
		{"no payload kept, and the proxy's own", watched(), slices.Concat(headersOnly, dials(22, up, "")), 21000},
		{"no payload kept, two", watched(), slices.Concat(asks(0, client(20999), other), headersOnly), 0},
		{"the proxy's own beside it", secret, slices.Concat(asks(20, app, hello), dials(22, up, hello)), 21000},
	} {
		r := Check(c.trace, c.seen, flow.Loss{}, Known{})
		switch st := r.Steps[0]; {
		case c.port == 0 && (st.Word != NotObserved || st.Why.Kind != flow.SeenWhich || r.Count(Confirmed) > 0):
			t.Errorf("%s: %v %v, %d confirmed", c.what, st.Word, st.Why, r.Count(Confirmed))
		case c.port != 0 && (st.Word != Confirmed || !strings.Contains(st.Why.Args[0], client(c.port).String())):
			t.Errorf("%s: %v %v", c.what, st.Word, st.Why)
		}
	}
}

// A connection that carries several requests has one line of the log for each: only that of the
// same method and path is the request's, and of two that differ none is.
func TestLinesOfOneConnection(t *testing.T) {
	line := func(method, path, host string) flow.Observation {
		l := logLine("c", host, "-")
		l.Fields["req_method"], l.Fields["req_path"] = method, path
		return l
	}
	elsewhere := "10.107.42.99:80"
	seen := append(asks(0, app, cart), wrote(4, "lo", app, trap, other))
	for _, c := range []struct {
		what  string
		lines []flow.Observation
		want  Word
	}{
		{"the last is another's", []flow.Observation{line("GET", "/cart", svc.String()), line("GET", "/other", elsewhere)}, Confirmed},
		{"the first is another's", []flow.Observation{line("HEAD", "/cart", elsewhere), line("GET", "/cart", svc.String())}, Confirmed},
		{"ours went elsewhere", []flow.Observation{line("GET", "/cart", elsewhere), line("GET", "/other", svc.String())}, Contradicted},
		{"only another's", []flow.Observation{line("GET", "/other", elsewhere)}, NotObserved},
		{"twice, to two places", []flow.Observation{line("GET", "/cart", elsewhere), line("GET", "/cart", svc.String())}, NotObserved},
	} {
		if r := Check(watched(), append(seen[:len(seen):len(seen)], c.lines...), flow.Loss{}, Known{}); word(r, 0, 5) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 5), r.Steps[5].Why, c.want)
		}
	}
}

// Of two that sent a datagram to the address neither is taken for the request, unless its port
// is known; what another sends to another address does not count.
func TestDatagrams(t *testing.T) {
	dns := netip.MustParseAddrPort("10.96.0.10:53")
	tr := mesh()
	tr.Request.Proto, tr.Legs = flow.UDP, tr.Legs[:1]
	l := &tr.Legs[0]
	l.From.Proto, l.To = flow.UDP, flow.Conn{Src: l.From.Src, Dst: svc, Out: "eth0"}
	l.Steps = []flow.Step{{Stage: flow.Socket, Verdict: flow.Continue}, {Stage: flow.Wire, Subject: "eth0", Verdict: flow.Delivered}}
	sends := func(ms int, from, to netip.AddrPort) []flow.Observation {
		out := []flow.Observation{track(ms, from, to, to), wrote(ms, "eth0", from, to, "ping"), wrote(ms+1, "eth0", to, from, "pong")}
		for i := range out {
			out[i].Tuple.Proto, out[i].Reply.Proto, out[i].Flags, out[i].State = flow.UDP, flow.UDP, 0, ""
		}
		return out
	}
	for _, c := range []struct {
		what string
		seen []flow.Observation
		port uint16
		want Word
		why  flow.ReasonKind
	}{
		{"one", sends(0, app, svc), 0, Confirmed, flow.SeenSYN},
		{"another's before it", slices.Concat(sends(0, client(20999), svc), sends(5, app, svc)), 0, NotObserved, flow.SeenWhich},
		{"another's before it, and ours is known", slices.Concat(sends(0, client(20999), svc), sends(5, app, svc)), app.Port(), Confirmed, flow.SeenSYN},
		{"another's alone, and ours is known", sends(0, client(20999), svc), app.Port(), NotObserved, flow.SeenNoneOfIt},
		{"another's to another address", slices.Concat(sends(0, client(20999), dns), sends(5, app, svc)), 0, Confirmed, flow.SeenSYN},
		{"only to another address", sends(0, app, dns), 0, NotObserved, flow.SeenNoneOfIt},
	} {
		r := Check(tr, c.seen, flow.Loss{}, Known{ClientPort: c.port})
		if st := r.Steps[0]; st.Word != c.want || st.Why.Kind != c.why || r.Word == Contradicted || (word(r, 0, 1) == Confirmed) != (c.want == Confirmed) {
			t.Errorf("%s: %v %v, whole %v", c.what, st.Word, st.Why, r.Word)
		}
	}
}
