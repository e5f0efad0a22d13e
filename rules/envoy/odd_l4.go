package envoy

import (
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Members that are modelled, or do not matter for where a connection goes, up to Envoy 1.40
// (envoy/config/listener/v3, envoy/config/cluster/v3, envoy/config/endpoint/v3,
// envoy/extensions/transport_sockets/tls/v3).
var (
	listenerFields = []string{"name", "address", "additional_addresses", "stat_prefix", "filter_chains", "fcds_config", "filter_chain_matcher", "use_original_dst",
		"default_filter_chain", "metadata", "deprecated_v1", "listener_filters", "listener_filters_timeout", "continue_on_listener_filters_timeout",
		"traffic_direction", "udp_listener_config", "access_log", "bind_to_port", "internal_listener", "stats_matcher", "per_connection_buffer_limit_bytes",
		"per_connection_buffer_high_watermark_timeout", "drain_type", "transparent", "freebind", "socket_options", "tcp_fast_open_queue_length", "api_listener",
		"connection_balance_config", "reuse_port", "enable_reuse_port", "tcp_backlog_size", "max_connections_to_accept_per_socket_event", "enable_mptcp",
		"ignore_global_conn_limit", "bypass_overload_manager", "tcp_keepalive", "hidden_envoy_deprecated_use_original_dst"}
	chainFields         = []string{"filter_chain_match", "filters", "use_proxy_proto", "metadata", "transport_socket", "name", "transport_socket_connect_timeout", "tls_context", "hidden_envoy_deprecated_tls_context", "on_demand_configuration"}
	inspectorFields     = []string{"enable_ja3_fingerprinting", "enable_ja4_fingerprinting", "initial_read_buffer_size", "max_client_hello_size"}
	proxyProtocolFields = []string{"rules", "allow_requests_without_proxy_protocol", "stat_prefix", "pass_through_tlvs", "tlv_location"}

	clusterFields = []string{"transport_socket_matches", "transport_socket_matcher", "name", "type", "cluster_type", "eds_cluster_config", "lb_policy", "load_assignment",
		"circuit_breakers", "upstream_http_protocol_options", "common_http_protocol_options", "http_protocol_options", "http2_protocol_options",
		"typed_extension_protocol_options", "upstream_bind_config", "lb_subset_config", "original_dst_lb_config", "common_lb_config", "transport_socket",
		"metadata", "protocol_selection", "load_balancing_policy", "alt_stat_name", "stats_matcher", "connect_timeout", "per_connection_buffer_limit_bytes",
		"per_connection_buffer_high_watermark_timeout", "health_checks", "max_requests_per_connection", "dns_refresh_rate", "dns_jitter",
		"dns_failure_refresh_rate", "respect_dns_ttl", "dns_lookup_family", "dns_resolvers", "use_tcp_for_dns_lookups", "dns_resolution_config",
		"typed_dns_resolver_config", "wait_for_warm_on_init", "outlier_detection", "cleanup_interval", "ring_hash_lb_config", "maglev_lb_config",
		"least_request_lb_config", "round_robin_lb_config", "upstream_connection_options", "close_connections_on_host_health_failure",
		"ignore_health_on_host_removal", "lrs_server", "lrs_report_endpoint_metrics", "track_timeout_budgets", "track_cluster_stats", "preconnect_policy",
		"connection_pool_per_downstream_connection", "hosts", "tls_context", "extension_protocol_options", "drain_connections_on_host_removal",
		"hidden_envoy_deprecated_hosts", "hidden_envoy_deprecated_tls_context", "hidden_envoy_deprecated_extension_protocol_options"}
	originalFields   = []string{"use_http_header", "http_header_name", "upstream_port_override"}
	assignmentFields = []string{"cluster_name", "endpoints", "policy"}
	localityFields   = []string{"locality", "metadata", "lb_endpoints", "load_balancing_weight", "priority", "proximity"}

	// custom_handshaker and the selectors of certificates are left off.
	commonTLSFields = []string{"tls_params", "tls_certificates", "tls_certificate_sds_secret_configs", "tls_certificate_provider_instance",
		"tls_certificate_certificate_provider", "tls_certificate_certificate_provider_instance", "validation_context", "validation_context_sds_secret_config",
		"combined_validation_context", "validation_context_certificate_provider", "validation_context_certificate_provider_instance", "alpn_protocols", "key_log"}
	downstreamTLSFields = []string{"common_tls_context", "require_client_certificate", "session_ticket_keys", "session_ticket_keys_sds_secret_config",
		"disable_stateless_session_resumption", "disable_stateful_session_resumption", "session_timeout", "ocsp_staple_policy",
		"full_scan_certs_on_sni_mismatch", "prefer_client_ciphers"}
	upstreamTLSFields = []string{"common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation", "allow_renegotiation", "max_session_keys", "enforce_rsa_key_usage"}

	http1Fields = []string{"allow_absolute_url", "accept_http_10", "default_host_for_http_10", "allow_chunked_length", "header_key_format", "enable_trailers",
		"override_stream_error_on_invalid_http_message", "use_balsa_parser", "allow_custom_methods", "ignore_http_11_upgrade", "send_fully_qualified_url"}
)

// oddIn are the members of a member that are not modelled, by their path.
func oddIn(n tree.Node, path string, known []string) []string {
	var out []string
	for _, name := range n.Path(strings.Split(path, ".")...).Unknown(known...) {
		out = append(out, path+"."+name)
	}
	return out
}

// oddListenerFilter are those of a listener filter's configuration.
func oddListenerFilter(kind string, config tree.Node) []string {
	switch kind {
	case "tls_inspector":
		return config.Unknown(inspectorFields...)
	case "proxy_protocol":
		return config.Unknown(proxyProtocolFields...)
	}
	return nil
}

// oddCluster are those of a cluster. Of its network filters one is known to leave the
// connection as it is: Istio's exchange of metadata.
func oddCluster(n tree.Node) []string {
	odd := append(n.Unknown(append(clusterFields, "filters")...), oddIn(n, "original_dst_lb_config", originalFields)...)
	for _, f := range n.Field("filters").All() {
		if kind, _ := kindOf(f); !strings.Contains(kind, "MetadataExchange") && !strings.Contains(f.Field("name").Str(), "metadata_exchange") {
			odd = append(odd, "filters")
			break
		}
	}
	_, options := n.Field("typed_extension_protocol_options").Key("envoy.extensions.upstreams.http.v3.HttpProtocolOptions").Any()
	h1 := options.Path("explicit_http_config", "http_protocol_options")
	if h1.Field("send_fully_qualified_url").Bool(false) {
		odd = append(odd, "send_fully_qualified_url")
	}
	if _, config := unwrapSocket(n.Field("transport_socket")); config.Field("common_tls_context").Exists() {
		odd = append(odd, oddTLS(config, upstreamTLSFields)...)
	}
	return odd
}

// oddDownstream are those of a DownstreamTlsContext that may matter for this client.
func oddDownstream(config tree.Node, hello *flow.TLS) []string {
	known := downstreamTLSFields
	if hello.SNI != "" {
		known = append(known[:len(known):len(known)], "require_sni")
	}
	return oddTLS(config, known)
}

// oddTLS are those of a TLS context.
func oddTLS(config tree.Node, known []string) []string {
	return append(config.Unknown(known...), oddIn(config, "common_tls_context", commonTLSFields)...)
}
