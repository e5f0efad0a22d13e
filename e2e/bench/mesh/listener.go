package mesh

import "fmt"

const filters = "envoy.extensions.filters."

// listeners are all listeners of the sidecar.
func (m Mesh) listeners(emit func(string, obj)) {
	emit("virtualOutbound", listener("virtualOutbound", "0.0.0.0", 15001, "filter_chains", arr{
		obj{"filter_chain_match", obj{"destination_port", 15001}, "filters", tcp("BlackHoleCluster"), "name", "virtualOutbound-blackhole"},
		obj{"filters", tcp("PassthroughCluster"), "name", "virtualOutbound-catchall-tcp"}},
		"use_original_dst", true, "traffic_direction", "OUTBOUND"))
	emit("virtualInbound", virtualInbound())
	for _, p := range httpPorts {
		name := fmt.Sprintf("0.0.0.0_%d", p)
		emit(name, sniffed(name, "0.0.0.0", p, fmt.Sprint(p), "PassthroughCluster"))
	}
	emit("0.0.0.0_443", m.byServerName())
	for i := range m.Services {
		s := m.service(i)
		for _, p := range s.ports {
			name := fmt.Sprintf("%s_%d", s.ip, p.number)
			switch p.proto {
			case "tcp":
				emit(name, listener(name, s.ip, p.number, "filter_chains", arr{obj{"filters", tcp(s.cluster(p.number, ""))}},
					"traffic_direction", "OUTBOUND", "bind_to_port", false))
			case "auto":
				emit(name, sniffed(name, s.ip, p.number, fmt.Sprintf("%s:%d", s.host(), p.number), s.cluster(p.number, "")))
			}
		}
	}
}

func listener(name, ip string, port int, more ...any) obj {
	return append(anyOf("envoy.config.listener.v3.Listener", "name", name, "address", address(ip, port)), more...)
}

func inspector(kind, proto string) obj {
	return named("envoy.filters.listener."+kind, filters+"listener."+kind+".v3."+proto)
}

// inspected are the listener filters and how long they may take.
func inspected(fs ...any) []any {
	return []any{"listener_filters", arr(fs), "listener_filters_timeout", "0s", "continue_on_listener_filters_timeout", true}
}

// sniffed has an HTTP chain and, for everything else, a default TCP chain.
func sniffed(name, ip string, port int, table, other string) obj {
	more := append([]any{
		"filter_chains", arr{obj{"filter_chain_match", obj{"transport_protocol", "raw_buffer", "application_protocols", arr{"http/1.1", "h2c"}},
			"filters", arr{manager("outbound_"+name, "rds", obj{"config_source", ads(), "route_config_name", table})}}},
		"default_filter_chain", obj{"filters", tcp(other), "name", "PassthroughFilterChain"}},
		inspected(inspector("tls_inspector", "TlsInspector"), inspector("http_inspector", "HttpInspector"))...)
	return listener(name, ip, port, append(more, "traffic_direction", "OUTBOUND", "bind_to_port", false)...)
}

// byServerName has one chain for each external host.
func (m Mesh) byServerName() obj {
	chains := stream(func(emit func(any)) {
		for k := range m.externals() {
			emit(obj{"filter_chain_match", obj{"server_names", arr{external(k)}}, "filters", tcp(externalCluster(k)), "name", external(k)})
		}
	})
	more := append([]any{"filter_chains", chains, "default_filter_chain", obj{"filters", tcp("PassthroughCluster"), "name", "PassthroughFilterChain"}},
		inspected(inspector("tls_inspector", "TlsInspector"))...)
	return listener("0.0.0.0_443", "0.0.0.0", 443, append(more, "traffic_direction", "OUTBOUND", "bind_to_port", false)...)
}

func tcp(cluster string) arr {
	return arr{named("istio.stats", "stats.PluginConfig"),
		named("envoy.filters.network.tcp_proxy", filters+"network.tcp_proxy.v3.TcpProxy", "stat_prefix", cluster, "cluster", cluster, "access_log", arr{accessLog()})}
}

func accessLog() obj {
	var format obj
	for _, f := range [][2]string{{"start_time", "START_TIME"}, {"method", "REQ(:METHOD)"}, {"path", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"},
		{"protocol", "PROTOCOL"}, {"response_code", "RESPONSE_CODE"}, {"response_flags", "RESPONSE_FLAGS"}, {"upstream_host", "UPSTREAM_HOST"},
		{"upstream_cluster", "UPSTREAM_CLUSTER_RAW"}, {"route_name", "ROUTE_NAME"}, {"downstream_remote_address", "DOWNSTREAM_REMOTE_ADDRESS"},
		{"requested_server_name", "REQUESTED_SERVER_NAME"}} {
		format = append(format, f[0], "%"+f[1]+"%")
	}
	return named("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path", "/dev/null", "log_format", obj{"json_format", format})
}

// manager is a connection manager as Istio writes it; routes says rds or route_config.
func manager(stat, routes string, where obj, first ...any) obj {
	headers := arr{obj{"istio_headers", obj{}}}
	alpn := func(proto string, names ...any) obj {
		return obj{"upstream_protocol", proto, "alpn_override", arr(names)}
	}
	fs := append(arr(first), onlyIstio("istio.metadata_exchange", "io.istio.http.peer_metadata.Config",
		obj{"upstream_discovery", headers, "upstream_propagation", headers}),
		named("istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", "alpn_override",
			arr{alpn("HTTP11", "istio-http/1.1", "istio", "http/1.1"), alpn("HTTP2", "istio-h2", "istio", "h2")}),
		named("envoy.filters.http.grpc_stats", filters+"http.grpc_stats.v3.FilterConfig", "emit_filter_state", true, "stats_for_all_methods", false),
		named("envoy.filters.http.fault", filters+"http.fault.v3.HTTPFault"), named("envoy.filters.http.cors", filters+"http.cors.v3.Cors"),
		named("istio.stats", "stats.PluginConfig", "disable_host_header_fallback", true),
		named("envoy.filters.http.router", filters+"http.router.v3.Router"))
	tag := func(name, value string) obj { return obj{"tag", name, "literal", obj{"value", value}} }
	percent := func(n int) obj { return obj{"value", n} }
	return named("envoy.filters.network.http_connection_manager", filters+"network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix", stat, routes, where, "http_filters", fs,
		"tracing", obj{"client_sampling", percent(100), "random_sampling", percent(1), "overall_sampling", percent(100),
			"custom_tags", arr{tag("istio.canonical_service", "debugged"), tag("istio.mesh_id", "cluster.local"), tag("istio.namespace", ownNamespace)}},
		"access_log", arr{accessLog()}, "use_remote_address", false, "upgrade_configs", arr{obj{"upgrade_type", "websocket"}},
		"stream_idle_timeout", "0s", "normalize_path", true, "path_with_escaped_slashes_action", "KEEP_UNCHANGED",
		"request_id_extension", obj{"typed_config", anyOf("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", "use_request_id_for_trace_sampling", true)})
}

// inboundManager has an inline table to the app, behind an RBAC of the usual shape.
func inboundManager(cluster string, p int) obj {
	or := func(list string, rules ...any) obj { return obj{"or_" + list, obj{list, arr(rules)}} }
	path := func(kind, v string) obj { return obj{"url_path", obj{"path", obj{kind, v}}} }
	policy := obj{
		"permissions", arr{obj{"and_rules", obj{"rules", arr{or("rules", path("prefix", "/api/"), path("exact", "/healthz")), or("rules", obj{"destination_port", p})}}}},
		"principals", arr{obj{"and_ids", obj{"ids", arr{or("ids",
			obj{"authenticated", obj{"principal_name", obj{"prefix", "spiffe://cluster.local/ns/team-001/"}}},
			obj{"direct_remote_ip", obj{"address_prefix", "10.0.0.0", "prefix_len", 8}})}}}}}
	rbac := named("envoy.filters.http.rbac", filters+"http.rbac.v3.RBAC", "rules", obj{"action", "ALLOW", "policies",
		obj{"ns[" + ownNamespace + "]-policy[allow-api]-rule[0]", policy}}, "shadow_rules_stat_prefix", "istio_dry_run_allow_")
	name := fmt.Sprintf("inbound|%d|http|%s", p, ownNamespace)
	to := obj{"match", obj{"prefix", "/"}, "route", obj{"cluster", cluster, "timeout", "0s",
		"max_stream_duration", obj{"max_stream_duration", "0s", "grpc_timeout_header_max", "0s"}}, "name", "default"}
	rc := obj{"name", name, "virtual_hosts", arr{obj{"name", name, "domains", arr{"*"}, "routes", arr{to}}}, "validate_clusters", false}
	return manager(fmt.Sprintf("inbound_0.0.0.0_%d", p), "route_config", rc, rbac)
}

func virtualInbound() obj {
	tls := func(alpn ...any) []any {
		context := obj{"tls_params", tlsVersions(), "alpn_protocols", arr(alpn),
			"tls_certificate_sds_secret_configs", arr{obj{"name", "default", "sds_config", obj{"ads", obj{}, "resource_api_version", "V3"}}}}
		return []any{"transport_socket", named("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
			"common_tls_context", context, "require_client_certificate", false)}
	}
	chain := func(name string, match obj, fs arr, more ...any) obj {
		return append(append(obj{"filter_chain_match", match, "filters", fs}, more...), "name", name)
	}
	catch := func(transport string, alpn ...any) obj {
		m := obj{"prefix_ranges", arr{obj{"address_prefix", "0.0.0.0", "prefix_len", 0}}, "transport_protocol", transport}
		if alpn != nil {
			m = append(m, "application_protocols", arr(alpn))
		}
		return m
	}
	at := func(p int, transport string, more ...any) obj {
		return append(obj{"destination_port", p, "transport_protocol", transport}, more...)
	}
	web := []any{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	raw := []any{"istio-peer-exchange", "istio"}
	pass := "InboundPassthroughCluster"
	chains := arr{
		chain("virtualInbound-blackhole", obj{"destination_port", 15006}, tcp("BlackHoleCluster")),
		chain("virtualInbound-catchall-http", catch("tls", web...), arr{inboundManager(pass, 0)}, tls("h2", "http/1.1")...),
		chain("virtualInbound-catchall-http", catch("raw_buffer", "http/1.1", "h2c"), arr{inboundManager(pass, 0)}),
		chain("virtualInbound", catch("tls", raw...), tcp(pass), tls("istio-peer-exchange", "h2", "http/1.1")...),
		chain("virtualInbound", catch("raw_buffer"), tcp(pass)),
		chain("virtualInbound", catch("tls"), tcp(pass)),
		chain("0.0.0.0_8080", at(8080, "tls", "application_protocols", arr(web)), arr{inboundManager("inbound|8080||", 8080)}, tls("h2", "http/1.1")...),
		chain("0.0.0.0_8080", at(8080, "raw_buffer"), arr{inboundManager("inbound|8080||", 8080)}),
		chain("0.0.0.0_9000", at(9000, "tls", "application_protocols", arr(append(web, raw...))), tcp("inbound|9000||"), tls("istio-peer-exchange", "h2", "http/1.1")...),
		chain("0.0.0.0_9000", at(9000, "tls"), tcp("inbound|9000||")),
		chain("0.0.0.0_9000", at(9000, "raw_buffer"), tcp("inbound|9000||")),
		chain("0.0.0.0_9000-local", at(9000, "raw_buffer", "source_type", "SAME_IP_OR_LOOPBACK"), tcp("inbound|9000||")),
	}
	more := append([]any{"filter_chains", chains}, inspected(inspector("original_dst", "OriginalDst"),
		inspector("tls_inspector", "TlsInspector"), inspector("http_inspector", "HttpInspector"))...)
	return listener("virtualInbound", "0.0.0.0", 15006, append(more, "traffic_direction", "INBOUND")...)
}
