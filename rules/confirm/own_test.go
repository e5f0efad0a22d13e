package confirm

import (
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// rbacFilter is a filter of a step's evidence.
func rbacFilter(typ, more string) []flow.Evidence {
	return []flow.Evidence{{Text: `{"name":"x","typed_config":{"@type":"type.googleapis.com/` + typ + `"` + more + `}}`}}
}

// A status that the proxy was to give itself is the endpoint's as well: the log's flags or
// details or the counter of the filter confirm it, and what only an answer that was passed on
// shows contradicts it.
func TestOwnStatus(t *testing.T) {
	const refusal = 4
	rbac := func() flow.Trace {
		d := refusedAt(flow.HTTPFilter, "", 403)
		d.Request.HTTP = &flow.HTTP{Method: "GET", Authority: "svc", Path: "/cart"}
		d.Caller.Details = "rbac_access_denied_matched_policy[none]"
		d.Legs[0].Steps[refusal].Reason = flow.Because(flow.WhyRBACDenies, "ALLOW", "")
		return d
	}
	noRoute := func(stage flow.Stage) flow.Trace {
		d := rbac()
		d.Caller = flow.Symptom{Flags: "NR", Code: 404, TCP: flow.TCPOK, Details: "route_not_found"}
		d.Outcome.Cluster = ""
		d.Legs[0].Steps[refusal] = flow.Step{Stage: stage, Verdict: flow.Refused}
		return d
	}
	direct := rbac()
	direct.Verdict, direct.Caller = flow.Delivered, flow.Symptom{Code: 403, TCP: flow.TCPOK, Details: "direct_response"}
	direct.Legs[0].Steps[refusal] = flow.Step{Stage: flow.HTTPFilter, Verdict: flow.Delivered}
	authz := rbac()
	authz.Legs[0].Steps[refusal] = flow.Step{Stage: flow.HTTPFilter, Verdict: flow.Refused, Evidence: rbacFilter("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "")}
	codec := refusedAt(flow.NetworkFilter, "DPE", 400)
	codec.Request.HTTP = direct.Request.HTTP
	const own400 = "HTTP/1.1 400 Bad Request\r\n\r\n"
	line := func(field, value string) flow.Observation {
		l := logLine("c", "-", "-")
		l.Fields["method"], l.Fields["path"], l.Fields[field] = "GET", "/cart", value
		return l
	}
	answered := func(head string, more ...flow.Observation) []flow.Observation {
		return slices.Concat(asks(0, app, cart)[:4], []flow.Observation{wrote(3, "lo", svc, app, head)}, more)
	}
	const own, passed = "HTTP/1.1 403 Forbidden\r\nserver: envoy\r\n\r\n", "HTTP/1.1 403 Forbidden\r\nX-Envoy-Upstream-Service-Time: 2\r\n\r\n"
	const own404, passed404 = "HTTP/1.1 404 Not Found\r\nserver: envoy\r\n\r\n", "HTTP/1.1 404 Not Found\r\nx-envoy-upstream-service-time: 2\r\n\r\n"
	for _, c := range []struct {
		what  string
		trace flow.Trace
		seen  []flow.Observation
		want  Word
	}{
		{"the status alone", rbac(), answered(own), NotObserved},
		{"the status alone, as it was sent", rbac(), append(asks(0, app, cart)[:4], answer("403", "ok")), NotObserved},
		{"another status", rbac(), answered("HTTP/1.1 200 OK\r\n\r\n"), Contradicted},
		{"passed on", rbac(), answered(passed), Contradicted},
		{"the words are in its body", rbac(), answered(own + "\r\nx-envoy-upstream-service-time: 2\r\n"), NotObserved},
		{"its cluster counted it", rbac(), answered(own, counter(clusterCount, "", 7, 8)), Contradicted},
		{"its cluster counted it, and another request came", rbac(), answered(own, append(asks(1, client(20999), cart), counter(clusterCount, "", 7, 8))...), NotObserved},
		{"a cluster that a filter asks counted", rbac(), answered(own, counter("cluster.opa.upstream_rq_total", "", 7, 8)), NotObserved},
		{"its cluster stays", rbac(), answered(own, counter(clusterCount, "", 7, 7)), NotObserved},
		{"details", rbac(), answered(own, line("response_code_details", "rbac_access_denied_matched_policy[none]")), Confirmed},
		{"details of an answer passed on", rbac(), answered(own, line("response_code_details", "via_upstream")), Contradicted},
		{"details of another version", rbac(), answered(own, line("response_code_details", "rbac_access_denied")), NotObserved},
		{"no route", noRoute(flow.Route), answered(own404), NotObserved},
		{"no route, passed on", noRoute(flow.Route), answered(passed404), Contradicted},
		{"no route, by its flag", noRoute(flow.Route), answered(own404, line("response_flags", "NR")), Confirmed},
		{"no route, counted", noRoute(flow.HTTPFilter), answered(own404, counter("http.in.no_route", "", 1, 2)), Confirmed},
		{"no route, counted at the route", noRoute(flow.Route), answered(own404, counter("http.in.no_route", "", 1, 2)), Confirmed},
		{"direct response", direct, answered(own), NotObserved},
		{"direct response, counted", direct, answered(own, counter("http.in.rq_direct_response", "", 1, 2)), Confirmed},
		{"direct response, passed on", direct, answered(passed), Contradicted},
		{"no protocol of HTTP", codec, answered(own400), NotObserved},
		{"no protocol of HTTP, counted", codec, answered(own400, counter("http.in.downstream_cx_protocol_error", "", 1, 2)), Confirmed},
		{"what the authorization server answered is passed on", authz, answered(passed), NotObserved},
	} {
		r := Check(c.trace, c.seen, flow.Loss{}, Known{ClientPort: 21000, ProxyUID: 1337, HasProxy: true})
		if word(r, 0, refusal) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, refusal), r.Steps[refusal].Why, c.want)
		}
	}
}

// Bytes that the proxy was to send itself are no reason to contradict it.
func TestOwnBytes(t *testing.T) {
	d := refusedAt(flow.NetworkFilter, "", 0)
	d.Verdict, d.Caller = flow.Delivered, flow.Symptom{TCP: flow.TCPOK, Details: "direct_response"}
	d.Legs[0].Steps[4].Verdict = flow.Delivered
	if r := Check(d, append(asSeen()[:4:4], wrote(3, "lo", svc, app, "hello")), flow.Loss{}, ours); word(r, 0, 4) != NotObserved || r.Steps[4].Why.Kind != flow.SeenAmbiguous {
		t.Errorf("%v %v", word(r, 0, 4), r.Steps[4].Why)
	}
}

// A denial is confirmed by the counter of its own filter: of RBAC or ext_authz, of HTTP or of
// connections, with the prefix that it names, and never by a shadow rule's. A counter that
// stays while that of another cause grew contradicts.
func TestDenialsCounted(t *testing.T) {
	const httpRBAC, netRBAC = "envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.network.rbac.v3.RBAC"
	const httpAuthz, netAuthz = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
	for _, c := range []struct {
		what     string
		stage    flow.Stage
		code     int
		evidence []flow.Evidence
		counter  string
		want     Word
	}{
		{"HTTP RBAC", flow.HTTPFilter, 403, rbacFilter(httpRBAC, ""), "http.in.rbac.denied", Confirmed},
		{"HTTP RBAC with a prefix", flow.HTTPFilter, 403, rbacFilter(httpRBAC, `,"rules_stat_prefix":"mine"`), "http.in.rbac.mine.denied", Confirmed},
		{"HTTP RBAC with another prefix", flow.HTTPFilter, 403, rbacFilter(httpRBAC, `,"rules_stat_prefix":"mine"`), "http.in.rbac.theirs.denied", NotObserved},
		{"a shadow rule", flow.HTTPFilter, 403, rbacFilter(httpRBAC, ""), "http.in.rbac.shadow_denied", NotObserved},
		{"RBAC of connections, for a request", flow.HTTPFilter, 403, rbacFilter(httpRBAC, ""), "tcp.rbac.denied", NotObserved},
		{"ext_authz, for RBAC", flow.HTTPFilter, 403, rbacFilter(httpRBAC, ""), "http.in.ext_authz.denied", NotObserved},
		{"network RBAC", flow.NetworkFilter, 0, rbacFilter(netRBAC, `,"stat_prefix":"tcp."`), "tcp.rbac.denied", Confirmed},
		{"network RBAC of another prefix", flow.NetworkFilter, 0, rbacFilter(netRBAC, `,"stat_prefix":"mine"`), "tcp.rbac.denied", NotObserved},
		{"network ext_authz", flow.NetworkFilter, 0, rbacFilter(netAuthz, `,"stat_prefix":"mine"`), "ext_authz.mine.denied", Confirmed},
		{"HTTP ext_authz", flow.HTTPFilter, 403, rbacFilter(httpAuthz, ""), "http.in.ext_authz.denied", Confirmed},
	} {
		d := refusedAt(c.stage, "", c.code)
		d.Legs[0].Steps[4].Evidence = c.evidence
		seen := append(asSeen()[:4:4], pkt(2, "lo", svc, app, flow.FIN|flow.ACK, 0))
		if c.code != 0 {
			seen[4] = wrote(2, "lo", svc, app, "HTTP/1.1 403 Forbidden\r\n\r\n")
		}
		if r := Check(d, append(seen, counter(c.counter, "", 3, 4)), flow.Loss{}, ours); word(r, 0, 4) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 4), r.Steps[4].Why, c.want)
		}
	}
	d := refusedAt(flow.NetworkFilter, "", 0)
	d.Legs[0].Steps[4].Evidence = rbacFilter(netRBAC, `,"stat_prefix":"tcp."`)
	seen := append(asSeen()[:4:4], pkt(2, "lo", svc, app, flow.FIN|flow.ACK, 0), counter("tcp.rbac.denied", "", 3, 3), counter("cluster.c.upstream_cx_connect_fail", "", 1, 2))
	if r := Check(d, seen, flow.Loss{}, ours); word(r, 0, 4) != Contradicted {
		t.Errorf("the upstream refused: %v %v", word(r, 0, 4), r.Steps[4].Why)
	}
}
