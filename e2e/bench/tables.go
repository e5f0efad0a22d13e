package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// envoys7ms is what Envoy itself takes for the last of 100,000 routes (Envoy 1.40).
const envoys7ms = 7 * time.Millisecond

// tables measures what the ladder does not hold: one virtual host with 100,000 routes,
// and the choice of a virtual host among few and many.
func tables() {
	fmt.Print("\n## tables\n")
	t := lookUp(1, 100_000, 0, "/r99999")
	fmt.Printf("%-44s %v (Envoy takes %v)\n", "the last of 100,000 routes, warm", t, envoys7ms)
	for _, n := range []int{100, 10_000, 100_000} {
		fmt.Printf("%-44s %v\n", fmt.Sprintf("one of %d virtual hosts, warm", n), lookUp(n, 1, n/2, "/r0"))
	}
}

// lookUp is the best of some warm traces to virtual host h of a table.
func lookUp(hosts, routes, h int, path string) time.Duration {
	dump := tableDump(hosts, routes, fmt.Sprintf("c%d%s", h, path))
	snap, err := rules.ParseSnapshot(map[string][]byte{"config_dump.json": dump}, nil)
	if err != nil {
		fmt.Println(err)
		return 0
	}
	at := netip.MustParseAddrPort("10.0.0.1:80")
	req := flow.Request{Dir: flow.Outbound, Proto: flow.TCP, Dst: at, Src: netip.MustParseAddrPort("10.0.0.7:40000"),
		HTTP: &flow.HTTP{Method: "GET", Authority: fmt.Sprintf("h%d.example.com", h), Path: path, Version: "1.1"}}
	best := time.Hour
	for range 21 {
		start := time.Now()
		res := snap.Envoy.Accept(envoy.Conn{Accept: at, Src: req.Src, Proto: flow.TCP}, &req, new(flow.Choices))
		best = min(best, time.Since(start))
		if res.Outcome.Cluster != fmt.Sprintf("c%d%s", h, path) {
			fmt.Printf("  wrong: cluster %q for %s%s\n", res.Outcome.Cluster, req.HTTP.Authority, path)
			return 0
		}
	}
	return best
}

// tableDump has one listener on 10.0.0.1:80 with an inline table, and one of its clusters.
func tableDump(hosts, routes int, cluster string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":%q,"type":"STATIC"}}]},`, cluster)
	b.WriteString(
		`{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l",` +
			`"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"filter_chains":[{"filters":[{"name":"h","typed_config":{` +
			`"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"h",` +
			`"http_filters":[{"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],"route_config":{"name":"t","virtual_hosts":[`)
	for h := range hosts {
		if h > 0 {
			b.WriteByte(',')
		}
		var rs []string
		for r := range routes {
			rs = append(rs, fmt.Sprintf(`{"match":{"path":"/r%d"},"route":{"cluster":"c%d/r%d"}}`, r, h, r))
		}
		fmt.Fprintf(&b, `{"name":"h%d","domains":["h%d.example.com"],"routes":[%s]}`, h, h, strings.Join(rs, ","))
	}
	b.WriteString(`]}}}]}]}}]}]}`)
	return b.Bytes()
}
