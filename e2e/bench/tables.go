package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// envoys7ms is what Envoy itself takes for the last of 100,000 routes (Envoy 1.40).
const envoys7ms = 7 * time.Millisecond

// routeKind is how the routes of a table match, with a request that route r takes.
type routeKind struct {
	name  string
	match string // with %d for the route's number
	path  string
	head  string // the value of the header x-route
}

// exact comes first: the choice of a virtual host is measured with it.
var routeKinds = []routeKind{
	{"exact", `{"path":"/r%d"}`, "/r%d", ""},
	{"prefix", `{"prefix":"/r%d/"}`, "/r%d/x", ""},
	{"regex", `{"safe_regex":{"regex":"/r%d/[a-z]+"}}`, "/r%d/x", ""},
	{"header-matched", `{"prefix":"/","headers":[{"name":"x-route","string_match":{"exact":"%d"}}]}`, "/", "%d"},
}

// look is one look-up in a table of so many hosts with so many routes each.
type look struct {
	hosts, routes int
	kind          routeKind
	host, route   int // which is asked for; a route that is not there: 404
}

// tables measures what the ladder does not hold: one virtual host with 100,000 routes of
// each kind, and the choice of a virtual host among few and many.
func tables() (judged, error) {
	const many = 100_000
	out := judged{title: "tables, warm, the best of 21"}
	ms := func(what string, d, aim time.Duration) {
		out.bars = append(out.bars, bar{what: what, got: d.Seconds() * 1e3, aim: aim.Seconds() * 1e3, digits: 3})
	}
	for _, k := range routeKinds {
		for i, what := range []string{"the last", "none (404)"} {
			took, err := look{1, many, k, 0, many - 1 + i}.best()
			if err != nil {
				return out, err
			}
			ms(fmt.Sprintf("%s of 100,000 %s routes, ms", what, k.name), took, envoys7ms)
		}
	}
	var few time.Duration
	for _, n := range []int{100, 10_000, many} {
		took, err := look{n, 1, routeKinds[0], n / 2, 0}.best()
		if err != nil {
			return out, err
		}
		if few == 0 {
			few = took
		}
		// Independent of their number: a search would take 100 and 1,000 times as long.
		ms(fmt.Sprintf("one of %d virtual hosts, ms", n), took, 10*few)
	}
	return out, nil
}

// best is the least CPU time of some warm traces.
func (l look) best() (time.Duration, error) {
	cluster := fmt.Sprintf("c%d/%d", l.host, l.route)
	snap, err := rules.ParseSnapshot(map[string][]byte{"config_dump.json": l.dump(cluster)}, nil)
	if err != nil {
		return 0, err
	}
	at := netip.MustParseAddrPort("10.0.0.1:80")
	req := flow.Request{Dir: flow.Outbound, Proto: flow.TCP, Dst: at, Src: netip.MustParseAddrPort("10.0.0.7:40000"),
		HTTP: &flow.HTTP{Method: "GET", Authority: fmt.Sprintf("h%d.example.com", l.host), Path: numbered(l.kind.path, l.route), Version: "1.1"}}
	if l.kind.head != "" {
		req.HTTP.Headers = [][2]string{{"x-route", numbered(l.kind.head, l.route)}}
	}
	want := flow.Outcome{Cluster: cluster, VirtualHost: fmt.Sprintf("h%d", l.host)}
	code := 0
	if l.route >= l.routes {
		want.Cluster, code = "", 404
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best := time.Hour
	for range 21 {
		start := threadTime()
		res := snap.Envoy.Accept(envoy.Conn{Accept: at, Src: req.Src, Proto: flow.TCP}, &req, new(flow.Choices))
		best = min(best, threadTime()-start)
		if o := res.Outcome; o.Cluster != want.Cluster || o.VirtualHost != want.VirtualHost || code != 0 && res.Caller.Code != code {
			return 0, fmt.Errorf("wrong: %s of %d: virtual host %q, cluster %q, code %d, want %q, %q, %d", l.kind.name, l.routes, o.VirtualHost, o.Cluster, res.Caller.Code, want.VirtualHost, want.Cluster, code)
		}
	}
	return best, nil
}

// numbered puts a number into a text that may have a place for it.
func numbered(s string, n int) string { return strings.ReplaceAll(s, "%d", fmt.Sprint(n)) }

// dump has one listener on 10.0.0.1:80 with an inline table, and one of its clusters.
func (l look) dump(cluster string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":%q,"type":"STATIC"}}]},`, cluster)
	b.WriteString(
		`{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l",` +
			`"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"filter_chains":[{"filters":[{"name":"h","typed_config":{` +
			`"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"h",` +
			`"http_filters":[{"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],"route_config":{"name":"t","virtual_hosts":[`)
	for h := range l.hosts {
		if h > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"h%d","domains":["h%d.example.com"],"routes":[`, h, h)
		for r := range l.routes {
			if r > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"match":%s,"route":{"cluster":"c%d/%d"}}`, numbered(l.kind.match, r), h, r)
		}
		b.WriteString(`]}`)
	}
	b.WriteString(`]}}}]}]}}]}]}`)
	return b.Bytes()
}
