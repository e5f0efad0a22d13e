package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// cluster is a STATIC cluster of the endpoints given.
func cluster(name string, endpoints ...string) string {
	var list []string
	for _, e := range endpoints {
		ap := netip.MustParseAddrPort(e)
		list = append(list, fmt.Sprintf(`{"endpoint":{"address":{"socket_address":{"address":"%s","port_value":%d}}}}`, ap.Addr(), ap.Port()))
	}
	return fmt.Sprintf(`{"cluster":{"name":"%s","type":"STATIC","load_assignment":{"cluster_name":"%s","endpoints":[{"lb_endpoints":[%s]}]}}}`, name, name, strings.Join(list, ","))
}

// proxied is a pod whose proxy takes what comes to port 8080: route is the only route's
// action, and hcm are further members of the connection manager. On 127.0.0.1 port 7 is open.
func proxied(t *testing.T, hcm, route string, clusters ...string) *Snapshot {
	t.Helper()
	dump := `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{}},
{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[` + strings.Join(clusters, ",") + `]},
{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":15006}},"filter_chains":[{"name":"f","filters":[{"name":"h","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",` + hcm + `"stat_prefix":"h","http_filters":[{"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],"route_config":{"name":"rc","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"r","match":{"prefix":"/"},"route":` + route + `}]}]}}}]}]}}]}]}`
	s, err := ParseSnapshot(map[string][]byte{"config_dump.json": []byte(dump), "meta.json": []byte(`{"envoy_uid":1337}`),
		"iptables-save": []byte("*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 15006\nCOMMIT\n*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -d 10.9.0.0/16 -j DROP\nCOMMIT\n"),
		"addr.json":     []byte(`[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24}]}]`),
		"sockets":       []byte("Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\ntcp LISTEN 0 4096 0.0.0.0:15006 0.0.0.0:* users:((\"envoy\",pid=5,fd=3))\ntcp LISTEN 0 4096 127.0.0.1:7 0.0.0.0:* users:((\"app\",pid=6,fd=3))\n")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(headers ...[2]string) flow.Request {
	return flow.Request{Dir: flow.Inbound, Proto: flow.TCP, Src: netip.MustParseAddrPort("10.5.0.5:4000"), Dst: netip.MustParseAddrPort("10.0.0.1:8080"),
		HTTP: &flow.HTTP{Method: "GET", Path: "/", Authority: "a.test", Headers: headers}}
}

// hosts are n addresses of one port in a /16.
func hosts(net string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s.%d.%d:80", net, i/250, i%250+1))
	}
	return out
}

// However many hosts there are, each counts: those that fare alike are one way, and no
// host's fate is told as that of the others.
func TestTraceOfManyHosts(t *testing.T) {
	const dead, open = "127.0.0.1:9", "127.0.0.1:7"
	five := `{"weighted_clusters":{"clusters":[{"name":"c0","weight":1},{"name":"c1","weight":1},{"name":"c2","weight":1},{"name":"c3","weight":1},{"name":"c4","weight":1}]}}`
	clusters := func(last ...string) (out []string) {
		for i := range 4 {
			out = append(out, cluster(fmt.Sprintf("c%d", i), hosts(fmt.Sprintf("10.%d", i+10), 14)...))
		}
		return append(out, cluster("c4", last...))
	}
	for _, c := range []struct {
		what    string
		s       *Snapshot
		verdict flow.Verdict
		refused float64 // probability of a way that is not delivered
	}{
		{"all alive", proxied(t, "", `{"cluster":"c"}`, cluster("c", hosts("10.3", 1000)...)), flow.Delivered, 0},
		{"the first of 20 dead", proxied(t, "", `{"cluster":"c"}`, cluster("c", append([]string{dead}, hosts("10.3", 19)...)...)), flow.Depends, 0.05},
		{"all but the first of 20 dead", proxied(t, "", `{"cluster":"c"}`, cluster("c", append([]string{"10.3.0.1:80"}, hosts("10.9", 19)...)...)), flow.Depends, 0.95},
		{"half of 100 dropped", proxied(t, "", `{"cluster":"c"}`, cluster("c", append(hosts("10.3", 50), hosts("10.9", 50)...)...)), flow.Depends, 0.5},
		{"all dead", proxied(t, "", `{"cluster":"c"}`, cluster("c", hosts("10.9", 100)...)), flow.Refused, 1},
		{"local ports, one open", proxied(t, "", `{"cluster":"c"}`, cluster("c", append([]string{open}, strings.Split(strings.Repeat(dead+" ", 19), " ")[:19]...)...)), flow.Depends, 0.95},
		{"70 in 5 clusters", proxied(t, "", five, clusters(hosts("10.14", 14)...)...), flow.Delivered, 0},
		{"70 in 5 clusters, one cluster dead", proxied(t, "", five, clusters(hosts("10.9", 14)...)...), flow.Depends, 0.2},
	} {
		got := Trace(c.s, get())
		refused := 0.0
		for _, v := range got.Variants {
			if v.Verdict != flow.Delivered {
				refused += v.Probability
			}
		}
		if got.Variants == nil && got.Verdict == flow.Refused {
			refused = 1
		}
		if got.Cut || got.Verdict != c.verdict || refused < c.refused-1e-6 || refused > c.refused+1e-6 {
			t.Errorf("%s: %v, refused with probability %.3f, cut %v; want %v, %.3f", c.what, got.Verdict, refused, got.Cut, c.verdict, c.refused)
		}
	}
}
