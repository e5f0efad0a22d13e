package envoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// A member that meshtop does not know, wherever it stands on the way, leaves the verdict
// open and is named; one that is known not to decide stays silent.
func TestUnknownMembers(t *testing.T) {
	route := func(s string) string {
		return fmt.Sprintf(`"route_config":{"name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"r","match":{"prefix":"/"},%s}]}]}`, s)
	}
	const direct = `"direct_response":{"status":200}`
	plain := oneHost(answering("r", `"prefix":"/"`))
	fault := func(config string) string { return withFilters(plain, typedFilter("f", "fault.v3.HTTPFault", config)) }
	perRoute := route(direct + `,"typed_per_filter_config":{"f":` + typedAny("envoy.extensions.filters.http.fault.v3.HTTPFault", `"shiny_new":1`) + `}`)
	for _, c := range []struct{ name, hcm, want string }{
		{"manager", plain + `,"shinyNew":{"x":1}`, "network-filter h shinyNew"},
		{"table", strings.Replace(plain, `"name":"rt"`, `"name":"rt","shiny_new":1`, 1), "route-config rt shiny_new"},
		{"virtual host", strings.Replace(plain, `"name":"v"`, `"name":"v","shiny_new":1`, 1), "virtual-host v shiny_new"},
		{"route", route(direct + `,"shiny_new":1`), "route r shiny_new"},
		{"route specifiers of 1.40", route(direct + `,"route_specifiers":[{"name":"x"}]`), "route r route_specifiers"},
		{"direct response", route(`"direct_response":{"status":200,"shiny_new":1}`), "route r direct_response.shiny_new"},
		{"redirect", route(`"redirect":{"shiny_new":1}`), "route r redirect.shiny_new"},
		{"action", route(`"route":{"cluster":"c","shiny_new":1}`), "route r route.shiny_new"},
		{"weights", route(`"route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1}],"shiny_new":1}}`), "route r route.weighted_clusters.shiny_new"},
		{"share", route(`"route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1,"shiny_new":1}]}}`), "route r c shiny_new"},
		{"filter", fault(`"shiny_new":1`), "http-filter f shiny_new"},
		{"filter of the route", withFilters(perRoute, typedFilter("f", "fault.v3.HTTPFault", "")), "http-filter f shiny_new"},
		{"router", strings.Replace(plain+`,"http_filters":[`+routerFilter+`]`, `.router.v3.Router"`, `.router.v3.Router","shiny_new":1`, 1), "http-filter router shiny_new"},
		{"match", oneHost(answering("r", `"prefix":"/","shiny_new":1`)), "route v r"},
		{"a route that is chosen again", withFilters(plain, typedFilter("f", "set_filter_state.v3.Config", `"clear_route_cache":true,"on_request_headers":[]`)), ""},
		{"a route that stays chosen", withFilters(plain, typedFilter("f", "set_filter_state.v3.Config", `"on_request_headers":[]`)), ""},
		// What says nothing is nothing, and what cannot decide is silent.
		{"empty", route(direct + `,"shiny_new":null,"shiny_newer":"","newest":[]`), ""},
		{"known", route(direct + `,"metadata":{"x":1},"decorator":{"operation":"x"},"tracing":{},"stat_prefix":"s","typed_per_filter_config":{}`), ""},
		{"known of 1.40", plain + `,"drain_timeout_jitter":{"value":5},"record_route_resolution_stats":true`, ""},
		{"a filter that is off", withFilters(plain, strings.Replace(typedFilter("f", "fault.v3.HTTPFault", `"shiny_new":1`), `"name":"f"`, `"name":"f","disabled":true`, 1)), ""},
	} {
		rs, made := variants(httpDump(t, c.hcm), sent("GET", "/", "a"), nil)
		got, last := "", rs[len(rs)-1].Verdict
		for _, m := range made[len(made)-1] {
			got = m.Choice.Ref
		}
		want := map[bool]flow.Verdict{true: flow.Delivered, false: flow.Unknown}[c.want == ""]
		if c.name == "match" {
			want = flow.Refused // no other route
		}
		if got != c.want || last != want {
			t.Errorf("%s: choice %q, want %q; then %v, want %v", c.name, got, c.want, last, want)
		}
	}
}

// The variant in which an unknown member of a route decides claims neither route nor cluster,
// and its step holds the member's text.
func TestUnknownMemberClaims(t *testing.T) {
	cfg := httpDump(t, oneHost(`{"name":"r","match":{"prefix":"/"},"route":{"cluster":"c","shiny_new":{"a":1}}}`))
	rs, _ := variants(cfg, sent("GET", "/", "a"), nil)
	if len(rs) != 2 || rs[0].Outcome.Cluster != "c" || rs[1].Outcome.Cluster != "" || rs[1].Outcome.Route != "" || rs[1].Outcome.RouteIndex != -1 || rs[1].Outcome.VirtualHost != "v" {
		t.Fatalf("%+v", rs)
	}
	s := rs[1].Steps[len(rs[1].Steps)-1]
	if s.Verdict != flow.Unknown || s.Reason != flow.Because(flow.WhyNotModelled, "route.shiny_new") || len(s.Evidence) != 1 || s.Evidence[0].Text != `{"a":1}` {
		t.Errorf("%+v", s)
	}
	if rs, _ := variants(cfg, sent("GET", "/", "a"), flow.Pick{"route r route.shiny_new": "pass"}); len(rs) != 1 || rs[0].Outcome.Cluster != "c" {
		t.Errorf("pinned: %d variants", len(rs))
	}
}

// The same for the filters of a connection.
func TestUnknownMembersOfNetworkFilters(t *testing.T) {
	for _, c := range []struct {
		filter string
		open   bool
	}{
		{netFilter("tcp_proxy", "TcpProxy", `'cluster': 'c'`), false},
		{netFilter("tcp_proxy", "TcpProxy", `'cluster': 'c', 'stat_prefix': 's', 'max_connect_attempts': 2`), false},
		{netFilter("tcp_proxy", "TcpProxy", `'cluster': 'c', 'shiny_new': 1`), true},
		{netFilter("rbac", "RBAC", `'shiny_new': 1`) + "," + tcp("c"), true},
		{netFilter("set_filter_state", "Config", `'on_downstream_tls_handshake': [{}]`) + "," + tcp("c"), true},
	} {
		cfg := mesh{listeners: lis("l", "0.0.0.0", 80, chainList(chainOf("f", "", c.filter))), clusters: static("c", "10.1.0.1:80")}.load(t)
		n, last := 0, flow.Continue
		for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
			last = cfg.Accept(Conn{Accept: addr("10.0.0.1:80"), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, raw(), ch).Verdict
			n++
		}
		if c.open != (n == 2 && last == flow.Unknown) || !c.open && (n != 1 || last != flow.Continue) {
			t.Errorf("%s: %d ways, the last %v", c.filter, n, last)
		}
	}
}

// The same for what a connection meets before and after them.
func TestUnknownMembersOfConnections(t *testing.T) {
	chain := func(more string) string { return chainList(chainOf("f", "", tcp("c")) + more) }
	l := lis("l", "0.0.0.0", 80, chain(""))
	c := static("c", "10.1.0.1:80")
	in := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%q is not in %s", old, s)
		}
		return strings.Replace(s, old, new, 1)
	}
	for name, m := range map[string]struct {
		mesh mesh
		ref  string
	}{
		"as it is":          {mesh{listeners: l, clusters: c}, ""},
		"listener":          {mesh{listeners: in(l, `'name': 'l'`, `'name': 'l', 'shiny_new': null, 'shinier': {'a': 1}`), clusters: c}, "listener l shinier"},
		"known listener":    {mesh{listeners: in(l, `'name': 'l'`, `'name': 'l', 'freebind': true, 'drain_type': 'MODIFY_ONLY'`), clusters: c}, ""},
		"chain":             {mesh{listeners: in(l, `'filters'`, `'shiny_new': 1, 'filters'`), clusters: c}, "filter-chain f shiny_new"},
		"cluster":           {mesh{listeners: l, clusters: in(c, `'name': 'c'`, `'name': 'c', 'shiny_new': 1`)}, "cluster c shiny_new"},
		"cluster filters":   {mesh{listeners: l, clusters: in(c, `'name': 'c'`, `'name': 'c', 'filters': [{'name': 'x'}]`)}, "cluster c filters"},
		"metadata exchange": {mesh{listeners: l, clusters: in(c, `'name': 'c'`, `'name': 'c', 'filters': [{'name': 'istio.metadata_exchange'}]`)}, ""},
		"assignment":        {mesh{listeners: l, clusters: in(c, `'endpoints'`, `'shiny_new': 1, 'endpoints'`)}, "endpoint c shiny_new"},
		"locality":          {mesh{listeners: l, clusters: in(c, `'lb_endpoints'`, `'leds_cluster_locality_config': {'a': 1}, 'lb_endpoints'`)}, "endpoint c leds_cluster_locality_config"},
		"known cluster":     {mesh{listeners: l, clusters: in(c, `'name': 'c'`, `'name': 'c', 'connect_timeout': '1s', 'outlier_detection': {'consecutive_5xx': 3}`)}, ""},
		"original dst":      {mesh{listeners: l, clusters: in(c, `'name': 'c'`, `'name': 'c', 'original_dst_lb_config': {'metadata_key': {'key': 'k'}}`)}, "cluster c original_dst_lb_config.metadata_key"},
	} {
		cfg := m.mesh.load(t)
		var refs []string
		for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
			cfg.Accept(Conn{Accept: addr("10.0.0.1:80"), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, raw(), ch)
			for _, made := range ch.Made() {
				if !slices.Contains(refs, made.Choice.Ref) {
					refs = append(refs, made.Choice.Ref)
				}
			}
		}
		if got := strings.Join(refs, ", "); got != m.ref {
			t.Errorf("%s: choices %q, want %q", name, got, m.ref)
		}
	}
}

// Nothing on the way of a real configuration is unknown: no answer on it is left open for a
// member that decides nothing.
func TestRealDumpsHoldNoUnknownMembers(t *testing.T) {
	seen := 0
	for name, raw := range realDumps(t) {
		c, _, err := Load(map[string][]byte{dumpPart: raw})
		if err != nil {
			t.Fatal(err)
		}
		say := func(where string, odd []string) {
			if seen++; len(odd) > 0 {
				t.Errorf("%s: %s: %v", name, where, odd)
			}
		}
		for _, o := range c.Objects() {
			n := c.at(t, o.Ref)
			switch o.Kind {
			case flow.Listener:
				say(o.Ref, n.Unknown(listenerFields...))
				for _, f := range n.Field("listener_filters").All() {
					kind, config := kindOf(f)
					say(o.Ref, oddListenerFilter(snake(kind), config))
				}
			case flow.Cluster:
				say(o.Ref, oddCluster(n))
			case flow.RouteConfig:
				say(o.Ref, n.Unknown(tableFields...))
			case flow.VirtualHost:
				say(o.Ref, n.Unknown(vhostFields...))
			case flow.Route:
				say(o.Ref, oddRoute(n))
				say(o.Ref, n.Field("match").Unknown(routeMatchFields...))
				for _, e := range n.Path("route", "weighted_clusters", "clusters").All() {
					say(o.Ref, e.Unknown(shareFields...))
				}
			case flow.FilterChain:
				say(o.Ref, n.Unknown(chainFields...))
				if kind, config := unwrapSocket(n.Field("transport_socket")); kind == "tls" {
					say(o.Ref, oddDownstream(config, &flow.TLS{}))
				}
				for _, f := range n.Field("filters").All() {
					kind, config := kindOf(f)
					e := (&pass{cfg: c}).extension(f)
					if known := networkFields(e.kind); known != nil {
						say(o.Ref+" "+e.name, e.config.Unknown(known...))
					}
					if kind != "HttpConnectionManager" {
						continue
					}
					m := c.readManager(config)
					say(o.Ref, m.unknown)
					for _, f := range m.filters {
						say(o.Ref+" "+f.name, f.odd)
					}
				}
			}
		}
	}
	if seen < 500 {
		t.Errorf("only %d objects were looked at", seen)
	}
}

// at is the object of a reference, decoded.
func (c *Config) at(t *testing.T, ref string) tree.Node {
	t.Helper()
	raw, ok := c.Raw(ref)
	if !ok {
		t.Fatalf("no text at %q", ref)
	}
	d, err := tree.Parse(raw, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d.Root()
}
