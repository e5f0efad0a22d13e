package envoy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// oneHost is an inline route table with one virtual host for everything and these routes.
func oneHost(routes ...string) string {
	return `"route_config":{"name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"routes":[` + strings.Join(routes, ",") + `]}]}`
}

// answering is a route that answers 200 where match holds.
func answering(name, match string) string {
	return fmt.Sprintf(`{"name":%q,"match":{%s},"direct_response":{"status":200}}`, name, match)
}

// Each condition, on a request below, on and above its edge.
func TestRouteConditions(t *testing.T) {
	get := func(path string, hs ...[2]string) flow.HTTP { return sent("GET", path, "a", hs...) }
	for _, c := range []struct {
		match string
		h     flow.HTTP
		want  bool
	}{
		{`"prefix":"/api"`, get("/api"), true}, {`"prefix":"/api"`, get("/apix?q"), true}, {`"prefix":"/api"`, get("/API"), false}, {`"prefix":"/api","case_sensitive":false`, get("/API"), true},
		{`"prefix":"/api/"`, get("/api"), false}, {`"path":"/api"`, get("/api?x"), true}, {`"path":"/api"`, get("/api/"), false}, {`"path":"/api/v1/users"`, get("/api/v1/user"), false},
		{`"path_separated_prefix":"/api"`, get("/api"), true}, {`"path_separated_prefix":"/api"`, get("/api/x"), true}, {`"path_separated_prefix":"/api"`, get("/apix"), false}, {`"path_separated_prefix":"/api"`, get("/api;q"), false},
		{`"safe_regex":{"regex":"/user/[0-9]+"}`, get("/user/12"), true}, {`"safe_regex":{"regex":"/user/[0-9]+"}`, get("/user/12a"), false}, {`"safe_regex":{"regex":"(?i)/user"}`, get("/USER"), true}, {`"safe_regex":{"regex":"/a|/b"}`, get("/b"), true},
		{`"path_match_policy":{"name":"x","typed_config":{"@type":"x/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"/user/{id}"}}`, get("/user/1"), true},
		{`"path_match_policy":{"name":"x","typed_config":{"@type":"x/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"/user/{id}"}}`, get("/user/1/2"), false},
		{`"prefix":"/","headers":[{"name":":method","string_match":{"exact":"GET"}}]`, get("/"), true}, {`"prefix":"/","headers":[{"name":"Host","string_match":{"exact":"a"}}]`, get("/"), true},
		{`"prefix":"/","query_parameters":[{"name":"x","string_match":{"exact":"1"}}]`, get("/?x=1&x=2"), true}, {`"prefix":"/","query_parameters":[{"name":"x","string_match":{"exact":"2"}}]`, get("/?x=1&x=2"), false},
		{`"prefix":"/","query_parameters":[{"name":"x"}]`, get("/?x"), true}, {`"prefix":"/","query_parameters":[{"name":"x","present_match":false}]`, get("/?x"), false}, {`"prefix":"/","query_parameters":[{"name":"x","present_match":false}]`, get("/"), true},
		{`"prefix":"/","grpc":{}`, get("/", [2]string{"content-type", "application/grpc+proto"}), true}, {`"prefix":"/","grpc":{}`, get("/", [2]string{"content-type", "application/grpc-web"}), false},
		{`"prefix":"/","cookies":[{"name":"s","string_match":{"exact":"1"}}]`, get("/", [2]string{"cookie", "t=2; s=1"}), true}, {`"prefix":"/","cookies":[{"name":"s","string_match":{"exact":"1"},"invert_match":true}]`, get("/"), true},
		{`"prefix":"/","runtime_fraction":{"default_value":{"numerator":100}}`, get("/"), true}, {`"prefix":"/","runtime_fraction":{"default_value":{"numerator":0}}`, get("/"), false},
		{`"prefix":"/","tls_context":{"presented":false}`, get("/"), true}, {`"prefix":"/","tls_context":{"validated":true}`, get("/"), false},
		{`"prefix":"/","dynamic_metadata":[{"filter":"f","path":[{"key":"k"}],"value":{"present_match":true}}]`, get("/"), false}, {`"prefix":"/","dynamic_metadata":[{"filter":"f","invert":true}]`, get("/"), true},
		{`"prefix":"/","filter_state":[{"key":"k","string_match":{"exact":"v"}}]`, get("/"), false}, {`"connect_matcher":{}`, get("/"), false},
	} {
		cfg := httpDump(t, oneHost(answering("hit", c.match)))
		if r := ask(cfg, c.h); r.Outcome.Route == "hit" != c.want || r.Verdict == flow.Unknown {
			t.Errorf("%s on %s %v: route %q %v", c.match, c.h.Path, c.h.Headers, r.Outcome.Route, r.Verdict)
		}
	}
}

// variants are all ways of a request.
func variants(c *Config, h flow.HTTP, pick flow.Pick) (out []Result, made [][]flow.Chosen) {
	for ch := (&flow.Choices{Pick: pick}); ch != nil; ch = ch.Next() {
		req := plainRequest(h)
		out = append(out, c.Accept(plainConn(), &req, ch))
		made = append(made, ch.Made())
	}
	return out, made
}

// What is not modelled is a choice that names it, and the variants differ.
func TestRouteNotModelled(t *testing.T) {
	cfg := httpDump(t, oneHost(answering("new", `"prefix":"/","brand_new":{"a":1}`), answering("last", `"prefix":"/"`)))
	rs, made := variants(cfg, sent("GET", "/", "a"), nil)
	if len(rs) != 2 || rs[0].Outcome.Route != "new" || rs[1].Outcome.Route != "last" || made[0][0].Choice.Kind != flow.Unmodelled {
		t.Fatalf("%d variants, %v", len(rs), made)
	}
	s := stepOf(t, rs[0], flow.Route)
	if len(s.Assumed) != 1 || s.Assumed[0].Reason.Args[0] != "brand_new" || !strings.Contains(s.Assumed[0].Flag, "=match") {
		t.Errorf("assumed %+v", s.Assumed)
	}
	if rs, _ := variants(cfg, sent("GET", "/", "a"), flow.Pick{"route v new": "no-match"}); len(rs) != 1 || rs[0].Outcome.Route != "last" {
		t.Errorf("pinned: %d variants", len(rs))
	}
}

func stepOf(t *testing.T, r Result, stage flow.Stage) flow.Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Stage == stage {
			return s
		}
	}
	t.Fatalf("no %v step", stage)
	return flow.Step{}
}

// Losers carry the first test that failed; near misses failed in exactly one.
func TestRouteMisses(t *testing.T) {
	cfg := httpDump(t, oneHost(
		answering("far", `"path":"/elsewhere"`),
		answering("header", `"prefix":"/api","headers":[{"name":"version","string_match":{"exact":"v2"}}]`),
		answering("both", `"path":"/api","headers":[{"name":"version","string_match":{"exact":"v2"}}]`),
		answering("slash", `"path":"/api/x/"`),
		answering("query", `"prefix":"/api","query_parameters":[{"name":"q","string_match":{"exact":"1"}}]`),
		answering("last", `"prefix":"/"`), answering("behind", `"prefix":"/"`)))
	s := stepOf(t, ask(cfg, sent("GET", "/api/x", "a", [2]string{"version", "v1"})), flow.Route)
	if s.PassedTotal != 5 || len(s.Passed) != 5 || !s.Decision || s.Subject != "last" {
		t.Fatalf("%d passed, subject %q", s.PassedTotal, s.Subject)
	}
	for i, want := range []struct {
		near bool
		kind flow.ReasonKind
		arg  string
	}{{false, flow.WhyPathIs, "/api/x"}, {true, flow.WhyHeaderIs, "v1"}, {false, flow.WhyPathIs, "/api/x"}, {true, flow.WhyPathIs, "/api/x"}, {true, flow.WhyNoQuery, "q"}} {
		m := s.Passed[i]
		e := s.Explain.Explain(m)
		if m.Near != want.near || e.Reason.Kind != want.kind || !strings.Contains(strings.Join(e.Reason.Args[:], " "), want.arg) {
			t.Errorf("loser %d: near %v, reason %d %q", i, m.Near, e.Reason.Kind, e.Reason.Args)
		}
		if got, ok := cfg.Raw(e.Ref); !ok || !strings.HasPrefix(string(got), `{"name"`) {
			t.Errorf("loser %d: %s names %q", i, e.Ref, got)
		}
	}
	if len(s.Tests) != 1 || s.Tests[0].Answer != flow.Yes || s.Tests[0].Text != `prefix "/"` {
		t.Errorf("tests of the winner: %+v", s.Tests)
	}
	if got, ok := cfg.Raw(s.Evidence[0].Ref); !ok || !strings.HasPrefix(string(got), `{"name":"last"`) {
		t.Errorf("evidence %s is %q", s.Evidence[0].Ref, got)
	}
}

// Where nothing matches, the routes with most of the path in common are named.
func TestNearestRoutes(t *testing.T) {
	cfg := httpDump(t, oneHost(answering("a", `"path":"/x"`), answering("b", `"prefix":"/shop/cart/"`), answering("c", `"prefix":"/shop/list"`), answering("d", `"prefix":"/shop/"`+`,"grpc":{},"tls_context":{"presented":true}`)))
	s := stepOf(t, ask(cfg, sent("GET", "/shop/carts/1", "a")), flow.Route)
	var near []int32
	for _, m := range s.Passed {
		if m.Near {
			near = append(near, m.Index)
		}
	}
	if s.Reason.Kind != flow.WhyNoRouteMatches || fmt.Sprint(near) != "[1 2]" {
		t.Errorf("reason %d, near %v", s.Reason.Kind, near)
	}
	s = stepOf(t, ask(cfg, sent("GET", "/shopping/x", "a")), flow.Route)
	for _, m := range s.Passed {
		if m.Near {
			t.Errorf("route %d is called near /shopping/x", m.Index)
		}
	}
}

// A path that one letter keeps from a route, and a table so small that each of its routes
// may have been meant: who they are, what they want and what they got.
func TestNearestByName(t *testing.T) {
	many := []string{answering("far", `"prefix":"/elsewhere"`), answering("away", `"prefix":"/elsewhere"`), answering("off", `"prefix":"/elsewhere"`)}
	for _, c := range []struct {
		routes []string
		path   string
		want   string
	}{
		{append(many, answering("cart", `"prefix":"/cart"`)), "/car", `cart prefix "/cart" /car`},
		{append(many, answering("cart", `"prefix":"/cart/"`)), "/crt/7?x", `cart prefix "/cart/" /crt/7`},
		{append(many, answering("cart", `"path":"/cart"`)), "/carts", `cart path "/cart" /carts`},
		{append(many, answering("cart", `"path":"/cart"`)), "/carts/7", `cart path "/cart" /carts/7`},
		{append(many, answering("cart", `"prefix":"/cart"`)), "/ca", ""},
		{many[:3], "/x", `far prefix "/elsewhere" /x; away prefix "/elsewhere" /x; off prefix "/elsewhere" /x`},
		{append(many[:1:1], `{"match":{"safe_regex":{"regex":"/[0-9]+"}},"direct_response":{"status":200}}`), "/x", `far prefix "/elsewhere" /x; #1 safe_regex "/[0-9]+" /x`},
		{[]string{answering("hdr", `"prefix":"/","headers":[{"name":"a","string_match":{"exact":"1"}}]`)}, "/x", `hdr header a exact "1" a`},
		{[]string{answering("grpc", `"prefix":"/","grpc":{}`)}, "/x", `grpc grpc content-type`},
	} {
		s := stepOf(t, ask(httpDump(t, oneHost(c.routes...)), sent("GET", c.path, "a")), flow.Route)
		var got []string
		for _, m := range s.Passed {
			if e := s.Explain.Explain(m); m.Near {
				got = append(got, e.Name+" "+e.Wanted+" "+strings.TrimSpace(e.Reason.Args[0]))
				if e.Kind != flow.Route || e.Of != "v" {
					t.Errorf("%s: loser %+v", c.path, e)
				}
			}
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: near %s, want %s", c.path, s, c.want)
		}
	}
}

// A virtual host that is missed shows who was meant.
func TestVirtualHostRivals(t *testing.T) {
	var hosts []string
	for i := range 100 {
		hosts = append(hosts, fmt.Sprintf(`{"name":"h%d","domains":["s%d.ns:80"],"routes":[]}`, i, i))
	}
	hosts = append(hosts, `{"name":"rest","domains":["*"],"routes":[]}`)
	cfg := httpDump(t, `"route_config":{"name":"rt","virtual_hosts":[`+strings.Join(hosts, ",")+`]}`)
	s := stepOf(t, ask(cfg, sent("GET", "/", "s7.ns")), flow.VirtualHost)
	if s.Subject != "rest" || s.PassedTotal != 100 || len(s.Passed) != 1 || !s.Passed[0].Near {
		t.Fatalf("%q passed %v of %d", s.Subject, s.Passed, s.PassedTotal)
	}
	if e := s.Explain.Explain(s.Passed[0]); e.Ref != "h7" || e.Reason.Args[0] != "s7.ns:80" {
		t.Errorf("explained %+v", e)
	}
	if s := stepOf(t, ask(cfg, sent("GET", "/", "s7.ns:80")), flow.VirtualHost); s.Subject != "h7" || s.Passed != nil {
		t.Errorf("exact: %q passed %v", s.Subject, s.Passed)
	}
}

// The draws of one stream come from one number: a second draw depends on the first.
func TestDraws(t *testing.T) {
	weighted := `{"name":"w","match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":30}}},"route":{"weighted_clusters":{"clusters":[{"name":"x","weight":20},{"name":"y","weight":80}]}}}`
	cfg := httpDump(t, oneHost(weighted, answering("last", `"prefix":"/"`)))
	rs, made := variants(cfg, sent("GET", "/", "a"), nil)
	if len(rs) != 3 {
		t.Fatalf("%d variants", len(rs))
	}
	// value % 100 < 30 is the route; of those x has [0,20) and y [20,30).
	second := made[0][1]
	if second.Choice.Ref != "random" || second.Choice.Options[0].Weight != 20 || second.Choice.Options[1].Weight != 10 {
		t.Errorf("second draw %+v", second.Choice)
	}
	for pick, want := range map[string]string{"0.1": "x", "0.25": "y"} {
		rs, _ := variants(cfg, sent("GET", "/", "a"), flow.Pick{"random": pick})
		s := stepOf(t, rs[0], flow.Route)
		if len(rs) != 1 || s.Reason.Args[0] != want {
			t.Errorf("random=%s: %d variants, %q", pick, len(rs), s.Reason.Args)
		}
	}
}

func TestWeightedClusters(t *testing.T) {
	w := func(extra, clusters string) string {
		return oneHost(`{"name":"w","match":{"prefix":"/"},"route":{"weighted_clusters":{` + extra + `"clusters":[` + clusters + `]}}}`)
	}
	const xy = `{"name":"x","weight":1},{"name":"y","weight":3}`
	for _, c := range []struct{ config, header, want string }{
		{w(`"header_name":"x-rand",`, xy), "0", "x"}, {w(`"header_name":"x-rand",`, xy), "1", "y"}, {w(`"header_name":"x-rand",`, xy), "4", "x"},
		{w(`"header_name":"x-rand",`, xy), "18446744073709551615", "y"}, {w(`"header_name":"x-rand",`, xy), "-1", "x y"}, {w(`"header_name":"x-rand",`, xy), "", "x y"},
		{w("", `{"name":"x","weight":0},{"name":"y","weight":3}`), "0", "y"}, {w("", `{"cluster_header":"x-rand","weight":3}`), "z", "z"},
	} {
		rs, _ := variants(httpDump(t, c.config), sent("GET", "/", "a", [2]string{"x-rand", c.header}), nil)
		var got []string
		for _, r := range rs {
			got = append(got, stepOf(t, r, flow.Route).Reason.Args[0])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s with %q: %q, want %q", c.config, c.header, got, c.want)
		}
	}
}

// The literal beginning of a pattern is never more than what its matches have.
func TestLiteralPrefix(t *testing.T) {
	for pattern, want := range map[string]string{"/user/[0-9]+": "/user/", "^/api/v1$": "/api/v1", "/a*": "/", "/ab?": "/a", "/a{2}": "/", "/a+": "/a", `/a\.b`: "/a.b", `/\d`: "/", "/a|/b": "", "(?i)/a": "", ".*": "", "": "", "*": "", `/a\`: "/a", "/é": "/"} {
		if got := literalPrefix(pattern); got != want {
			t.Errorf("%q: %q, want %q", pattern, got, want)
		}
	}
}

// What the beginning of a pattern passes over, the pattern itself does not match.
func FuzzLiteralPrefix(f *testing.F) {
	for _, s := range [][2]string{{"/a*b", "/b"}, {"/a{0,1}", "/"}, {`/\.x`, "/.x"}, {"^/a$", "/a"}, {"/a?/b", "//b"}, {"(/a)?", ""}, {"[/]a", "/a"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		m := regexTest(pattern, Version{})
		if m.kind == stringRegex && m.match(s) == flow.Yes && !strings.HasPrefix(s, literalPrefix(pattern)) {
			t.Fatalf("%q matches %q, whose beginning is not %q", pattern, s, literalPrefix(pattern))
		}
	})
}
