package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/flow"
)

// patience is how long a client waits for the first answer of the other end, be it a SYN-ACK
// or a byte. It is above the clusters' connect_timeout of 1 s.
const patience = 2500 * time.Millisecond

// Answer is what a client of the lab saw.
type Answer struct {
	flow.Symptom
	Local  netip.AddrPort // the client's end; zero when it never connected
	Header http.Header
	Body   []byte
	// Seen is what the server that answered saw; nil when no server of the lab did.
	Seen *Seen
	Err  string // the client's error in words; empty: it went well
}

// Send sends one request as it says: from the pod or from outside, by the address, uid, gid
// and mark that it names, one connection, closed after the answer. The error is the lab's
// own; what went wrong with the request is in the Answer.
func (l *Lab) Send(ctx context.Context, r flow.Request) (Answer, error) {
	space, uid, gid := l.pod, r.UID, r.GID
	if r.Dir == flow.Inbound {
		space, uid, gid = l.out, 0, 0
	}
	conn, err := dial(ctx, space, uid, gid, r)
	if err != nil {
		return refused(err)
	}
	defer conn.Close()
	a := Answer{Local: localOf(conn)}
	deadline, ok := ctx.Deadline()
	if end := time.Now().Add(patience); !ok || end.Before(deadline) {
		deadline = end
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return a, err
	}
	if r.TLS != nil {
		heard := &recorder{Conn: conn}
		secure := tls.Client(heard, &tls.Config{ServerName: r.TLS.SNI, NextProtos: r.TLS.ALPN, InsecureSkipVerify: true})
		if err := secure.HandshakeContext(ctx); err != nil {
			a.noTLS(heard, err)
			return a, nil
		}
		conn = secure
	}
	switch {
	case r.HTTP == nil:
		a.talkRaw(conn, r)
	case r.HTTP.Version == "2":
		a.talkHTTP2(ctx, conn, r)
	default:
		a.talkHTTP(conn, r.HTTP)
	}
	return a, nil
}

// dial opens the connection as the request's user: the socket is made on a thread that is
// that user, inside the namespace.
func dial(ctx context.Context, s *netns.Space, uid, gid uint32, r flow.Request) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		if r.Mark == 0 {
			return nil
		}
		var err error
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(r.Mark)) })
		return err
	}}
	network := "tcp"
	if r.Proto == flow.UDP {
		network = "udp"
	}
	if src := r.Src; src.IsValid() && (!src.Addr().IsUnspecified() || src.Port() != 0) {
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(src)
		} else {
			d.LocalAddr = net.TCPAddrFromAddrPort(src)
		}
	}
	var conn net.Conn
	err := s.DoAs(uid, gid, func() error {
		var err error
		conn, err = d.DialContext(ctx, network, r.Dst.String())
		return err
	})
	return conn, err
}

// refused is the answer to a connection that never was, or the lab's own error.
func refused(err error) (Answer, error) {
	a := Answer{Err: err.Error()}
	var ne net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		a.TCP = flow.TCPRefused
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		a.TCP = flow.TCPTimeout
	default:
		return a, err
	}
	return a, nil
}

// cut notes how a connection that was made ended without a whole answer.
func (a *Answer) cut(err error) {
	a.Err = err.Error()
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		a.TCP = flow.TCPReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		a.TCP = flow.TCPClosed
	case errors.Is(err, syscall.ECONNREFUSED): // UDP: an ICMP error came back
		a.TCP = flow.TCPRefused
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.TCP = flow.TCPTimeout
	}
	// Anything else leaves TCPUnknown: what came was no answer of the kind expected.
}

// recorder keeps the first bytes that a connection brings.
type recorder struct {
	net.Conn
	first []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if room := 64 - len(r.first); room > 0 {
		r.first = append(r.first, p[:min(n, room)]...)
	}
	return n, err
}

// noTLS notes an answer that is no TLS: a plain HTTP one has its code, and the connection's
// end is still to come.
func (a *Answer) noTLS(heard *recorder, err error) {
	if _, e := io.Copy(io.Discard, heard); e != nil {
		err = errors.Join(err, e)
	} else if len(heard.first) == 0 || strings.HasPrefix(string(heard.first), "HTTP/1.1 ") {
		err = errors.Join(err, io.EOF)
	}
	if rest, ok := strings.CutPrefix(string(heard.first), "HTTP/1.1 "); ok {
		a.Code, _ = strconv.Atoi(rest[:min(3, len(rest))])
	}
	a.cut(err)
}

// talkRaw sends the payload, and takes the first bytes that come back for an answer.
func (a *Answer) talkRaw(conn net.Conn, r flow.Request) {
	payload := r.Payload
	if payload == nil {
		payload = []byte("\x00meshtop\r\n")
	}
	if len(payload) > 0 {
		if _, err := conn.Write(payload); err != nil {
			a.cut(err)
			return
		}
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if n == 0 && err != nil {
		a.cut(err)
		return
	}
	a.TCP, a.Body = flow.TCPOK, buf[:n]
}

// talkHTTP writes the request line and the headers byte for byte as they are given.
func (a *Answer) talkHTTP(conn net.Conn, h *flow.HTTP) {
	var b strings.Builder
	target := orElse(h.Path, "/")
	if h.Scheme != "" {
		target = h.Scheme + "://" + h.Authority + target
	}
	fmt.Fprintf(&b, "%s %s HTTP/%s\r\n", orElse(h.Method, "GET"), target, orElse(h.Version, "1.1"))
	if h.Authority != "" {
		fmt.Fprintf(&b, "Host: %s\r\n", h.Authority)
	}
	for _, kv := range h.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", kv[0], kv[1])
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(conn, b.String()); err != nil {
		a.cut(err)
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: orElse(h.Method, "GET")})
	if err != nil {
		a.cut(err)
		return
	}
	a.take(resp)
}

// talkHTTP2 speaks HTTP/2 over the connection, with prior knowledge where it is not TLS.
func (a *Answer) talkHTTP2(ctx context.Context, conn net.Conn, r flow.Request) {
	t := &http.Transport{Protocols: new(http.Protocols), DisableKeepAlives: true}
	t.Protocols.SetUnencryptedHTTP2(true)
	t.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, orElse(r.HTTP.Method, "GET"), "http://"+r.Dst.String()+orElse(r.HTTP.Path, "/"), nil)
	if err != nil {
		a.Err = err.Error()
		return
	}
	req.Host = r.HTTP.Authority
	for _, kv := range r.HTTP.Headers {
		req.Header.Add(kv[0], kv[1])
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		a.cut(err)
		return
	}
	a.take(resp)
}

func (a *Answer) take(resp *http.Response) {
	defer resp.Body.Close()
	a.TCP, a.Code, a.Header = flow.TCPOK, resp.StatusCode, resp.Header
	a.Location = resp.Header.Get("location")
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		a.cut(err)
		return
	}
	a.Body = body
	var seen Seen
	if resp.Header.Get("x-server") != "" && json.Unmarshal(body, &seen) == nil {
		a.Seen = &seen
	}
}

func localOf(c net.Conn) netip.AddrPort {
	var a netip.AddrPort
	switch t := c.LocalAddr().(type) {
	case *net.TCPAddr:
		a = t.AddrPort()
	case *net.UDPAddr:
		a = t.AddrPort()
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func orElse(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}
