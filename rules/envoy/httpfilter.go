package envoy

import (
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// httpFilter is one entry of http_filters.
type httpFilter struct {
	extension
	node     tree.Node
	disabled bool
	odd      []string // members of its configuration that are not modelled
}

// filterFields are the members of the configurations of modelled filters, and of those of
// routes for them, that are modelled or do not matter for where a request goes; nil for a
// filter that is not modelled.
func filterFields(kind string) []string {
	switch kind {
	case "rbac":
		return []string{"rules", "rules_stat_prefix", "matcher", "shadow_rules", "shadow_matcher", "shadow_rules_stat_prefix", "track_per_rule_stats", "rbac"}
	case "local_ratelimit":
		return []string{"stat_prefix", "status", "token_bucket", "filter_enabled", "filter_enforced", "request_headers_to_add_when_not_enforced",
			"response_headers_to_add", "descriptors", "stage", "local_rate_limit_per_downstream_connection", "local_cluster_rate_limit",
			"enable_x_ratelimit_headers", "vh_rate_limits", "always_consume_default_token_bucket", "rate_limited_as_resource_exhausted", "rate_limits",
			"max_dynamic_descriptors", "enable_retry_after_header"}
	case "fault":
		return []string{"delay", "abort", "upstream_cluster", "headers", "downstream_nodes", "max_active_faults", "response_rate_limit", "delay_percent_runtime",
			"abort_percent_runtime", "delay_duration_runtime", "abort_http_status_runtime", "max_active_faults_runtime",
			"response_rate_limit_percent_runtime", "abort_grpc_status_runtime", "disable_downstream_cluster_stats", "filter_metadata"}
	case "cors":
		return []string{"allow_origin_string_match", "allow_origin", "allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials",
			"filter_enabled", "shadow_enabled", "allow_private_network_access", "forward_not_matching_preflights"}
	case "csrf":
		return []string{"filter_enabled", "shadow_enabled", "additional_origins"}
	case "health_check":
		return []string{"pass_through_mode", "cache_time", "cluster_min_healthy_percentages", "headers"}
	case "header_mutation":
		return []string{"mutations", "most_specific_header_mutations_wins"}
	case "buffer":
		return []string{"max_request_bytes", "disabled", "buffer"}
	case "basic_auth":
		return []string{"users", "forward_username_header", "authentication_header", "allow_missing", "emit_dynamic_metadata", "realm"}
	case "router":
		return []string{"dynamic_stats", "start_child_span", "upstream_log", "upstream_log_options", "suppress_envoy_headers", "strict_check_headers",
			"respect_expected_rq_timeout", "suppress_grpc_request_failure_code_stats", "upstream_http_filters", "reject_connect_request_early_data"}
	}
	return nil
}

// notModelled are the members of a modelled filter's configuration that are not.
func notModelled(kind string, config tree.Node) []string {
	if known := filterFields(kind); known != nil {
		return config.Unknown(known...)
	}
	return nil
}

// readFilters compiles a list of http_filters.
func (c *Config) readFilters(list tree.Node) []httpFilter {
	p := &pass{cfg: c}
	var out []httpFilter
	for _, n := range list.All() {
		f := httpFilter{extension: p.extension(n), node: n, disabled: n.Field("disabled").Bool(false)}
		if f.name == "" {
			f.name = f.kind
		}
		f.odd = notModelled(f.kind, f.config)
		out = append(out, f)
	}
	return out
}

// configLevel is one place of typed_per_filter_config, the most specific first.
type configLevel struct {
	name string
	node tree.Node
}

// levels are the places whose per-filter configuration counts. A request without a route has
// none (C1): neither its virtual host's nor its table's apply.
func (s *stream) levels() []configLevel {
	if s.route == nil {
		return nil
	}
	out := make([]configLevel, 0, 4)
	if s.action.entry.Exists() {
		out = append(out, configLevel{"weighted cluster", s.action.entry})
	}
	return append(out, configLevel{"route", s.route.node}, configLevel{"virtual host", s.vhost.node}, configLevel{"route table", s.table.head})
}

// routeConfig is what the levels say of a filter.
type routeConfig struct {
	stated   bool // some level states whether it runs
	disabled bool
	by       string    // the level that says so
	config   tree.Node // the most specific configuration; missing: none
	all      []tree.Node
}

// perRoute reads typed_per_filter_config of a filter, keyed by its configured name. An entry
// that is no FilterConfig{disabled: true} turns the filter on.
// (router/per_filter_config.cc: PerFilterConfigs)
func perRoute(levels []configLevel, name string) routeConfig {
	var rc routeConfig
	for _, l := range levels {
		n := l.node.Field("typed_per_filter_config").Key(name)
		if !n.Exists() {
			n = l.node.Field("per_filter_config").Key(name)
		}
		if !n.Exists() {
			continue
		}
		typ, config := n.Any()
		off := false
		if typ == "envoy.config.route.v3.FilterConfig" {
			off = config.Field("disabled").Bool(false)
			_, config = config.Field("config").Any()
		}
		if !rc.stated {
			rc.stated, rc.disabled, rc.by = true, off, l.name
		}
		if config.Kind() != tree.Missing && !off {
			if !rc.config.Exists() {
				rc.config = config
			}
			rc.all = append(rc.all, config)
		}
	}
	return rc
}

// runFilters runs the decoder filters in order up to the router; false: the pass has ended.
func (s *stream) runFilters() bool {
	filters := s.m.filters
	if s.upgrades && s.action.kind != actionNone {
		var ok bool
		if filters, ok = s.upgradeFilters(); !ok {
			return false
		}
	}
	first := s.levels() // the filters of a request are chosen once
	for i := range filters {
		f := &filters[i]
		rc := perRoute(first, f.name)
		if off, by := f.off(rc); off && f.kind != "router" {
			s.step(f, flow.Because(flow.WhyHTTPFilterOff, by))
			continue
		}
		if !asksLate(f.kind) && !s.fresh() {
			return false
		}
		if f.kind == "router" {
			return s.routerFilter(f)
		}
		rc = perRoute(s.levels(), f.name)
		if !s.p.odd(flow.HTTPFilter, f.name, f.config, f.odd) || !s.p.odd(flow.HTTPFilter, f.name, rc.config, notModelled(f.kind, rc.config)) {
			s.astray(f)
			return false
		}
		if !s.filter(f, rc) {
			return false
		}
	}
	s.p.stop(flow.HTTPFilter, s.m.name, flow.Because(flow.WhyNoTerminal), s.m.node.Field("http_filters"))
	return false
}

// off says whether the filter does not run for this request, and which place says so.
func (f *httpFilter) off(rc routeConfig) (bool, string) {
	if rc.stated {
		return rc.disabled, rc.by
	}
	return f.disabled, "connection manager"
}

// upgradeFilters are the filters of an upgraded request, or the refusal of the upgrade.
// (HttpConnectionManagerConfig::createUpgradeFilterChain)
func (s *stream) upgradeFilters() ([]httpFilter, bool) {
	if n := s.m.ignoreUpgrade; n.Len() > 0 && s.upgrade != "CONNECT" && !s.p.opaque(flow.HTTPFilter, s.m.name, flow.Because(flow.WhyNotModelled, "ignore_http_11_upgrade"), n) {
		return nil, false
	}
	allowed, stated := false, false
	for _, u := range s.act().Field("upgrade_configs").All() {
		if equalFold(u.Field("upgrade_type").Str(), s.upgrade) {
			stated, allowed = true, u.Field("enabled").Bool(true)
			break
		}
	}
	filters := s.m.filters
	for _, u := range s.m.upgrades {
		if !equalFold(u.Field("upgrade_type").Str(), s.upgrade) {
			continue
		}
		if !stated {
			allowed = u.Field("enabled").Bool(true)
		}
		if own := u.Field("filters"); own.Len() > 0 {
			filters = s.p.cfg.readFilters(own)
		}
		break
	}
	if allowed {
		return filters, true
	}
	s.answer(flow.Step{Stage: flow.HTTPFilter, Subject: s.m.name, Reason: flow.Because(flow.WhyUpgradeRefused, s.upgrade), Evidence: evidence(s.m.node.Field("upgrade_configs"))},
		flow.Refused, flow.Symptom{Code: 403, Details: "upgrade_failed"})
	return nil, false
}

// step adds a filter's step, which lets the request go on.
func (s *stream) step(f *httpFilter, why flow.Reason) {
	s.p.add(flow.Step{Stage: flow.HTTPFilter, Subject: f.name, Verdict: flow.Continue, Reason: why, Evidence: evidence(f.node)})
}

// deny ends the pass with a filter's answer.
func (s *stream) deny(f *httpFilter, why flow.Reason, code int, flags, details string) bool {
	s.answer(flow.Step{Stage: flow.HTTPFilter, Subject: f.name, Reason: why, Evidence: evidence(f.node)}, flow.Refused,
		flow.Symptom{Code: code, Flags: flags, Details: details})
	return false
}

// opaque meets a filter whose decision cannot be told.
func (s *stream) opaque(f *httpFilter, what, known string) bool {
	ok := s.p.opaque(flow.HTTPFilter, f.name, flow.Because(flow.WhyFilterOpaque, what, known), f.node)
	if !ok {
		s.astray(f)
	}
	return ok
}

// astray takes back what was said of the route, where the filter at which a pass ended may
// have the route looked for anew with changed headers. (Http::StreamFilterCallbacks::clearRouteCache)
func (s *stream) astray(f *httpFilter) {
	switch f.kind {
	case "ratelimit", "rate_limit_quota", "oauth2", "basic_auth", "api_key_auth", "health_check", "kill_request", "rbac", "cache", "cache_v2":
		return
	case "ext_authz", "jwt_authn":
		if !f.config.Field("clear_route_cache").Bool(false) {
			return
		}
	}
	o := &s.p.res.Outcome
	o.VirtualHost, o.Route, o.RouteIndex, o.Cluster = "", "", -1, ""
}

// filter meets one filter that runs; false: the pass has ended.
func (s *stream) filter(f *httpFilter, rc routeConfig) bool {
	switch {
	case s.p.unusable(flow.HTTPFilter, &f.extension):
		return false
	case f.missing:
		return s.deny(f, flow.Because(flow.WhyFilterNoConfig, f.name), 500, "NFCF", "")
	}
	ok := false
	if f.clears() && passes(f.kind) {
		ok = s.opaque(f, f.kind, "has the route chosen again")
	} else {
		ok = s.runs(f, rc)
	}
	if ok {
		s.noteChange(f, rc)
	}
	return ok
}

// runs is what a filter does whose configuration is there.
func (s *stream) runs(f *httpFilter, rc routeConfig) bool {
	switch f.kind {
	case "rbac":
		return s.rbac(f, rc)
	case "local_ratelimit":
		return s.localRateLimit(f, rc)
	case "fault":
		return s.fault(f, rc)
	case "cors":
		return s.cors(f, rc)
	case "csrf":
		return s.csrf(f, rc)
	case "health_check":
		return s.healthCheck(f)
	case "header_mutation":
		return s.headerMutation(f, rc)
	case "lua":
		return s.lua(f, rc)
	case "buffer":
		return s.buffer(f, rc)
	case "jwt_authn":
		return s.jwt(f, rc)
	case "basic_auth":
		return s.basicAuth(f)
	case "ext_authz", "ext_proc", "ratelimit":
		return s.service(f, rc)
	case "original_src":
		s.p.originalSrc, s.p.mark = true, uint32(f.config.Field("mark").Uint(0))
	case "set_filter_state":
		return s.stateFilter(f)
	case "ip_tagging":
		return s.ipTagging(f)
	case "admission_control", "adaptive_concurrency":
		return s.shed(f)
	case "envoy.extensions.common.matching.v3.ExtensionWithMatcher":
		return s.delegate(f, rc)
	case "wasm":
		if istioWasm(f) {
			break
		}
		return s.opaque(f, f.kind, f.config.Path("config", "name").Str())
	case "kill_request":
		return s.kill(f)
	case "dynamic_forward_proxy":
		return s.forwardProxy(f, rc)
	case "on_demand":
		return s.onDemandFilter(f)
	case "custom_response":
		s.step(f, flow.Because(flow.WhyCustomResponse))
		return true
	default:
		return s.letsPass(f, rc)
	}
	s.step(f, flow.Because(flow.WhyFilterPasses, f.kind))
	return true
}

// letsPass is what a filter does that has no method of its own: it holds no request back, or is not modelled.
func (s *stream) letsPass(f *httpFilter, rc routeConfig) bool {
	if !passes(f.kind) {
		return s.opaque(f, f.kind, "")
	}
	s.marked = s.marked || marks(f.kind)
	s.balance(f, rc)
	s.touch(f)
	s.step(f, flow.Because(flow.WhyFilterPasses, f.kind))
	return true
}

// stateFilter sets filter state, and has the route chosen again where it says so.
func (s *stream) stateFilter(f *httpFilter) bool {
	s.setFilterState(f)
	s.step(f, flow.Because(flow.WhyFilterPasses, f.kind))
	if f.clears() {
		s.again(f)
	}
	return true
}

// marks says that a filter of this kind sets dynamic metadata of the request.
func marks(kind string) bool {
	switch kind {
	case "header_to_metadata", "set_metadata", "json_to_metadata", "thrift_to_metadata", "sse_to_metadata", "grpc_field_extraction",
		"proto_message_extraction", "istio.authentication.v1alpha1.FilterConfig", "istio_authn":
		return true
	}
	return false
}

// passes says that a filter of this kind neither answers a well-formed request nor sends it
// another way: it counts, marks, compresses, or works on the response. Istio's own are here
// under the types of their configurations.
func passes(kind string) bool {
	switch kind {
	case "compressor", "decompressor", "grpc_stats", "grpc_web", "tap", "bandwidth_limit", "alternate_protocols_cache", "gcp_authn",
		"header_to_metadata", "set_metadata", "json_to_metadata", "thrift_to_metadata", "ip_tagging", "geoip", "aws_request_signing",
		"file_system_buffer", "grpc_field_extraction", "proto_message_extraction", "upstream_codec",
		"connect_grpc_bridge", "dynamo", "squash", "sse_to_metadata", "proto_api_scrubber",
		"stats.PluginConfig", "io.istio.http.peer_metadata.Config", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
		"istio.telemetry.stats.v1.PluginConfig", "istio_stats", "istio.alpn", "istio.stats", "istio.metadata_exchange", "metadata_exchange", "peer_metadata", "alpn",
		"io.istio.http.connect_baggage.Config", "io.istio.http.connect_authority.Config", "istio.authentication.v1alpha1.FilterConfig", "istio_authn", "gzip":
		return true
	}
	return false
}

// istioWasm knows the telemetry of older Istio releases, compiled into its Envoy under
// these names.
func istioWasm(f *httpFilter) bool {
	code := f.config.Path("config", "vm_config", "code", "local", "inline_string").Str()
	return code == "envoy.wasm.stats" || code == "envoy.wasm.metadata_exchange" || code == "envoy.wasm.attributegen"
}

// delegate is match_delegate: a matcher tree that may skip the filter inside.
func (s *stream) delegate(f *httpFilter, rc routeConfig) bool {
	inner := httpFilter{extension: s.p.extension(f.config.Field("extension_config")), node: f.node}
	inner.name = f.name
	t := f.config.Field("xds_matcher", "matcher")
	if own := rc.config.Field("xds_matcher"); own.Exists() {
		t = own
	}
	m := matcher{p: s.p, ref: "match_delegate " + f.name, input: s.matcherInput}
	action, ok := m.eval(t)
	if s.p.over {
		return false
	}
	typ, config := action.Field("typed_config").Any()
	switch {
	case ok && strings.HasSuffix(typ, ".SkipFilter"), !ok && inner.kind == "composite":
		s.step(f, flow.Because(flow.WhyHTTPFilterOff, "matcher"))
		return true
	case inner.kind == "composite" && strings.HasSuffix(typ, ".ExecuteFilterAction"):
		inner.extension = s.p.extension(config.Field("typed_config"))
		inner.name = f.name
	case inner.kind == "composite":
		return s.opaque(f, f.kind, "")
	}
	return s.filter(&inner, routeConfig{})
}

// own makes the headers the stream's own before a filter changes them: the conditions of
// routes were tried on what was there before.
func (s *stream) own() {
	if s.h == s.in.h || s.in.h == nil {
		s.h = s.h.clone()
	}
}
