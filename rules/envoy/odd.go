package envoy

import (
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Members that are modelled, or do not matter for where a request goes, up to Envoy 1.40.
// What is not among them may do anything: a route specifier, for one, puts another route in
// the place of the one that matched.
var (
	routeFields = []string{"name", "match", "route", "redirect", "direct_response", "filter_action", "non_forwarding_action", "metadata", "decorator",
		"per_filter_config", "typed_per_filter_config", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
		"response_headers_to_remove", "tracing", "per_request_buffer_limit_bytes", "stat_prefix", "request_body_buffer_limit"}
	routeActionFields = []string{"cluster", "cluster_header", "weighted_clusters", "cluster_specifier_plugin", "inline_cluster_specifier_plugin",
		"cluster_not_found_response_code", "metadata_match", "prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite", "host_rewrite_literal",
		"auto_host_rewrite", "host_rewrite_header", "host_rewrite_path_regex", "host_rewrite", "append_x_forwarded_host", "timeout", "idle_timeout", "flush_timeout",
		"early_data_policy", "retry_policy", "retry_policy_typed_config", "request_mirror_policies", "priority", "rate_limits", "include_vh_rate_limits",
		"hash_policy", "cors", "max_grpc_timeout", "grpc_timeout_offset", "upgrade_configs", "internal_redirect_policy", "internal_redirect_action",
		"max_internal_redirects", "hedge_policy", "max_stream_duration", "auto_host_rewrite_header"}
	redirectFields = []string{"host_redirect", "port_redirect", "response_code", "strip_query", "https_redirect", "scheme_redirect", "path_redirect",
		"prefix_rewrite", "regex_rewrite", "path_rewrite"}
	directFields   = []string{"status", "body", "body_format"}
	weightedFields = []string{"clusters", "total_weight", "runtime_key_prefix", "header_name", "use_hash_policy", "host_rewrite_literal"}
	shareFields    = []string{"name", "cluster_header", "weight", "metadata_match", "request_headers_to_add", "request_headers_to_remove",
		"response_headers_to_add", "response_headers_to_remove", "per_filter_config", "typed_per_filter_config", "host_rewrite_literal"}
)

// networkFields are those of the network filters that are modelled; nil for another kind.
func networkFields(kind string) []string {
	switch kind {
	case "tcp_proxy":
		return []string{"stat_prefix", "cluster", "weighted_clusters", "on_demand", "metadata_match", "idle_timeout", "downstream_idle_timeout",
			"upstream_idle_timeout", "access_log", "max_connect_attempts", "backoff_options", "hash_policy", "tunneling_config",
			"max_downstream_connection_duration", "max_downstream_connection_duration_jitter_percentage", "access_log_flush_interval",
			"flush_access_log_on_connected", "access_log_options", "proxy_protocol_tlvs", "proxy_protocol_tlv_merge_policy", "upstream_connect_mode",
			"max_early_data_bytes", "check_drain_close", "deprecated_v1", "hidden_envoy_deprecated_deprecated_v1"}
	case "rbac":
		return []string{"rules", "matcher", "shadow_rules", "shadow_matcher", "shadow_rules_stat_prefix", "stat_prefix", "enforcement_type", "delay_deny"}
	case "local_ratelimit":
		return []string{"stat_prefix", "token_bucket", "runtime_enabled", "share_key"}
	case "connection_limit":
		return []string{"stat_prefix", "max_connections", "delay", "runtime_enabled"}
	case "set_filter_state": // what the handshake or the first bytes set is not modelled
		return []string{"on_new_connection"}
	case "direct_response":
		return []string{"response"}
	case "sni_cluster", "echo":
		return []string{}
	}
	return nil
}

// oddRoute are the members of a route that are not modelled, those of its action by their path.
func oddRoute(n tree.Node) []string {
	odd := n.Unknown(routeFields...)
	for _, part := range []struct {
		path  string
		known []string
	}{{"route", routeActionFields}, {"route.weighted_clusters", weightedFields}, {"redirect", redirectFields}, {"direct_response", directFields}} {
		for _, name := range n.Path(strings.Split(part.path, ".")...).Unknown(part.known...) {
			odd = append(odd, part.path+"."+name)
		}
	}
	return odd
}

// odd meets the members of an object that are not modelled, each of which may do anything;
// false: the pass has ended at one.
func (p *pass) odd(stage flow.Stage, of string, n tree.Node, names []string) bool {
	for _, name := range names {
		at := n
		for _, part := range strings.Split(name, ".") {
			at = at.Field(snake(part))
		}
		if !p.opaque(stage, strings.TrimSpace(of+" "+name), flow.Because(flow.WhyNotModelled, name), at) {
			return false
		}
	}
	return true
}

// oddRoute meets those of the chosen route. What one of them may change is not claimed.
func (s *stream) oddRoute() {
	n, name := s.route.node, s.p.res.Outcome.Route
	ok := s.p.odd(flow.Route, name, n, oddRoute(n))
	if e := s.action.entry; ok && e.Exists() {
		ok = s.p.odd(flow.Route, name+" "+e.Field("name").Str(), e, e.Unknown(shareFields...))
	}
	if !ok {
		o := &s.p.res.Outcome
		o.Route, o.RouteIndex, o.Cluster = "", -1, ""
	}
}
