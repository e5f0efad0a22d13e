package envoy

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// manager is what a HttpConnectionManager's own fields say of every request.
type manager struct {
	node tree.Node
	name string // stat_prefix

	underscores    string // headers_with_underscores_action, when not ALLOW
	http10         bool
	defaultHost    string // default_host_for_http_10
	absoluteURL    bool
	chunkedLength  bool
	customMethods  bool      // HTTP/1 takes any token as a method
	ignoreUpgrade  tree.Node // upgrades that are taken for none
	maxHeaderBytes uint64
	maxHeaders     uint64

	normalize, merge bool
	slashes          string // path_with_escaped_slashes_action as it acts
	keepFragment     bool   // guard http_reject_path_with_fragment switched off
	stripAny         bool
	stripMatching    bool
	stripDot         bool

	useRemote bool // use_remote_address
	hops      uint64
	skipXFF   bool
	internal  []netip.Prefix

	filters  []httpFilter
	unknown  []string // members that are not modelled
	upgrades []tree.Node
}

// managerFields are the members of HttpConnectionManager that are modelled, or do not
// matter for where a request goes.
var managerFields = []string{"codec_type", "stat_prefix", "rds", "route_config", "scoped_routes", "http_filters", "add_user_agent", "tracing",
	"common_http_protocol_options", "http1_safe_max_connection_duration", "http_protocol_options", "http2_protocol_options", "http3_protocol_options",
	"server_name", "server_header_transformation", "scheme_header_transformation", "max_request_headers_kb", "idle_timeout", "stream_idle_timeout", "stream_flush_timeout",
	"request_timeout", "request_headers_timeout", "drain_timeout", "drain_timeout_jitter", "record_route_resolution_stats", "delayed_close_timeout", "access_log", "access_log_flush_interval",
	"flush_access_log_on_new_request", "access_log_options", "use_remote_address", "xff_num_trusted_hops", "original_ip_detection_extensions",
	"early_header_mutation_extensions", "internal_address_config", "skip_xff_append", "via", "generate_request_id", "preserve_external_request_id",
	"always_set_request_id_in_response", "forward_client_cert_details", "set_current_client_cert_details", "forward_client_cert_matcher", "proxy_100_continue",
	"represent_ipv4_remote_address_as_ipv4_mapped_ipv6", "upgrade_configs", "normalize_path", "merge_slashes", "path_with_escaped_slashes_action",
	"request_id_extension", "local_reply_config", "strip_matching_host_port", "strip_any_host_port", "stream_error_on_invalid_http_message",
	"path_normalization_options", "strip_trailing_host_dot", "proxy_status_config", "typed_header_validation_config", "append_x_forwarded_port",
	"add_proxy_protocol_connection_state", "append_local_overload", "forward_proto_config", "hidden_envoy_deprecated_idle_timeout", "local_address"}

// readManager compiles a HttpConnectionManager.
func (c *Config) readManager(n tree.Node) *manager {
	m := &manager{node: n, name: n.Field("stat_prefix").Str(), unknown: n.Unknown(managerFields...)}
	common, h1 := n.Field("common_http_protocol_options"), n.Field("http_protocol_options")
	m.unknown = append(m.unknown, oddIn(n, "http_protocol_options", http1Fields)...)
	for _, e := range n.Field("original_ip_detection_extensions").All() {
		if kind, config := kindOf(e); kind == "CustomHeaderConfig" && config.Field("reject_with_status").Exists() {
			m.unknown = append(m.unknown, "original_ip_detection_extensions.reject_with_status")
		}
	}
	m.customMethods, m.ignoreUpgrade = h1.Field("allow_custom_methods").Bool(false), h1.Field("ignore_http_11_upgrade")
	if a := common.Field("headers_with_underscores_action").Enum(); a != "ALLOW" && a != "0" {
		m.underscores = a
	}
	m.http10, m.defaultHost = h1.Field("accept_http_10").Bool(false), h1.Field("default_host_for_http_10").Str()
	m.absoluteURL, m.chunkedLength = h1.Field("allow_absolute_url").Bool(true), h1.Field("allow_chunked_length").Bool(false)
	m.maxHeaderBytes = 1024 * n.Field("max_request_headers_kb").Uint(c.number("envoy.reloadable_features.max_request_headers_size_kb", 60))
	m.maxHeaders = common.Field("max_headers_count").Uint(c.number("envoy.reloadable_features.max_request_headers_count", 100))

	m.normalize = n.Field("normalize_path").Bool(c.number("http_connection_manager.normalize_path", 0) > 0)
	m.merge = n.Field("merge_slashes").Bool(false)
	m.slashes = c.escapedSlashes(n.Field("path_with_escaped_slashes_action").Enum())
	m.keepFragment = !c.guard("http_reject_path_with_fragment", true)
	m.stripAny = n.Field("strip_any_host_port").Bool(false)
	m.stripMatching = n.Field("strip_matching_host_port").Bool(false)
	m.stripDot = n.Field("strip_trailing_host_dot").Bool(false)

	m.useRemote, m.hops, m.skipXFF = n.Field("use_remote_address").Bool(false), n.Field("xff_num_trusted_hops").Uint(0), n.Field("skip_xff_append").Bool(false)
	m.internal = c.internalRanges(n.Field("internal_address_config"))
	m.upgrades = n.Field("upgrade_configs").List()
	m.filters = c.readFilters(n.Field("http_filters"))
	return m
}

// escapedSlashes is the action that path_with_escaped_slashes_action comes to; the default
// asks runtime. (config.cc: getPathWithEscapedSlashesActionRuntimeOverride)
func (c *Config) escapedSlashes(action string) string {
	switch action {
	case "", "0", "IMPLEMENTATION_SPECIFIC_DEFAULT":
		switch c.number("http_connection_manager.path_with_escaped_slashes_action", 0) {
		case 2:
			action = "REJECT_REQUEST"
		case 3:
			action = "UNESCAPE_AND_REDIRECT"
		case 4:
			action = "UNESCAPE_AND_FORWARD"
		default:
			action = ""
		}
	case "1", "KEEP_UNCHANGED":
		action = ""
	case "2":
		action = "REJECT_REQUEST"
	case "3":
		action = "UNESCAPE_AND_REDIRECT"
	case "4":
		action = "UNESCAPE_AND_FORWARD"
	}
	if v, ok := c.value("http_connection_manager.path_with_escaped_slashes_action_enabled"); ok && v == "0" {
		return ""
	}
	return action
}

// number is a runtime key's value as a number.
func (c *Config) number(key string, dflt uint64) uint64 {
	v, ok := c.value(key)
	if !ok {
		return dflt
	}
	var n uint64
	if v == "" || len(v) > 18 {
		return dflt
	}
	for _, d := range []byte(v) {
		if d < '0' || d > '9' {
			return dflt
		}
		n = n*10 + uint64(d-'0')
	}
	return n
}

// internalRanges are the addresses that count as internal. Up to 1.32 private and loopback
// addresses did so without configuration.
func (c *Config) internalRanges(n tree.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range n.Field("cidr_ranges").All() {
		a, err := netip.ParseAddr(r.Field("address_prefix").Str())
		if err != nil {
			continue
		}
		if p, err := a.Prefix(int(min(r.Field("prefix_len").Uint(0), uint64(a.BitLen())))); err == nil {
			out = append(out, p)
		}
	}
	if !n.Exists() && !c.version.atLeast(1, 33, 0) {
		for _, s := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fd00::/8", "::1/128"} {
			out = append(out, netip.MustParsePrefix(s))
		}
	}
	return out
}
