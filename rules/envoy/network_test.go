package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func withTLS(chain, more string) string {
	if !strings.Contains(more, "common_tls_context") {
		more += `, 'common_tls_context': {'alpn_protocols': ['h2', 'http/1.1']}`
	}
	return chain[:len(chain)-1] + `, 'transport_socket': {'name': 'envoy.transport_sockets.tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'` + more + `}}}`
}

// Section 5: what network filters do to a connection, in the order in which they run.
func TestNetworkFilters(t *testing.T) {
	n, listeners := 100, ""
	var rows []l4row
	add := func(name, chain string, req *flow.Request, want string) {
		n++
		listeners += lis("l", "0.0.0.0", n, lfilters(tlsInspector), chainList(chain))
		rows = append(rows, l4row{name, Conn{Accept: addr("10.5.5.5:" + itoa(n))}, req, want})
	}
	rbac := func(action, perm, prin string) string {
		return netFilter("rbac", "RBAC", `'stat_prefix': 'r', 'rules': {'action': '`+action+`', 'policies': {'zz': {'permissions': [{'destination_port': 1}], 'principals': [{'any': true}]}, 'p': {'permissions': [`+perm+`], 'principals': [`+prin+`]}}}`)
	}
	const anyone, good = `{'any': true}`, " c 10.1.0.1:80"
	add("tcp_proxy", chainOf("f", "", tcp("c")), nil, "continue l/f"+good)
	add("no such cluster", chainOf("f", "", tcp("nosuch")), nil, "refused l/f NC")
	add("still warming", chainOf("f", "", tcp("warm")), nil, "refused l/f NC")
	add("no hosts", chainOf("f", "", tcp("empty")), nil, "refused l/f empty UH")
	add("breaker of 0", chainOf("f", "", tcp("cb0")), nil, "refused l/f cb0 UO")
	add("breaker of 0 by runtime", chainOf("f", "", tcp("cbrt")), nil, "refused l/f cbrt UO")
	add("no filters", chainOf("f", ""), nil, "refused l/f")
	add("no terminal filter", chainOf("f", "", netFilter("sni_cluster", "SniCluster", "")), nil, "unknown l/f")
	add("weights", chainOf("f", "", netFilter("tcp_proxy", "TcpProxy", `'weighted_clusters': {'clusters': [{'name': 'c', 'weight': 1}, {'name': 'empty', 'weight': 3}]}`)), nil, "continue l/f"+good+" | refused l/f empty UH")
	add("sni_cluster", chainOf("f", "", netFilter("sni_cluster", "SniCluster", ""), tcp("empty")), hello("C"), "continue l/f"+good)
	add("sni_cluster without SNI", chainOf("f", "", netFilter("sni_cluster", "SniCluster", ""), tcp("empty")), nil, "refused l/f empty UH")
	add("filter state does not move weights", chainOf("f", "", netFilter("sni_cluster", "SniCluster", ""), netFilter("tcp_proxy", "TcpProxy", `'weighted_clusters': {'clusters': [{'name': 'empty', 'weight': 1}]}`)), hello("c"), "refused l/f empty UH")
	state := func(text string) string {
		return netFilter("set_filter_state", "Config", `'on_new_connection': [{'object_key': 'envoy.tcp_proxy.cluster', 'format_string': {'text_format_source': {'inline_string': '`+text+`'}}}]`)
	}
	add("set_filter_state, literal", chainOf("f", "", state("c"), tcp("empty")), nil, "continue l/f"+good)
	add("set_filter_state, operator", chainOf("f", "", state("%REQUESTED_SERVER_NAME%"), tcp("empty")), hello("c"), "continue l/f"+good)
	add("set_filter_state, an operator nobody knows", chainOf("f", "", state("%ACME%"), tcp("empty")), nil, "unknown l/f")
	add("rbac allows", chainOf("f", "", rbac("ALLOW", anyone, anyone), tcp("c")), nil, "continue l/f"+good)
	add("rbac denies after the endpoint was dialled", chainOf("f", "", rbac("DENY", anyone, anyone), tcp("c")), nil, "refused l/f"+good+" rbac_access_denied_matched_policy[p]")
	add("rbac is not reached over an empty cluster", chainOf("f", "", rbac("DENY", anyone, anyone), tcp("empty")), nil, "refused l/f empty UH")
	add("nothing allows", chainOf("f", "", rbac("ALLOW", `{'destination_port': 2}`, anyone), tcp("c")), nil, "refused l/f"+good+" rbac_access_denied_matched_policy[none]")
	add("LOG allows", chainOf("f", "", rbac("LOG", `{'destination_port': 2}`, anyone), tcp("c")), nil, "continue l/f"+good)
	add("a client that waits is not judged", chainOf("f", "", rbac("DENY", anyone, anyone), tcp("c")), waits(), "refused l/")
	late := netFilter("tcp_proxy", "TcpProxy", `'cluster': 'empty', 'upstream_connect_mode': 'ON_DOWNSTREAM_DATA'`)
	add("a late upstream: rbac first", chainOf("f", "", rbac("DENY", anyone, anyone), late), nil, "refused l/f rbac_access_denied_matched_policy[p]")
	add("a condition nobody models", chainOf("f", "", netFilter("rbac", "RBAC", `'rules': {'policies': {'p': {'permissions': [{'any': true}], 'principals': [{'any': true}], 'condition': {'id': 1}}}}`), tcp("c")), nil,
		"continue l/f"+good+" | refused l/f"+good+" rbac_access_denied_matched_policy[p]")
	bucket := func(more string) string {
		return netFilter("local_ratelimit", "LocalRateLimit", `'token_bucket': {'max_tokens': 1, 'fill_interval': '60s'}`+more)
	}
	add("a bucket", chainOf("f", "", bucket(""), tcp("c")), nil, "continue l/f"+good+" | refused l/f URX")
	add("a bucket switched off", chainOf("f", "", bucket(`, 'runtime_enabled': {'default_value': true, 'runtime_key': 'rl.off'}`), tcp("c")), nil, "continue l/f"+good)
	add("connection_limit", chainOf("f", "", netFilter("connection_limit", "ConnectionLimit", `'max_connections': 5`), tcp("c")), nil, "continue l/f"+good)
	add("connection_limit switched off", chainOf("f", "", netFilter("connection_limit", "ConnectionLimit", `'max_connections': 5, 'runtime_enabled': {'default_value': false, 'runtime_key': 'k'}`), tcp("c")), nil, "continue l/f"+good)
	add("direct_response", chainOf("f", "", rbac("DENY", anyone, anyone), netFilter("direct_response", "Config", `'response': {'inline_string': 'x'}`)), nil, "delivered l/f direct_response")
	add("echo after rbac", chainOf("f", "", rbac("DENY", anyone, anyone), netFilter("echo", "Echo", "")), nil, "refused l/f rbac_access_denied_matched_policy[p]")
	add("ext_authz", chainOf("f", "", netFilter("ext_authz", "ExtAuthz", ""), tcp("c")), nil, "continue l/f"+good+" | unknown l/f"+good)
	for _, kind := range []string{"client_ssl_auth", "sni_verifier", "kafka_mesh"} {
		add(kind, chainOf("f", "", netFilter(kind, kind, ""), tcp("c")), nil, "continue l/f"+good+" | unknown l/f")
	}
	add("wasm", chainOf("f", "", netFilter("wasm", "Wasm", ""), tcp("c")), nil, "continue l/f"+good+" | unknown l/f")
	add("redis", chainOf("f", "", netFilter("redis_proxy", "RedisProxy", "")), nil, "unknown l/f")
	add("by ECDS", chainOf("f", "", `{'name': 'mine', 'config_discovery': {}}`), nil, "continue l/f"+good)
	add("by ECDS, default", chainOf("f", "", `{'name': 'other', 'config_discovery': {'default_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'cluster': 'c'}}}`), nil, "continue l/f"+good)
	add("by ECDS, nothing", chainOf("f", "", `{'name': 'other', 'config_discovery': {}}`), nil, "refused l/f")
	add("a TypedStruct", chainOf("f", "", `{'name': 't', 'typed_config': {'@type': 'type.googleapis.com/udpa.type.v1.TypedStruct', 'type_url': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'value': {'cluster': 'c'}}}`), nil, "continue l/f"+good)
	add("v2 by name", chainOf("f", "", `{'name': 'envoy.tcp_proxy', 'hidden_envoy_deprecated_config': {'cluster': 'c'}}`), nil, "continue l/f"+good)
	add("Istio's filters pass", chainOf("f", "", `{'name': 'istio.stats', 'typed_config': {'@type': 'type.googleapis.com/stats.PluginConfig'}}`, tcp("c")), nil, "continue l/f"+good)
	add("TLS terminated", withTLS(chainOf("f", "", tcp("c")), ""), hello("x", "h2"), "continue l/f"+good)
	add("plain text to TLS", withTLS(chainOf("f", "", tcp("c")), ""), nil, "refused l/f")
	add("no client certificate", withTLS(chainOf("f", "", tcp("c")), `, 'require_client_certificate': true, 'common_tls_context': {'validation_context': {'trusted_ca': {'filename': '/ca.pem'}}}`), certless("x"), "refused l/f")
	add("a client certificate, unsaid", withTLS(chainOf("f", "", tcp("c")), `, 'require_client_certificate': true, 'common_tls_context': {'validation_context': {'trusted_ca': {'filename': '/ca.pem'}}}`), hello("x"), "continue l/f"+good)
	add("required, and nothing to check it by", withTLS(chainOf("f", "", tcp("c")), `, 'require_client_certificate': true`), certless("x"), "continue l/f"+good)
	add("TLS to plain HTTP", chainOf("f", "", netFilter("http_connection_manager", "HttpConnectionManager", `'route_config': {}`)), hello("x"), "refused l/f DPE http1.codec_error")
	c := mesh{
		listeners: listeners,
		clusters: static("c", "10.1.0.1:80") + static("empty") + static("cbrt", "10.1.0.1:80") +
			strings.Replace(static("cb0", "10.1.0.1:80"), "'type'", "'circuit_breakers': {'thresholds': [{'max_connections': 0}]}, 'type'", 1),
		more: `, {'@type': 'type.googleapis.com/envoy.admin.v3.EcdsConfigDump', 'ecds_filters': [{'ecds_filter': {'@type': 'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig', 'name': 'mine', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'cluster': 'c'}}}]},
			{'@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump', 'dynamic_warming_clusters': [{'cluster': {'name': 'warm'}}]}`,
		files: map[string]string{"runtime.json": `{'entries': {'rl.off': {'final_value': 'false'}, 'circuit_breakers.cbrt.default.max_connections': {'final_value': '0'}}}`},
	}.load(t)
	run(t, c, rows)
}

func itoa(n int) string {
	return strings.TrimLeft(string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)}), "")
}

// RBAC's rules on a connection, each at both sides of its edge.
func TestNetworkRBAC(t *testing.T) {
	const denied, fine = "rbac_access_denied_matched_policy[none]", ""
	perm := func(p string) string { return `'permissions': [` + p + `], 'principals': [{'any': true}]` }
	prin := func(p string) string { return `'permissions': [{'any': true}], 'principals': [` + p + `]` }
	rows := []struct{ name, policy, want string }{
		{"port", perm(`{'destination_port': 443}`), fine},
		{"other port", perm(`{'destination_port': 444}`), denied},
		{"range", perm(`{'destination_port_range': {'start': 443, 'end': 444}}`), fine},
		{"end of range", perm(`{'destination_port_range': {'start': 1, 'end': 443}}`), denied},
		{"destination", perm(`{'destination_ip': {'address_prefix': '10.5.0.0', 'prefix_len': 16}}`), fine},
		{"server name", perm(`{'requested_server_name': {'suffix': '.com'}}`), fine},
		{"and", perm(`{'and_rules': {'rules': [{'destination_port': 443}, {'destination_port': 1}]}}`), denied},
		{"or", perm(`{'or_rules': {'rules': [{'destination_port': 443}, {'destination_port': 1}]}}`), fine},
		{"not", perm(`{'not_rule': {'destination_port': 443}}`), denied},
		{"source", prin(`{'source_ip': {'address_prefix': '10.9.9.9', 'prefix_len': 32}}`), fine},
		{"other source", prin(`{'source_ip': {'address_prefix': '10.9.9.8', 'prefix_len': 32}}`), denied},
		{"direct source", prin(`{'directRemoteIp': {'address_prefix': '10.9.9.0', 'prefix_len': 24}}`), fine},
		{"any TLS", prin(`{'authenticated': {}}`), fine},
		{"a name of the certificate", prin(`{'authenticated': {'principal_name': {'exact': 'spiffe://x/a'}}}`), fine},
		{"another name", prin(`{'authenticated': {'principal_name': {'exact': 'spiffe://x/b'}}}`), denied},
		{"ids", prin(`{'and_ids': {'ids': [{'any': true}, {'not_id': {'any': true}}]}}`), denied},
		{"or ids", prin(`{'or_ids': {'ids': [{'any': true}, {'not_id': {'any': true}}]}}`), fine},
	}
	for _, r := range rows {
		f := netFilter("rbac", "RBAC", `'rules': {'policies': {'p': {`+r.policy+`}}}`)
		c := mesh{listeners: lis("l", "0.0.0.0", 443, lfilters(tlsInspector), chainList(withTLS(chainOf("f", "", f, tcp("c")), `, 'require_client_certificate': true, 'common_tls_context': {'validation_context': {'trusted_ca': {'filename': '/ca.pem'}}}`))), clusters: static("c", "10.1.0.1:80")}.load(t)
		req := hello("a.com")
		req.TLS.Cert, req.TLS.SANs = flow.Yes, []string{"spiffe://x/a"}
		got := c.Accept(Conn{Accept: addr("10.5.5.5:443"), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, req, new(flow.Choices))
		if got.Caller.Details != r.want || (got.Verdict == flow.Continue) != (r.want == fine) {
			t.Errorf("%s: %v %q, want %q", r.name, got.Verdict, got.Caller.Details, r.want)
		}
	}
}
