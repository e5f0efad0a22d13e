package envoy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

// isH2 says that the request is sent as HTTP/2.
func (h *HTTP) isH2() bool { return h.Version == "HTTP/2" }

// roundTripH2 sends the request over HTTP/2: with prior knowledge, or over the TLS session
// that rw is.
func (seen *ClientSide) roundTripH2(rw net.Conn, h *HTTP) {
	given := func(context.Context, string, string) (net.Conn, error) { return rw, nil }
	t := &http.Transport{DisableCompression: true, DialContext: given, DialTLSContext: given, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	defer t.CloseIdleConnections()
	req, err := http.NewRequest(h.Method, "http://"+*h.Host+h.Target, strings.NewReader(h.Body))
	if err != nil {
		seen.Error = err.Error()
		return
	}
	if _, ok := rw.(*tls.Conn); ok {
		req.URL.Scheme = "https"
	}
	req.Header["User-Agent"] = nil
	for _, kv := range h.Headers {
		req.Header.Add(kv[0], kv[1])
	}
	res, err := t.RoundTrip(req)
	if err != nil && strings.Contains(err.Error(), "looked like an HTTP/1.1 header") {
		seen.Error = notHTTP // an answer, but not in HTTP/2
		return
	}
	if err != nil {
		seen.Timeout, seen.Closed = isTimeout(err), !isTimeout(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		seen.Error = err.Error()
	}
	seen.Status, seen.Location, seen.Body = res.StatusCode, res.Header.Get("Location"), string(body)
	seen.Headers = map[string]string{}
	for k, v := range res.Header {
		if k = strings.ToLower(k); !unstable[k] && k != "location" && k != "content-length" {
			seen.Headers[k] = strings.Join(v, "\n")
		}
	}
}
