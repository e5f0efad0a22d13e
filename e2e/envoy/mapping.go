package envoy

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// freePort stands for a source port that the kernel chose: none that a case matches on.
const freePort = 20001

// Flow says a case's request in the words that rules.Trace and envoy.Accept take.
// SO_ORIGINAL_DST fails: nothing was translated. The original destination of these cases
// is what the PROXY header claims.
func (q *Request) Flow() (envoy.Conn, flow.Request, error) {
	accept, err := netip.ParseAddrPort(q.Accept)
	if err != nil {
		return envoy.Conn{}, flow.Request{}, fmt.Errorf("case %s: %w", q.ID, err)
	}
	src, err := q.source(accept)
	if err != nil {
		return envoy.Conn{}, flow.Request{}, fmt.Errorf("case %s: %w", q.ID, err)
	}
	conn := envoy.Conn{Accept: accept, Src: src, Proto: flow.TCP}
	req := flow.Request{Dir: flow.Outbound, Src: src, Dst: accept, Proto: flow.TCP}
	if q.Proxy != nil {
		p := new(flow.ProxyHeader)
		if p.Src, err = netip.ParseAddrPort(q.Proxy.Src); err == nil {
			p.Dst, err = netip.ParseAddrPort(q.Proxy.Dst)
		}
		if err != nil {
			return conn, req, fmt.Errorf("case %s: proxy: %w", q.ID, err)
		}
		req.Proxy = p
	}
	if q.TLS != nil {
		req.TLS = &flow.TLS{SNI: q.TLS.SNI, ALPN: q.TLS.ALPN, Cert: flow.Is(q.TLS.Cert)}
		if q.TLS.Cert {
			req.TLS.SANs = []string{"oracle.test", "127.0.0.1"}
		}
	}
	if q.HTTP != nil {
		req.HTTP = q.HTTP.flow()
	} else if q.TLS == nil {
		req.Payload = latin(q.Payload)
		req.HTTP = parseHTTP(req.Payload)
	}
	if req.HTTP != nil {
		req.Payload = nil
	}
	return conn, req, nil
}

func (q *Request) source(accept netip.AddrPort) (netip.AddrPort, error) {
	if q.Src == "" {
		if accept.Addr().Is6() {
			return netip.AddrPortFrom(netip.IPv6Loopback(), freePort), nil
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), freePort), nil
	}
	if a, err := netip.ParseAddrPort(q.Src); err == nil {
		return a, nil
	}
	a, err := netip.ParseAddr(q.Src)
	return netip.AddrPortFrom(a, freePort), err
}

func (h *HTTP) flow() *flow.HTTP {
	out := &flow.HTTP{Method: h.Method, Path: h.Target, Exact: true, NoHost: h.Host == nil}
	out.Version = strings.TrimPrefix(h.Version, "HTTP/")
	if out.Version == "" {
		out.Version = "1.1"
	}
	out.NoHost = out.NoHost && !h.isH2()
	if h.Host != nil {
		out.Authority = *h.Host
	}
	out.Headers = append(out.Headers, h.Headers...)
	if h.Body != "" {
		out.Headers = append(out.Headers, [2]string{"content-length", fmt.Sprint(len(h.Body))})
		out.Body = &flow.Body{Size: len(h.Body)}
	}
	return out
}

// parseHTTP reads raw bytes as one whole HTTP/1 request, as http_inspector and the
// connection manager would; nil where they are not one.
func parseHTTP(b []byte) *flow.HTTP {
	head, _, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return nil
	}
	lines := strings.Split(string(head), "\r\n")
	f := strings.Split(lines[0], " ")
	if len(f) != 3 || (f[2] != "HTTP/1.1" && f[2] != "HTTP/1.0") || !knownMethods[f[0]] {
		return nil
	}
	h := &flow.HTTP{Method: f[0], Path: f[1], Version: f[2][len("HTTP/"):], Exact: true, NoHost: true}
	for _, l := range lines[1:] {
		k, v, ok := strings.Cut(l, ":")
		if !ok {
			return nil
		}
		v = strings.TrimSpace(v)
		if h.NoHost && strings.EqualFold(k, "host") {
			h.NoHost, h.Authority = false, v
			continue
		}
		h.Headers = append(h.Headers, [2]string{k, v})
	}
	return h
}

// knownMethods are those that the generator's raw payloads use and Envoy's parser knows.
var knownMethods = map[string]bool{"GET": true, "POST": true, "PUT": true, "HEAD": true, "OPTIONS": true, "DELETE": true}

// latin is the string's code points as bytes.
func latin(s string) []byte {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}
