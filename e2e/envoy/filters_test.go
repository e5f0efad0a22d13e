package envoy

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// forwardGaps are dynamic forward proxies: the host of the request names the endpoint.
func forwardGaps() []gap {
	cache := M{"dns_cache_config": M{"name": "cache", "dns_lookup_family": "V4_ONLY"}}
	filter := ext("dfp", filterNS+"http.dynamic_forward_proxy.v3.FilterConfig", cache)
	cluster := M{"name": "dfp", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "1s",
		"cluster_type": ext("envoy.clusters.dynamic_forward_proxy", "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig", cache)}
	chain := M{"http_filters": A{filter, router()}}
	to := func(name, host, want string, unknown flow.ReasonKind, per, action M, headers ...[2]string) gap {
		rc := oneRoute(routeTo("dfp", everything, action))
		if per != nil {
			rc["virtual_hosts"].(A)[0].(M)["routes"].(A)[0].(M)["typed_per_filter_config"] = M{"dfp": typed(filterNS+"http.dynamic_forward_proxy.v3.PerRouteConfig", per)}
		}
		return gap{name: "forward: " + name, listener: web(rc, chain), request: get(host, "/", headers...), want: want, unknown: unknown, clusters: []M{cluster}}
	}
	all := []gap{
		to("an address", "127.9.0.2:18080", `"127.9.0.2:18080"`, flow.NoReason, nil, nil),
		to("a name", "localhost:18080", `"127.0.0.1:18080"`, flow.WhyDNS, nil, nil),
		to("a name that is none", "nosuch.invalid", "dns_resolution_failure", flow.WhyDNS, nil, nil),
		to("another host of the route", "x.test", `"127.9.0.3:18080"`, flow.NoReason, M{"host_rewrite_literal": "127.9.0.3:18080"}, nil),
		to("another host by a header", "x.test", `"127.9.0.4:18080"`, flow.NoReason, M{"host_rewrite_header": "x-to"}, nil, [2]string{"x-to", "127.9.0.4:18080"}),
		to("a header that is missing", "127.9.0.5:18080", `"127.9.0.5:18080"`, flow.NoReason, M{"host_rewrite_header": "x-to"}, nil),
		{name: "forward: another cluster", listener: web(oneRoute(routeTo("c1", everything, nil)), chain), request: get("127.9.0.9:18080", "/"), want: `"c1"`},
	}
	for i := range all[1:] {
		all[i+1].clusters = nil
	}
	return all
}

// answerGaps are custom responses: another answer in the place of one.
func answerGaps() []gap {
	const http = "envoy.type.matcher.v3."
	on := func(input, value string, action M) M {
		return M{"predicate": M{"single_predicate": M{"input": M{"name": "i", "typed_config": typed(http+input, nil)}, "value_match": M{"exact": value}}}, "on_match": M{"action": action}}
	}
	local := func(code int) M {
		m := M{"body": M{"inline_string": "ours"}}
		if code != 0 {
			m["status_code"] = code
		}
		return ext("local", "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy", m)
	}
	custom := func(matchers ...any) M {
		return M{"custom_response_matcher": M{"matcher_list": M{"matchers": A(matchers)}}}
	}
	const kind = filterNS + "http.custom_response.v3.CustomResponse"
	chain := func(m M, before ...any) M {
		return M{"http_filters": append(append(A{}, before...), ext("custom", kind, m), router())}
	}
	class := func(value string, code int) any {
		return on("HttpResponseStatusCodeClassMatchInput", value, local(code))
	}
	exact := func(value string, code int) any { return on("HttpResponseStatusCodeMatchInput", value, local(code)) }
	abort := ext("fault", filterNS+"http.fault.v3.HTTPFault", M{"abort": M{"http_status": 503, "percentage": M{"numerator": 100}}})
	direct := func(code int) M {
		return M{"name": "direct", "match": everything, "direct_response": M{"status": code}}
	}
	own := direct(404)
	own["typed_per_filter_config"] = M{"custom": typed(kind, custom(exact("404", 410)))}
	off := direct(404)
	off["typed_per_filter_config"] = M{"custom": typed("envoy.config.route.v3.FilterConfig", M{"disabled": true})}
	row := func(name string, rc, options M, want string) gap {
		return gap{name: "answer: " + name, listener: web(rc, options), request: get("a.test", "/"), want: want}
	}
	missed := oneRoute(routeTo("c1", M{"path": "/only"}, nil))
	return []gap{
		row("direct", oneRoute(direct(404)), chain(custom(class("4xx", 499))), `"code":499`),
		row("direct of another class", oneRoute(direct(503)), chain(custom(class("4xx", 499))), `"code":503`),
		row("the first matcher", oneRoute(direct(404)), chain(custom(exact("403", 401), exact("404", 418), class("4xx", 499))), `"code":418`),
		row("no status of its own", oneRoute(direct(404)), chain(custom(class("4xx", 0))), `"code":404`),
		row("no route", missed, chain(custom(class("4xx", 499))), `"code":499`),
		row("no cluster", oneRoute(routeTo("nosuch", everything, nil)), chain(custom(exact("503", 500))), `"code":500`),
		row("no host", oneRoute(routeTo("c.empty", everything, nil)), chain(custom(exact("503", 500))), `"code":500`),
		row("a filter before", oneRoute(routeTo("c1", everything, nil)), chain(custom(exact("503", 500)), abort), `"code":500`),
		row("a route's own", oneRoute(own), chain(custom(class("4xx", 499))), `"code":410`),
		row("switched off", oneRoute(off), chain(custom(class("4xx", 499))), `"code":404`),
		row("the endpoint's", oneRoute(routeTo("c1", everything, nil)), chain(custom(exact("200", 203))), `"code":203`),
		row("not the endpoint's", oneRoute(routeTo("c1", everything, nil)), chain(custom(class("5xx", 203))), `"code":200`),
	}
}

// basicGaps are requests without credentials, where those of another kind may stand for them.
func basicGaps() []gap {
	auth := func(more M) func(M) M {
		m := M{"users": M{"inline_string": "u:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw="}}
		for k, v := range more {
			m[k] = v
		}
		return web(oneRoute(routeTo("c1", everything, nil)), M{"http_filters": A{ext("auth", filterNS+"http.basic_auth.v3.BasicAuth", m), router()}})
	}
	missing := M{"allow_missing": true, "emit_dynamic_metadata": true}
	bearer := [2]string{"authorization", "Bearer x"}
	return []gap{
		{name: "basic: missing", listener: auth(M{"realm": "r"}), request: get("a.test", "/"), want: `"code":401`},
		{name: "basic: missing is allowed", listener: auth(missing), request: get("a.test", "/"), want: `"c1"`},
		{name: "basic: another scheme where missing is allowed", listener: auth(missing), request: get("a.test", "/", bearer), want: `"code":200`},
	}
}

// Filters that send a request elsewhere, or put another answer in the place of one.
func TestFilterGaps(t *testing.T) {
	if !Isolated(t) {
		return
	}
	t.Run("forward", func(t *testing.T) { runGaps(t, forwardGaps()) })
	t.Run("basic auth", func(t *testing.T) { runGaps(t, basicGaps()) })
	t.Run("answer", func(t *testing.T) { runGaps(t, answerGaps()) })
}
