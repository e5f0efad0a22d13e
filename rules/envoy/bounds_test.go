package envoy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// insider makes every client internal, so that it may choose its limits by headers.
const insider = `"use_remote_address":true,"internal_address_config":{"cidr_ranges":[{"address_prefix":"0.0.0.0","prefix_len":0}]},`

// forwarding is a virtual host with one route that forwards.
func forwarding(action, host string) string {
	return fmt.Sprintf(`"route_config":{"name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"r","match":{"prefix":"/"},"route":{%s}}]%s}]}`, action, host)
}

// told are the limits that the steps of a request tell, in order.
func told(r Result) string {
	var out []string
	for _, s := range r.Steps {
		for _, why := range append([]flow.Reason{s.Reason}, s.Facts...) {
			switch why.Kind {
			case flow.WhyRouteCluster:
				out = append(out, why.Args[1]+"; "+why.Args[2])
			case flow.WhyRouteLimits, flow.WhyLimitsChanged:
				out = append(out, why.Args[0]+"; "+why.Args[1])
			case flow.WhyTryTimeout:
				out = append(out, "try "+why.Args[0])
			case flow.WhyStreamLimit:
				out = append(out, "stream "+why.Args[0])
			case flow.WhyStreamOver:
				out = append(out, "over "+why.Args[0])
			}
		}
	}
	return strings.Join(out, " | ")
}

// Every way to a cluster tells timeout and retries; who sets a limit is named. What Envoy
// makes of them is judged by TestTimeouts, TestRetries and TestStreamLimits of e2e/envoy.
func TestBounds(t *testing.T) {
	const twice = `"retry_policy":{"retry_on":"5xx","num_retries":2}`
	weighted := func(more string) string {
		return `"weighted_clusters":{"clusters":[{"name":"c","weight":1},{"name":"nosuch","weight":0}]` + more + `}`
	}
	plugin := `"inline_cluster_specifier_plugin":{"extension":{"name":"m","typed_config":` + typedAny("envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier",
		`"cluster_matcher":{"on_no_match":{"action":{"name":"a","typed_config":`+typedAny("envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction", `"cluster":"c"`)+`}}}`) + `}}`
	for _, c := range []struct{ action, host, headers, want string }{
		{`"cluster":"c"`, "", "", "15s; none"},
		{`"cluster":"c",` + twice, "", "", "15s; 2 on 5xx"},
		{`"cluster":"c"`, "," + twice, "", "15s; 2 on 5xx"},
		{weighted("") + `,"timeout":"3s"`, "," + twice, "", "3s; 2 on 5xx"},
		{weighted(`,"header_name":"x-w"`) + `,"timeout":"3s"`, "," + twice, "x-w=0", "3s; 2 on 5xx"},
		{`"weighted_clusters":{"clusters":[{"cluster_header":"x-c","weight":1}]},"timeout":"0s"`, "", "x-c=c", "none; none"},
		{`"cluster_header":"x-c","timeout":"0s",` + twice, "", "x-c=c", "none; 2 on 5xx"},
		{`"cluster_header":"x-c","timeout":"0s",` + twice, "", "", ""},
		{plugin + `,"timeout":"1s"`, "", "", "1s; none"},
		{`"cluster":"c","retry_policy":{"retry_on":"5xx","per_try_timeout":"0.25s"}`, "", "", "15s; 1 on 5xx | try 250ms (per_try_timeout)"},
		{`"cluster":"c","timeout":"0.25s","retry_policy":{"retry_on":"5xx","per_try_timeout":"0.25s"}`, "", "", "250ms; 1 on 5xx"},
		{`"cluster":"c","timeout":"0.251s","retry_policy":{"retry_on":"5xx","per_try_timeout":"0.25s"}`, "", "", "251ms; 1 on 5xx | try 250ms (per_try_timeout)"},
		{`"cluster":"c"`, "", "x-envoy-upstream-rq-timeout-ms=70", "70ms (x-envoy-upstream-rq-timeout-ms); none"},
		{`"cluster":"c"`, "", "x-envoy-retry-grpc-on=unavailable,bogus x-envoy-max-retries=4", "15s; 4 (x-envoy-max-retries) on unavailable"},
		{`"cluster":"c","retry_policy":{"retry_on":"cancelled,5xx,5xx"}`, "", "x-envoy-retry-on=reset", "15s; 1 on 5xx,cancelled,reset"},
		{`"cluster":"c","retry_policy_typed_config":{"name":"p","typed_config":` + typedAny("x.v3.Policy", "") + `}`, "", "", "15s; by Policy, which is not modelled"},
		{`"cluster":"c","max_grpc_timeout":"10s"`, "", "content-type=application/grpc grpc-timeout=20S", "10s (max_grpc_timeout); none"},
		{`"cluster":"c","max_grpc_timeout":"10s","grpc_timeout_offset":"1s"`, "", "content-type=application/grpc grpc-timeout=5S", "4s (grpc-timeout less grpc_timeout_offset); none"},
		{`"cluster":"c","max_stream_duration":{"max_stream_duration":"9s"}`, "", "", "none (max_stream_duration); none | stream 9s (max_stream_duration)"},
		{`"cluster":"c","max_stream_duration":{"grpc_timeout_header_max":"9s","grpc_timeout_header_offset":"1s"}`, "", "grpc-timeout=1S", "none (max_stream_duration); none | over grpc-timeout less grpc_timeout_header_offset"},
		{`"cluster":"c","max_stream_duration":{"grpc_timeout_header_max":"9s","grpc_timeout_header_offset":"1s"}`, "", "grpc-timeout=1001m", "none (max_stream_duration); none | stream 1ms (grpc-timeout less grpc_timeout_header_offset)"},
		// Retries are settled after the route's own header changes, timeouts before.
		{`"cluster":"c"`, `,"request_headers_to_add":[{"header":{"key":"x-envoy-retry-on","value":"5xx"}},{"header":{"key":"x-envoy-upstream-rq-timeout-ms","value":"9"}}]`, "", "15s; none | 15s; 1 on 5xx"},
	} {
		cfg := httpDump(t, insider+forwarding(c.action, c.host))
		if got := told(ask(cfg, sent("GET", "/", "a", fields(c.headers)...))); got != c.want {
			t.Errorf("%s %s, %s:\n%s, want\n%s", c.action, c.host, c.headers, got, c.want)
		}
	}
	outsider := httpDump(t, `"use_remote_address":true,`+forwarding(`"cluster":"c"`, ""))
	if got := told(ask(outsider, sent("GET", "/", "a", fields("x-envoy-upstream-rq-timeout-ms=70 x-envoy-retry-on=5xx")...))); got != "15s; none" {
		t.Errorf("an external client chose %s", got)
	}
}
