package envoy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// httpDump is a config dump with one plain listener on 127.0.0.1:80 whose connection
// manager has these fields besides the router, and cluster c with one host.
func httpDump(t testing.TB, hcm string) *Config {
	t.Helper()
	dump := `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"c","type":"STATIC",
	"load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"10.0.0.9","port_value":8080}}}}]}]}}}]},
	{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l","address":{"socket_address":{"address":"127.0.0.1","port_value":80}},
	"filter_chains":[{"filters":[{"name":"hcm","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"h",` + hcm + `}}]}]}}]},
	{"@type":"type.googleapis.com/envoy.admin.v3.RoutesConfigDump"}]}`
	if !strings.Contains(hcm, "http_filters") {
		dump = strings.Replace(dump, `"stat_prefix":"h",`, `"stat_prefix":"h","http_filters":[`+routerFilter+`],`, 1)
	}
	c, gaps, err := Load(map[string][]byte{dumpPart: []byte(dump)})
	if err != nil || len(gaps) > 0 {
		t.Fatal(err, gaps)
	}
	return c
}

const routerFilter = `{"name":"router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}`

// ask sends one request to a httpDump's listener; the first variant.
func ask(c *Config, h flow.HTTP) Result {
	req := plainRequest(h)
	return c.Accept(plainConn(), &req, new(flow.Choices))
}

func plainConn() Conn {
	return Conn{Accept: netip.MustParseAddrPort("127.0.0.1:80"), Src: netip.MustParseAddrPort("127.0.0.1:40000"), Proto: flow.TCP}
}

func plainRequest(h flow.HTTP) flow.Request {
	conn := plainConn()
	return flow.Request{Src: conn.Src, Dst: conn.Accept, Proto: flow.TCP, HTTP: &h}
}

func manyRoutes(n int) string {
	var b strings.Builder
	b.WriteString(`"route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[`)
	for i := range n {
		match := fmt.Sprintf(`"prefix":"/svc-%d/"`, i)
		switch i % 4 {
		case 1:
			match = fmt.Sprintf(`"path":"/exact-%d"`, i)
		case 2:
			match += `,"headers":[{"name":"x-version","string_match":{"exact":"v2"}}]`
		case 3:
			match = fmt.Sprintf(`"safe_regex":{"regex":"/re-%d/[a-z]+"}`, i)
		}
		fmt.Fprintf(&b, `{"name":"r%d","match":{%s},"route":{"cluster":"c"}},`, i, match)
	}
	b.WriteString(`{"name":"last","match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`)
	return b.String()
}

// BenchmarkRoutes is a warm request that matches the last of many routes.
func BenchmarkRoutes(b *testing.B) {
	for _, n := range []int{1, 100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := httpDump(b, manyRoutes(n))
			h := flow.HTTP{Authority: "a", Path: "/nothing/here", Headers: [][2]string{{"x-version", "v1"}, {"user-agent", "curl"}}}
			if r := ask(c, h); r.Outcome.Route != "last" {
				b.Fatalf("%+v", r.Outcome)
			}
			b.ReportAllocs()
			for b.Loop() {
				ask(c, h)
			}
		})
	}
}
