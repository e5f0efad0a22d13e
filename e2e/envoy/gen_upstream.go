package envoy

import "strings"

// tlsUp is the i-th endpoint where the upstream server terminates TLS, h2Up the one where it
// speaks HTTP/2.
func tlsUp(i int) string { return strings.TrimSuffix(up(i), "18080") + tlsPort }
func h2Up(i int) string  { return strings.TrimSuffix(up(i), "18080") + h2Port }

// clientTLS is a cluster's TLS transport socket.
func clientTLS(more M) M {
	return ext("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", more)
}

// secured is a cluster that speaks TLS to its one endpoint.
func secured(name string, i int, tls, options M) M {
	c := static(name, endpoint(tlsUp(i)))
	c["transport_socket"] = clientTLS(tls)
	return speaking(c, options)
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// speaking gives a cluster its HttpProtocolOptions; nil: none.
func speaking(c, options M) M {
	if options != nil {
		c["typed_extension_protocol_options"] = M{httpOptions: typed(httpOptions, options)}
	}
	return c
}

// spoken are clusters that speak more than HTTP/1 in plain text.
func spoken() (out A) {
	http1, http2 := M{"explicit_http_config": M{"http_protocol_options": M{}}}, M{"explicit_http_config": M{"http2_protocol_options": M{}}}
	auto := func(more M) M {
		return M{"explicit_http_config": M{"http_protocol_options": M{}}, "upstream_http_protocol_options": more}
	}
	named := secured("s.host", 120, M{"auto_host_sni": true, "sni": "fixed.test"}, nil)
	named["load_assignment"].(M)["endpoints"].(A)[0].(M)["lb_endpoints"].(A)[0].(M)["endpoint"].(M)["hostname"] = "host.test"
	return A{named, speaking(static("s.h2", endpoint(h2Up(121))), http2), secured("s.none", 122, nil, nil), secured("s.sni", 123, M{"sni": "fixed.test"}, http1),
		secured("s.auto", 124, M{"sni": "fixed.test"}, auto(M{"auto_sni": true})), secured("s.header", 125, nil, auto(M{"auto_sni": true, "override_auto_sni_header": "x-newhost"})),
		secured("s.tlsh2", 126, M{"common_tls_context": M{"alpn_protocols": A{"istio", "h2"}}}, http2), secured("s.either", 127, nil, M{"auto_config": M{}})}
}

// spokenTo is the name of one of them; one in twelve of what else would be chosen.
func (d *dice) spokenTo(usual string) string {
	if !d.chance(1.0 / 12) {
		return usual
	}
	return pick(d, "s.host", "s.h2", "s.none", "s.sni", "s.auto", "s.header", "s.tlsh2", "s.either")
}

// limits gives a RouteAction time limits. None is so short that it could come true.
func (d *dice) limits(a M) {
	if d.chance(0.15) {
		a["timeout"] = pick(d, "0s", "5.5s", "20s", "0.0001s", "15s")
	}
	if d.chance(0.1) {
		p := M{"per_try_timeout": pick(d, "0s", "6s", "30s")}
		if d.chance(0.3) {
			p["retry_on"] = pick(d, "5xx", "reset", "retriable-4xx,connect-failure")
		}
		a["retry_policy"] = p
	}
	if d.chance(0.04) {
		a["max_grpc_timeout"] = pick(d, "0s", "7s")
	}
	if d.chance(0.02) {
		a["hedge_policy"] = M{"hedge_on_per_try_timeout": true}
	}
	if d.chance(0.02) {
		a["max_stream_duration"] = pick(d, M{}, M{"max_stream_duration": "9s"}, M{"grpc_timeout_header_max": "8s"}, M{"max_stream_duration": "9s", "grpc_timeout_header_max": "0s"})
	}
}

// identity are options of the connection manager that say to the endpoint who it is and
// whose request it forwards.
func (d *dice) identity(o M) {
	maybe := func(p float64, k string, v any) {
		if d.chance(p) {
			o[k] = v
		}
	}
	maybe(0.05, "via", "me")
	maybe(0.05, "add_user_agent", true)
	maybe(0.05, "append_x_forwarded_port", true)
	maybe(0.05, "generate_request_id", false)
	maybe(0.08, "preserve_external_request_id", true)
	maybe(0.08, "proxy_100_continue", true)
	maybe(0.1, "forward_client_cert_details", pick(d, "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"))
	maybe(0.08, "upgrade_configs", A{M{"upgrade_type": "websocket"}})
	maybe(0.04, "early_header_mutation_extensions", A{ext("envoy.http.early_header_mutation.header_mutation", "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
		M{"mutations": A{pick(d, M{"remove": "x-a"}, M{"append": d.headerValue("x-a", "early")}, M{"append": d.headerValue("x-forwarded-for", "9.9.9.9")})}})})
	maybe(0.06, "original_ip_detection_extensions", A{pick(d,
		ext("envoy.http.original_ip_detection.custom_header", "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig", M{"header_name": "x-a", "allow_extension_to_set_address_as_trusted": true}),
		ext("envoy.http.original_ip_detection.xff", "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig", M{"xff_num_trusted_hops": 1}))})
	if o["original_ip_detection_extensions"] != nil { // refused beside them
		delete(o, "use_remote_address")
		delete(o, "xff_num_trusted_hops")
	}
}

// formats are values of header mutations that ask the request.
var formats = []string{"%REQ(x-b)%", "%REQ(x-no?:authority)%", "%REQ(:path):4%", "%PROTOCOL%", "%DOWNSTREAM_LOCAL_PORT%", "%ROUTE_NAME%",
	"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "a%%b", "%REQ(x-envoy-original-path)%", "%REQ(x-envoy-expected-rq-timeout-ms)%", "%REQ(x-forwarded-for)%", "%REQ(cookie)%"}
