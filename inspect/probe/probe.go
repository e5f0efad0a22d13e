// Package probe makes one real request over a connection that it is given, and says what
// came back.
package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// Dialer opens the connection, from where and as whom the request asks.
type Dialer func(ctx context.Context, src, dst netip.AddrPort, proto flow.Proto) (net.Conn, error)

// Result is what came back.
type Result struct {
	Symptom flow.Symptom
	Local   netip.AddrPort // the client's end; zero if there was no connection
	Took    time.Duration
	// Note says what is not in the symptom, such as a TLS error.
	Note string
}

// Timeout bounds a request for which the context sets no earlier end.
const Timeout = 10 * time.Second

// Do sends the request once and waits for the head of its answer. A connection that is
// refused, reset or silent is a result; an error says that nothing was sent.
func Do(ctx context.Context, dial Dialer, r flow.Request) (Result, error) {
	if err := sendable(r); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	start := time.Now()
	conn, err := dial(ctx, r.Src, r.Dst, r.Proto)
	res := Result{}
	if err != nil {
		end, known := dialEnd(err)
		if !known {
			return res, fmt.Errorf("connect to %s: %w", r.Dst, err)
		}
		res.Symptom.TCP, res.Note, res.Took = end, err.Error(), time.Since(start)
		return res, nil
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return res, fmt.Errorf("connect to %s: %w", r.Dst, err)
		}
	}
	if a, ok := conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }); ok {
		res.Local = netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	err = talk(ctx, conn, r, &res)
	res.Took = time.Since(start)
	if err != nil {
		res.Note = err.Error()
		res.Symptom.TCP = readEnd(err)
	}
	return res, nil
}

// sendable refuses a request that cannot be sent as it is: one with a PROXY protocol header, and
// one whose headers promise another body than it has, for which a server would wait.
func sendable(r flow.Request) error {
	h := r.HTTP
	switch {
	case r.Proxy != nil:
		return errors.New("not sent: a request with a PROXY protocol header is only traced")
	case h == nil:
		return nil
	case h.Body != nil && h.Body.Bytes == nil && h.Body.Size != 0:
		return errors.New("not sent: what its body holds is not known")
	}
	size := "0"
	if h.Body != nil {
		size = strconv.Itoa(len(h.Body.Bytes))
	}
	for _, kv := range h.Headers {
		length := strings.EqualFold(kv[0], "content-length") && orZero(kv[1]) != size
		if length || strings.EqualFold(kv[0], "transfer-encoding") {
			return fmt.Errorf("not sent: its header %q promises another body than the one of %s bytes that it has", kv[0]+": "+kv[1], size)
		}
	}
	return nil
}

// orZero is a Content-Length without what changes nothing.
func orZero(v string) string {
	return or(strings.TrimLeft(strings.Trim(v, " \t"), "0"), "0")
}

// talk speaks the request's protocol.
func talk(ctx context.Context, conn net.Conn, r flow.Request, res *Result) error {
	res.Symptom.TCP = flow.TCPOK
	h2 := r.HTTP != nil && r.HTTP.Version == "2"
	if r.TLS != nil {
		c := tls.Client(conn, &tls.Config{ServerName: r.TLS.SNI, NextProtos: r.TLS.ALPN, InsecureSkipVerify: true}) //nolint:gosec // the answer is looked at, not trusted
		if err := c.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS handshake: %w", err)
		}
		if r.HTTP != nil && r.HTTP.Version == "" {
			h2 = c.ConnectionState().NegotiatedProtocol == "h2"
		}
		conn = c
	}
	switch {
	case r.HTTP == nil:
		return raw(conn, r, res)
	case h2:
		return overHTTP2(ctx, conn, r, res)
	}
	return overHTTP1(conn, r, res)
}

// unknownBytes are what a client sends that speaks no protocol which a proxy knows.
const unknownBytes = "\x00meshtop\r\n"

// raw sends the payload and waits for a byte, or for the end. No payload at all stands for
// bytes of no known protocol, an empty one for a client that waits.
func raw(conn net.Conn, r flow.Request, res *Result) error {
	payload := r.Payload
	if payload == nil && r.TLS == nil {
		payload = []byte(unknownBytes)
	}
	if len(payload) > 0 {
		if _, err := conn.Write(payload); err != nil {
			return err
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	var one [1]byte
	if _, err := conn.Read(one[:]); err != nil {
		var t net.Error
		if errors.As(err, &t) && t.Timeout() {
			res.Note = "connected; the server says nothing within a second"
			return nil
		}
		return err
	}
	return nil
}

func overHTTP1(conn net.Conn, r flow.Request, res *Result) error {
	head, err := head1(r.HTTP)
	if err != nil {
		return err
	}
	// An answer can come before the body was taken, and then nobody takes the rest.
	wrote := make(chan error, 1)
	go func() {
		_, err := conn.Write(append([]byte(head), body(r.HTTP)...))
		wrote <- err
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: or(r.HTTP.Method, "GET")})
	if end := conn.SetWriteDeadline(time.Now()); end != nil {
		conn.Close()
	}
	failed := <-wrote
	switch {
	case err == nil:
	case failed == nil || errors.Is(failed, os.ErrDeadlineExceeded):
		return err
	default:
		return failed // a reset is told once
	}
	defer resp.Body.Close()
	answer(resp, res)
	return nil
}

// body is what the request holds after its head.
func body(h *flow.HTTP) []byte {
	if h.Body == nil {
		return nil
	}
	return h.Body.Bytes
}

// head1 is the head of an HTTP/1 request, with nothing in it that the request does not say:
// a route may look at any header.
func head1(h *flow.HTTP) (string, error) {
	method, path, version := h.Method, h.Path, h.Version
	if !h.Exact {
		method, path, version = or(method, "GET"), target(h), or(version, "1.1")
	}
	lines := []string{method + " " + path + " HTTP/" + version}
	if !h.NoHost && (h.Exact || h.Authority != "") {
		lines = append(lines, "Host: "+h.Authority)
	}
	for _, kv := range h.Headers {
		lines = append(lines, kv[0]+": "+kv[1])
	}
	for _, l := range lines {
		if strings.ContainsAny(l, "\r\n") {
			return "", errors.New("the request holds a line feed: not sent")
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n", nil
}

func overHTTP2(ctx context.Context, conn net.Conn, r flow.Request, res *Result) error {
	h := r.HTTP
	t := oneConnection(conn)
	defer t.CloseIdleConnections()
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	path, query, _ := strings.Cut(or(h.Path, "/"), "?")
	u := &url.URL{Scheme: scheme, Host: h.Authority, Opaque: path, RawQuery: query} // as it was given: no escape is added
	req := &http.Request{Method: or(h.Method, "GET"), URL: u, Host: h.Authority, Header: http.Header{}}
	if b := body(h); len(b) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	req.Header["User-Agent"] = []string{""} // none, unless the request names one
	for _, kv := range h.Headers {
		if strings.EqualFold(kv[0], "user-agent") {
			req.Header.Set(kv[0], kv[1])
			continue
		}
		req.Header.Add(kv[0], kv[1])
	}
	resp, err := t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer(resp, res)
	return nil
}

// oneConnection is a transport that speaks HTTP/2 over the connection that is there.
func oneConnection(conn net.Conn) *http.Transport {
	give := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	t := &http.Transport{DialContext: give, DialTLSContext: give, Protocols: new(http.Protocols), DisableCompression: true}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

func answer(resp *http.Response, res *Result) {
	res.Symptom.Code = resp.StatusCode
	res.Symptom.Location = resp.Header.Get("Location")
}

// target is the request line's target.
func target(h *flow.HTTP) string {
	if h.Scheme != "" {
		return h.Scheme + "://" + h.Authority + or(h.Path, "/")
	}
	return or(h.Path, "/")
}

func or(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

// dialEnd is how a failed connect(2) reads.
func dialEnd(err error) (flow.TCPEnd, bool) {
	var t net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return flow.TCPRefused, true
	case errors.Is(err, syscall.ETIMEDOUT), errors.As(err, &t) && t.Timeout():
		return flow.TCPTimeout, true
	}
	return flow.TCPUnknown, false
}

// readEnd is how a connection that was made ended.
func readEnd(err error) flow.TCPEnd {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return flow.TCPReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return flow.TCPClosed
	}
	return flow.TCPUnknown
}
