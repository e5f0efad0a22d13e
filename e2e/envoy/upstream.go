package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// echoMark begins the answer to bytes that are not HTTP.
const echoMark = "EO "

// usualPorts are those that upstream servers listen on when a world names none.
var usualPorts = []string{"80", "443", "3306", "8080", "9080", "9999", "18080"}

// upstream is one server for every endpoint: it listens on a few ports of all addresses,
// and answers with the address at which it was reached and the request it got.
type upstream struct {
	listeners []net.Listener
	serving   sync.WaitGroup
}

func startUpstream(ports []string) (*upstream, error) {
	u := &upstream{}
	for _, p := range ports {
		ln, err := net.Listen("tcp", ":"+p)
		if err != nil {
			u.Close()
			return nil, fmt.Errorf("upstream: %w", err)
		}
		u.listeners = append(u.listeners, ln)
		u.serving.Add(1)
		go func() {
			defer u.serving.Done()
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				u.serving.Add(1)
				go func() {
					defer u.serving.Done()
					serve(c)
				}()
			}
		}()
	}
	return u, nil
}

// Close stops listening. Connections end when Envoy or their deadline ends them.
func (u *upstream) Close() {
	for _, l := range u.listeners {
		l.Close()
	}
}

// echo is the body of an HTTP answer.
type echo struct {
	Addr string       `json:"addr"`
	Req  UpstreamSide `json:"req"`
}

func decodeEcho(body string) (e echo, ok bool) {
	err := json.Unmarshal([]byte(body), &e)
	return e, err == nil && e.Addr != ""
}

// peer is one connection at the upstream server.
type peer struct {
	net.Conn
	buf []byte
}

var errEnd = errors.New("connection is done")

func serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	p := &peer{Conn: c}
	for p.answer() == nil {
	}
}

// more reads until enough says so.
func (p *peer) more(enough func([]byte) bool) error {
	for tmp := make([]byte, 32<<10); !enough(p.buf); {
		n, err := p.Read(tmp)
		p.buf = append(p.buf, tmp[:n]...)
		if err != nil && !enough(p.buf) {
			return err
		}
	}
	return nil
}

func headEnd(b []byte) int { return bytes.Index(b, []byte("\r\n\r\n")) }

// answer reads one request and answers it.
func (p *peer) answer() error {
	raw := func(b []byte) bool { return len(b) > 0 && headEnd(b) < 0 && !looksHTTP(b) }
	if err := p.more(func(b []byte) bool { return raw(b) || headEnd(b) >= 0 }); err != nil {
		return err
	}
	addr := plain(p.LocalAddr().String())
	if raw(p.buf) {
		fmt.Fprintf(p, "%s%s\n", echoMark, addr)
		if t, ok := p.Conn.(*net.TCPConn); ok {
			t.CloseWrite()
		}
		_, err := io.Copy(io.Discard, p)
		return errors.Join(errEnd, err)
	}
	i := headEnd(p.buf)
	lines := strings.Split(string(p.buf[:i]), "\r\n")
	p.buf = p.buf[i+4:]
	e, last := parseHead(lines)
	e.Addr = addr
	if err := p.body(e.Req.Headers); err != nil {
		return err
	}
	b, _ := json.Marshal(e)
	head := "HTTP/1.1 200 OK\r\nx-eo-addr: " + addr + "\r\n"
	switch e.Req.Method {
	case "CONNECT":
		fmt.Fprintf(p, "%s\r\n%s", head, b)
		return errEnd
	case "HEAD":
		fmt.Fprintf(p, "%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n", head, len(b))
	default:
		fmt.Fprintf(p, "%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", head, len(b), b)
	}
	if last {
		return errEnd
	}
	return nil
}

// parseHead reads request line and headers; last says that the connection ends with it.
func parseHead(lines []string) (e echo, last bool) {
	f := strings.SplitN(lines[0], " ", 3)
	e.Req.Method = f[0]
	if len(f) > 1 {
		e.Req.Target = f[1]
	}
	last = len(f) > 2 && f[2] == "HTTP/1.0"
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ":")
		k, v = strings.ToLower(k), strings.Trim(v, " \t")
		if k == "host" {
			e.Req.Host = v
			continue
		}
		last = last || k == "connection" && v == "close"
		e.Req.Headers = append(e.Req.Headers, [2]string{k, v})
	}
	return e, last
}

// body reads the request's body away.
func (p *peer) body(headers [][2]string) error {
	length, chunked := 0, false
	for _, h := range headers {
		switch h[0] {
		case "content-length":
			length, _ = strconv.Atoi(h[1])
		case "transfer-encoding":
			chunked = strings.Contains(h[1], "chunked")
		}
	}
	end := func(b []byte) int {
		if !chunked {
			return min(length, len(b)+1)
		}
		if i := bytes.Index(b, []byte("0\r\n\r\n")); i >= 0 {
			return i + 5
		}
		return len(b) + 1
	}
	if err := p.more(func(b []byte) bool { return end(b) <= len(b) }); err != nil {
		return err
	}
	p.buf = p.buf[end(p.buf):]
	return nil
}

func looksHTTP(b []byte) bool {
	if b[0] < 'A' || b[0] > 'Z' {
		return false
	}
	line, _, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok { // undecided: wait only where a line was plainly cut
		return len(b) < 16 && bytes.IndexByte(b, 0) < 0 && bytes.HasSuffix(b, []byte(" "))
	}
	return bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.HasSuffix(line, []byte(" HTTP/1.0"))
}
