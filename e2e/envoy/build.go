package envoy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
)

// M and A are JSON objects and lists, as Envoy's protos read them.
type (
	M = map[string]any
	A = []any
)

const typeURL = "type.googleapis.com/"

// typed is an Any.
func typed(kind string, m M) M {
	out := M{"@type": typeURL + kind}
	maps.Copy(out, m)
	return out
}

// ext is an extension: TypedExtensionConfig and the filters' own form of it.
func ext(name, kind string, m M) M { return M{"name": name, "typed_config": typed(kind, m)} }

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("a generator made what JSON cannot say: %v", err))
	}
	return b
}

func socket(addr string, port int) M {
	return M{"socket_address": M{"address": addr, "port_value": port}}
}

func endpoint(at string) M {
	a := netip.MustParseAddrPort(at)
	return M{"endpoint": M{"address": socket(a.Addr().String(), int(a.Port()))}}
}

// up is the i-th upstream address.
func up(i int) string { return fmt.Sprintf("127.9.%d.%d:18080", i/200, 1+i%200) }

// dead refuses connections: no upstream listens on port 1.
const dead = "127.9.255.1:1"

// list is any slice as a JSON list.
func list[T any](l []T) (out A) {
	for _, x := range l {
		out = append(out, x)
	}
	return out
}

func cidr(s string) M {
	p := netip.MustParsePrefix(s)
	return M{"address_prefix": p.Addr().String(), "prefix_len": p.Bits()}
}

func cidrs(l []string) (out A) {
	for _, s := range l {
		out = append(out, cidr(s))
	}
	return out
}

const (
	filterNS   = "envoy.extensions.filters."
	acceptPort = 10000
)

// listenerName and acceptAddr: each listener that binds has its own address.
func listenerName(i int) string { return fmt.Sprintf("l%02d", i) }
func acceptAddr(i int) string   { return fmt.Sprintf("127.0.1.%d", 1+i) }

func acceptAt(i int) string { return fmt.Sprintf("%s:%d", acceptAddr(i), acceptPort) }

func proxyProtocol() M {
	return ext("envoy.filters.listener.proxy_protocol", filterNS+"listener.proxy_protocol.v3.ProxyProtocol", nil)
}

func tlsInspector() M {
	return ext("envoy.filters.listener.tls_inspector", filterNS+"listener.tls_inspector.v3.TlsInspector", nil)
}

func httpInspector() M {
	return ext("envoy.filters.listener.http_inspector", filterNS+"listener.http_inspector.v3.HttpInspector", nil)
}

func originalDst() M {
	return ext("envoy.filters.listener.original_dst", filterNS+"listener.original_dst.v3.OriginalDst", nil)
}

// serverTLS terminates TLS with the oracle's certificate.
func serverTLS(more M) M {
	common := M{"tls_certificates": A{M{"certificate_chain": M{"filename": "@DIR@/cert.pem"},
		"private_key": M{"filename": "@DIR@/key.pem"}}}, "alpn_protocols": A{"http/1.1"}}
	m := M{"common_tls_context": common}
	maps.Copy(m, more)
	return ext("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", m)
}

// listener has a log of its own; it has no chain yet.
func listener(name, addr string, port int) M {
	return M{"name": name, "address": socket(addr, port), "access_log": A{AccessLog("listener", name)}, "stat_prefix": name}
}

// router is the terminal HTTP filter.
func router() M {
	return ext("envoy.filters.http.router", filterNS+"http.router.v3.Router", nil)
}

// manager is an HTTP connection manager with routes rc (nil: none). more overrides; a nil
// value in it removes.
func manager(listener string, rc M, more M) M {
	m := M{"stat_prefix": "h_" + listener, "access_log": A{AccessLog("http", listener)}, "http_filters": A{router()}}
	if rc != nil {
		m["route_config"] = rc
	}
	for k, v := range more {
		if v == nil {
			delete(m, k)
			continue
		}
		m[k] = v
	}
	return ext("envoy.filters.network.http_connection_manager",
		filterNS+"network.http_connection_manager.v3.HttpConnectionManager", m)
}

func tcpProxy(listener string, m M) M {
	out := M{"stat_prefix": "t_" + listener, "access_log": A{AccessLog("tcp", listener)}}
	maps.Copy(out, m)
	return ext("envoy.filters.network.tcp_proxy", filterNS+"network.tcp_proxy.v3.TcpProxy", out)
}

// static is a cluster with one locality of endpoints.
func static(name string, endpoints ...any) M {
	m := M{"name": name, "type": "STATIC", "connect_timeout": "2s"}
	if len(endpoints) > 0 {
		m["load_assignment"] = M{"cluster_name": name, "endpoints": A{M{"lb_endpoints": endpoints}}}
	}
	return m
}

// usualClusters are c0 to c(n-1) with one endpoint each, and one of each odd kind.
func usualClusters(n int) (out []json.RawMessage) {
	for i := range n {
		out = append(out, raw(static(fmt.Sprintf("c%d", i), endpoint(up(i)))))
	}
	overflow := static("c.cb0", endpoint(up(110)))
	overflow["circuit_breakers"] = M{"thresholds": A{M{"max_connections": 0, "max_pending_requests": 0}}}
	for _, m := range spoken() {
		out = append(out, raw(m))
	}
	for _, m := range []M{
		static("c.empty"), static("c.dead", endpoint(dead)),
		static("c.many", endpoint(up(100)), endpoint(up(101)), endpoint(up(102))),
		toOriginal("c.odst", nil), toOriginal("c.odsthdr", M{"use_http_header": true}),
		toOriginal("c.odsthdr2", M{"use_http_header": true, "http_header_name": "x-my-dst"}),
		toOriginal("c.odstport", M{"upstream_port_override": 9999}), overflow,
	} {
		out = append(out, raw(m))
	}
	return out
}

func toOriginal(name string, cfg M) M {
	m := M{"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "1s"}
	if cfg != nil {
		m["original_dst_lb_config"] = cfg
	}
	return m
}
