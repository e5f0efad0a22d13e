package envoy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// gap is a case of what the generator leaves out. Each has a listener of its own.
type gap struct {
	name     string
	listener func(M) M // gives the listener its chains
	clusters []M
	request  Request // Accept and ID are set
	// want is a text that must be in what Envoy logged: a case that tests nothing of what
	// it is named for is none.
	want string
	// unknown is the reason for which the answer must be unknown; none: it must be right.
	unknown flow.ReasonKind
}

func get(host, path string, headers ...[2]string) Request {
	return Request{HTTP: &HTTP{Method: "GET", Target: path, Host: &host, Headers: headers}}
}

// with changes a request's method or version.
func (q Request) with(method, version string) Request {
	h := *q.HTTP
	h.Method, h.Version = method, version
	q.HTTP = &h
	return q
}

func (q Request) over(t *TLS) Request {
	q.TLS = t
	return q
}

// web gives a listener one HTTP chain.
func web(rc M, options M) func(M) M {
	return func(l M) M {
		name := l["name"].(string)
		l["filter_chains"] = A{M{"name": "f", "filters": A{manager(name, rc, options)}}}
		return l
	}
}

func webTLS(rc M, alpn ...string) func(M) M {
	return func(l M) M {
		l = web(rc, nil)(l)
		s := serverTLS(nil)
		s["typed_config"].(M)["common_tls_context"].(M)["alpn_protocols"] = list(alpn)
		l["filter_chains"].(A)[0].(M)["transport_socket"] = s
		return l
	}
}

// oneRoute is a table with one virtual host for everything.
func oneRoute(routes ...any) M {
	return M{"name": "rc", "virtual_hosts": A{M{"name": "v", "domains": A{"*"}, "routes": A(routes)}}, "validate_clusters": false}
}

func routeTo(cluster string, match M, more M) M {
	action := M{"cluster": cluster}
	for k, v := range more {
		action[k] = v
	}
	return M{"name": "to " + cluster, "match": match, "route": action}
}

var everything = M{"prefix": "/"}

func h2Gaps() []gap {
	rc := oneRoute(routeTo("c1", M{"prefix": "/", "headers": A{M{"name": ":authority", "string_match": M{"exact": "a.test"}}}}, nil), routeTo("c2", everything, nil))
	h2 := get("a.test", "/x?y=1").with("GET", "HTTP/2")
	both := A{M{"name": "web", "filter_chain_match": M{"application_protocols": A{"h2c"}}, "filters": nil}}
	inspected := func(l M) M {
		l["listener_filters"] = A{httpInspector()}
		name := l["name"].(string)
		both[0].(M)["filters"] = A{manager(name, rc, nil)}
		l["filter_chains"] = both
		l["default_filter_chain"] = defaultChain(name)
		return l
	}
	return []gap{
		{name: "h2 with prior knowledge", listener: web(rc, nil), request: h2, want: `"c1"`},
		{name: "h2, another authority", listener: web(rc, nil), request: get("b.test", "/").with("GET", "HTTP/2"), want: `"c2"`},
		{name: "h2 where only HTTP/2 is spoken", listener: web(rc, M{"codec_type": "HTTP2"}), request: h2, want: `"c1"`},
		{name: "HTTP/1 where only HTTP/2 is spoken", listener: web(rc, M{"codec_type": "HTTP2"}), request: get("a.test", "/"), want: `"client":{"closed":true}`},
		{name: "h2 where only HTTP/1 is spoken", listener: web(rc, M{"codec_type": "HTTP1"}), request: h2, want: "http1.codec_error"},
		{name: "h2 by ALPN", listener: webTLS(rc, "h2", "http/1.1"), request: h2.over(&TLS{SNI: "a.test", ALPN: []string{"h2", "http/1.1"}, Handshake: true}), want: `"c1"`},
		{name: "HTTP/1 by ALPN", listener: webTLS(rc, "h2", "http/1.1"), request: get("a.test", "/").over(&TLS{SNI: "a.test", ALPN: []string{"http/1.1"}, Handshake: true}), want: `"c1"`},
		{name: "no ALPN", listener: webTLS(rc, "h2", "http/1.1"), request: get("a.test", "/").over(&TLS{SNI: "a.test", Handshake: true}), want: `"c1"`},
		{name: "h2c seen by http_inspector", listener: inspected, request: h2, want: `"chain":"web"`},
		{name: "gRPC over h2 without a route", listener: web(oneRoute(routeTo("c1", M{"path": "/only"}, nil)), nil),
			request: get("a.test", "/pkg.Svc/Do", [2]string{"content-type", "application/grpc"}).with("POST", "HTTP/2"), want: `"code":200`},
	}
}

func connectGaps() []gap {
	upgrade := func(kind string, enabled any) A {
		u := M{"upgrade_type": kind}
		if enabled != nil {
			u["enabled"] = enabled
		}
		return A{u}
	}
	target := func(to string) Request {
		q := get("c.test:443", to).with("CONNECT", "")
		return q
	}
	tunnel := M{"upgrade_configs": A{M{"upgrade_type": "CONNECT", "connect_config": M{}}}}
	any := M{"connect_matcher": M{}}
	ws := get("a.test", "/", [2]string{"connection", "Upgrade"}, [2]string{"upgrade", "websocket"})
	return []gap{
		{name: "CONNECT to a connect_matcher", listener: web(oneRoute(routeTo("c1", any, tunnel)), nil), request: target("c.test:443"), want: `"c1"`},
		{name: "CONNECT is no prefix", listener: web(oneRoute(routeTo("c1", everything, nil)), nil), request: target("c.test:443"), want: "NR"},
		{name: "CONNECT with upgrades of the manager", listener: web(oneRoute(routeTo("c1", any, tunnel)), M{"upgrade_configs": upgrade("CONNECT", nil)}), request: target("c.test:443"), want: `"c1"`},
		{name: "CONNECT without an upgrade", listener: web(oneRoute(routeTo("c1", any, nil)), nil), request: target("c.test:443"), want: `"code":403`},
		{name: "CONNECT is no gRPC", listener: web(oneRoute(routeTo("c1", everything, nil)), nil), request: func() Request {
			q := target("c.test:443")
			q.HTTP.Headers = [][2]string{{"content-type", "application/grpc"}}
			return q
		}(), want: `"code":404`},
		{name: "GET is no CONNECT", listener: web(oneRoute(routeTo("c1", any, tunnel)), nil), request: get("a.test", "/"), want: "NR"},
		{name: "upgrade that is allowed", listener: web(oneRoute(routeTo("c1", everything, nil)), M{"upgrade_configs": upgrade("websocket", nil)}), request: ws, want: `"c1"`},
		{name: "upgrade that nothing allows", listener: web(oneRoute(routeTo("c1", everything, nil)), nil), request: ws, want: "upgrade_failed"},
		{name: "upgrade of another kind", listener: web(oneRoute(routeTo("c1", everything, nil)), M{"upgrade_configs": upgrade("spdy", nil)}), request: ws, want: "upgrade_failed"},
		{name: "upgrade that the manager switches off", listener: web(oneRoute(routeTo("c1", everything, nil)), M{"upgrade_configs": upgrade("websocket", false)}), request: ws, want: "upgrade_failed"},
		{name: "upgrade that only the route allows", listener: web(oneRoute(routeTo("c1", everything, M{"upgrade_configs": upgrade("websocket", true)})), nil), request: ws, want: `"c1"`},
		{name: "upgrade that the route switches off", listener: web(oneRoute(routeTo("c1", everything, M{"upgrade_configs": upgrade("websocket", false)})), M{"upgrade_configs": upgrade("websocket", nil)}), request: ws, want: "upgrade_failed"},
		{name: "upgrade that finds no route", listener: web(oneRoute(routeTo("c1", M{"path": "/only"}, nil)), nil), request: ws, want: "404"},
	}
}

func scopedGaps() []gap {
	scope := func(key string, rc M) M {
		return M{"name": "scope " + key, "key": M{"fragments": A{M{"string_key": key}}}, "route_configuration": rc}
	}
	table := func(name, cluster string) M {
		rc := oneRoute(routeTo(cluster, everything, nil))
		rc["name"] = name
		return rc
	}
	extract := M{"fragments": A{M{"header_value_extractor": M{"name": "x-scope", "element_separator": ";", "element": M{"key": "tenant", "separator": "="}}}}}
	first := M{"fragments": A{M{"header_value_extractor": M{"name": "x-scope", "element_separator": ",", "index": 0}}}}
	options := func(builder M) M {
		return M{"scoped_routes": M{"name": "scopes", "scope_key_builder": builder,
			"scoped_route_configurations_list": M{"scoped_route_configurations": A{scope("red", table("red table", "c1")), scope("blue", table("blue table", "c2"))}}}}
	}
	ask := func(v string) Request { return get("a.test", "/", [2]string{"x-scope", v}) }
	return []gap{
		{name: "scope by element", listener: web(nil, options(extract)), request: ask("a=b;tenant=red"), want: `"c1"`},
		{name: "another scope", listener: web(nil, options(extract)), request: ask("tenant=blue;x"), want: `"c2"`},
		{name: "scope that is not there", listener: web(nil, options(extract)), request: ask("tenant=Red"), want: "NR"},
		{name: "no element of that key", listener: web(nil, options(extract)), request: ask("red"), want: "NR"},
		{name: "no header", listener: web(nil, options(extract)), request: get("a.test", "/"), want: "NR"},
		{name: "scope by index", listener: web(nil, options(first)), request: ask("blue,red"), want: `"c2"`},
		{name: "the first value counts", listener: web(nil, options(first)), request: get("a.test", "/", [2]string{"x-scope", "red"}, [2]string{"x-scope", "blue"}), want: `"c1"`},
	}
}

func clusterGaps() []gap {
	of := func(name string, members ...any) M {
		return M{"name": name, "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED",
			"cluster_type": ext("envoy.clusters.aggregate", "envoy.extensions.clusters.aggregate.v3.ClusterConfig", M{"clusters": A(members)})}
	}
	dns := func(name, kind, host string) M {
		e := M{"endpoint": M{"address": M{"socket_address": M{"address": host, "port_value": 18080}}}}
		return M{"name": name, "type": kind, "connect_timeout": "1s", "dns_lookup_family": "V4_ONLY",
			"load_assignment": M{"cluster_name": name, "endpoints": A{M{"lb_endpoints": A{e}}}}}
	}
	sick := static("sick", M{"endpoint": M{"address": socket("127.9.0.77", 18080)}, "health_status": "UNHEALTHY"})
	sick["common_lb_config"] = M{"healthy_panic_threshold": M{"value": 0}}
	case1 := func(name, cluster, want string, clusters ...M) gap {
		return gap{name: name, listener: web(oneRoute(routeTo(cluster, everything, nil)), nil), request: get("a.test", "/"), want: want, clusters: clusters}
	}
	nowhere := static("nowhere", M{"endpoint": M{"address": M{"envoy_internal_address": M{"server_listener_name": "nosuch"}}}})
	return []gap{
		case1("an internal listener that is not there", "nowhere", "immediate_connect_error", nowhere),
		case1("aggregate: the first", "agg1", `"127.9.0.4:18080"`, of("agg1", "c3", "c4")),
		case1("aggregate: the first is sick", "agg2", `"127.9.0.5:18080"`, of("agg2", "sick", "c4"), sick),
		case1("aggregate: the first is empty", "agg3", `"127.9.0.5:18080"`, of("agg3", "c.empty", "c4")),
		case1("aggregate: all are empty", "agg4", "UH", of("agg4", "c.empty")),
		case1("aggregate: the first does not exist", "agg5", `"127.9.0.5:18080"`, of("agg5", "nosuch", "c4")),
		case1("STRICT_DNS by an address", "dns1", `"127.9.0.8:18080"`, dns("dns1", "STRICT_DNS", "127.9.0.8")),
		case1("STRICT_DNS by a name", "dns2", `"127.0.0.1:18080"`, dns("dns2", "STRICT_DNS", "localhost")),
		case1("STRICT_DNS without an answer", "dns3", "UH", dns("dns3", "STRICT_DNS", "nosuch.invalid")),
		case1("LOGICAL_DNS by a name", "dns4", `"127.0.0.1:18080"`, dns("dns4", "LOGICAL_DNS", "localhost")),
	}
}

// breakerGaps are circuit breakers that are full from the start.
func breakerGaps() []gap {
	broken := func(name, at string, thresholds ...any) M {
		c := static(name, endpoint(at))
		c["circuit_breakers"] = M{"thresholds": A(thresholds)}
		return c
	}
	perHost := static("b.host", endpoint(up(3)))
	perHost["circuit_breakers"] = M{"per_host_thresholds": A{M{"max_connections": 0}}}
	over := func(name, want string, c M, more M) gap {
		return gap{name: "HTTP: " + name, listener: web(oneRoute(routeTo(c["name"].(string), everything, more)), nil), request: get("a.test", "/"), want: want, clusters: []M{c}}
	}
	tcp := func(name, want string, c M) gap {
		return gap{name: "TCP: " + name, listener: func(l M) M {
			l["filter_chains"] = A{M{"name": "f", "filters": A{tcpProxy(l["name"].(string), M{"cluster": c["name"]})}}}
			return l
		}, request: Request{Payload: "hello\n"}, want: want, clusters: []M{c}}
	}
	high := M{"priority": "HIGH"}
	return []gap{
		over("no connections, but a first one is always made", `"code":200`, broken("b.cx", up(3), M{"max_connections": 0}), nil),
		over("no pending requests", "overflow", broken("b.pending", up(3), M{"max_pending_requests": 0}), nil),
		over("no requests", "overflow", broken("b.rq", up(3), M{"max_requests": 0}), nil),
		over("no requests, and nobody answers", "503", broken("b.rqdead", dead, M{"max_requests": 0}), nil),
		over("no pending requests, and nobody answers", "overflow", broken("b.pdead", dead, M{"max_pending_requests": 0}), nil),
		over("the thresholds of another priority", `"code":200`, broken("b.high", up(3), M{"priority": "HIGH", "max_requests": 0}), nil),
		over("the thresholds of the route's priority", "overflow", broken("b.high2", up(3), M{"priority": "HIGH", "max_requests": 0}), high),
		over("default thresholds, route of high priority", `"code":200`, broken("b.default", up(3), M{"max_requests": 0}), high),
		over("no connection pools", "503", broken("b.pools", up(3), M{"max_connection_pools": 0}), nil),
		over("no retries", `"code":200`, broken("b.retries", up(3), M{"max_retries": 0}), nil),
		over("no connections to a host", `"code":200`, perHost, nil),
		tcp("no connections", "UO", broken("t.cx", up(3), M{"max_connections": 0})),
		tcp("no pending requests", `"flags":"URX"`, broken("t.pending", up(3), M{"max_pending_requests": 0})),
		tcp("no requests", `"host":"127.9.0.4:18080"`, broken("t.rq", up(3), M{"max_requests": 0})),
		tcp("no connection pools", `"host":"127.9.0.4:18080"`, broken("t.pools", up(3), M{"max_connection_pools": 0})),
	}
}

func authGaps() []gap {
	const jwks = `{"keys":[{"kty":"oct","alg":"HS256","kid":"k","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}`
	jwt := func(rules ...any) M {
		return ext("envoy.filters.http.jwt_authn", filterNS+"http.jwt_authn.v3.JwtAuthentication", M{
			"providers": M{"p": M{"issuer": "me", "local_jwks": M{"inline_string": jwks}}}, "rules": A(rules)})
	}
	authz := func(more M) M {
		m := M{"http_service": M{"server_uri": M{"uri": "http://127.9.255.1:1", "cluster": "c.dead", "timeout": "0.3s"}}}
		for k, v := range more {
			m[k] = v
		}
		return ext("authz", filterNS+"http.ext_authz.v3.ExtAuthz", m)
	}
	chain := func(f M) M { return M{"http_filters": A{f, router()}} }
	needed := M{"match": M{"prefix": "/secret"}, "requires": M{"provider_name": "p"}}
	optional := M{"match": M{"prefix": "/"}, "requires": M{"allow_missing": M{}}}
	rc := oneRoute(routeTo("c1", everything, nil))
	off := oneRoute(routeTo("c1", everything, nil))
	off["virtual_hosts"].(A)[0].(M)["routes"].(A)[0].(M)["typed_per_filter_config"] = M{"authz": typed(filterNS+"http.ext_authz.v3.ExtAuthzPerRoute", M{"disabled": true})}
	return []gap{
		{name: "jwt: missing", listener: web(rc, chain(jwt(needed))), request: get("a.test", "/secret/x"), want: "Jwt_is_missing"},
		{name: "jwt: no rule matches", listener: web(rc, chain(jwt(needed))), request: get("a.test", "/open"), want: `"c1"`},
		{name: "jwt: garbage", listener: web(rc, chain(jwt(needed))), request: get("a.test", "/secret", [2]string{"authorization", "Bearer x.y.z"}), want: `"code":401`, unknown: flow.WhyFilterOpaque},
		{name: "jwt: missing is allowed", listener: web(rc, chain(jwt(optional))), request: get("a.test", "/secret"), want: `"c1"`},
		{name: "ext_authz: the service is dead", listener: web(rc, chain(authz(nil))), request: get("a.test", "/"), want: "UAEX", unknown: flow.WhyFilterOpaque},
		{name: "ext_authz: the service is dead, failure allowed", listener: web(rc, chain(authz(M{"failure_mode_allow": true}))), request: get("a.test", "/"), want: `"c1"`, unknown: flow.WhyFilterOpaque},
		{name: "ext_authz: switched off by the route", listener: web(off, chain(authz(nil))), request: get("a.test", "/"), want: `"c1"`},
	}
}

// What the generator leaves out, in a real Envoy: one listener a case.
func TestGaps(t *testing.T) {
	if !Isolated(t) {
		return
	}
	for _, table := range []struct {
		name string
		gaps []gap
	}{{"h2", h2Gaps()}, {"connect", connectGaps()}, {"scoped", scopedGaps()}, {"clusters", clusterGaps()}, {"breakers", breakerGaps()}, {"auth", authGaps()}, {"HTTP upstreams", httpUpstreamGaps()}, {"TCP upstreams", tcpUpstreamGaps()}, {"limits", limitGaps()}, {"mutations", mutationGaps()}, {"identity", identityGaps()}} {
		t.Run(table.name, func(t *testing.T) { runGaps(t, table.gaps) })
	}
}

func runGaps(t *testing.T, gaps []gap) {
	b := &Batch{World: World{ID: "gaps", Family: "gaps", Clusters: usualClusters(12)}}
	for i, g := range gaps {
		b.World.Listeners = append(b.World.Listeners, raw(g.listener(listener(listenerName(i), acceptAddr(i), acceptPort))))
		for _, c := range g.clusters {
			b.World.Clusters = append(b.World.Clusters, raw(c))
		}
		q := g.request
		q.ID, q.Accept = g.name, acceptAt(i)
		b.Requests = append(b.Requests, q)
	}
	r := runClear(t, startOracle(t), b)
	for _, x := range r.Refused {
		t.Errorf("refused: %s %s: %s", x.Kind, x.Name, x.Error)
	}
	cfg, err := loadWhole(r.Files)
	if err != nil {
		t.Fatal(err)
	}
	if len(gaps) == 0 || len(r.Cases) != len(gaps) {
		t.Fatalf("%d cases of %d", len(r.Cases), len(gaps))
	}
	for i, g := range gaps {
		c := &r.Cases[i]
		seen, _ := json.Marshal(c.Outcomes)
		if g.want == "" || !strings.Contains(string(seen), g.want) {
			t.Errorf("%s: %q is not in what Envoy did: %s", g.name, g.want, seen)
		}
		j := judgeCase(t, cfg, c)
		if g.unknown == flow.WhyNotModelled { // a row may say so; what is generated must not meet it
			if j.Word != Disagree || !strings.HasPrefix(j.Why, "unknown without need: ") || !strings.Contains(j.Why, fmt.Sprintf("reason %d ", flow.WhyNotModelled)) {
				t.Errorf("%s: want it left open as not modelled: %s\n%s", g.name, j.Why, seen)
			}
			continue
		}
		want := Judgement{Word: Agree}
		if g.unknown != flow.NoReason {
			want = Judgement{Word: Unsure, Reason: g.unknown}
		}
		if j.Word != want.Word || j.Reason != want.Reason {
			t.Errorf("%s: reason %d: %s\n%s", g.name, j.Reason, j.Why, seen)
		}
	}
}

// A connection that goes on through an internal listener ends at the endpoint that the
// second pass finds.
func TestInternalListener(t *testing.T) {
	if !Isolated(t) {
		return
	}
	outer := listener("outer", acceptAddr(0), acceptPort)
	outer["filter_chains"] = A{M{"name": "f", "filters": A{tcpProxy("outer", M{"cluster": "inside"})}}}
	inner := M{"name": "inner", "internal_listener": M{}, "access_log": A{AccessLog("listener", "inner")},
		"filter_chains": A{M{"name": "g", "filters": A{tcpProxy("inner", M{"cluster": "c7"})}}}}
	inside := static("inside", M{"endpoint": M{"address": M{"envoy_internal_address": M{"server_listener_name": "inner"}}}})
	nowhere := static("nowhere", M{"endpoint": M{"address": M{"envoy_internal_address": M{"server_listener_name": "nosuch"}}}})
	lost := listener("lost", acceptAddr(1), acceptPort)
	lost["filter_chains"] = A{M{"name": "f", "filters": A{tcpProxy("lost", M{"cluster": "nowhere"})}}}
	b := &Batch{World: World{ID: "internal", Listeners: []json.RawMessage{raw(outer), raw(inner), raw(lost)},
		Clusters: append(usualClusters(12), raw(inside), raw(nowhere))},
		Requests: []Request{{ID: "in", Accept: acceptAt(0), Payload: "hello\n"}, {ID: "lost", Accept: acceptAt(1), Payload: "hello\n"}}}
	r := runClear(t, startOracle(t), b)
	if len(r.Refused) > 0 {
		t.Fatal(r.Refused)
	}
	cfg, err := loadWhole(r.Files)
	if err != nil {
		t.Fatal(err)
	}
	conn, req, _ := b.Requests[0].Flow()
	first := cfg.Accept(conn, &req, new(flow.Choices))
	if first.Verdict != flow.Continue || first.Upstream.Internal != "inner" {
		t.Fatalf("outer: %v %+v", first.Verdict, first.Upstream)
	}
	second := cfg.Accept(envoy.Conn{Listener: "inner", Src: conn.Src, Proto: flow.TCP}, &req, new(flow.Choices))
	if want := fmt.Sprintf("%s%v\n", echoMark, second.Upstream.Addr); second.Verdict != flow.Continue || r.Cases[0].Outcomes[0].Client.Body != want {
		t.Errorf("inner: %v %v; Envoy reached %q", second.Verdict, second.Upstream.Addr, r.Cases[0].Outcomes[0].Client.Body)
	}
	if second.Upstream.Addr != netip.MustParseAddrPort(up(7)) || second.Outcome.Listener != "inner" || second.Outcome.FilterChain != "g" {
		t.Errorf("inner: %v %+v", second.Upstream.Addr, second.Outcome)
	}
	conn, req, _ = b.Requests[1].Flow()
	end, res := r.Cases[1].Outcomes[0], cfg.Accept(conn, &req, new(flow.Choices))
	if !end.Client.Closed || res.Verdict != flow.Refused || res.Caller.Flags != end.Flags || res.Outcome.Endpoint != end.Host {
		t.Errorf("lost: %v %+v %+v; Envoy %+v", res.Verdict, res.Outcome, res.Caller, end)
	}
}
