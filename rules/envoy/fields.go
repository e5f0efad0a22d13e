package envoy

import (
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// fieldRule is which JSON values a field may have.
type fieldRule = tree.Rule

const (
	anObject = 1 << tree.Object
	aList    = 1 << tree.List
	aText    = 1 << tree.String
	aNumber  = 1 << tree.Number
	aTruth   = 1 << tree.Bool
)

// fieldRules are the fields that this package reads by name, in every message of Envoy's API
// and xds that has one of the name (go-control-plane 1.40). Numbers and truths may be texts,
// and durations objects, as protobuf's JSON takes them. It is read only.
var fieldRules = byName([]struct {
	rule  fieldRule
	names string
}{
	{fieldRule{Kinds: anObject}, `abort access_log_options active_state admin ads_config and_filter and_ids and_match and_matcher and_rules authenticated aws_request_signing bootstrap
		buffer cel_config certificate_chain checked_condition circuit_breakers cluster_manager cluster_matcher cluster_type combined_validation_context
		common_http_protocol_options common_lb_config common_tls_context comparison compressor condition config_discovery connect_matcher connection
		connection_properties cors custom_match decorator default_config default_filter_chain default_source_code default_validation_context deprecated_v1
		destination destination_ip destination_port_range direct_remote_ip direct_response draining_state drop_percentage dynamic_resources early_data_policy
		ecds_filter eds_cluster_config element endpoint endpoint_config endpoint_picking_policy envoy_grpc envoy_internal_address error_state exact_match_map
		extension extension_config fcds_config filter_action filter_chain_match filter_chain_matcher filter_disabled filter_enabled filter_enforced
		filter_state_rules format_string forward_client_cert_matcher forward_proto_config google_grpc grpc grpc_service header_abort header_delay
		header_filter header_mutation header_value_extractor healthy_panic_threshold hedge_policy host_rewrite_path_regex http http2_protocol_options
		http3_protocol_options http_protocol_options http_service inline_cluster_specifier_plugin input internal_address_config internal_listener
		internal_redirect_policy key_matcher kind layered_runtime lb_subset_config listener load_assignment load_balancing_policy local local_address
		local_cluster_rate_limit local_reply_config locality locality_lb_config locality_weighted_lb_config match matcher matcher_list matcher_tree
		metadata_match metadata_matcher non_forwarding_action not_id not_match not_matcher not_rule odcds on_match on_no_match or_filter or_ids or_match
		or_matcher or_rules original_dst_lb_config path_match_policy path_normalization_options path_rewrite_policy pattern percentage pipe policy
		prefix_match_map principal_name processing_mode provider_and_audiences proxy_status_config query_parameter range_match rate_limit_service rbac rds
		redirect regex_rewrite remote_ip remove_on_match request_id_extension requested_server_name requires_all requires_any response_flag_filter
		response_rate_limit retry_policy retry_policy_typed_config route route_configuration runtime_enabled runtime_fraction safe_regex safe_regex_match
		scheme_header_transformation scope_key_builder scoped_route_configurations_list scoped_routes secret server_uri set_current_client_cert_details
		shadow_enabled shadow_matcher shadow_rules single_predicate socket_address source_address source_code sourced_metadata status_code_filter
		subset_lb_policy text_format_source tls_certificate tls_context token_bucket tracing transport_socket tunneling_config typed_extension_config
		typed_header_validation_config udp_listener_config upstream_bind_config upstream_http_protocol_options uri_template url_path user_agent_build_version
		users validation_context validation_context_sds_secret_config value_match vhds vm_config warming_state weighted_clusters xds_matcher xff_trusted_cidrs
		zone_aware_lb_config`},
	{fieldRule{Kinds: aText | aTruth}, `accept_http_10 add_proxy_protocol_connection_state add_user_agent all_addresses_in_single_endpoint allow_absolute_url allow_chunked_length
		allow_credentials allow_extension_to_set_address_as_trusted allow_private_network_access allow_redundant_keys allow_requests_without_proxy_protocol
		always_consume_default_token_bucket always_set_request_id_in_response any any_match append_local_overload append_x_forwarded_host
		append_x_forwarded_port auto_host_rewrite auto_host_sni auto_sni bind_to_port bypass_cors_preflight case_sensitive clear_route_cache
		continue_on_listener_filters_timeout disable_downstream_cluster_stats disabled enforced excluded_via_immediate_hc_fail exclusive fail_traffic_on_panic
		failed_active_degraded_check failed_active_health_check failed_outlier_check failure_mode_allow flush_access_log_on_new_request
		forward_not_matching_preflights generate_request_id hedge_on_per_try_timeout http1_safe_max_connection_duration https_redirect ignore_case
		ignore_path_parameters_in_path_matching ignore_port_in_host_matching include_attempt_count_in_response include_is_timeout_retry_header
		include_request_attempt_count include_vh_rate_limits invert invert_match ipv4_compat keep_empty_value keep_matching list_as_any
		local_rate_limit_per_downstream_connection locality_weight_aware match_upstream most_specific_header_mutations_wins no_healthy_upstream normalize_path
		panic_mode_any pass_through_mode pending_active_hc present_match presented preserve_external_request_id proxy_100_continue
		rate_limited_as_resource_exhausted remove represent_ipv4_remote_address_as_ipv4_mapped_ipv6 require_client_certificate respect_expected_rq_timeout
		scale_locality_weight single_host_per_subset skip_if_empty skip_xff_append stream_error_on_invalid_http_message strip_any_host_port
		strip_matching_host_port strip_query strip_trailing_host_dot suppress_envoy_headers track_per_rule_stats treat_missing_header_as_empty uri
		use_hash_policy use_http_header use_original_dst use_post use_proxy_proto use_remote_address validate_clusters validated weighted_priority_health`},
	{fieldRule{Kinds: anObject | aList, Elements: anObject}, `additional_addresses additional_local_addresses additional_origins allow_origin_string_match cert_chain certificates cidr_ranges
		cluster_specifier_plugins cluster_statuses configs cookies descriptors direct_source_prefix_ranges domain_matchers drop_overloads
		dynamic_active_clusters dynamic_active_secrets dynamic_endpoint_configs dynamic_listeners dynamic_route_configs dynamic_scoped_route_configs
		dynamic_warming_clusters dynamic_warming_secrets early_header_mutation_extensions ecds_filters endpoints entries extra_source_addresses filter_chains
		filter_state filters fragments from_headers grpc_services hash_policy host_statuses http_filters ids inline_scoped_route_configs layers lb_endpoints
		listener_filters listener_statuses mappers match_subject_alt_names match_typed_subject_alt_names matchers mutations on_new_connection
		on_request_headers original_ip_detection_extensions passthrough_metadata permissions predicate prefix_ranges principals query_parameter_mutations
		query_parameters range_matchers ranges rate_limits request_headers_to_add request_headers_to_add_when_not_enforced request_mirror_policies
		request_mutations requirements response_headers_to_add retriable_request_headers route_config routes rules scoped_route_configs
		scoped_route_configurations source_prefix_ranges static_clusters static_endpoint_configs static_listeners static_route_configs static_secrets stats
		subject_alt_names subset_selectors thresholds tls_certificate_sds_secret_configs tls_certificates trailers typed_config upgrade_configs
		upstream_http_filters virtual_clusters virtual_hosts`},
	{fieldRule{Kinds: aText}, `abort_grpc_status_runtime abort_http_status_runtime abort_percent_runtime address_prefix allow_headers allow_methods authentication_header
		authorization category cluster_header cluster_name cluster_specifier_plugin contains contains_match default_host_for_http_10 delay_duration_runtime
		delay_percent_runtime details element_separator exact_match expose_headers filename forward_username_header header_name host_redirect host_rewrite
		host_rewrite_header host_rewrite_literal hostname http_header_name inline_bytes inline_code inline_string kill_request_header
		max_active_faults_runtime max_age object_key origin override_auto_sni_header path_redirect path_rewrite path_separated_prefix path_template
		path_template_rewrite post_path prefix prefix_match prefix_rewrite provider_name query query_param raw_value referer regex region requirement_name
		response_rate_limit_percent_runtime retry_on route_config_name route_configuration_name rules_stat_prefix runtime_key runtime_key_prefix
		scheme_redirect scheme_to_overwrite scope separator server_listener_name server_name service_name shadow_rules_stat_prefix sni stat_prefix string_key
		sub_zone substitution suffix suffix_match target_uri text_format transport_protocol upgrade_type upstream_cluster value_prefix version_info
		vhost_header via zone`},
	{fieldRule{Kinds: aText | aNumber}, `append_action cluster_not_found_response_code codec_type denominator destination_port eds_health_status enable_x_ratelimit_headers end exact
		forward_client_cert_details headers_with_underscores_action id index internal_redirect_action lb_policy load_balancing_weight major_number mark
		max_active_faults max_connection_pools max_connections max_direct_response_body_size_bytes max_dynamic_descriptors max_headers_count
		max_internal_redirects max_pending_requests max_request_bytes max_request_headers_kb max_requests max_tokens metadata_fallback_policy minor_number
		num_retries numerator op overprovisioning_factor patch path_with_escaped_slashes_action per_request_buffer_limit_bytes port_redirect port_value
		prefix_len priority request_body_buffer_limit request_body_mode request_header_mode require_tls response_code server_header_transformation source_type
		stage start status_code tokens_per_fill traffic_direction upstream_connect_mode upstream_port_override vh_rate_limits weight xff_num_trusted_hops`},
	{fieldRule{Kinds: anObject | aText}, `access_log_flush_interval access_token cache_time cookie delay delayed_close_timeout drain_timeout expiration_time fill_interval filter
		fixed_delay flush_timeout grpc_timeout_header_max grpc_timeout_header_offset grpc_timeout_offset header host idle_timeout last_updated
		listener_filters_timeout max_grpc_timeout max_stream_duration per_try_timeout request_headers_timeout request_timeout stream_flush_timeout
		time timeout ttl`},
	{fieldRule{Kinds: aList | aText, Elements: aText}, `alpn_protocols application_protocols domains downstream_nodes fallback_keys_subset flags from_cookies from_params internal_only_headers
		request_headers_to_remove response_headers_to_remove server_names`},
	{fieldRule{Kinds: anObject | aText | aNumber}, `action code fallback_policy grpc_status health_status http_status protocol source status type version`},
	{fieldRule{Kinds: anObject, Keyed: true}, `cluster_min_healthy_percentages map per_filter_config providers requirement_map requires source_codes typed_extension_protocol_options
		typed_per_filter_config`},
	{fieldRule{Kinds: anObject | aText | aTruth}, `allow_missing allow_missing_or_failed append enabled merge_slashes on_demand source_ip stream_idle_timeout`},
	{fieldRule{Kinds: anObject, Free: true}, `default_subset filter_metadata node static_layer transport_socket_matcher`},
	{fieldRule{Kinds: anObject | aList | aText, Elements: anObject | aText}, `clusters keys resources`},
	{fieldRule{Kinds: anObject | aList, Elements: anObject, Free: true}, `config metadata transport_socket_matches`},
	{fieldRule{Kinds: anObject | aList | aText, Elements: anObject}, `path`},
	{fieldRule{Kinds: anObject | aList, Elements: anObject, Keyed: true}, `headers policies`},
	{fieldRule{Kinds: anObject | aList | aText, Elements: aText}, `address`},
	{fieldRule{Kinds: anObject | aText | aNumber | aTruth}, `default_value`},
	{fieldRule{Kinds: anObject | aList | aText, Elements: anObject, Free: true}, `dynamic_metadata`},
	{fieldRule{Kinds: anObject | aText, Keyed: true}, `key`},
	{fieldRule{Kinds: aList | aText | aNumber, Elements: aText | aNumber}, `source_ports`},
	{fieldRule{Kinds: anObject | aList | aText | aNumber | aTruth, Free: true}, `value`},
	// Of these another meaning, in messages that nobody looks into here, is left out.
	{fieldRule{Kinds: aText | aNumber}, `name`}, // a number in SocketOption
	{fieldRule{Kinds: aText}, `cluster`},
	{fieldRule{Kinds: anObject}, `string_match`},
	// What holds data under names of its own.
	{fieldRule{Kinds: 0xff, Free: true}, `access_log allowed_capabilities args attributes aws base bucket bucket_id_builder certificate_provider_instances content_types context_extensions
		custom_tags dynamic_parameters extraction_by_method extractions_by_method field_restrictions filter_context filter_state_objects health_metadata
		initial_resource_versions json_format key_values labels layer mapped_request_attributes mapped_response_attributes message_restrictions method_configs
		method_restrictions named_endpoints named_filter_chains named_metrics params params_match record request_cost request_extraction_by_field
		request_field_extractions request_field_restrictions request_headers response_extraction_by_field response_field_restrictions response_headers
		response_trailers route_action_overrides secret_configs secrets tenant_configs transport_socket_match_criteria typed_dynamic_metadata
		typed_filter_metadata typed_json_format typed_metadata utilization`},
})

func byName(groups []struct {
	rule  fieldRule
	names string
}) map[string]fieldRule {
	out := map[string]fieldRule{}
	for _, g := range groups {
		for _, name := range strings.Fields(g.names) {
			out[name] = g.rule
		}
	}
	return out
}

// ruleOf is the rule of a member's name as it stands in the text.
func ruleOf(name []byte) (fieldRule, bool) {
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			r, ok := fieldRules[snake(string(name))]
			return r, ok
		}
	}
	r, ok := fieldRules[string(name)]
	return r, ok
}

// modelled says whether a message of this type is one of Envoy's: what others call their
// fields is their affair.
func modelled(typ []byte) bool {
	name := tree.TypeName(string(typ))
	return strings.HasPrefix(name, "envoy.") || strings.HasPrefix(name, "xds.") || strings.HasPrefix(name, "google.")
}

// wrong says what stands in the value's document that no Envoy writes.
func wrong(n tree.Node) string {
	if d := n.Doc(); d != nil {
		return d.Wrong
	}
	return ""
}

// wrong ends the pass at an object of which something is of a wrong kind: what it was
// meant to say cannot be told.
func (p *pass) wrong(stage flow.Stage, subject string, n tree.Node) bool {
	why := wrong(n)
	if why != "" {
		p.stop(stage, subject, flow.Because(flow.WhyWrongKind, why), n)
	}
	return why != ""
}

// wrongKind says what in an object no Envoy writes: a field whose value is of a wrong kind,
// such as a list that somebody replaced by a word. Empty: nothing.
func wrongKind(d *tree.Doc) string {
	n := d.Odd(ruleOf, modelled)
	if !n.Exists() {
		return ""
	}
	return reference(n) + " is " + n.Kind().String()
}
