package envoy

import (
	"fmt"
	"strings"
)

const (
	httpListeners = 8
	httpEach      = 14 // requests a listener
)

// virtualHost is what requests are made for.
type virtualHost struct {
	domains []string
	grants  []grant
}

// http makes a world of HTTP listeners.
func (d *dice) http(b *Batch) {
	b.World.Clusters = usualClusters(12)
	b.World.Runtime = M{"rt": M{"on": 100, "off": 0, "frac": M{"numerator": 100, "denominator": "HUNDRED"}}, "wk": M{"c0": 0, "c1": 5}}
	for i := range httpListeners {
		d.httpListener(b, i)
	}
}

func (d *dice) httpListener(b *Batch, i int) {
	name := listenerName(i)
	l := listener(name, acceptAddr(i), acceptPort)
	tls, proxy := d.chance(0.12), d.chance(0.25)
	if proxy {
		l["listener_filters"] = A{proxyProtocol()}
	}
	g := d.httpFilters()
	d.certain = g.stateful
	defer func() { d.certain = false }()
	options := d.managerOptions()
	options["http_filters"] = g.json
	rc, hosts := d.routeTable(name, g)
	text := string(raw(rc))
	drawn := strings.Contains(text, "weighted_clusters") || strings.Contains(text, "c.many")
	if d.chance(0.15) {
		rc["name"] = "rds-" + name
		options["rds"] = M{"route_config_name": "rds-" + name, "config_source": M{"resource_api_version": "V3",
			"path_config_source": M{"path": "@DIR@/rds.json"}, "initial_fetch_timeout": "0.3s"}}
		if d.chance(0.85) { // else it never comes
			b.World.Routes = append(b.World.Routes, raw(rc))
		}
		rc = nil
	}
	chain := M{"name": name + ".f", "filters": A{manager(name, rc, options)}}
	if tls {
		chain["transport_socket"] = d.downstreamTLS()
	}
	l["filter_chains"] = A{chain}
	b.World.Listeners = append(b.World.Listeners, raw(l))
	for k := range httpEach {
		q := d.httpRequest(d.wishFor(hosts))
		q.ID, q.Accept = fmt.Sprintf("%s-%d", name, k), acceptAt(i)
		d.httpClient(&q, proxy, tls)
		switch {
		case g.stateful:
			q.Tags, q.Group = []string{"state:local_ratelimit"}, name
		case drawn:
			q.Repeat = 6
		}
		for _, f := range g.known {
			if f.kind == "lua" {
				q.Tags = append(q.Tags, "opaque:lua")
				break
			}
		}
		b.Requests = append(b.Requests, q)
	}
}

// httpClient says who the client is, and how it speaks below HTTP; one in 25 wrongly.
func (d *dice) httpClient(q *Request, proxy, tls bool) {
	q.Src = pick(d, "127.0.0.1", "127.1.2.3")
	if proxy {
		q.Proxy = &Proxy{Src: pick(d, "10.1.2.3:1111", "127.0.0.1:2222", "8.8.8.8:53"), Dst: pick(d, "10.1.1.1:80", "10.1.1.1:443", "10.1.1.1:8080")}
	}
	if tls != d.chance(0.04) {
		q.TLS = &TLS{SNI: "oracle.test", ALPN: []string{"http/1.1"}, Handshake: true, Cert: d.chance(0.5)}
	}
}

func (d *dice) downstreamTLS() M {
	if d.chance(0.5) {
		return serverTLS(nil)
	}
	s := serverTLS(nil)
	c := s["typed_config"].(M)
	c["common_tls_context"].(M)["validation_context"] = M{"trusted_ca": M{"filename": "@DIR@/ca.pem"}}
	if d.chance(0.4) {
		c["require_client_certificate"] = true
	}
	return s
}

// managerOptions are those of the connection manager that change what a route sees.
func (d *dice) managerOptions() M {
	o := M{}
	maybe := func(p float64, k string, v any) {
		if d.chance(p) {
			o[k] = v
		}
	}
	maybe(0.15, "normalize_path", true)
	maybe(0.12, "merge_slashes", true)
	maybe(0.12, "path_with_escaped_slashes_action", pick(d, "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD", "KEEP_UNCHANGED"))
	switch d.IntN(8) {
	case 0:
		o["strip_matching_host_port"] = true
	case 1:
		o["strip_any_host_port"] = true
	}
	maybe(0.1, "strip_trailing_host_dot", true)
	maybe(0.35, "use_remote_address", true)
	maybe(0.1, "xff_num_trusted_hops", 1)
	maybe(0.1, "skip_xff_append", true)
	maybe(0.25, "internal_address_config", M{"cidr_ranges": cidrs([]string{"10.0.0.0/8", "127.0.0.1/32"})})
	if d.chance(0.15) {
		h := M{"accept_http_10": true}
		if d.chance(0.5) {
			h["default_host_for_http_10"] = "a.example.com"
		}
		o["http_protocol_options"] = h
	}
	maybe(0.15, "common_http_protocol_options", M{"headers_with_underscores_action": pick(d, "REJECT_REQUEST", "DROP_HEADER")})
	d.identity(o)
	maybe(0.06, "scheme_header_transformation", M{"scheme_to_overwrite": pick(d, "http", "https")})
	return o
}

// hostPatterns are the domains of virtual hosts.
var hostPatterns = []string{"a.example.com", "b.example.com", "example.com", "*.example.com", "*-x.example.com", "*.com", "a.example.com:8080",
	"a.*", "a.example.*", "foo*", "*bar", "A.B.example.com", "[::1]", "[::1]:80", "10.0.0.1", "10.0.0.1:8080", "a.example.com.", "*.b.example.com",
	"*:8080", "a*c.com", "foo-*", "*b.example.com"}

// routeTable is a RouteConfiguration.
func (d *dice) routeTable(name string, g *chainGen) (M, []virtualHost) {
	rc := M{"name": "rc" + name, "validate_clusters": false} // else unknown clusters are refused
	for _, k := range []struct {
		name string
		p    float64
		v    any
	}{{"ignore_port_in_host_matching", 0.2, true}, {"ignore_path_parameters_in_path_matching", 0.12, true},
		{"vhost_header", 0.05, "x-vhost"}, {"most_specific_header_mutations_wins", 0.1, true}} {
		if d.chance(k.p) {
			rc[k.name] = k.v
		}
	}
	d.mutations(rc, "table")
	g.perRoute(rc, 0.15)
	domains := some(d, 12, hostPatterns)
	var hosts A
	var known []virtualHost
	n := 1 + d.IntN(5)
	for i := range n {
		var own []string
		if i == n-1 && d.chance(0.75) {
			own = []string{"*"}
			if d.chance(0.3) && len(domains) > 0 {
				own = append(own, domains[0])
			}
		} else {
			k := min(1+d.IntN(3), len(domains))
			own, domains = domains[:k], domains[k:]
		}
		if len(own) == 0 {
			continue
		}
		h, info := d.virtualHost(fmt.Sprintf("%s.v%d", name, i), own, g)
		hosts, known = append(hosts, h), append(known, info)
	}
	rc["virtual_hosts"] = hosts
	return rc, known
}

func (d *dice) virtualHost(name string, domains []string, g *chainGen) (M, virtualHost) {
	h := M{"name": name, "domains": list(domains)}
	info := virtualHost{domains: domains}
	if d.chance(0.07) {
		h["require_tls"] = pick(d, "ALL", "EXTERNAL_ONLY")
	}
	d.mutations(h, "vhost")
	if d.chance(0.1) {
		h["include_request_attempt_count"] = true
	}
	g.perRoute(h, 0.15)
	if d.chance(0.3) {
		h["virtual_clusters"] = A{M{"name": "vc1", "headers": A{M{"name": ":path", "string_match": M{"prefix": "/api"}}}},
			M{"name": "vc2", "headers": A{M{"name": ":method", "string_match": M{"exact": "POST"}}}}}
	}
	var routes []M
	for k := range 1 + d.IntN(7) {
		match, give := d.routeMatch()
		r := M{"name": fmt.Sprintf("%s.r%d", name, k), "match": match}
		d.action(r, match)
		if r["redirect"] == nil && r["direct_response"] == nil || d.chance(0.2) {
			d.mutations(r, "route")
		}
		g.perRoute(r, 0.25)
		routes, info.grants = append(routes, r), append(info.grants, give)
	}
	if d.chance(0.4) {
		r := M{"name": name + ".last", "match": M{"prefix": "/"}}
		d.action(r, r["match"].(M))
		routes = append(routes, r)
	}
	if d.chance(0.12) {
		h["matcher"] = d.routeTree(1, routes)
	} else {
		h["routes"] = list(routes)
	}
	return h, info
}

// routeTree is a VirtualHost.matcher: only request headers are inputs there.
func (d *dice) routeTree(depth int, routes []M) M {
	m := M{}
	entries := func(values ...string) M {
		out := M{}
		for _, v := range some(d, 1+d.IntN(3), values) {
			out[v] = d.onRoute(depth, routes)
		}
		return M{"map": out}
	}
	switch d.IntN(4) {
	case 0, 1:
		var l A
		for range 1 + d.IntN(3) {
			l = append(l, M{"predicate": d.routePredicate(), "on_match": d.onRoute(depth, routes)})
		}
		m["matcher_list"] = M{"matchers": l}
	case 2:
		m["matcher_tree"] = M{"input": d.headerInput(), "exact_match_map": entries("1", "v", "abc", "GET", "POST", "/api", "/x", "1,1")}
	case 3:
		m["matcher_tree"] = M{"input": d.headerInput(), "prefix_match_map": entries("/", "/api", "/api/v1", "a", "ab", "/user", "P", "1")}
	}
	if d.chance(0.4) {
		m["on_no_match"] = d.onRoute(depth, routes)
	}
	return m
}

func (d *dice) onRoute(depth int, routes []M) M {
	if depth > 0 && d.chance(0.35) {
		return M{"matcher": d.routeTree(depth-1, routes)}
	}
	if d.chance(0.6) {
		return M{"action": ext("route", "envoy.config.route.v3.Route", pick(d, routes...))}
	}
	return M{"action": ext("routes", "envoy.config.route.v3.RouteList", M{"routes": list(some(d, 1+d.IntN(3), routes))})}
}

func (d *dice) headerInput() M {
	if d.chance(0.01) { // refused
		return ext("q", "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", M{"query_param": "x"})
	}
	return ext("h", "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", M{"header_name": pick(d, "x-a", "x-b", ":path", ":method")})
}

func (d *dice) routePredicate() M {
	single := func() M {
		return M{"single_predicate": M{"input": d.headerInput(), "value_match": d.xdsStringMatch()}}
	}
	p := single()
	if d.chance(0.2) {
		p = M{pick(d, "and_matcher", "or_matcher"): M{"predicate": A{p, single()}}}
	}
	if d.chance(0.15) {
		p = M{"not_matcher": p}
	}
	return p
}

// xdsStringMatch names the regex engine, as xds.type.matcher.v3.StringMatcher needs it.
func (d *dice) xdsStringMatch() M {
	sm, _ := d.stringMatch()
	if x, ok := sm["safe_regex"].(M); ok {
		x["google_re2"] = M{}
	}
	return sm
}
