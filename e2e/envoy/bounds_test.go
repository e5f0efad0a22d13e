package envoy

import (
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// boundCase is a route with limits of time and tries, and a request that may ask for its own.
type boundCase struct {
	name    string
	action  M // of the route
	host    M // of the virtual host
	options M // of the connection manager
	headers [][2]string
}

// internal are the options that let a client choose limits by headers.
func internal(more M) M {
	out := M{"use_remote_address": true, "internal_address_config": M{"cidr_ranges": A{cidr("127.0.0.0/8")}}}
	for k, v := range more {
		out[k] = v
	}
	return out
}

func routerOf(config M) M {
	return internal(M{"http_filters": A{ext("envoy.filters.http.router", filterNS+"http.router.v3.Router", config)}})
}

// headerSet reads "name=value name=value".
func headerSet(s string) (out [][2]string) {
	for _, f := range strings.Fields(s) {
		k, v, _ := strings.Cut(f, "=")
		out = append(out, [2]string{k, strings.ReplaceAll(v, "_", " ")})
	}
	return out
}

const (
	msTimeout = "x-envoy-upstream-rq-timeout-ms"
	msTry     = "x-envoy-upstream-rq-per-try-timeout-ms"
	msLeft    = "x-envoy-expected-rq-timeout-ms"
	isGRPC    = "content-type=application/grpc "
)

func timeoutCases() []boundCase {
	try := M{"retry_on": "5xx", "per_try_timeout": "2s"}
	old := func(most string, more M) M {
		m := M{"max_grpc_timeout": most}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	stream := func(m M) M { return M{"timeout": "7s", "max_stream_duration": m} }
	return []boundCase{
		{name: "default"},
		{name: "route", action: M{"timeout": "3.5s"}},
		{name: "route none", action: M{"timeout": "0s"}},
		{name: "route less than a millisecond", action: M{"timeout": "0.0005s"}},
		{name: "header", headers: headerSet(msTimeout + "=1234")},
		{name: "header of an external client", options: M{"use_remote_address": true}, headers: headerSet(msTimeout + "=1234 " + msTry + "=2 x-envoy-max-retries=3 x-envoy-retry-on=5xx")},
		{name: "header none", headers: headerSet(msTimeout + "=0")},
		{name: "header odd", headers: headerSet(msTimeout + "=12x")},
		{name: "header with a sign", headers: headerSet(msTimeout + "=+12")},
		{name: "header negative", headers: headerSet(msTimeout + "=-12")},
		{name: "header empty", headers: headerSet(msTimeout + "=")},
		{name: "try", action: M{"retry_policy": try}},
		{name: "try of the virtual host", host: M{"retry_policy": try}},
		{name: "try of both", action: M{"retry_policy": M{"retry_on": "5xx"}}, host: M{"retry_policy": try}},
		{name: "try not below", action: M{"timeout": "2s", "retry_policy": try}},
		{name: "try and no limit", action: M{"timeout": "0s", "retry_policy": try}},
		{name: "try by header", headers: headerSet(msTry + "=300")},
		{name: "try by header odd", action: M{"retry_policy": try}, headers: headerSet(msTry + "=x")},
		{name: "hedged", action: M{"retry_policy": try, "hedge_policy": M{"hedge_on_per_try_timeout": true}}},
		{name: "hedged by header", action: M{"retry_policy": try}, headers: headerSet("x-envoy-hedge-on-per-try-timeout=true")},
		{name: "not hedged by header", action: M{"retry_policy": try}, host: M{"hedge_policy": M{"hedge_on_per_try_timeout": true}}, headers: headerSet("x-envoy-hedge-on-per-try-timeout=false")},
		{name: "quiet", action: M{"prefix_rewrite": "/new", "host_rewrite_literal": "b.test"}, options: routerOf(M{"suppress_envoy_headers": true})},
		{name: "expected", options: routerOf(M{"respect_expected_rq_timeout": true}), headers: headerSet(msLeft + "=777 " + msTimeout + "=5")},
		{name: "expected missing", options: routerOf(M{"respect_expected_rq_timeout": true}), headers: headerSet(msTimeout + "=5")},
		{name: "expected not respected", headers: headerSet(msLeft + "=777")},
		{name: "grpc without a limit of its own", action: old("10s", nil), headers: headerSet(isGRPC)},
		{name: "grpc of its own", action: old("10s", nil), headers: headerSet(isGRPC + "grpc-timeout=3S")},
		{name: "grpc above", action: old("10s", nil), headers: headerSet(isGRPC + "grpc-timeout=1H")},
		{name: "grpc bounded by nothing", action: old("0s", nil), headers: headerSet(isGRPC + "grpc-timeout=1H")},
		{name: "grpc bounded by nothing and none", action: old("0s", nil), headers: headerSet(isGRPC)},
		{name: "grpc offset", action: old("10s", M{"grpc_timeout_offset": "0.5s"}), headers: headerSet(isGRPC + "grpc-timeout=3S")},
		{name: "grpc offset not below", action: old("10s", M{"grpc_timeout_offset": "3s"}), headers: headerSet(isGRPC + "grpc-timeout=3S")},
		{name: "grpc odd", action: old("10s", nil), headers: headerSet(isGRPC + "grpc-timeout=3s")},
		{name: "grpc of nine digits", action: old("0s", nil), headers: headerSet(isGRPC + "grpc-timeout=100000000m")},
		{name: "grpc of eight digits", action: old("0s", nil), headers: headerSet(isGRPC + "grpc-timeout=99999999S")},
		{name: "grpc in microseconds", action: old("10s", nil), headers: headerSet(isGRPC + "grpc-timeout=1500u")},
		{name: "grpc in nanoseconds", action: old("10s", nil), headers: headerSet(isGRPC + "grpc-timeout=1n")},
		{name: "grpc and a header", action: old("10s", nil), headers: headerSet(isGRPC + "grpc-timeout=3S " + msTimeout + "=100")},
		{name: "grpc and a try", action: old("10s", M{"retry_policy": try}), headers: headerSet(isGRPC + "grpc-timeout=3S")},
		{name: "no grpc", action: old("10s", nil), headers: headerSet("grpc-timeout=3S")},
		{name: "stream", action: stream(M{"max_stream_duration": "9s"})},
		{name: "stream of nothing", action: stream(M{})},
		{name: "stream and a header", action: stream(M{"max_stream_duration": "9s"}), headers: headerSet(msTimeout + "=100")},
		{name: "stream and a try", action: M{"retry_policy": try, "max_stream_duration": M{}}},
		{name: "stream grpc", action: stream(M{"grpc_timeout_header_max": "9s"}), headers: headerSet(isGRPC + "grpc-timeout=3S")},
		{name: "stream grpc above", action: stream(M{"grpc_timeout_header_max": "9s"}), headers: headerSet(isGRPC + "grpc-timeout=1M")},
		{name: "stream grpc bounded by nothing", action: stream(M{"grpc_timeout_header_max": "0s"}), headers: headerSet(isGRPC + "grpc-timeout=1M")},
		{name: "stream grpc offset", action: stream(M{"grpc_timeout_header_max": "9s", "grpc_timeout_header_offset": "0.25s"}), headers: headerSet(isGRPC + "grpc-timeout=1M")},
		{name: "stream grpc without", action: stream(M{"max_stream_duration": "8s", "grpc_timeout_header_max": "9s"}), headers: headerSet(isGRPC)},
		{name: "stream grpc, no bound", action: stream(M{"max_stream_duration": "8s"}), headers: headerSet(isGRPC + "grpc-timeout=1M")},
		{name: "stream grpc, no grpc", action: stream(M{"grpc_timeout_header_max": "9s"}), headers: headerSet("grpc-timeout=1M")},
		{name: "stream of the manager", action: M{"max_stream_duration": M{}}, options: internal(M{"common_http_protocol_options": M{"max_stream_duration": "6s"}}), headers: headerSet(isGRPC + "grpc-timeout=1M")},
		{name: "headers that are kept back", headers: headerSet("x-envoy-retriable-status-codes=409 x-envoy-retriable-header-names=x x-envoy-upstream-alt-stat-name=s x-envoy-upstream-rq-timeout-alt-response=1 x-envoy-max-retries=2 x-envoy-retry-grpc-on=internal")},
		{name: "added by the route", action: nil, host: M{"request_headers_to_add": A{M{"header": M{"key": msTimeout, "value": "55"}}}}},
	}
}

// The limits that the endpoint is told, and the headers that Envoy keeps to itself.
func TestTimeouts(t *testing.T) {
	if !Isolated(t) {
		return
	}
	names := []string{msLeft, msTimeout, msTry, "grpc-timeout", "x-envoy-hedge-on-per-try-timeout", "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-upstream-alt-stat-name",
		"x-envoy-max-retries", "x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names", "x-envoy-original-path", "x-envoy-original-host"}
	told := func(headers [][2]string) string {
		var out []string
		for _, n := range names {
			for _, h := range headers {
				if h[0] == n {
					out = append(out, n+"="+h[1])
				}
			}
		}
		return strings.Join(out, " ")
	}
	cases := timeoutCases()
	for i, r := range runBounds(t, cases, "c1") {
		o := r.seen.Outcomes[0]
		if o.Upstream == nil || r.said.Upstream.HTTP == nil {
			t.Errorf("%s: Envoy %+v, meshtop %+v %+v", cases[i].name, o, r.said.Caller, r.said.Outcome)
			continue
		}
		if got, want := told(r.said.Upstream.HTTP.Headers), told(o.Upstream.Headers); got != want {
			t.Errorf("%s: the endpoint is told\n%s, meshtop says\n%s", cases[i].name, want, got)
		}
	}
}

func retryCases() []boundCase {
	policy := func(on string, n any, more M) M {
		p := M{"retry_on": on, "retry_back_off": M{"base_interval": "0.001s", "max_interval": "0.002s"}}
		if n != nil {
			p["num_retries"] = n
		}
		for k, v := range more {
			p[k] = v
		}
		return M{"retry_policy": p}
	}
	limited := M{"retriable_request_headers": A{M{"name": "x-try", "string_match": M{"exact": "1"}}}}
	return []boundCase{
		{name: "none"},
		{name: "default number", action: policy("connect-failure", nil, nil)},
		{name: "three", action: policy("5xx", 3, nil)},
		{name: "no number", action: policy("5xx", 0, nil)},
		{name: "no condition", action: policy("", 3, nil)},
		{name: "condition that is none", action: policy("sometimes", 3, nil)},
		{name: "of the virtual host", host: policy("5xx", 2, nil)},
		{name: "of both", action: policy("5xx", nil, nil), host: policy("5xx", 4, nil)},
		{name: "header", headers: headerSet("x-envoy-retry-on=5xx")},
		{name: "header with a number", headers: headerSet("x-envoy-retry-on=5xx x-envoy-max-retries=3")},
		{name: "number alone", headers: headerSet("x-envoy-max-retries=3")},
		{name: "header that knows no such condition", headers: headerSet("x-envoy-retry-on=unavailable x-envoy-max-retries=3")},
		{name: "header of no condition beside a policy", action: policy("5xx", 2, nil), headers: headerSet("x-envoy-retry-on=bogus")},
		{name: "fewer by header", action: policy("5xx", 3, nil), headers: headerSet("x-envoy-max-retries=1")},
		{name: "none by header", action: policy("5xx", 3, nil), headers: headerSet("x-envoy-max-retries=0")},
		{name: "odd header", action: policy("5xx", 2, nil), headers: headerSet("x-envoy-max-retries=x")},
		{name: "limited", action: policy("5xx", 2, limited)},
		{name: "limited and fits", action: policy("5xx", 2, limited), headers: headerSet("x-try=1")},
		{name: "limited, but a header asks", action: policy("", 2, limited), headers: headerSet("x-envoy-retry-on=5xx")},
		{name: "added by the virtual host", host: M{"request_headers_to_add": A{M{"header": M{"key": "x-envoy-retry-on", "value": "5xx"}}, M{"header": M{"key": "x-envoy-max-retries", "value": "2"}}}}},
	}
}

// How often Envoy tries an endpoint that refuses.
func TestRetries(t *testing.T) {
	if !Isolated(t) {
		return
	}
	cases := retryCases()
	for i := range cases {
		if cases[i].host == nil {
			cases[i].host = M{}
		}
		cases[i].host["include_attempt_count_in_response"] = true
	}
	for i, r := range runBounds(t, cases, "c.dead") {
		tries, err := strconv.Atoi(r.seen.Outcomes[0].Client.Headers["x-envoy-attempt-count"])
		if err != nil {
			t.Errorf("%s: %+v", cases[i].name, r.seen.Outcomes[0].Client)
			continue
		}
		n, _ := strconv.Atoi(strings.Fields(r.retries)[0])
		if n+1 != tries {
			t.Errorf("%s: Envoy tried %d times, meshtop says retries %s", cases[i].name, tries, r.retries)
		}
	}
}

// The limit of a whole stream ends a request that a filter holds back.
func TestStreamLimits(t *testing.T) {
	if !Isolated(t) {
		return
	}
	held := func(more M) M {
		return internal(M{"http_filters": A{ext("fault", filterNS+"http.fault.v3.HTTPFault", M{"delay": M{"fixed_delay": "1s", "percentage": M{"numerator": 100}}}), router()},
			"common_http_protocol_options": more})
	}
	const short = "0.03s"
	cases := []boundCase{
		{name: "no limit", options: held(nil)},
		{name: "route", action: M{"max_stream_duration": M{"max_stream_duration": short}}, options: held(nil)},
		{name: "manager", options: held(M{"max_stream_duration": short})},
		{name: "manager, but the route says none", action: M{"max_stream_duration": M{"max_stream_duration": "0s"}}, options: held(M{"max_stream_duration": short})},
		{name: "manager, and a route that says nothing", action: M{"max_stream_duration": M{}}, options: held(M{"max_stream_duration": short})},
		{name: "grpc", action: M{"max_stream_duration": M{"grpc_timeout_header_max": short}}, options: held(nil), headers: headerSet("grpc-timeout=1M")},
		{name: "grpc without the header", action: M{"max_stream_duration": M{"grpc_timeout_header_max": short}}, options: held(nil)},
		{name: "grpc of nothing", action: M{"max_stream_duration": M{"grpc_timeout_header_max": "9s"}}, options: held(nil), headers: headerSet("grpc-timeout=0m")},
		{name: "grpc that the offset eats up", action: M{"max_stream_duration": M{"grpc_timeout_header_max": "9s", "grpc_timeout_header_offset": "3s"}}, options: held(nil), headers: headerSet("grpc-timeout=2S")},
		{name: "grpc with an offset", action: M{"max_stream_duration": M{"grpc_timeout_header_max": "9s", "grpc_timeout_header_offset": "3s"}}, options: held(nil), headers: headerSet("grpc-timeout=60S")},
	}
	for i, r := range runBounds(t, cases, "c1") {
		ended := strings.Contains(r.seen.Outcomes[0].Details, "max_duration_timeout")
		said := false
		for _, f := range r.facts {
			said = said || f.Kind == flow.WhyStreamOver || f.Kind == flow.WhyStreamLimit && strings.HasPrefix(f.Args[0], "30ms ")
		}
		if ended != said {
			t.Errorf("%s: Envoy ended it: %v (%+v), meshtop says %v", cases[i].name, ended, r.seen.Outcomes[0], r.facts)
		}
	}
}

// boundResult is what Envoy did and what meshtop says.
type boundResult struct {
	seen    *Case
	said    envoy.Result
	retries string        // as the last step that tells them says
	facts   []flow.Reason // of the route's step
}

// runBounds runs the cases, one listener each, against a cluster.
func runBounds(t *testing.T, cases []boundCase, cluster string) []boundResult {
	t.Helper()
	b := &Batch{World: World{ID: "bounds", Family: "bounds", Clusters: usualClusters(12)}}
	for i, c := range cases {
		rc := oneRoute(routeTo(cluster, everything, c.action))
		for k, v := range c.host {
			rc["virtual_hosts"].(A)[0].(M)[k] = v
		}
		options := c.options
		if options == nil {
			options = internal(nil)
		}
		b.World.Listeners = append(b.World.Listeners, raw(web(rc, options)(listener(listenerName(i), acceptAddr(i), acceptPort))))
		q := get("a.test", "/x", c.headers...)
		q.ID, q.Accept, q.Group = c.name, acceptAt(i), cluster // one after the other: a cluster bounds its retries
		b.Requests = append(b.Requests, q)
	}
	r := runClear(t, startOracle(t), b)
	for _, x := range r.Refused {
		t.Errorf("refused: %s %s: %s", x.Kind, x.Name, x.Error)
	}
	cfg, err := loadWhole(r.Files)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]boundResult, len(cases))
	for i := range cases {
		conn, req, err := r.Cases[i].Request.Flow()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = boundResult{seen: &r.Cases[i], said: cfg.Accept(conn, &req, new(flow.Choices))}
		for _, s := range out[i].said.Steps {
			switch s.Reason.Kind {
			case flow.WhyRouteCluster:
				out[i].retries, out[i].facts = s.Reason.Args[2], s.Facts
			case flow.WhyLimitsChanged:
				out[i].retries = s.Reason.Args[1]
			}
		}
		if out[i].retries == "" {
			t.Fatalf("%s: no step tells retries: %+v", cases[i].name, out[i].said)
		}
	}
	return out
}
