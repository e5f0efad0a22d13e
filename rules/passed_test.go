package rules

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// What tcp_proxy passes on unread is what the next listener gets, TLS and all, without the PROXY
// header that the first one took (e2e/envoy, TestJoined: by a real Envoy).
func TestPassedThrough(t *testing.T) {
	const at, types = `"address":{"socket_address":{"address":`, `"@type":"type.googleapis.com/envoy.extensions.filters.`
	proxyHeader := `"listener_filters":[{"name":"pp","typed_config":{` + types + `listener.proxy_protocol.v3.ProxyProtocol"}}],`
	dump := `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{}},
{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[` + cluster("back", "127.0.0.1:15006") + `,` + cluster("c", "10.3.0.1:80") + `]},
{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[
{"listener":{"name":"front",` + at + `"127.0.0.1","port_value":15001}},` + proxyHeader + `"filter_chains":[{"name":"f","filters":[{"name":"t","typed_config":{` + types + `network.tcp_proxy.v3.TcpProxy","stat_prefix":"t","cluster":"back"}}]}]}},
{"listener":{"name":"back",` + at + `"127.0.0.1","port_value":15006}},"filter_chains":[{"name":"f","filters":[{"name":"h","typed_config":{` + types + `network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"h",
"http_filters":[{"name":"r","typed_config":{` + types + `http.router.v3.Router"}}],"route_config":{"name":"rc","virtual_hosts":[{"name":"v","domains":["*"],"routes":[
{"match":{"path":"/there"},"redirect":{"host_redirect":"b.test"}},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}}}]}]}}]}]}`
	s, err := ParseSnapshot(map[string][]byte{"config_dump.json": []byte(dump), "meta.json": []byte(`{"envoy_uid":1337}`), "iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"),
		"addr.json": []byte(`[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24}]}]`)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort
	header := &flow.ProxyHeader{Src: addr("10.9.9.9:1"), Dst: addr("10.9.9.8:80")}
	for _, c := range []struct {
		what    string
		path    string
		tls     *flow.TLS
		verdict flow.Verdict
		caller  flow.Symptom
	}{
		{"a request", "/", nil, flow.Delivered, flow.Symptom{Code: 200, TCP: flow.TCPOK}},
		{"a redirect", "/there", nil, flow.Delivered, flow.Symptom{Code: 301, Location: "http://b.test/there", TCP: flow.TCPOK}},
		{"TLS, where plain text is spoken", "/", &flow.TLS{SNI: "a.test"}, flow.Refused, flow.Symptom{TCP: flow.TCPResetOrClosed}},
	} {
		req := flow.Request{Dir: flow.Outbound, Proto: flow.TCP, Dst: addr("127.0.0.1:15001"), UID: 1000, Proxy: header, TLS: c.tls, HTTP: &flow.HTTP{Method: "GET", Path: c.path, Authority: "a.test"}}
		if got := Trace(s, req); got.Verdict != c.verdict || got.Caller != c.caller || got.Upstream != nil {
			t.Errorf("%s: %v %+v %+v, want %v %+v", c.what, got.Verdict, got.Caller, got.Upstream, c.verdict, c.caller)
		}
	}
}
