package envoy

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
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

func startUpstream(ports []string, pair tls.Certificate) (*upstream, error) {
	u := &upstream{}
	for _, p := range slices.Concat(ports, []string{tlsPort, h2Port}) {
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
					serve(c, pair)
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

// echoHeader holds it, too, for answers without a body.
const echoHeader = "x-eo-echo"

func (e *echo) header() string {
	b, _ := json.Marshal(e)
	return base64.StdEncoding.EncodeToString(b)
}

// takeEcho takes the echo out of what the client saw; nil where the endpoint did not answer.
func takeEcho(seen *ClientSide) *UpstreamSide {
	header := seen.Headers[echoHeader]
	delete(seen.Headers, echoHeader)
	delete(seen.Headers, "x-eo-addr")
	var e echo
	text, raw := strings.CutPrefix(seen.Body, echoMark)
	switch at, hello, terminated := strings.Cut(strings.TrimSuffix(text, "\n"), " "); {
	case raw && !terminated:
		e.Req.Addr = at
		return &e.Req
	case raw:
		e.Req.Addr, e.Req.TLS = at, new(TLS)
		json.Unmarshal([]byte(hello), e.Req.TLS)
		return &e.Req
	case json.Unmarshal([]byte(seen.Body), &e) == nil && e.Addr != "":
		seen.Body = "(upstream)"
		return &e.Req
	}
	b, err := base64.StdEncoding.DecodeString(header)
	if err != nil || json.Unmarshal(b, &e) != nil || e.Addr == "" {
		return nil
	}
	return &e.Req
}

// peer is one connection at the upstream server.
type peer struct {
	net.Conn
	buf   []byte
	hello *TLS // nil: no TLS was terminated
}

var errEnd = errors.New("connection is done")

func serve(c net.Conn, pair tls.Certificate) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	p := &peer{Conn: c}
	if p.begin(pair) != nil {
		return
	}
	if p.speaksH2() {
		p.serveH2()
		return
	}
	for p.answer() == nil {
	}
}

// echo is the answer to a request.
func (p *peer) echo(got UpstreamSide) echo {
	got.Addr, got.TLS = plain(p.LocalAddr().String()), p.hello
	return echo{got.Addr, got}
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
	bytesOnly := func(b []byte) bool { return len(b) > 0 && headEnd(b) < 0 && !looksHTTP(b) }
	if err := p.more(func(b []byte) bool { return bytesOnly(b) || headEnd(b) >= 0 }); err != nil {
		return err
	}
	if bytesOnly(p.buf) {
		line := echoMark + plain(p.LocalAddr().String())
		if p.hello != nil {
			line += " " + string(raw(p.hello))
		}
		io.WriteString(p, line+"\n")
		if t, ok := p.Conn.(interface{ CloseWrite() error }); ok {
			t.CloseWrite()
		}
		_, err := io.Copy(io.Discard, p)
		return errors.Join(errEnd, err)
	}
	i := headEnd(p.buf)
	lines := strings.Split(string(p.buf[:i]), "\r\n")
	p.buf = p.buf[i+4:]
	got, last := parseHead(lines)
	if err := p.body(got.Headers); err != nil {
		return err
	}
	e := p.echo(got)
	b, _ := json.Marshal(e)
	head := "HTTP/1.1 200 OK\r\nx-eo-addr: " + e.Addr + "\r\n"
	switch {
	case got.value(wantsUpgrade) != "" && got.value("upgrade") != "":
		fmt.Fprintf(p, "HTTP/1.1 101 Switching Protocols\r\n%s: %s\r\nconnection: Upgrade\r\nupgrade: %s\r\n\r\n", echoHeader, e.header(), got.value("upgrade"))
		_, err := io.Copy(io.Discard, p)
		return errors.Join(errEnd, err)
	case got.Method == "CONNECT":
		fmt.Fprintf(p, "%s\r\n%s", head, b)
		return errEnd
	case got.Method == "HEAD":
		fmt.Fprintf(p, "%s%s: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n", head, echoHeader, e.header(), len(b))
	default:
		fmt.Fprintf(p, "%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", head, len(b), b)
	}
	if last {
		return errEnd
	}
	return nil
}

// wantsUpgrade is a header of requests whose upgrade the endpoint accepts; it declines others.
const wantsUpgrade = "x-eo-upgrade"

// value is the first value of a header.
func (u *UpstreamSide) value(name string) string {
	for _, h := range u.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// parseHead reads request line and headers; last says that the connection ends with it.
func parseHead(lines []string) (got UpstreamSide, last bool) {
	f := strings.SplitN(lines[0], " ", 3)
	got.Method = f[0]
	if len(f) > 1 {
		got.Target = f[1]
	}
	if len(f) > 2 {
		got.Version = strings.TrimPrefix(f[2], "HTTP/")
	}
	last = got.Version == "1.0"
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ":")
		k, v = strings.ToLower(k), strings.Trim(v, " \t")
		if k == "host" {
			got.Host = v
			continue
		}
		last = last || k == "connection" && v == "close"
		got.Headers = append(got.Headers, [2]string{k, v})
	}
	return got, last
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
