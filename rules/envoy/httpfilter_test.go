package envoy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// withFilters is a table and its connection manager's filters before the router.
func withFilters(table string, filters ...string) string {
	return table + `,"http_filters":[` + strings.Join(append(filters, routerFilter), ",") + "]"
}

// typed is a filter with its configuration; typ is the last part of envoy.extensions.filters.http.
func typedFilter(name, typ, config string) string {
	return fmt.Sprintf(`{"name":%q,"typed_config":%s}`, name, typedAny("envoy.extensions.filters.http."+typ, config))
}

func typedAny(typ, config string) string {
	if config != "" {
		config = "," + config
	}
	return fmt.Sprintf(`{"@type":"type.googleapis.com/%s"%s}`, typ, config)
}

// allEnds are the ends of all variants, in order.
func allEnds(c *Config, h flow.HTTP) string {
	rs, _ := variants(c, h, nil)
	var out []string
	for _, r := range rs {
		e := ended(r)
		if r.Verdict == flow.Unknown {
			e = "unknown"
		}
		out = append(out, e)
	}
	return strings.Join(out, " | ")
}

const okRoute = "200 direct_response r"

// The filters' answers, as Envoy 1.40 gave them to these requests.
func TestFilters(t *testing.T) {
	table := oneHost(answering("r", `"prefix":"/"`))
	fault := func(c string) string { return typedFilter("f", "fault.v3.HTTPFault", c) }
	lua := func(script string) string {
		return typedFilter("f", "lua.v3.Lua", fmt.Sprintf(`"default_source_code":{"inline_string":%q}`, script))
	}
	limit := func(c string) string {
		return typedFilter("f", "local_ratelimit.v3.LocalRateLimit", `"stat_prefix":"l","token_bucket":{"max_tokens":1,"fill_interval":"1s"}`+c)
	}
	const all = `{"default_value":{"numerator":100}}`
	byHeader := fault(`"abort":{"header_abort":{},"percentage":{"numerator":100}},"delay":{"fixed_delay":"0.01s","percentage":{"numerator":100}}`)
	csrf := typedFilter("f", "csrf.v3.CsrfPolicy", `"filter_enabled":`+all+`,"additional_origins":[{"exact":"ok.test"}]`)
	hc := typedFilter("f", "health_check.v3.HealthCheck", `"pass_through_mode":false,"headers":[{"name":":path","string_match":{"exact":"/hc"}}]`)
	basic := typedFilter("f", "basic_auth.v3.BasicAuth", `"users":{"inline_string":"[redacted]"}`)
	for _, c := range []struct{ filter, method, path, headers, want string }{
		{fault(`"abort":{"http_status":503,"percentage":{"numerator":100}}`), "GET", "/", "", "503 fault_filter_abort FI r"}, {fault(`"abort":{"grpc_status":7,"percentage":{"numerator":100}}`), "GET", "/", "", "200 fault_filter_abort FI r"},
		{fault(`"abort":{"http_status":503,"percentage":{"numerator":30}}`), "GET", "/", "", "503 fault_filter_abort FI r | " + okRoute}, {fault(`"abort":{"http_status":503}`), "GET", "/", "", okRoute},
		{fault(`"abort":{"http_status":503,"percentage":{"numerator":100}},"headers":[{"name":"x-f"}]`), "GET", "/", "", okRoute}, {fault(`"abort":{"http_status":503,"percentage":{"numerator":100}},"upstream_cluster":"c"`), "GET", "/", "", okRoute},
		{byHeader, "GET", "/", "", "200 direct_response DI r"}, {byHeader, "GET", "/", "x-envoy-fault-abort-request=418", "418 fault_filter_abort DI,FI r"}, {byHeader, "GET", "/", "x-envoy-fault-abort-request=99", "200 direct_response DI r"},
		{byHeader, "GET", "/", "x-envoy-fault-abort-grpc-request=5", "200 fault_filter_abort DI,FI r"}, {byHeader, "GET", "/", "x-envoy-fault-abort-request=418 x-envoy-fault-abort-request-percentage=0", "200 direct_response DI r"},
		{lua("function envoy_on_response(h) end"), "GET", "/", "", okRoute}, {lua("function envoy_on_request(h) end"), "GET", "/", "", okRoute + " | unknown"}, {lua(`_G["envoy_on_" .. "request"] = f`), "GET", "/", "", okRoute + " | unknown"},
		{limit(""), "GET", "/", "", okRoute}, {limit(`,"filter_enabled":` + all), "GET", "/", "", okRoute}, {limit(`,"filter_enabled":` + all + `,"filter_enforced":` + all), "GET", "/", "", okRoute + " | 429 local_rate_limited RL r"},
		{limit(`,"filter_enabled":` + all + `,"filter_enforced":` + all + `,"status":{"code":"ServiceUnavailable"}`), "GET", "/", "content-type=application/grpc", okRoute + " | 200 local_rate_limited RL r"},
		{csrf, "GET", "/", "", okRoute}, {csrf, "POST", "/", "", "403 csrf_origin_mismatch r"}, {csrf, "POST", "/", "origin=https://a", okRoute}, {csrf, "PUT", "/", "origin=https://b", "403 csrf_origin_mismatch r"}, {csrf, "PUT", "/", "origin=https://ok.test", okRoute},
		{csrf, "PUT", "/", "referer=https://a/x", okRoute},
		{hc, "GET", "/hc", "", "200 health_check_ok r"}, {hc, "GET", "/", "", okRoute}, {basic, "GET", "/", "", "401 no_credential_for_basic_auth r"}, {basic, "GET", "/", "authorization=Basic_x", okRoute + " | unknown"},
		{typedFilter("f", "wasm.v3.Wasm", `"config":{"name":"w"}`), "GET", "/", "", okRoute + " | unknown"}, {typedFilter("f", "ext_authz.v3.ExtAuthz", ""), "GET", "/", "", okRoute + " | unknown"}, {typedFilter("f", "brand_new.v3.X", ""), "GET", "/", "", okRoute + " | unknown"},
		{typedFilter("f", "cdn_loop.v3.CdnLoopConfig", `"cdn_id":"cid"`), "GET", "/", "", okRoute + " | unknown"}, {typedFilter("f", "stateful_session.v3.StatefulSession", ""), "GET", "/", "", okRoute + " | unknown"},
		{typedFilter("f", "credential_injector.v3.CredentialInjector", ""), "GET", "/", "", okRoute + " | unknown"},
		{typedFilter("f", "admission_control.v3.AdmissionControl", ""), "GET", "/", "", okRoute + " | 503 denied_by_admission_control r"}, {typedFilter("f", "ratelimit.v3.RateLimit", `"domain":"d"`), "GET", "/", "", okRoute},
		{typedFilter("f", "ratelimit.v3.RateLimit", `"rate_limits":[{"actions":[]}]`), "GET", "/", "", okRoute + " | unknown"}, {typedFilter("f", "ext_proc.v3.ExternalProcessor", `"processing_mode":{"request_header_mode":"SKIP"}`), "GET", "/", "", okRoute},
		{typedFilter("f", "kill_request.v3.KillRequest", ""), "GET", "/", "", okRoute}, {typedFilter("f", "kill_request.v3.KillRequest", ""), "GET", "/", "x-envoy-kill-request=true", okRoute + " | unknown"},
		{typedFilter("f", "buffer.v3.Buffer", `"max_request_bytes":7`), "GET", "/", "", okRoute}, {typedFilter("f", "grpc_stats.v3.FilterConfig", ""), "GET", "/", "", okRoute},
		{`{"name":"f","config_discovery":{"config_source":{}}}`, "GET", "/", "", "500  NFCF r"},
		{`{"name":"f","typed_config":{"@type":"x/stats.PluginConfig"}}`, "GET", "/", "", okRoute}, {`{"name":"f","typed_config":{"@type":"x/udpa.type.v1.TypedStruct","type_url":"x/io.istio.http.peer_metadata.Config"}}`, "GET", "/", "", okRoute},
	} {
		cfg := httpDump(t, withFilters(table, c.filter))
		cfg.complete[dynamicListeners] = true
		if got := allEnds(cfg, sent(c.method, c.path, "a", fields(c.headers)...)); got != c.want {
			t.Errorf("%s\n%s %s %s: %s, want %s", c.filter, c.method, c.path, c.headers, got, c.want)
		}
	}
}

// fields reads "name=value name=value"; '_' in a value stands for a blank.
func fields(s string) (out [][2]string) {
	for _, f := range strings.Fields(s) {
		k, v, _ := strings.Cut(f, "=")
		out = append(out, [2]string{k, strings.ReplaceAll(v, "_", " ")})
	}
	return out
}

// Preflights: only a route that forwards answers them (measured on 1.40).
func TestCORS(t *testing.T) {
	route := func(name, prefix, action, policy string) string {
		return fmt.Sprintf(`{"name":%q,"match":{"prefix":%q},%s,"typed_per_filter_config":{"cors":%s}}`, name, prefix, action, typedAny("envoy.extensions.filters.http.cors.v3.CorsPolicy", `"allow_origin_string_match":[{"exact":"https://ok.test"}]`+policy))
	}
	const fwd = `"route":{"cluster":"c"}`
	cfg := httpDump(t, withFilters(oneHost(route("cors", "/cors", fwd, ""), route("nofwd", "/nofwd", fwd, `,"forward_not_matching_preflights":false`), route("dr", "/dr", `"direct_response":{"status":204}`, ""),
		route("nc", "/nc", `"route":{"cluster":"nosuch"}`, ""), route("off", "/off", fwd, `,"filter_enabled":{"default_value":{"numerator":0}}`), answering("r", `"prefix":"/"`)), typedFilter("cors", "cors.v3.Cors", "")))
	const ok, bad = "origin=https://ok.test access-control-request-method=GET", "origin=https://bad.test access-control-request-method=GET"
	for _, c := range []struct{ method, path, headers, want string }{
		{"OPTIONS", "/cors", ok, "200 cors_response cors c"}, {"OPTIONS", "/cors", bad, "200 via_upstream cors c"}, {"OPTIONS", "/nofwd", bad, "200 cors_response nofwd c"}, {"OPTIONS", "/dr", ok, "204 direct_response dr"},
		{"OPTIONS", "/nc", ok, "200 cors_response nc"}, {"OPTIONS", "/nc", bad, "503 cluster_not_found NC nc"}, {"OPTIONS", "/off", ok, "200 via_upstream off c"}, {"OPTIONS", "/", ok, okRoute},
		{"OPTIONS", "/cors", "origin=https://ok.test", "200 via_upstream cors c"}, {"GET", "/cors", ok, "200 via_upstream cors c"},
	} {
		if got := allEnds(cfg, sent(c.method, c.path, "a", fields(c.headers)...)); got != c.want {
			t.Errorf("%s %s %s: %s, want %s", c.method, c.path, c.headers, got, c.want)
		}
	}
}

// Which rule asks for a token, and that there is none (measured on 1.40).
func TestJWT(t *testing.T) {
	p, q := `{"provider_name":"p"}`, `{"provider_name":"q"}`
	rule := func(prefix, requires string) string {
		return fmt.Sprintf(`{"match":{"prefix":%q},"requires":%s}`, prefix, requires)
	}
	cfg := httpDump(t, withFilters(oneHost(answering("r", `"prefix":"/"`)), typedFilter("f", "jwt_authn.v3.JwtAuthentication", `"providers":{"p":{"issuer":"i"},"q":{"from_headers":[{"name":"x-tok","value_prefix":"T "}],"from_params":["tok"]}},"rules":[`+
		strings.Join([]string{rule("/p", p), rule("/q", q), rule("/any", `{"requires_any":{"requirements":[`+p+`,`+q+`]}}`), rule("/all", `{"requires_all":{"requirements":[`+p+`,`+q+`]}}`),
			rule("/am", `{"requires_any":{"requirements":[`+p+`,{"allow_missing":{}}]}}`), rule("/miss", `{"allow_missing":{}}`), rule("/mof", `{"allow_missing_or_failed":{}}`)}, ",")+`]`)))
	const missing, depends = "401 jwt_authn_access_denied{Jwt_is_missing} r", okRoute + " | unknown"
	for _, c := range []struct{ path, headers, want string }{
		{"/p", "", missing}, {"/q", "", missing}, {"/any", "", missing}, {"/all", "", missing}, {"/am", "", okRoute}, {"/miss", "", okRoute}, {"/mof", "", okRoute}, {"/zzz", "", okRoute},
		{"/p", "authorization=Bearer_x.y.z", depends}, {"/q", "authorization=Bearer_x.y.z", missing}, {"/am", "authorization=Bearer_x.y.z", depends}, {"/miss", "authorization=Bearer_x.y.z", depends}, {"/mof", "authorization=Bearer_x.y.z", okRoute},
		{"/p", "authorization=Basic_abc", missing}, {"/q?tok=abc", "", depends}, {"/q", "x-tok=abc", missing}, {"/q", "x-tok=T_abc", depends}, {"/p?access_token=x", "", depends},
	} {
		if got := allEnds(cfg, sent("GET", c.path, "a", fields(c.headers)...)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.path, c.headers, got, c.want)
		}
	}
}

// Four levels say whether a filter runs and with which configuration; without a route none
// of them counts (C1).
func TestPerRoute(t *testing.T) {
	abort := func(code int) string {
		return typedAny("envoy.extensions.filters.http.fault.v3.HTTPFault", fmt.Sprintf(`"abort":{"http_status":%d,"percentage":{"numerator":100}}`, code))
	}
	off := typedAny("envoy.config.route.v3.FilterConfig", `"disabled":true`)
	on := func(config string) string { return typedAny("envoy.config.route.v3.FilterConfig", `"config":`+config) }
	for _, c := range []struct{ disabled, table, vhost, route, path, want string }{
		{"", "", "", "", "/r", "501 fault_filter_abort FI r"}, {`,"disabled":true`, "", "", "", "/r", okRoute}, {`,"disabled":true`, "", "", abort(502), "/r", "502 fault_filter_abort FI r"},
		{"", "", off, "", "/r", okRoute}, {"", off, "", abort(502), "/r", "502 fault_filter_abort FI r"}, {"", abort(503), abort(504), "", "/r", "504 fault_filter_abort FI r"},
		{"", abort(503), off, "", "/r", okRoute}, {"", "", off, on(abort(502)), "/r", "502 fault_filter_abort FI r"}, {"", "", "", off, "/r", okRoute},
		{"", "", off, "", "/none", "501 fault_filter_abort FI"}, {"", abort(503), abort(504), "", "/none", "501 fault_filter_abort FI"}, {`,"disabled":true`, abort(503), abort(504), "", "/none", "404 route_not_found NR"},
	} {
		per := func(config string) string {
			if config == "" {
				return ""
			}
			return `,"typed_per_filter_config":{"f":` + config + `}`
		}
		table := `"route_config":{"name":"rt"` + per(c.table) + `,"virtual_hosts":[{"name":"v","domains":["*"]` + per(c.vhost) + `,"routes":[{"name":"r","match":{"prefix":"/r"},"direct_response":{"status":200}` + per(c.route) + `}]}]}`
		cfg := httpDump(t, withFilters(table, `{"name":"f","typed_config":`+abort(501)+c.disabled+`}`))
		if got := allEnds(cfg, sent("GET", c.path, "a")); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestHTTPRBAC(t *testing.T) {
	table := oneHost(answering("r", `"prefix":"/"`))
	policy := func(action, permission, principal string) string {
		return typedFilter("f", "rbac.v3.RBAC", fmt.Sprintf(`"rules":{"action":%q,"policies":{"p":{"permissions":[{%s}],"principals":[{%s}]}}}`, action, permission, principal))
	}
	const any, denied, none = `"any":true`, "403 rbac_access_denied_matched_policy[p] r", "403 rbac_access_denied_matched_policy[none] r"
	for _, c := range []struct{ filter, path, headers, want string }{
		{policy("DENY", `"url_path":{"path":{"prefix":"/admin"}}`, any), "/admin?x", "", denied}, {policy("DENY", `"url_path":{"path":{"prefix":"/admin"}}`, any), "/", "", okRoute},
		{policy("ALLOW", `"header":{"name":"x-a","string_match":{"exact":"1"}}`, any), "/", "x-a=1", okRoute}, {policy("ALLOW", `"header":{"name":"x-a","string_match":{"exact":"1"}}`, any), "/", "x-a=2", none}, {policy("LOG", any, any), "/", "", okRoute},
		{policy("ALLOW", any, `"remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}`), "/", "x-forwarded-for=10.1.1.1", okRoute}, {policy("ALLOW", any, `"direct_remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}`), "/", "x-forwarded-for=10.1.1.1", none},
		// Nothing has set metadata yet.
		{policy("DENY", any, `"metadata":{"filter":"f","path":[{"key":"k"}],"value":{"present_match":true}}`), "/", "", okRoute},
		{policy("ALLOW", any, `"filter_state":{"key":"k","string_match":{"exact":"v"}}`), "/", "", none},
		{policy("ALLOW", `"matcher":{"name":"cel"}`, any), "/", "", okRoute + " | unknown"}, {policy("DENY", any, any), "/", "content-type=application/grpc", "200 rbac_access_denied_matched_policy[p] r"},
		{typedFilter("f", "rbac.v3.RBAC", `"matcher":{"matcher_tree":{"input":{"typed_config":{"@type":"x/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x-a"}},"exact_match_map":{"map":{"1":{"action":{"typed_config":{"@type":"x/envoy.config.rbac.v3.Action","name":"ok"}}}}}}}`), "/", "x-a=1", okRoute},
		{typedFilter("f", "rbac.v3.RBAC", `"matcher":{"matcher_tree":{"input":{"typed_config":{"@type":"x/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x-a"}},"exact_match_map":{"map":{}}}}`), "/", "x-a=1", none},
	} {
		if got := allEnds(httpDump(t, withFilters(table, c.filter)), sent("GET", c.path, "a", fields(c.headers)...)); got != c.want {
			t.Errorf("%s\n%s %s: %s, want %s", c.filter, c.path, c.headers, got, c.want)
		}
	}
}

// match_delegate skips the filter inside by a matcher tree; composite runs what it names.
func TestDelegate(t *testing.T) {
	tree := func(action string) string {
		return `"matcher_tree":{"input":{"typed_config":{"@type":"x/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x-a"}},"exact_match_map":{"map":{"1":{"action":{"name":"a","typed_config":` + action + `}}}}}`
	}
	abort := typedFilter("i", "fault.v3.HTTPFault", `"abort":{"http_status":503,"percentage":{"numerator":100}}`)
	wrap := func(inner, action string) string {
		return `{"name":"f","typed_config":` + typedAny("envoy.extensions.common.matching.v3.ExtensionWithMatcher", `"extension_config":`+inner+`,"xds_matcher":{`+tree(action)+`}`) + `}`
	}
	skip := wrap(abort, typedAny("envoy.extensions.filters.common.matcher.action.v3.SkipFilter", ""))
	run := wrap(typedFilter("i", "composite.v3.Composite", ""), typedAny("envoy.extensions.filters.http.composite.v3.ExecuteFilterAction", `"typed_config":`+abort))
	for _, c := range []struct{ filter, headers, want string }{
		{skip, "x-a=1", okRoute}, {skip, "x-a=2", "503 fault_filter_abort FI r"}, {run, "x-a=1", "503 fault_filter_abort FI r"}, {run, "", okRoute},
	} {
		if got := allEnds(httpDump(t, withFilters(oneHost(answering("r", `"prefix":"/"`)), c.filter)), sent("GET", "/", "a", fields(c.headers)...)); got != c.want {
			t.Errorf("%s %s: %s", c.filter, c.headers, got)
		}
	}
}

// What a filter that asks for virtual hosts, resolves hosts or replaces answers does, and
// says; TestFilterGaps of e2e/envoy judges it by a real Envoy.
func TestAnswerFilters(t *testing.T) {
	const cluster = `"dfp"`
	demand := typedFilter("f", "on_demand.v3.OnDemand", "")
	forward := typedFilter("f", "dynamic_forward_proxy.v3.FilterConfig", "")
	custom := func(policy string) string {
		return typedFilter("f", "custom_response.v3.CustomResponse", `"custom_response_matcher":{"matcher_list":{"matchers":[{"predicate":{"single_predicate":{"input":{"name":"i","typed_config":`+
			typedAny("envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput", "")+`},"value_match":{"exact":"200"}}},"on_match":{"action":{"name":"a","typed_config":`+policy+`}}}]}}`)
	}
	route := oneHost(answering("r", `"prefix":"/"`))
	for _, c := range []struct {
		hcm, want string
		says      flow.ReasonKind
	}{
		{withFilters(route, demand), okRoute, flow.WhyOnDemandIdle},
		{withFilters(oneHost(), demand), "404 route_not_found NR", flow.WhyOnDemandIdle},
		{withFilters(strings.Replace(oneHost(), `"name":"rt"`, `"name":"rt","vhds":{}`, 1), demand), "unknown", flow.WhyVHDS},
		{withFilters(route, forward), okRoute, flow.WhyForwardIdle},
		{withFilters(oneHost(`{"match":{"prefix":"/"},"route":{"cluster":`+cluster+`}}`), forward), "unknown", flow.WhyForwardHost},
		{withFilters(route, custom(typedAny("x.local_response_policy.v3.LocalResponsePolicy", `"status_code":418`))), "418  r", flow.WhyCustomReplaces},
		{withFilters(route, custom(typedAny("x.local_response_policy.v3.LocalResponsePolicy", ""))), "200  r", flow.WhyCustomReplaces},
		{withFilters(route, custom(typedAny("x.redirect_policy.v3.RedirectPolicy", ""))), "unknown", flow.WhyCustomFetches},
		{withFilters(oneHost(), custom(typedAny("x.redirect_policy.v3.RedirectPolicy", ""))), "404 route_not_found NR", flow.WhyCustomResponse},
	} {
		cfg := httpDump(t, c.hcm)
		cfg.clusters["dfp"] = forwarder(t)
		if got := allEnds(cfg, sent("GET", "/", "a.test")); got != c.want {
			t.Errorf("%s: %s, want %s", c.hcm, got, c.want)
		}
		said := false
		for _, s := range ask(cfg, sent("GET", "/", "a.test")).Steps {
			for _, why := range append([]flow.Reason{s.Reason}, s.Facts...) {
				said = said || why.Kind == c.says
			}
		}
		if !said {
			t.Errorf("%s: no step gives reason %d", c.hcm, c.says)
		}
	}
}

// forwarder is a dynamic forward proxy cluster.
func forwarder(t *testing.T) *entry {
	t.Helper()
	c := mesh{clusters: `{'name': 'dfp', 'cluster_type': {'name': 'envoy.clusters.dynamic_forward_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'}}}`}.load(t)
	return c.clusters["dfp"]
}
