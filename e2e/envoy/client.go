package envoy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Bounds of one client connection.
const (
	dialTime   = 5 * time.Second
	answerTime = 8 * time.Second
	silentTime = 2 * time.Second        // of a client that waits for the server
	moreTime   = 150 * time.Millisecond // for the rest of an answer that has begun
)

// client sends requests. A request with TLS.Cert presents one of its certificates, by name.
type client struct{ pairs map[string]tls.Certificate }

// send runs one connection from source port (0: any) and returns what the client saw and
// its real address, by which the log lines are found.
func (c client) send(q *Request, port int) (*ClientSide, string) {
	seen, start := &ClientSide{}, time.Now()
	conn, err := dial(q, port)
	if err != nil {
		seen.Error = errorClass(err)
		return seen, ""
	}
	defer conn.Close()
	key := plain(conn.LocalAddr().String())
	conn.SetDeadline(time.Now().Add(answerTime))
	if q.Proxy != nil {
		conn.Write(proxyV2(q.Proxy))
	}
	var rw net.Conn = conn
	switch {
	case q.TLS != nil && q.TLS.Handshake:
		seen.late = time.Since(start) > lateTime
		if rw, err = c.handshake(conn, q.TLS); err != nil {
			seen.TLSError, seen.Timeout = true, isTimeout(err)
			return seen, key
		}
	case q.TLS != nil:
		conn.Write(clientHello(q.TLS.SNI, q.TLS.ALPN))
	}
	if q.HTTP != nil && q.HTTP.isH2() {
		seen.roundTripH2(rw, q.HTTP)
		return seen, key
	}
	if q.HTTP != nil {
		rw.Write(q.HTTP.bytes())
		seen.late = seen.late || q.TLS == nil && time.Since(start) > lateTime
		seen.readHTTP(rw, q.HTTP.Method)
		return seen, key
	}
	if q.Payload != "" {
		rw.Write(latin(q.Payload))
	} else if q.TLS == nil {
		conn.SetDeadline(time.Now().Add(silentTime))
	}
	if q.Payload != "" || q.TLS != nil {
		seen.late = seen.late || time.Since(start) > lateTime
	}
	seen.readRaw(conn, rw, q.TLS != nil)
	return seen, key
}

func dial(q *Request, port int) (net.Conn, error) {
	to, err := netip.ParseAddrPort(q.Accept)
	if err != nil {
		return nil, err
	}
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	if to.Addr().Is6() {
		from = netip.AddrPortFrom(netip.IPv6Loopback(), uint16(port))
	}
	if a, err := netip.ParseAddrPort(q.Src); err == nil {
		if q.Repeat > 1 { // the same port cannot be used again at once
			a = netip.AddrPortFrom(a.Addr(), uint16(port))
		}
		from = a
	} else if a, err := netip.ParseAddr(q.Src); err == nil {
		from = netip.AddrPortFrom(a, uint16(port))
	}
	d := net.Dialer{Timeout: dialTime, LocalAddr: net.TCPAddrFromAddrPort(from), Control: reuse}
	return d.Dial("tcp", q.Accept)
}

// reuse lets a source port in TIME_WAIT be bound again.
func reuse(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
}

func (c client) handshake(conn net.Conn, hello *TLS) (net.Conn, error) {
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: hello.SNI, NextProtos: hello.ALPN}
	if hello.SNI == "" {
		cfg.ServerName = "127.0.0.1" // of an IP literal no SNI is sent
	}
	if hello.Cert {
		pair := c.pairs[hello.Pair]
		// Also where the server names no authority of it.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if hello.Old {
		cfg.MaxVersion = tls.VersionTLS12
	}
	t := tls.Client(conn, cfg)
	return t, t.Handshake()
}

// proxyV2 is the header of the PROXY protocol, version 2, command PROXY over TCP.
func proxyV2(p *Proxy) []byte {
	s, err1 := netip.ParseAddrPort(p.Src)
	d, err2 := netip.ParseAddrPort(p.Dst)
	if err1 != nil || err2 != nil {
		return nil
	}
	family, n := byte(0x11), 12
	if s.Addr().Is6() {
		family, n = 0x21, 36
	}
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21"), family)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, s.Addr().AsSlice()...)
	b = append(b, d.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, s.Port())
	return binary.BigEndian.AppendUint16(b, d.Port())
}

// bytes is the request as it goes over the wire.
func (h *HTTP) bytes() []byte {
	version := h.Version
	if version == "" {
		version = "HTTP/1.1"
	}
	var s strings.Builder
	s.WriteString(h.Method + " " + h.Target + " " + version + "\r\n")
	if h.Host != nil {
		s.WriteString("Host: " + *h.Host + "\r\n")
	}
	for _, kv := range h.Headers {
		s.WriteString(kv[0] + ": " + kv[1] + "\r\n")
	}
	if h.Body != "" {
		fmt.Fprintf(&s, "content-length: %d\r\n", len(h.Body))
	}
	s.WriteString("\r\n" + h.Body)
	return []byte(s.String())
}

// readRaw reads the answer of a connection that is not read as HTTP.
func (seen *ClientSide) readRaw(conn, rw net.Conn, hello bool) {
	var b []byte
	for buf := make([]byte, 16<<10); ; {
		n, err := rw.Read(buf)
		b = append(b, buf[:n]...)
		if err != nil {
			seen.Timeout = isTimeout(err) && len(b) == 0
			break
		}
		if bytes.HasPrefix(b, []byte(echoMark)) && b[len(b)-1] == '\n' ||
			bytes.HasPrefix(b, []byte("HTTP/1")) && bytes.Contains(b, []byte("\r\n\r\n")) {
			break
		}
		conn.SetDeadline(time.Now().Add(moreTime))
	}
	seen.Closed = len(b) == 0 && !seen.Timeout
	seen.Body = string(b)
	if strings.HasPrefix(seen.Body, "HTTP/1") { // the rest has dates
		seen.Body, _, _ = strings.Cut(seen.Body, "\r\n")
	}
	if strings.ContainsFunc(seen.Body, func(r rune) bool { return r < 9 || r == 0xfffd }) {
		seen.Body = fmt.Sprintf("%d bytes", len(b))
		if hello && b[0] == 21 {
			seen.Body = "tls alert"
		}
	}
}

// readHTTP reads the final response.
func (seen *ClientSide) readHTTP(c net.Conn, method string) {
	r := bufio.NewReader(c)
	for seen.Status = 100; seen.Status == 100; {
		if !seen.readHead(r) {
			return
		}
	}
	seen.Body = string(seen.readBody(c, r, method))
	for _, h := range []string{"content-length", "transfer-encoding"} {
		delete(seen.Headers, h)
	}
	if len(seen.Headers) == 0 {
		seen.Headers = nil
	}
}

// notHTTP is the error of an answer that is something else, such as a TLS alert.
const notHTTP = "not http"

// unstable response headers change between runs.
var unstable = map[string]bool{"date": true, "x-envoy-upstream-service-time": true, "server": true,
	"content-type": true, "connection": true}

func (seen *ClientSide) readHead(r *bufio.Reader) bool {
	seen.Status = 0
	line, err := r.ReadString('\n')
	if err != nil {
		seen.Timeout, seen.Closed = isTimeout(err), !isTimeout(err)
		return false
	}
	f := strings.SplitN(strings.TrimSpace(line), " ", 3)
	if len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/") {
		seen.Error = notHTTP
		return false
	}
	seen.Status, _ = strconv.Atoi(f[1])
	seen.Headers = map[string]string{}
	for {
		line, err := r.ReadString('\n')
		if err != nil || strings.TrimSpace(line) == "" {
			return true
		}
		k, v, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		k, v = strings.ToLower(k), strings.TrimSpace(v)
		switch old, ok := seen.Headers[k]; {
		case k == "location":
			seen.Location = v
		case unstable[k]:
		case ok:
			seen.Headers[k] = old + "\n" + v
		default:
			seen.Headers[k] = v
		}
	}
}

func (seen *ClientSide) readBody(c net.Conn, r *bufio.Reader, method string) []byte {
	const most = 64 << 10
	n, err := strconv.Atoi(seen.Headers["content-length"])
	switch {
	case method == "HEAD" || seen.Status == 101 || seen.Status == 204 || seen.Status == 304:
		return nil
	case seen.Headers["transfer-encoding"] != "":
		return readChunks(r)
	case err == nil && n <= most:
		b := make([]byte, n)
		n, _ = io.ReadFull(r, b)
		return b[:n]
	case method == "CONNECT" && seen.Status == 200:
		c.SetReadDeadline(time.Now().Add(moreTime))
	}
	b, _ := io.ReadAll(io.LimitReader(r, most))
	return b
}

func readChunks(r *bufio.Reader) (b []byte) {
	for {
		line, err := r.ReadString('\n')
		n, bad := strconv.ParseUint(strings.TrimSpace(line), 16, 20)
		if err != nil || bad != nil || n == 0 {
			return b
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return b
		}
		b = append(b, chunk[:n]...)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// errorClass is the part of a dial error that is stable.
func errorClass(err error) string {
	for _, e := range []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EADDRINUSE,
		syscall.EADDRNOTAVAIL, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return err.Error()
}

// plain is an address without a v4-mapped form.
func plain(addr string) string {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}
