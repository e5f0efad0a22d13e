package envoy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// mesh is a small configuration for a test: listeners and clusters as JSON, written with '
// in place of ", as a config dump that holds everything.
type mesh struct {
	bootstrap, listeners, clusters, routes, endpoints, more string
	files                                                   map[string]string
}

func (m mesh) dump() []byte {
	wrap := func(list, body string) string {
		var out []string
		for _, e := range topLevel(list) {
			out = append(out, fmt.Sprintf(`{'%s': %s}`, body, e))
		}
		return strings.Join(out, ",")
	}
	s := `{'configs': [
		{'@type': 'type.googleapis.com/envoy.admin.v3.BootstrapConfigDump', 'bootstrap': {` + m.bootstrap + `}},
		{'@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump', 'static_clusters': [` + wrap(m.clusters, "cluster") + `]},
		{'@type': 'type.googleapis.com/envoy.admin.v3.EndpointsConfigDump', 'static_endpoint_configs': [` + wrap(m.endpoints, "endpoint_config") + `]},
		{'@type': 'type.googleapis.com/envoy.admin.v3.ListenersConfigDump', 'static_listeners': [` + wrap(m.listeners, "listener") + `], 'dynamic_listeners': []},
		{'@type': 'type.googleapis.com/envoy.admin.v3.RoutesConfigDump', 'dynamic_route_configs': [` + wrap(m.routes, "route_config") + `]}` + m.more + `
		]}`
	return []byte(strings.ReplaceAll(s, "'", `"`))
}

// topLevel splits JSON values that follow each other.
func topLevel(s string) []string {
	var out []string
	depth, start := 0, 0
	for i, c := range s {
		switch c {
		case '{':
			if depth == 0 {
				start = i
			}
			depth++
		case '}':
			if depth--; depth == 0 {
				out = append(out, s[start:i+1])
			}
		}
	}
	return out
}

func (m mesh) load(t testing.TB) *Config {
	t.Helper()
	files := map[string][]byte{dumpPart: m.dump()}
	for k, v := range m.files {
		files[k] = []byte(strings.ReplaceAll(v, "'", `"`))
	}
	c, gaps, err := Load(files)
	if err != nil || len(gaps) > 0 {
		t.Fatalf("load: %v %v", gaps, err)
	}
	return c
}

// l is a listener at an address with more members; chains and filters come as JSON.
func lis(name, addr string, port int, more ...string) string {
	return fmt.Sprintf(`{'name': '%s', 'address': %s%s}`, name, sockaddr(addr, port), comma(more))
}

func comma(more []string) string {
	if len(more) == 0 {
		return ""
	}
	return ", " + strings.Join(more, ", ")
}

func sockaddr(addr string, port int) string {
	return fmt.Sprintf(`{'socket_address': {'address': '%s', 'port_value': %d}}`, addr, port)
}

const (
	noBind       = `'bind_to_port': false`
	useOriginal  = `'use_original_dst': true`
	tlsInspector = `{'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'}}`
	httpInspect  = `{'name': 'http', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector'}}`
	originalDst  = `{'name': 'odst', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst'}}`
	proxyProto   = `{'name': 'pp', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol'}}`
	dstCluster   = `{'name': 'odst', 'type': 'ORIGINAL_DST', 'lb_policy': 'CLUSTER_PROVIDED'}`
)

func lfilters(f ...string) string { return `'listener_filters': [` + strings.Join(f, ",") + `]` }

// netFilter is a network filter of a kind with members.
func netFilter(kind, typ, members string) string {
	if members != "" {
		members = ", " + members
	}
	return fmt.Sprintf(`{'name': 'envoy.filters.network.%s', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.%s.v3.%s'%s}}`, kind, kind, typ, members)
}

func tcp(cluster string) string {
	return netFilter("tcp_proxy", "TcpProxy", `'stat_prefix': 't', 'cluster': '`+cluster+`'`)
}

// chainOf is a filter chain with its match and filters.
func chainOf(name, match string, filters ...string) string {
	return fmt.Sprintf(`{'name': '%s', 'filter_chain_match': {%s}, 'filters': [%s]}`, name, match, strings.Join(filters, ","))
}

func chainList(c ...string) string { return `'filter_chains': [` + strings.Join(c, ",") + `]` }

// toC is a chain list of one chain to cluster c, named after the listener.
func toC(name string) string { return chainList(chainOf(name, "", tcp("c"))) }

// static is a STATIC cluster of addresses.
func static(name string, addrs ...string) string {
	var e []string
	for _, a := range addrs {
		ap := netip.MustParseAddrPort(a)
		e = append(e, `{'endpoint': {'address': `+sockaddr(ap.Addr().String(), int(ap.Port()))+`}}`)
	}
	return fmt.Sprintf(`{'name': '%s', 'type': 'STATIC', 'load_assignment': {'cluster_name': '%s', 'endpoints': [{'lb_endpoints': [%s]}]}}`, name, name, strings.Join(e, ","))
}

func addr(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

// raw is a client that sends bytes of no known protocol.
func raw() *flow.Request { return &flow.Request{} }

func hello(sni string, alpn ...string) *flow.Request {
	return &flow.Request{TLS: &flow.TLS{SNI: sni, ALPN: alpn}}
}

// certless is hello of a client that has no certificate.
func certless(sni string) *flow.Request {
	return &flow.Request{TLS: &flow.TLS{SNI: sni, Cert: flow.No}}
}

func waits() *flow.Request { return &flow.Request{Payload: []byte{}} }

func get(version string) *flow.Request {
	return &flow.Request{HTTP: &flow.HTTP{Authority: "a", Version: version}}
}

// ends says in one line where a connection ends: every variant, in order.
func ends(c *Config, conn Conn, req *flow.Request) string {
	if conn.Proto == 0 {
		conn.Proto = flow.TCP
	}
	if !conn.Src.IsValid() {
		conn.Src = addr("10.9.9.9:33333")
	}
	var out []string
	for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
		out = append(out, end(c.Accept(conn, req, ch)))
	}
	return strings.Join(out, " | ")
}

func end(r Result) string {
	o := r.Outcome
	s := r.Verdict.String() + " " + o.Listener + "/" + o.FilterChain
	if o.Cluster != "" {
		s += " " + o.Cluster
	}
	if o.Endpoint != "" {
		s += " " + o.Endpoint
	}
	if r.Caller.Flags != "" {
		s += " " + r.Caller.Flags
	}
	if r.Caller.Details != "" {
		s += " " + r.Caller.Details
	}
	for _, n := range r.Needs {
		s += " needs " + n.Part + " " + n.Name
	}
	return s
}

type l4row struct {
	name string
	conn Conn
	req  *flow.Request
	want string
}

func run(t *testing.T, c *Config, rows []l4row) {
	t.Helper()
	for _, r := range rows {
		if r.req == nil {
			r.req = raw()
		}
		if got := ends(c, r.conn, r.req); got != r.want {
			t.Errorf("%s:\n got %s\nwant %s", r.name, got, r.want)
		}
	}
}

// Section 2: the hand-off goes by the exact restored address, then by the wildcard of its
// family, before any chain of the accepting listener is looked at; and only once.
func TestHandoff(t *testing.T) {
	c := mesh{
		listeners: lis("out", "0.0.0.0", 15001, useOriginal, toC("out")) +
			lis("v6", "::", 15001, useOriginal, toC("v6")) +
			lis("vip", "10.0.0.1", 80, noBind, toC("vip")) +
			lis("w80", "0.0.0.0", 80, noBind, useOriginal, toC("w80")) +
			lis("compat", "::", 81, noBind, toC("compat")) +
			`{'name': 'both', 'address': {'socket_address': {'address': '::', 'port_value': 82, 'ipv4_compat': true}}, 'bind_to_port': false, ` + toC("both") + `}` +
			lis("two", "10.0.0.2", 80, noBind, `'additional_addresses': [{'address': `+sockaddr("10.0.0.2", 8080)+`}]`, toC("two")) +
			lis("nochain", "10.0.0.3", 80, noBind, chainList(chainOf("never", `'destination_port': 1`, tcp("c")))) +
			lis("in", "0.0.0.0", 15006, toC("in")) +
			lis("explicit", "0.0.0.0", 15007, lfilters(originalDst), chainList(chainOf("p80", `'destination_port': 80`, tcp("odst")))) +
			lis("old", "10.0.0.4", 80, `'deprecated_v1': {'bind_to_port': false}`, toC("old")),
		clusters: static("c", "10.1.0.1:80") + dstCluster,
	}.load(t)
	out, v6 := addr("127.0.0.1:15001"), addr("[::1]:15001")
	run(t, c, []l4row{
		{"exact", Conn{Accept: out, Orig: addr("10.0.0.1:80")}, nil, "continue vip/vip c 10.1.0.1:80"},
		{"additional address", Conn{Accept: out, Orig: addr("10.0.0.2:8080")}, nil, "continue two/two c 10.1.0.1:80"},
		{"deprecated bind_to_port", Conn{Accept: out, Orig: addr("10.0.0.4:80")}, nil, "continue old/old c 10.1.0.1:80"},
		{"wildcard; no second hand-off", Conn{Accept: out, Orig: addr("10.0.0.9:80")}, nil, "continue w80/w80 c 10.1.0.1:80"},
		{"nobody: stays", Conn{Accept: out, Orig: addr("10.0.0.9:9999")}, nil, "continue out/out c 10.1.0.1:80"},
		{"[::] alone does not own 0.0.0.0", Conn{Accept: out, Orig: addr("10.0.0.9:81")}, nil, "continue out/out c 10.1.0.1:80"},
		{"[::] with ipv4_compat does", Conn{Accept: out, Orig: addr("10.0.0.9:82")}, nil, "continue both/both c 10.1.0.1:80"},
		{"v6 to its wildcard", Conn{Accept: v6, Orig: addr("[fd00::9]:81")}, nil, "continue compat/compat c 10.1.0.1:80"},
		{"v6 never to 0.0.0.0", Conn{Accept: v6, Orig: addr("[fd00::9]:80")}, nil, "continue v6/v6 c 10.1.0.1:80"},
		{"a target without a chain closes", Conn{Accept: out, Orig: addr("10.0.0.3:80")}, nil, "refused nochain/ NR filter_chain_not_found"},
		{"a wildcard that binds is handed to, too", Conn{Accept: out, Orig: addr("10.0.0.9:15006")}, nil, "continue in/in c 10.1.0.1:80"},
		{"to itself", Conn{Accept: out, Orig: addr("10.2.2.2:15001")}, nil, "continue out/out c 10.1.0.1:80"},
		{"not restored", Conn{Accept: out}, nil, "continue out/out c 10.1.0.1:80"},
		{"an explicit filter restores and hands nothing over", Conn{Accept: addr("127.0.0.1:15007"), Orig: addr("10.0.0.1:80")}, nil, "continue explicit/p80 odst 10.0.0.1:80"},
		{"the same, not restored", Conn{Accept: addr("127.0.0.1:15007")}, nil, "refused explicit/ NR filter_chain_not_found"},
		{"TPROXY", Conn{Accept: addr("0.0.0.0:15007"), Orig: addr("10.0.0.1:80"), Transparent: true}, nil, "continue explicit/p80 odst 10.0.0.1:80"},
		{"direct to the socket", Conn{Accept: addr("10.3.3.3:15006"), Orig: addr("10.3.3.3:15006")}, nil, "continue in/in c 10.1.0.1:80"},
		{"nobody binds there", Conn{Accept: addr("10.0.0.1:80")}, nil, "unknown /"},
	})
	steps := c.Accept(Conn{Accept: out, Orig: addr("10.0.0.1:80"), Src: addr("10.9.9.9:3"), Proto: flow.TCP}, raw(), new(flow.Choices)).Steps
	var got []string
	for _, s := range steps {
		got = append(got, s.Stage.String()+" "+s.Subject)
	}
	want := "listener out, listener-filter original_dst (by use_original_dst), handoff vip, filter-chain vip, transport-socket downstream, network-filter envoy.filters.network.tcp_proxy, cluster c, endpoint 10.1.0.1:80, transport-socket upstream"
	if strings.Join(got, ", ") != want {
		t.Errorf("steps:\n got %s\nwant %s", strings.Join(got, ", "), want)
	}
}

// Section 3: inspectors, waiting, timeouts, filter_disabled, PROXY headers.
func TestListenerFilters(t *testing.T) {
	const fast, on = `'listener_filters_timeout': '2s'`, `'continue_on_listener_filters_timeout': true`
	tcpChains := chainList(chainOf("tls", `'transport_protocol': 'tls'`, tcp("c")), chainOf("h1", `'application_protocols': ['http/1.1']`, tcp("c")),
		chainOf("h10", `'application_protocols': ['http/1.0']`, tcp("c")), chainOf("h2c", `'application_protocols': ['h2c']`, tcp("c")), chainOf("raw", "", tcp("c")))
	disabled := func(f, pred string) string { return f[:len(f)-1] + `, 'filter_disabled': {` + pred + `}}` }
	c := mesh{
		listeners: lis("both", "0.0.0.0", 1, lfilters(tlsInspector, httpInspect), fast, tcpChains) +
			lis("goon", "0.0.0.0", 2, lfilters(tlsInspector), fast, on, useOriginal, tcpChains) +
			lis("forever", "0.0.0.0", 3, lfilters(tlsInspector), `'listener_filters_timeout': '0s'`, on, tcpChains) +
			lis("none", "0.0.0.0", 4, tcpChains) +
			lis("http", "0.0.0.0", 5, lfilters(httpInspect, tlsInspector), tcpChains) +
			lis("off", "0.0.0.0", 6, lfilters(originalDst, disabled(tlsInspector, `'destination_port_range': {'start': 80, 'end': 82}`)), tcpChains) +
			lis("not", "0.0.0.0", 7, lfilters(originalDst, disabled(tlsInspector, `'not_match': {'or_match': {'rules': [{'destination_port_range': {'start': 80, 'end': 81}}]}}`)), tcpChains) +
			lis("pp", "0.0.0.0", 8, lfilters(proxyProto), useOriginal, chainList(chainOf("src", `'source_prefix_ranges': [{'address_prefix': '10.7.0.0', 'prefix_len': 16}]`, tcp("c")))) +
			lis("vip", "10.0.0.1", 80, noBind, toC("vip")) +
			lis("odd", "0.0.0.0", 9, lfilters(`{'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/acme.Filter', 'a': 1}}`), tcpChains) +
			lis("limit", "0.0.0.0", 10, lfilters(`{'name': 'rl', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit', 'token_bucket': {'max_tokens': 1}}}`), tcpChains) +
			lis("unlimited", "0.0.0.0", 12, lfilters(`{'name': 'rl', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit', 'token_bucket': {'max_tokens': 1}, 'runtime_enabled': {'default_value': false, 'runtime_key': 'k'}}}`), tcpChains) +
			lis("ecds", "0.0.0.0", 11, lfilters(`{'name': 'e', 'config_discovery': {}}`), tcpChains),
		clusters: static("c", "10.1.0.1:80"),
	}.load(t)
	at := func(port int) Conn { return Conn{Accept: addr(fmt.Sprintf("10.5.5.5:%d", port))} }
	orig := func(port int, o string) Conn { c := at(port); c.Orig = addr(o); return c }
	prox := func(src, dst string) *flow.Request {
		return &flow.Request{Proxy: &flow.ProxyHeader{Src: addr(src), Dst: addr(dst)}}
	}
	line := func(s string) *flow.Request { return &flow.Request{Payload: []byte(s)} }
	const good = " c 10.1.0.1:80"
	run(t, c, []l4row{
		{"TLS", at(1), hello("a"), "continue both/tls" + good},
		{"HTTP/1.1", at(1), get(""), "continue both/h1" + good},
		{"HTTP/1.0", at(1), get("1.0"), "continue both/h10" + good},
		{"h2 preface", at(1), get("2"), "continue both/h2c" + good},
		{"other bytes", at(1), nil, "continue both/raw" + good},
		{"HTTP/3.7 counts as 1.0", at(1), line("GET / HTTP/3.7\r\n"), "continue both/h10" + good},
		{"unknown method is no HTTP", at(1), line("BREW / HTTP/1.1\r\n"), "continue both/raw" + good},
		{"half a line waits", at(1), line("GET / HT"), "refused both/"},
		{"silent client: closed after the timeout", at(1), waits(), "refused both/"},
		{"silent client: goes on, not restored", orig(2, "10.0.0.1:80"), waits(), "continue goon/raw" + good},
		{"a client that speaks is handed over", orig(2, "10.0.0.1:80"), nil, "continue vip/vip" + good},
		{"waits for ever", at(3), waits(), "dropped forever/"},
		{"nobody inspects", at(4), hello("a"), "continue none/raw" + good},
		{"http_inspector first: TLS is no HTTP", at(5), hello("a"), "continue http/tls" + good},
		{"disabled at the restored port", orig(6, "10.0.0.1:80"), hello("a"), "continue off/raw" + good},
		{"last port of the range", orig(6, "10.0.0.1:81"), hello("a"), "continue off/raw" + good},
		{"end of the range is open", orig(6, "10.0.0.1:82"), hello("a"), "continue off/tls" + good},
		{"not: at the port it runs", orig(7, "10.0.0.1:80"), hello("a"), "continue not/tls" + good},
		{"not: elsewhere it does not", orig(7, "10.0.0.1:81"), hello("a"), "continue not/raw" + good},
		{"PROXY names source; destination is the socket's own", at(8), prox("10.7.0.1:4", "10.5.5.5:8"), "continue pp/src" + good},
		{"PROXY restores", at(8), prox("10.7.0.1:4", "10.0.0.1:80"), "continue vip/vip" + good},
		{"no PROXY header", at(8), nil, "refused pp/"},
		{"a filter nobody knows", at(9), nil, "continue odd/raw" + good + " | unknown odd/"},
		{"a bucket", at(10), nil, "continue limit/raw" + good + " | refused limit/"},
		{"a bucket switched off", at(12), nil, "continue unlimited/raw" + good},
		{"ECDS never came", at(11), nil, "refused ecds/"},
	})
}
