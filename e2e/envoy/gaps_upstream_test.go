package envoy

import "maps"

// alpn are the options of a TLS socket with these protocols.
func alpn(names ...string) M {
	return M{"common_tls_context": M{"alpn_protocols": list(names)}}
}

// own adds upstream_http_protocol_options to HttpProtocolOptions.
func own(options M, more M) M {
	m := M{"upstream_http_protocol_options": more}
	maps.Copy(m, options)
	return m
}

// httpUpstreamGaps are the protocol that Envoy speaks to an HTTP endpoint, and its ClientHello.
func httpUpstreamGaps() []gap {
	http1, http2 := M{"explicit_http_config": M{"http_protocol_options": M{}}}, M{"explicit_http_config": M{"http2_protocol_options": M{}}}
	auto, mirror := M{"auto_config": M{}}, M{"use_downstream_protocol_config": M{"http_protocol_options": M{}, "http2_protocol_options": M{}}}
	sni := M{"sni": "fixed.test"}
	cert := M{"common_tls_context": M{"tls_certificates": A{M{"certificate_chain": M{"filename": "@DIR@/cert.pem"}, "private_key": M{"filename": "@DIR@/key.pem"}}}}}
	named := secured("u.named", 20, M{"auto_host_sni": true}, nil)
	named["load_assignment"].(M)["endpoints"].(A)[0].(M)["lb_endpoints"].(A)[0].(M)["endpoint"].(M)["hostname"] = "host.test"
	both := secured("u.both", 20, M{"auto_host_sni": true, "sni": "fixed.test"}, own(http1, M{"auto_sni": true}))
	both["load_assignment"].(M)["endpoints"].(A)[0].(M)["lb_endpoints"].(A)[0].(M)["endpoint"].(M)["hostname"] = "host.test"
	noName := secured("u.noname", 21, M{"auto_host_sni": true, "sni": "fixed.test"}, nil)
	chosen := static("u.match", M{"endpoint": M{"address": socket("127.9.0.23", 18443)}, "metadata": M{"filter_metadata": M{"envoy.transport_socket_match": M{"tls": "yes"}}}})
	chosen["transport_socket_matches"] = A{M{"name": "secure", "match": M{"tls": "yes"}, "transport_socket": clientTLS(sni)}, M{"name": "plain", "match": M{}, "transport_socket": ext("raw", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", nil)}}
	unchosen := static("u.plain", endpoint(tlsUp(24)))
	unchosen["transport_socket_matches"] = chosen["transport_socket_matches"]
	over := func(name, want string, c M, q Request, action M) gap {
		return gap{name: "HTTP: " + name, listener: web(oneRoute(routeTo(c["name"].(string), everything, action)), nil), clusters: []M{c}, request: q, want: want}
	}
	h1, h2 := get("auth.test:80", "/x"), get("auth.test:80", "/x").with("GET", "HTTP/2")
	const web1, web2, webBoth = `"alpn":["http/1.1"]`, `"alpn":["h2"]`, `"alpn":["h2","http/1.1"]`
	return []gap{
		over("plain text to HTTP/2", `"version":"2"`, speaking(static("u.h2", endpoint(h2Up(1))), http2), h1, nil),
		over("HTTP/2 to plain text HTTP/1", `"version":"1.1"`, static("u.h1", endpoint(up(25))), h2, nil),
		over("HTTP/2 by the old field", `"version":"2"`, func() M {
			c := static("u.old", endpoint(h2Up(2)))
			c["http2_protocol_options"] = M{}
			return c
		}(), h1, nil),
		over("as the client: HTTP/1", `"version":"1.1"`, speaking(static("u.mirror1", endpoint(h2Up(3))), mirror), h1, nil),
		over("as the client: HTTP/2", `"version":"2"`, speaking(static("u.mirror2", endpoint(h2Up(3))), mirror), h2, nil),
		over("no name, no protocols", web1, secured("u.none", 1, nil, nil), h1, nil),
		over("HTTP/1 asked for", web1, secured("u.http1", 1, nil, http1), h1, nil),
		over("HTTP/2", web2, secured("u.http2", 2, nil, http2), h1, nil),
		over("HTTP/2 in, HTTP/1 out", web1, secured("u.down", 2, nil, nil), h2, nil),
		over("by the endpoint's choice", webBoth, secured("u.auto", 3, nil, auto), h1, nil),
		over("as the client, over TLS: HTTP/1", web1, secured("u.tlsmirror1", 3, nil, mirror), h1, nil),
		over("as the client, over TLS: HTTP/2", web2, secured("u.tlsmirror2", 3, nil, mirror), h2, nil),
		over("protocols of the socket", `"alpn":["istio","http/1.1"]`, secured("u.alpn", 4, alpn("istio", "http/1.1"), nil), h1, nil),
		over("protocols of the socket, and HTTP/2", `"alpn":["istio"]`, secured("u.alpn2", 4, alpn("istio"), http2), h1, nil),
		over("name of the socket", `"sni":"fixed.test"`, secured("u.sni", 5, sni, nil), h1, nil),
		over("name of the request", `"sni":"auth.test"`, secured("u.autosni", 6, nil, own(http1, M{"auto_sni": true})), h1, nil),
		over("name of the request before the socket's", `"sni":"auth.test"`, secured("u.autosni2", 7, sni, own(http1, M{"auto_sni": true})), h1, nil),
		over("an address is no name", `"tls":{"alpn"`, secured("u.ip", 8, nil, own(http1, M{"auto_sni": true})), get("10.0.0.1:80", "/"), nil),
		over("an address is no name, the socket has one", `"sni":"fixed.test"`, secured("u.ip2", 8, sni, own(http1, M{"auto_sni": true})), get("[::1]:80", "/"), nil),
		over("name of two hosts", `"sni":"a.test:80,b.test"`, secured("u.two", 6, nil, own(http1, M{"auto_sni": true})), get("a.test:80", "/", [2]string{"host", "b.test"}), nil),
		over("name of a header", `"sni":"named.test"`, secured("u.header", 9, nil, own(http1, M{"auto_sni": true, "override_auto_sni_header": "x-name"})), get("auth.test", "/", [2]string{"x-name", "named.test"}), nil),
		over("the header is missing", `"sni":"auth.test"`, secured("u.header2", 9, nil, own(http1, M{"auto_sni": true, "override_auto_sni_header": "x-name"})), get("auth.test", "/"), nil),
		over("name of the rewritten host", `"sni":"lit.test"`, secured("u.rewrite", 10, nil, own(http1, M{"auto_sni": true})), h1, M{"host_rewrite_literal": "lit.test"}),
		over("name of the host", `"sni":"host.test"`, named, h1, nil),
		over("name of the request before the host's", `"sni":"auth.test"`, both, h1, nil),
		over("a host without a name", `"sni":"fixed.test"`, noName, h1, nil),
		over("certificate", `"cert":true`, secured("u.cert", 22, cert, nil), h1, nil),
		over("socket of the endpoint's metadata", `"sni":"fixed.test"`, chosen, h1, nil),
		over("socket of an empty match", `"addr":"127.9.0.25:18443"}`, unchosen, h1, nil),
	}
}

// tcpUpstreamGaps are what a tcp_proxy says in its ClientHello.
func tcpUpstreamGaps() []gap {
	sni, http2 := M{"sni": "fixed.test"}, M{"explicit_http_config": M{"http2_protocol_options": M{}}}
	const none = `"tls":{}`
	return []gap{
		viaTCP("no name, no protocols", none, secured("t.none", 30, nil, nil), nil),
		viaTCP("name of the socket", `"sni":"fixed.test"`, secured("t.sni", 31, sni, nil), nil),
		viaTCP("HTTP options mean nothing", none, secured("t.h2", 32, nil, own(http2, M{"auto_sni": true})), nil),
		viaTCP("protocols of the socket", `"alpn":["a","b"]`, secured("t.alpn", 33, alpn("a", "b"), nil), nil),
		viaTCP("name by filter state", `"sni":"state.test"`, secured("t.state", 34, sni, nil), A{M{"object_key": stateNameKey, "format_string": M{"text_format_source": M{"inline_string": "state.test"}}}}),
		viaTCP("protocols by filter state", `"alpn":["x","y"]`, secured("t.state2", 35, alpn("a"), nil), A{M{"object_key": "envoy.network.application_protocols", "format_string": M{"text_format_source": M{"inline_string": "x,y"}}}}),
	}
}

const stateNameKey = "envoy.network.upstream_server_name"

// viaTCP sends bytes through a tcp_proxy, after filter state was set.
func viaTCP(name, want string, c M, state A) gap {
	return gap{name: "TCP: " + name, want: want, clusters: []M{c}, request: Request{Payload: "hello\n"}, listener: func(l M) M {
		filters := A{tcpProxy(l["name"].(string), M{"cluster": c["name"]})}
		if state != nil {
			filters = append(A{ext("envoy.filters.network.set_filter_state", filterNS+"network.set_filter_state.v3.Config", M{"on_new_connection": state})}, filters...)
		}
		l["filter_chains"] = A{M{"name": "f", "filters": filters}}
		return l
	}}
}
