package envoy

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/meshtop/meshtop/rules/flow"
)

// fuzzed are connection managers in which @ stands for any JSON value.
func fuzzed() []string {
	route := func(match, action string) string {
		return oneHost(`{"name":"r","match":{` + match + `},` + action + `}`)
	}
	const to = `"route":{"cluster":"c"}`
	filter := func(typ, config string) string {
		return withFilters(route(`"prefix":"/"`, to), typedFilter("f", typ, config))
	}
	list := []string{
		`"route_config":@`, `"route_config":{"virtual_hosts":@}`, `"route_config":{"virtual_hosts":[{"domains":@,"routes":[{"match":@}]}]}`, oneHost("@"), `"rds":@`, `"scoped_routes":@`,
		`"scoped_routes":{"scope_key_builder":{"fragments":[{"header_value_extractor":{"name":"x","index":@,"element":@}}]}}`,
		route(`"headers":[@],"prefix":""`, to), route(`"headers":[{"name":"x","string_match":@}]`, to), route(`"headers":[{"name":"x","range_match":@}]`, to), route(`"query_parameters":@`, to),
		route(`"cookies":@,"runtime_fraction":@,"tls_context":@,"filter_state":@`, to), route(`"safe_regex":{"regex":@}`, to), route(`"path_match_policy":{"typed_config":{"@type":"x/a.uri_template.v3.UriTemplateMatchConfig","path_template":@}}`, `"route":{"cluster":"c","path_rewrite_policy":{"typed_config":{"@type":"x/UriTemplateRewriteConfig","path_template_rewrite":@}}}`),
		route(`"prefix":@,"case_sensitive":@`, `"redirect":{"prefix_rewrite":@}`), route(`"prefix":"/"`, `"redirect":@`), route(`"prefix":"/"`, `"route":@`), route(`"prefix":"/"`, `"direct_response":@`),
		route(`"prefix":"/"`, `"route":{"weighted_clusters":@}`), route(`"prefix":"/"`, `"route":{"cluster":"c","regex_rewrite":{"pattern":{"regex":@},"substitution":@},"host_rewrite_path_regex":@}`),
		route(`"prefix":"/"`, to+`,"request_headers_to_add":@,"request_headers_to_remove":@,"typed_per_filter_config":@`), route(`"prefix":"/"`, to+`,"request_headers_to_add":[{"header":{"key":"k","value":@}}]`),
		`"route_config":{"virtual_hosts":[{"domains":["*"],"matcher":@}]}`, route(`"prefix":"/"`, `"route":{"inline_cluster_specifier_plugin":{"extension":@}}`),
		filter("fault.v3.HTTPFault", `"abort":@,"delay":@,"headers":[@]`), filter("rbac.v3.RBAC", `"rules":@`), filter("rbac.v3.RBAC", `"matcher":@`), filter("local_ratelimit.v3.LocalRateLimit", `"filter_enabled":@,"filter_enforced":@,"status":@`),
		filter("jwt_authn.v3.JwtAuthentication", `"providers":@,"rules":@`), filter("lua.v3.Lua", `"default_source_code":@`), filter("header_mutation.v3.HeaderMutation", `"mutations":@`), filter("health_check.v3.HealthCheck", `"headers":@`),
		filter("csrf.v3.CsrfPolicy", `"filter_enabled":{"default_value":{"numerator":100}},"additional_origins":@`), filter("set_filter_state.v3.Config", `"on_request_headers":@`),
		route(`"prefix":"/"`, to) + `,"upgrade_configs":@,"local_reply_config":@,"internal_address_config":@,"use_remote_address":@,"xff_num_trusted_hops":@,"original_ip_detection_extensions":@`,
		route(`"prefix":"/"`, to) + `,"normalize_path":true,"merge_slashes":true,"strip_any_host_port":true,"path_with_escaped_slashes_action":"UNESCAPE_AND_FORWARD","http_filters":@`,
	}
	return list
}

// FuzzHTTP gives any value to each place of a connection manager and any bytes to its
// codec: no panic, the same answer twice, and every loser explained.
func FuzzHTTP(f *testing.F) {
	list := fuzzed()
	for i, v := range []string{`{}`, `[{}]`, `"%REQ(x):3%"`, `{"numerator":5}`, `[{"name":"x"}]`, `9223372036854775808`, `"(a|b)*\\1"`, `{"matcher_tree":{"exact_match_map":{"map":{"":{}}}}}`} {
		for k := range list {
			f.Add(uint8(k), v, []string{"GET", "CONNECT", "OPTIONS"}[i%3], []string{"/a?q=1", "*", "http://h/%2F..;/", "[::1]:80"}[(i+k)%4], "a.b:80", "x", "1", []string{"1.1", "2", "1.0", ""}[i%4])
		}
	}
	f.Fuzz(func(t *testing.T, place uint8, v, method, target, host, name, value, version string) {
		if !json.Valid([]byte(v)) || !utf8.ValidString(v) || strings.Contains(v, "config_discovery") {
			quoted, _ := json.Marshal(v)
			v = string(quoted)
		}
		cfg := httpDump(t, strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(list[int(place)%len(list)], "@type", "\x00"), "@", v), "\x00", "@type"))
		h := flow.HTTP{Method: method, Path: target, Authority: host, Headers: [][2]string{{name, value}, {"x", value}}, Version: version, Exact: true}
		n := 0
		for ch := new(flow.Choices); ch != nil && n < 64; ch = ch.Next() {
			n++
			req := plainRequest(h)
			for _, s := range cfg.Accept(plainConn(), &req, ch).Steps {
				for _, m := range s.Passed {
					s.Explain.Explain(m)
				}
			}
		}
		first, second := ask(cfg, h), ask(cfg, h)
		if ended(first) != ended(second) || len(first.Steps) != len(second.Steps) {
			t.Fatalf("%s, then %s", ended(first), ended(second))
		}
	})
}
