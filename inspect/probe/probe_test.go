package probe

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func plain(ctx context.Context, _, dst netip.AddrPort, _ flow.Proto) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", dst.String())
}

func addr(t *testing.T, l net.Addr) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(l.String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// echo answers with what it was asked, so that the test sees what was really sent.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/moved" {
		w.Header().Set("Location", "https://elsewhere/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	w.Header().Set("Seen", strings.Join([]string{r.Method, r.Proto, r.Host, r.RequestURI, r.Header.Get("version")}, " "))
	w.WriteHeader(http.StatusMultiStatus)
}

func TestHTTP(t *testing.T) {
	var seen []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, strings.Join([]string{r.Method, r.Proto, r.Host, r.RequestURI, r.Header.Get("version") + string(body)}, " "))
		echo(w, r)
	})
	clear := httptest.NewUnstartedServer(handler)
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetHTTP1(true)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	defer clear.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	for _, c := range []struct {
		what string
		srv  *httptest.Server
		tls  *flow.TLS
		http flow.HTTP
		seen string
	}{
		{"HTTP/1.1", clear, nil, flow.HTTP{Authority: "app.example", Path: "/a/../b?c=%2f", Headers: [][2]string{{"version", "v2"}}}, "GET HTTP/1.1 app.example /a/../b?c=%2f v2"},
		{"HTTP/2 with prior knowledge", clear, nil, flow.HTTP{Method: "PUT", Authority: "app.example", Path: "/x%2Fy?z=%2f", Version: "2"}, "PUT HTTP/2.0 app.example /x%2Fy?z=%2f "},
		{"a body", clear, nil, flow.HTTP{Method: "POST", Authority: "a", Body: three, Headers: [][2]string{{"Content-Length", "3"}}}, "POST HTTP/1.1 a / abc"},
		{"a body of HTTP/2", clear, nil, flow.HTTP{Method: "POST", Authority: "a", Body: three, Version: "2", Headers: [][2]string{{"Content-Length", "3"}}}, "POST HTTP/2.0 a / abc"},
		{"HTTP/1.1 over TLS", secure, &flow.TLS{SNI: "app.example"}, flow.HTTP{Authority: "app.example"}, "GET HTTP/1.1 app.example / "},
		{"HTTP/2 by ALPN", secure, &flow.TLS{SNI: "app.example", ALPN: []string{"h2"}}, flow.HTTP{Authority: "app.example"}, "GET HTTP/2.0 app.example / "},
	} {
		seen = nil
		r := flow.Request{Dst: addr(t, c.srv.Listener.Addr()), Proto: flow.TCP, TLS: c.tls, HTTP: &c.http}
		res, err := Do(context.Background(), plain, r)
		if err != nil || res.Symptom.Code != 207 || res.Symptom.TCP != flow.TCPOK || !res.Local.IsValid() {
			t.Errorf("%s: %+v, %v", c.what, res, err)
			continue
		}
		if len(seen) != 1 || seen[0] != c.seen {
			t.Errorf("%s: the server saw %q, want %q", c.what, seen, c.seen)
		}
	}
	res, err := Do(context.Background(), plain, flow.Request{Dst: addr(t, clear.Listener.Addr()), HTTP: &flow.HTTP{Authority: "x", Path: "/moved"}})
	if err != nil || res.Symptom.Code != 301 || res.Symptom.Location != "https://elsewhere/" {
		t.Errorf("redirect: %+v, %v", res, err)
	}
}

var three = &flow.Body{Size: 3, Bytes: []byte("abc")}

// An answer that comes before the body was taken is the answer.
func TestEarlyAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.ReadFull(c, make([]byte, 30))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n")
		t.Cleanup(func() { c.Close() }) // it takes no more, and does not go
	}()
	long := &flow.Body{Size: 16 << 20, Bytes: make([]byte, 16<<20)}
	res, err := Do(context.Background(), plain, flow.Request{Dst: addr(t, l.Addr()), Proto: flow.TCP,
		HTTP: &flow.HTTP{Method: "POST", Authority: "a", Body: long, Headers: [][2]string{{"Content-Length", "16777216"}}}})
	if err != nil || res.Symptom.Code != 413 || res.Took > Timeout/2 {
		t.Errorf("%+v, %v", res, err)
	}
}

// Each way for a connection to end has its own word.
func TestEnds(t *testing.T) {
	serve := func(f func(net.Conn)) netip.AddrPort {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				f(c)
			}
		}()
		return addr(t, l.Addr())
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := addr(t, closed.Addr())
	closed.Close()
	for _, c := range []struct {
		what string
		dst  netip.AddrPort
		want flow.TCPEnd
	}{
		{"nobody listens", nobody, flow.TCPRefused},
		{"closed after the request", serve(func(c net.Conn) { _, _ = c.Read(make([]byte, 1000)); c.Close() }), flow.TCPClosed},
		{"reset", serve(func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}), flow.TCPReset},
	} {
		res, err := Do(context.Background(), plain, flow.Request{Dst: c.dst, HTTP: &flow.HTTP{Authority: "x"}})
		if err != nil || res.Symptom.TCP != c.want || res.Symptom.Code != 0 {
			t.Errorf("%s: %+v, %v", c.what, res, err)
		}
	}
	if _, err := Do(context.Background(), plain, flow.Request{Dst: nobody, HTTP: &flow.HTTP{Authority: "x", Path: "/\r\nEvil: 1"}}); err != nil {
		t.Errorf("a refused connection is a result: %v", err)
	}
}

// The head is what the request says and nothing else: a route may look at any header.
func TestHead(t *testing.T) {
	for _, c := range []struct {
		http flow.HTTP
		want string
	}{
		{flow.HTTP{}, "GET / HTTP/1.1\r\n\r\n"},
		{flow.HTTP{Authority: "a", Path: "/x", Version: "1.0", Headers: [][2]string{{"k", "v"}}}, "GET /x HTTP/1.0\r\nHost: a\r\nk: v\r\n\r\n"},
		{flow.HTTP{Scheme: "http", Authority: "a"}, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
		{flow.HTTP{Exact: true, Method: "OPTIONS", Path: "*", Version: "1.1"}, "OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n"},
		{flow.HTTP{Exact: true, NoHost: true, Method: "GET", Path: "/", Version: "1.1"}, "GET / HTTP/1.1\r\n\r\n"},
	} {
		if got, err := head1(&c.http); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v", c.http, got, err)
		}
	}
	for _, h := range []flow.HTTP{{Method: "GET\r\nx: y"}, {Authority: "a\nb"}, {Headers: [][2]string{{"k", "v\r\nx: y"}}}} {
		if got, err := head1(&h); err == nil {
			t.Errorf("%q holds a line feed", got)
		}
	}
}

// HTTP/2 adds no header of its own, either.
func TestHTTP2AddsNothing(t *testing.T) {
	var seen http.Header
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() }))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	res, err := Do(context.Background(), plain, flow.Request{Dst: addr(t, srv.Listener.Addr()), HTTP: &flow.HTTP{Authority: "a", Version: "2", Headers: [][2]string{{"k", "v"}}}})
	if err != nil || res.Symptom.Code != 200 || len(seen) != 1 || seen.Get("k") != "v" {
		t.Errorf("%+v, %v, headers %v", res, err, seen)
	}
}

// Without a payload a raw client sends bytes of no known protocol; with an empty one it waits.
func TestRaw(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		payload []byte
		want    string
	}{{nil, unknownBytes}, {[]byte("ping"), "ping"}} {
		got := make(chan string, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 100)
			n, _ := conn.Read(b)
			got <- string(b[:n])
			_, _ = conn.Write([]byte("x"))
			conn.Close()
		}()
		res, err := Do(context.Background(), plain, flow.Request{Dst: addr(t, l.Addr()), Payload: c.payload})
		if s := <-got; err != nil || s != c.want || res.Symptom.TCP != flow.TCPOK {
			t.Errorf("%q arrived, want %q: %+v, %v", s, c.want, res, err)
		}
	}
}

// A line feed in the request is not sent.
func TestNoSmuggling(t *testing.T) {
	got := make(chan int, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b, _ := io.ReadAll(c)
		got <- len(b)
	}()
	res, err := Do(context.Background(), plain, flow.Request{Dst: addr(t, l.Addr()), HTTP: &flow.HTTP{Authority: "x", Path: "/\r\nEvil: 1"}})
	if err != nil || res.Note == "" {
		t.Errorf("%+v %v", res, err)
	}
	if n := <-got; n != 0 {
		t.Errorf("%d bytes were sent", n)
	}
}

// What promises a body is not sent without it: the server would wait for it.
func TestBodyIsNotPromised(t *testing.T) {
	for _, c := range []struct {
		header [2]string
		body   *flow.Body
		proxy  *flow.ProxyHeader
		sent   bool
	}{
		{[2]string{"Content-Length", "3"}, nil, nil, false}, {[2]string{"content-length", "10"}, nil, nil, false}, {[2]string{"Transfer-Encoding", "chunked"}, nil, nil, false},
		{[2]string{"Content-Length", "0"}, nil, nil, true}, {[2]string{"X", "3"}, nil, nil, true},
		{[2]string{"Content-Length", "3"}, three, nil, true}, {[2]string{"Content-Length", "03"}, three, nil, true}, {[2]string{"Content-Length", "4"}, three, nil, false},
		{[2]string{"Transfer-Encoding", "chunked"}, three, nil, false},
		{[2]string{"Content-Length", "3"}, &flow.Body{Size: 3}, nil, false}, {[2]string{"X", "3"}, &flow.Body{Size: -1}, nil, false}, {[2]string{"Content-Length", "0"}, &flow.Body{}, nil, true},
		{[2]string{"X", "3"}, nil, &flow.ProxyHeader{}, false},
	} {
		header, sent := c.header, c.sent
		dialled := false
		_, err := Do(context.Background(), func(context.Context, netip.AddrPort, netip.AddrPort, flow.Proto) (net.Conn, error) {
			dialled = true
			return nil, io.EOF
		}, flow.Request{Dst: netip.MustParseAddrPort("127.0.0.1:1"), Proto: flow.TCP, Proxy: c.proxy, HTTP: &flow.HTTP{Method: "POST", Body: c.body, Headers: [][2]string{header}}})
		if dialled != sent || err == nil {
			t.Errorf("%v: dialled %v, %v", header, dialled, err)
		}
	}
}
