package istio

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// draft reads the curl command. A proxy is where the connection goes to.
func (r *Request) draft() (flow.Request, error) {
	args := r.Args
	var via string
	for i := 0; i+1 < len(args); i++ {
		if args[i] == "-x" {
			via = strings.TrimPrefix(args[i+1], "http://")
			args = append(append([]string(nil), args[:i]...), args[i+2:]...)
		}
	}
	q := *r
	q.Args = args
	d, err := request.Curl(q.Command())
	if err != nil {
		return flow.Request{}, fmt.Errorf("%s: %w", r.ID, err)
	}
	out := d.Request
	if via != "" {
		if out.Dst, err = netip.ParseAddrPort(via); err != nil {
			return out, fmt.Errorf("%s: -x: %w", r.ID, err)
		}
		out.HTTP.Scheme = "http"
	} else if d.Host != "" {
		return out, fmt.Errorf("%s: %q is not resolved", r.ID, d.Host)
	}
	return out, nil
}

// Outbound is the request as the pod makes it.
func (r *Request) Outbound(p Pod) (flow.Request, error) {
	out, err := r.draft()
	if err != nil {
		return out, err
	}
	ip, err := netip.ParseAddr(p.Meta.IP)
	if err != nil {
		return out, err
	}
	out.Dir, out.Proto = flow.Outbound, flow.TCP
	if out.Dst.Addr().IsLoopback() {
		ip = out.Dst.Addr()
	}
	out.Src = netip.AddrPortFrom(ip, r.Port)
	if r.UID != nil {
		out.UID, out.GID = *r.UID, *r.UID
	}
	out.HTTP.Headers = append(out.HTTP.Headers, [2]string{"x-lab-id", r.ID})
	return out, nil
}

// Inbound is the request as the Envoy that logged l met it: from the peer it names, with
// the TLS that it terminated.
func (r *Request) Inbound(l *Log) (flow.Request, error) {
	out, err := r.draft()
	if err != nil {
		return out, err
	}
	out.Dir, out.Proto, out.UID = flow.Inbound, flow.TCP, 0
	if out.Src, err = netip.ParseAddrPort(l.Peer); err != nil {
		return out, fmt.Errorf("%s: peer: %w", r.ID, err)
	}
	if out.Dst, err = netip.ParseAddrPort(l.Local); err != nil {
		return out, fmt.Errorf("%s: local: %w", r.ID, err)
	}
	out.HTTP.Headers = append(out.HTTP.Headers, [2]string{"x-lab-id", r.ID})
	mesh := strings.HasPrefix(l.PeerSAN, "spiffe://")
	if out.TLS != nil && !mesh { // the client's own TLS comes through
		return out, nil
	}
	out.TLS = nil
	if l.Protocol != "" {
		out.HTTP.Method, out.HTTP.Authority, out.HTTP.Path, out.HTTP.Scheme = l.Method, l.Host1, l.Path, ""
		if out.HTTP.Version != "1.0" { // which Envoy logs as 1.1 when it refuses it
			out.HTTP.Version = strings.TrimPrefix(l.Protocol, "HTTP/")
		}
	}
	if mesh {
		// Without the filter istio.alpn a client offers what its cluster says: istio for
		// HTTP, and istio-peer-exchange before it for TCP.
		out.TLS = &flow.TLS{SNI: l.SNI, ALPN: []string{"istio"}, Cert: flow.Yes, SANs: []string{l.PeerSAN}}
		if l.Protocol == "" {
			out.TLS.ALPN = []string{"istio-peer-exchange", "istio"}
		}
	}
	return out, nil
}
