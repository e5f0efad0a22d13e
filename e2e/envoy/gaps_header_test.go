package envoy

import (
	"fmt"
	"maps"
)

// headerRows collects cases of what the endpoint gets, each with a route table of its own.
type headerRows []gap

func (g *headerRows) row(name, want string, q Request, rc, options M) {
	*g = append(*g, gap{name: name, listener: web(rc, options), request: q, want: want})
}

// table has one route for everything, with more in its action, itself, its virtual host and
// the table.
func table(action, route, vhost, rc M) M {
	r := routeTo("c1", everything, action)
	maps.Copy(r, route)
	out := oneRoute(r)
	maps.Copy(out["virtual_hosts"].(A)[0].(M), vhost)
	maps.Copy(out, rc)
	return out
}

func pairs(kv ...string) (out [][2]string) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, [2]string{kv[i], kv[i+1]})
	}
	return out
}

var plainGet = get("a.test", "/x/y?z=1")

func with(kv ...string) Request { return get("a.test", "/x/y?z=1", pairs(kv...)...) }

// insiders are all of the oracle's clients.
var insiders = M{"use_remote_address": true, "internal_address_config": M{"cidr_ranges": cidrs([]string{"127.0.0.0/8"})}}

// routing is a manager whose router has options.
func routing(options M) M {
	return M{"http_filters": A{ext("envoy.filters.http.router", filterNS+"http.router.v3.Router", options)}}
}

// limitGaps are the time limits that the endpoint is told, and the headers that set limits
// and retries for Envoy alone.
func limitGaps() (g headerRows) {
	respect := routing(M{"respect_expected_rq_timeout": true})
	maps.Copy(respect, insiders)
	adding := func(l ...any) M { return M{"request_headers_to_add": A(l)} }
	grpc := func(kv ...string) Request {
		return get("a.test", "/s/m", pairs(append([]string{"content-type", "application/grpc"}, kv...)...)...).with("POST", "")
	}
	g.row("no limit", `"upstream":{"method":"GET"`, plainGet, table(M{"timeout": "0s"}, nil, nil, nil), nil)
	g.row("a limit", `rq-timeout-ms","2500"`, plainGet, table(M{"timeout": "2.5s"}, nil, nil, nil), nil)
	g.row("a limit below a millisecond", `"upstream"`, plainGet, table(M{"timeout": "0.0005s"}, nil, nil, nil), nil)
	g.row("a limit of each try", `rq-timeout-ms","1200"`, plainGet, table(M{"timeout": "5s", "retry_policy": M{"per_try_timeout": "1.2s"}}, nil, nil, nil), nil)
	g.row("a limit of each try that is longer", `rq-timeout-ms","5000"`, plainGet, table(M{"timeout": "5s", "retry_policy": M{"per_try_timeout": "6s"}}, nil, nil, nil), nil)
	g.row("a limit of each try alone", `rq-timeout-ms","6000"`, plainGet, table(M{"timeout": "0s", "retry_policy": M{"per_try_timeout": "6s"}}, nil, nil, nil), nil)
	g.row("the virtual host's limit of each try", `rq-timeout-ms","900"`, plainGet, table(nil, nil, M{"retry_policy": M{"per_try_timeout": "0.9s"}}, nil), nil)
	g.row("hedged tries have all the time", `rq-timeout-ms","5000"`, plainGet, table(M{"timeout": "5s", "retry_policy": M{"per_try_timeout": "1s"}, "hedge_policy": M{"hedge_on_per_try_timeout": true}}, nil, nil, nil), nil)
	g.row("max_stream_duration instead", `"upstream"`, plainGet, table(M{"max_stream_duration": M{"max_stream_duration": "3s"}, "timeout": "5s"}, nil, nil, nil), nil)
	g.row("a limit that the client asks for", `rq-timeout-ms","700"`, with("x-envoy-upstream-rq-timeout-ms", "700"), table(nil, nil, nil, nil), insiders)
	g.row("limits of each try that the client asks for", `rq-timeout-ms","300"`, with("x-envoy-upstream-rq-timeout-ms", "700", "x-envoy-upstream-rq-per-try-timeout-ms", "300"), table(nil, nil, nil, nil), insiders)
	g.row("limits that are none", `rq-timeout-ms","15000"`, with("x-envoy-upstream-rq-timeout-ms", "x", "x-envoy-upstream-rq-per-try-timeout-ms", "-1"), table(nil, nil, nil, nil), insiders)
	g.row("a limit of none that the client asks for", `"upstream"`, with("x-envoy-upstream-rq-timeout-ms", "0"), table(nil, nil, nil, nil), insiders)
	g.row("a stranger may ask for no limit", `rq-timeout-ms","15000"`, with("x-envoy-upstream-rq-timeout-ms", "700"), table(nil, nil, nil, nil), M{"use_remote_address": true})
	g.row("a limit said before", `rq-timeout-ms","333"`, with("x-envoy-expected-rq-timeout-ms", "333"), table(nil, nil, nil, nil), respect)
	g.row("a limit said before, unheeded", `rq-timeout-ms","15000"`, with("x-envoy-expected-rq-timeout-ms", "333"), table(nil, nil, nil, nil), insiders)
	g.row("retries that the client asks for", `"upstream"`, with("x-envoy-retry-on", "5xx", "x-envoy-max-retries", "2", "x-envoy-retry-grpc-on", "cancelled", "x-envoy-retriable-status-codes", "409", "x-envoy-retriable-header-names", "x-q",
		"x-envoy-hedge-on-per-try-timeout", "true", "x-envoy-upstream-alt-stat-name", "n", "x-envoy-upstream-rq-timeout-alt-response", "1", "x-envoy-upstream-stream-duration-ms", "5000"), table(nil, nil, nil, nil), insiders)
	g.row("retry headers that a route adds", `"upstream"`, plainGet, table(nil, adding(add("x-envoy-max-retries", "3", appends), add("x-envoy-upstream-rq-timeout-ms", "77", appends)), nil, nil), nil)
	g.row("gRPC limit", `rq-timeout-ms","2000"`, grpc("grpc-timeout", "3S"), table(M{"max_grpc_timeout": "2s"}, nil, nil, nil), nil)
	g.row("gRPC limit asked for", `rq-timeout-ms","900"`, grpc("grpc-timeout", "1S"), table(M{"max_grpc_timeout": "2s", "grpc_timeout_offset": "0.1s"}, nil, nil, nil), nil)
	g.row("gRPC limit unheeded", `rq-timeout-ms","15000"`, grpc("grpc-timeout", "1S"), table(nil, nil, nil, nil), nil)
	return g
}

// Actions of a header that a configuration adds.
const appends, absent, overwrites, replaces = "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"

func add(name, value, how string) M {
	return M{"header": M{"key": name, "value": value}, "append_action": how}
}

// mutationGaps are the headers, hosts and paths that the routes change.
func mutationGaps() (g headerRows) {
	adding := func(l ...any) M { return M{"request_headers_to_add": A(l)} }
	removing := func(names ...any) M { return M{"request_headers_to_remove": A(names)} }
	suppress := routing(M{"suppress_envoy_headers": true})
	change := func(name, how string) M {
		return ext("change", typeMutation, M{"mutations": M{"request_mutations": A{M{"append": add(name, "changed", how)}, M{"remove": "x-gone"}}}})
	}
	last := ext("envoy.filters.http.upstream_codec", filterNS+"http.upstream_codec.v3.UpstreamCodec", nil)
	between := routing(M{"upstream_http_filters": A{change("x-router", appends), last}})
	own := static("c.own", endpoint(up(40)))
	speaking(own, M{"explicit_http_config": M{"http_protocol_options": M{}}, "http_filters": A{change("x-cluster", overwrites), last}})
	perRoute := M{"typed_per_filter_config": M{"change": typed(filterNS+"http.header_mutation.v3.HeaderMutationPerRoute", M{"mutations": M{"request_mutations": A{M{"append": add("x-per", "route", appends)}}}})}}
	g.row("filter between router and endpoint", `["x-router","changed"]`, with("x-router", "1", "x-gone", "1"), table(nil, nil, nil, nil), between)
	g.row("filter between router and endpoint, of the route", `["x-per","route"]`, with("x-router", "1"), table(nil, perRoute, nil, nil), between)
	g.row("filter of the cluster before the router's", `["x-cluster","changed"]`, with("x-cluster", "1", "x-gone", "1"), table(M{"cluster": "c.own"}, nil, nil, nil), between)
	g[len(g)-1].clusters = []M{own}
	g.row("no headers of Envoy's own", `"upstream":{"method":"GET","target":"/new/y?z=1","host":"lit.test"`, plainGet, table(M{"prefix_rewrite": "/new", "host_rewrite_literal": "lit.test"}, M{"match": M{"prefix": "/x"}}, nil, nil), suppress)
	g.row("which attempt", `attempt-count","1"`, plainGet, table(nil, nil, M{"include_request_attempt_count": true}, nil), nil)
	g.row("which attempt, asked by a format", `"x-n","1"`, plainGet, table(nil, adding(add("x-n", "%REQ(x-envoy-attempt-count)%", appends)), M{"include_request_attempt_count": true}, nil), nil)
	g.row("which attempt, after another proxy's", `attempt-count","1"`, with("x-envoy-attempt-count", "7"), table(nil, nil, M{"include_request_attempt_count": true}, nil), nil)
	g.row("levels in order", `["x-l","route"],["x-l","vhost"],["x-l","table"]`, plainGet, table(nil, adding(add("x-l", "route", appends)), adding(add("x-l", "vhost", appends)), adding(add("x-l", "table", appends))), nil)
	g.row("levels that overwrite", `["x-l","table"]`, plainGet, table(nil, adding(add("x-l", "route", overwrites)), adding(add("x-l", "vhost", overwrites)), adding(add("x-l", "table", overwrites))), nil)
	g.row("levels that overwrite, the route wins", `["x-l","route"]`, plainGet, table(nil, adding(add("x-l", "route", overwrites)), adding(add("x-l", "vhost", overwrites)), M{"most_specific_header_mutations_wins": true, "request_headers_to_add": A{add("x-l", "table", overwrites)}}), nil)
	g.row("only if absent", `["x-l","mine"]`, with("x-l", "mine"), table(nil, adding(add("x-l", "route", absent)), nil, nil), nil)
	g.row("only if there", `"upstream"`, plainGet, table(nil, adding(add("x-l", "route", replaces)), nil, nil), nil)
	g.row("removed, then added", `["x-l","table"]`, with("x-l", "mine"), table(nil, removing("X-L"), nil, adding(add("x-l", "table", absent))), nil)
	g.row("empty values", `"x-kept",""`, plainGet, table(nil, adding(M{"header": M{"key": "x-kept", "value": "%REQ(x-no)%"}, "keep_empty_value": true}, M{"header": M{"key": "x-gone", "value": "%REQ(x-no)%"}}), nil, nil), nil)
	g.row("append false", `"x-l","route"`, with("x-l", "mine"), table(nil, adding(M{"header": M{"key": "x-l", "value": "route"}, "append": false}), nil, nil), nil)
	g.row("raw value", `"upstream"`, plainGet, table(nil, adding(M{"header": M{"key": "x-l", "raw_value": "cmF3"}}), nil, nil), nil)
	g.row("raw value of a header that is kept when empty", `"x-l",""`, plainGet, table(nil, adding(M{"header": M{"key": "x-l", "raw_value": "cmF3"}, "keep_empty_value": true}), nil, nil), nil)
	g.row("joined inline headers", `"x-forwarded-proto"`, with("accept", "a", "accept", "b", "x-l", "1", "x-l", "2"), table(nil, adding(add("accept", "c", appends), add("x-l", "3", appends)), nil, nil), nil)
	g.row("formats", `"x-f","a.test /x/y?z=1 GET`, plainGet, table(nil, adding(add("x-f", "%REQ(:authority)% %REQ(:path)% %REQ(:method)% %PROTOCOL% %REQ(x?:authority):3% %%", appends), add("x-p", "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", appends),
		add("x-r", "%ROUTE_NAME% %VIRTUAL_CLUSTER_NAME% %UPSTREAM_CLUSTER% %HOSTNAME% %REQUESTED_SERVER_NAME%", appends), add("x-m", "%DYNAMIC_METADATA(a:b)% %START_TIME% %STREAM_ID% %RESPONSE_CODE% %CEL(request.path)%", appends)), nil, nil), nil)
	g.row("formats of nothing", `"upstream"`, plainGet, table(nil, adding(add("x-f", "%REQ(x-no)%", appends), add("x-g", "a%REQ(x-no)%b", appends), add("x-h", "%REQUESTED_SERVER_NAME%", appends)), nil, nil), nil)
	g.row("host rewritten", `"x-envoy-original-host","a.test"`, plainGet, table(M{"host_rewrite_literal": "lit.test", "append_x_forwarded_host": true}, nil, nil, nil), nil)
	g.row("host rewritten to the same", `"host":"a.test"`, plainGet, table(M{"host_rewrite_literal": "a.test", "append_x_forwarded_host": true}, nil, nil, nil), nil)
	g.row("host rewritten after another proxy", `"x-forwarded-host"`, with("x-forwarded-host", "first.test", "x-envoy-original-host", "first.test"), table(M{"host_rewrite_literal": "lit.test", "append_x_forwarded_host": true}, nil, nil, nil), nil)
	g.row("path rewritten after another proxy", `"x-envoy-original-path"`, with("x-envoy-original-path", "/first"), table(M{"prefix_rewrite": "/new"}, M{"match": M{"prefix": "/x"}}, nil, nil), nil)
	return g
}

// identityGaps are what the connection manager says of the client and of itself, and what
// it takes away.
func identityGaps() (g headerRows) {
	from := func(src string, q Request) Request {
		q.Src = src
		return q
	}
	g.row("client's address", `"x-forwarded-for","127.1.2.3"`, from("127.1.2.3", plainGet), table(nil, nil, nil, nil), M{"use_remote_address": true})
	g.row("client's address after others", `"x-forwarded-for","8.8.8.8,127.1.2.3"`, from("127.1.2.3", with("x-forwarded-for", "8.8.8.8")), table(nil, nil, nil, nil), M{"use_remote_address": true})
	g.row("client's address, not appended", `"x-forwarded-for","8.8.8.8"`, from("127.1.2.3", with("x-forwarded-for", "8.8.8.8")), table(nil, nil, nil, nil), M{"use_remote_address": true, "skip_xff_append": true})
	g.row("client's address of a proxy that is trusted", `"x-forwarded-proto","https"`, from("127.1.2.3", with("x-forwarded-for", "8.8.8.8, 9.9.9.9", "x-forwarded-proto", "https")), table(nil, nil, nil, nil), M{"use_remote_address": true, "xff_num_trusted_hops": 1})
	g.row("port", `"x-forwarded-port"`, plainGet, table(nil, nil, nil, nil), M{"append_x_forwarded_port": true})
	g.row("port after another proxy", `"x-forwarded-port"`, with("x-forwarded-port", "99"), table(nil, nil, nil, nil), M{"append_x_forwarded_port": true})
	g.row("port said by a stranger", `"x-forwarded-port","10000"`, with("x-forwarded-port", "99"), table(nil, nil, nil, nil), M{"append_x_forwarded_port": true, "use_remote_address": true})
	g.row("port said by a proxy that is trusted", `"x-forwarded-port","99"`, with("x-forwarded-port", "99"), table(nil, nil, nil, nil), M{"append_x_forwarded_port": true, "use_remote_address": true, "xff_num_trusted_hops": 1})
	for _, e := range [][]string{{"100-continue", "x"}, {"x", "100-continue"}, {"x", "y"}, {"100-continue", "100-continue"}, {"100-continue", ""}, {"100-continue,x"}} {
		var kv []string
		for _, v := range e {
			kv = append(kv, "expect", v)
		}
		g.row(fmt.Sprintf("expect %q", e), `"upstream"`, with(kv...), table(nil, nil, nil, nil), nil)
	}
	g.row("via", `"via","me"`, plainGet, table(nil, nil, nil, nil), M{"via": "me"})
	g.row("via after another", `"via","first,`, with("via", "first"), table(nil, nil, nil, nil), M{"via": "me"})
	g.row("user agent", `"user-agent"`, plainGet, table(nil, nil, nil, nil), M{"add_user_agent": true})
	g.row("user agent of the client", `"user-agent","curl"`, with("user-agent", "curl"), table(nil, nil, nil, nil), M{"add_user_agent": true})
	g.row("no request id", `"upstream"`, plainGet, table(nil, nil, nil, nil), M{"generate_request_id": false})
	g.row("request id of an insider", `"x-request-id","me"`, with("x-request-id", "me"), table(nil, nil, nil, nil), insiders)
	g.row("request id of a stranger", `"x-request-id","*"`, with("x-request-id", "me"), table(nil, nil, nil, nil), M{"use_remote_address": true})
	g.row("request id of a stranger, kept", `"x-request-id","me"`, with("x-request-id", "me"), table(nil, nil, nil, nil), M{"use_remote_address": true, "preserve_external_request_id": true})
	g.row("hop by hop", `"upstream"`, with("connection", "close, x-hop", "x-hop", "1", "keep-alive", "5", "proxy-connection", "close", "te", "gzip, trailers", "upgrade", "x"), table(nil, nil, nil, nil), nil)
	for _, te := range []string{"", "gzip", "TRAILERS", " trailers", "trailers;q=1", "gzip,trailers", "gzip , trailers , x"} {
		g.row("TE "+te, `"upstream"`, with("te", te), table(nil, nil, nil, nil), nil)
	}
	for _, host := range []string{"", ",", "a.test", "b.test,a.test", "b.test, a.test", "a.test,", "a.test,b.test"} {
		g.row("host kept after "+host, `"x-forwarded-host"`, with("x-forwarded-host", host), table(M{"host_rewrite_literal": "lit.test", "append_x_forwarded_host": true}, nil, nil, nil), nil)
	}
	g.row("websocket", `"upgrade","websocket"`, with("connection", "keep-alive, Upgrade", "upgrade", "websocket", wantsUpgrade, "1"), table(nil, nil, nil, nil), M{"upgrade_configs": A{M{"upgrade_type": "websocket"}}})
	g.row("expect", `"upstream"`, Request{HTTP: &HTTP{Method: "POST", Target: "/", Host: plainGet.HTTP.Host, Headers: pairs("expect", "100-continue"), Body: "b"}}, table(nil, nil, nil, nil), nil)
	g.row("HTTP/1.0", `"version":"1.1"`, plainGet.with("GET", "HTTP/1.0"), table(nil, nil, nil, nil), M{"http_protocol_options": M{"accept_http_10": true}})
	g.row("client certificate's header is taken away", `"upstream"`, with("x-forwarded-client-cert", "By=x"), table(nil, nil, nil, nil), nil)
	g.row("client certificate's header is forwarded", `client-cert","By=x"`, with("x-forwarded-client-cert", "By=x"), table(nil, nil, nil, nil), M{"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"})
	g.row("client certificate's header without TLS", `"upstream"`, with("x-forwarded-client-cert", "By=x"), table(nil, nil, nil, nil), M{"forward_client_cert_details": "APPEND_FORWARD"})
	g.row("HTTP/2 cookies", `"cookie","a=1; b=2"`, with("cookie", "a=1", "cookie", "b=2").with("GET", "HTTP/2"), table(nil, nil, nil, nil), nil)
	g.row("two cookies", `"cookie"`, with("cookie", "a=1", "cookie", "b=2"), table(nil, nil, nil, nil), nil)
	g.row("decorator", `"upstream"`, plainGet, table(nil, M{"decorator": M{"operation": "op"}}, nil, nil), nil)
	g.row("decorator with tracing", `"upstream"`, plainGet, table(nil, M{"decorator": M{"operation": "op"}}, nil, nil), M{"tracing": M{}})
	return g
}
