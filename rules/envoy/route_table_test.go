package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// rdsDump is a httpDump whose routes section holds these elements.
func rdsDump(t *testing.T, hcm, routes string) *Config {
	t.Helper()
	c := httpDump(t, hcm)
	dump := string(c.parts[0].raw)
	dump = strings.Replace(dump, `RoutesConfigDump"`, `RoutesConfigDump",`+routes, 1)
	out, gaps, err := Load(map[string][]byte{dumpPart: []byte(dump)})
	if err != nil || len(gaps) > 0 {
		t.Fatal(err, gaps)
	}
	return out
}

const namedTable = `"dynamic_route_configs":[{"route_config":{"@type":"x/envoy.config.route.v3.RouteConfiguration","name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"r","match":{"prefix":"/"},"direct_response":{"status":200}}]}]}}]`

// A table by name: received, never received, and not read.
func TestRDS(t *testing.T) {
	hcm := `"rds":{"route_config_name":"rt"}`
	if got := ended(ask(rdsDump(t, hcm, namedTable), sent("GET", "/", "a"))); got != okRoute {
		t.Errorf("received: %s", got)
	}
	never := ask(rdsDump(t, hcm, `"dynamic_route_configs":[]`), sent("GET", "/", "a"))
	if got := ended(never); got != "404 route_not_found NR" || never.Outcome.RouteConfig != "rt" {
		t.Errorf("never received: %s %+v", got, never.Outcome)
	}
	c := httpDump(t, hcm)
	c.complete[dynamicRouteConfigs] = false
	r := ask(c, sent("GET", "/", "a"))
	if r.Verdict != flow.Unknown || len(r.Needs) != 1 || r.Needs[0] != (flow.Need{Part: "route", Name: "rt"}) {
		t.Errorf("not read: %v, needs %v", r.Verdict, r.Needs)
	}
}

// Scope keys (section 6.5).
func TestScopedRoutes(t *testing.T) {
	hcm := func(extract string) string {
		return `"scoped_routes":{"name":"s","scope_key_builder":{"fragments":[{"header_value_extractor":{"name":"X-Scope",` + extract + `}}]},
		"scoped_route_configurations_list":{"scoped_route_configurations":[{"name":"red","key":{"fragments":[{"string_key":"red"}]},"route_configuration_name":"rt"}]}}`
	}
	const element, index = `"element_separator":";","element":{"separator":"=","key":"tenant"}`, `"element_separator":",","index":1`
	for _, c := range []struct{ extract, headers, want string }{
		{element, "x-scope=a=b;tenant=red", okRoute}, {element, "x-scope=tenant=Red", "404 route_not_found NR"}, {element, "x-scope=red", "404 route_not_found NR"}, {element, "", "404 route_not_found NR"},
		{index, "x-scope=a,red", okRoute}, {index, "x-scope=red", "404 route_not_found NR"}, {index, "x-scope=a,red x-scope=b,c", okRoute},
	} {
		if got := ended(ask(rdsDump(t, hcm(c.extract), namedTable), sent("GET", "/", "a", fields(c.headers)...))); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.extract, c.headers, got, c.want)
		}
	}
}

// Virtual hosts on demand are not all in the table: a miss tells nothing.
func TestVHDS(t *testing.T) {
	cfg := httpDump(t, `"route_config":{"name":"rt","vhds":{},"virtual_hosts":[{"name":"v","domains":["a"],"routes":[{"name":"r","match":{"prefix":"/"},"direct_response":{"status":200}}]}]}`)
	if got := ended(ask(cfg, sent("GET", "/", "a"))); got != okRoute {
		t.Errorf("known host: %s", got)
	}
	if r := ask(cfg, sent("GET", "/", "b")); r.Verdict != flow.Unknown {
		t.Errorf("unknown host: %v %s", r.Verdict, ended(r))
	}
}

func TestRequireTLS(t *testing.T) {
	cfg := func(mode, more string) *Config {
		return httpDump(t, `"route_config":{"name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"require_tls":"`+mode+`","routes":[{"name":"r","match":{"prefix":"/"},"direct_response":{"status":200}}]}]}`+more)
	}
	trust := `,"internal_address_config":{"cidr_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]}`
	const to = "301 direct_response https://a/x"
	for _, c := range []struct{ mode, headers, want string }{
		{"ALL", "", to}, {"ALL", "x-forwarded-proto=https", okRoute}, {"ALL", "x-forwarded-proto=HTTPS", to}, {"ALL", "x-forwarded-for=10.1.1.1", to}, {"EXTERNAL_ONLY", "", to}, {"EXTERNAL_ONLY", "x-forwarded-for=10.1.1.1", okRoute}, {"NONE", "", okRoute},
		{"ALL", "x-forwarded-proto=", "404 route_not_found NR"},
	} {
		if got := ended(ask(cfg(c.mode, trust), sent("GET", "/x", "a", fields(c.headers)...))); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.mode, c.headers, got, c.want)
		}
	}
}

// How a route names its cluster.
func TestClusterOf(t *testing.T) {
	matcher := `"inline_cluster_specifier_plugin":{"extension":{"name":"m","typed_config":` + typedAny("envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier",
		`"cluster_matcher":{"matcher_tree":{"input":{"typed_config":{"@type":"x/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x-a"}},"exact_match_map":{"map":{"1":{"action":{"typed_config":{"@type":"x/envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction","cluster":"c"}}}}}}}`) + `}}`
	for _, c := range []struct{ route, headers, want string }{
		{`"cluster":"c"`, "", "200 via_upstream c"}, {`"cluster":"nosuch"`, "", "503 cluster_not_found NC"}, {`"cluster":"nosuch","cluster_not_found_response_code":"NOT_FOUND"`, "", "404 cluster_not_found NC"},
		{`"cluster_header":"X-To"`, "x-to=c x-to=d", "200 via_upstream c"}, {`"cluster_header":"x-to"`, "", "503 cluster_not_found NC"}, {matcher, "x-a=1", "200 via_upstream c"}, {matcher, "", "503 cluster_not_found NC"},
	} {
		if got := ended(ask(httpDump(t, oneHost(`{"match":{"prefix":"/"},"route":{`+c.route+`}}`)), sent("GET", "/", "a", fields(c.headers)...))); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.route, c.headers, got, c.want)
		}
	}
	lua := oneHost(`{"match":{"prefix":"/"},"route":{"inline_cluster_specifier_plugin":{"extension":{"name":"l","typed_config":` + typedAny("envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig", "") + `}}}}`)
	if r := ask(httpDump(t, lua), sent("GET", "/", "a")); r.Verdict != flow.Unknown {
		t.Errorf("a lua plugin: %v", r.Verdict)
	}
	if got := ended(ask(httpDump(t, oneHost(`{"match":{"prefix":"/"},"non_forwarding_action":{}}`)), sent("GET", "/", "a"))); got != "503 cluster_not_found NC" {
		t.Errorf("no action: %s", got)
	}
}

// local_reply_config changes the status of local replies only (measured on 1.40).
func TestLocalReplyConfig(t *testing.T) {
	filter := func(op string, v int) string {
		return `"filter":{"status_code_filter":{"comparison":{"op":"` + op + `","value":{"default_value":` + string(rune('0'+v/100)) + `00,"runtime_key":"k"}}}}`
	}
	cfg := httpDump(t, oneHost(answering("r", `"path":"/r"`), `{"name":"edge","match":{"path":"/400"},"direct_response":{"status":400}}`, `{"name":"up","match":{"path":"/up"},"route":{"cluster":"c"}}`)+`,"local_reply_config":{"mappers":[{`+filter("LE", 200)+`},{`+filter("GE", 400)+`,"status_code":299}]}`)
	for _, c := range []struct{ path, headers, want string }{
		{"/r", "", okRoute}, {"/400", "", "299 direct_response edge"}, {"/x", "", "299 route_not_found NR"}, {"/#", "", "299 path_normalization_failed"}, {"/up", "", "200 via_upstream up c"}, {"/x", "content-type=application/grpc", "200 route_not_found NR"},
	} {
		if got := ended(ask(cfg, sent("GET", c.path, "a", fields(c.headers)...))); got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	cfg = httpDump(t, oneHost(answering("r", `"path":"/r"`))+`,"local_reply_config":{"mappers":[{"filter":{"extension_filter":{}},"status_code":299}]}`)
	r := ask(cfg, sent("GET", "/x", "a"))
	if s := r.Steps[len(r.Steps)-1]; len(s.Assumed) != 1 || s.Assumed[0].Reason.Kind != flow.WhyLocalReplyMap {
		t.Errorf("a filter that is not modelled: %+v", s.Assumed)
	}
}

// VirtualHost.matcher: a route whose own match must hold, or a list; routes are ignored.
func TestMatcherTree(t *testing.T) {
	route := typedAny("envoy.config.route.v3.Route", `"name":"one","match":{"prefix":"/one"},"direct_response":{"status":200}`)
	list := typedAny("envoy.config.route.v3.RouteList", `"routes":[`+answering("a", `"path":"/a"`)+`,`+answering("b", `"prefix":"/"`)+`]`)
	cfg := httpDump(t, `"route_config":{"name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"routes":[`+answering("ignored", `"prefix":"/"`)+`],"matcher":{"matcher_tree":{"input":{"typed_config":{"@type":"x/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x-a"}},
		"exact_match_map":{"map":{"1":{"action":{"name":"r","typed_config":`+route+`}},"2":{"action":{"name":"l","typed_config":`+list+`}}}}}}}]}`)
	for _, c := range []struct{ path, headers, want string }{
		{"/one", "x-a=1", "200 direct_response one"}, {"/two", "x-a=1", "404 route_not_found NR"}, {"/a", "x-a=2", "200 direct_response a"}, {"/z", "x-a=2", "200 direct_response b"}, {"/a", "x-a=3", "404 route_not_found NR"}, {"/a", "", "404 route_not_found NR"},
		{"/a", "x-a=2 x-a=2", "404 route_not_found NR"},
	} {
		if got := ended(ask(cfg, sent("GET", c.path, "a", fields(c.headers)...))); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.path, c.headers, got, c.want)
		}
	}
}
