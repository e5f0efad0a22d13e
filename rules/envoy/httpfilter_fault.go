package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// fault is envoy.filters.http.fault; a route's configuration replaces the filter's.
// (source/extensions/filters/http/fault/fault_filter.cc: decodeHeaders)
func (s *stream) fault(f *httpFilter, rc routeConfig) bool {
	config := f.config
	if rc.config.Kind() != tree.Missing {
		config = rc.config
	}
	if miss := s.faultMisses(config); miss != "" {
		s.step(f, flow.Because(flow.WhyFaultPasses, miss))
		return true
	}
	if d := config.Field("delay"); d.Exists() {
		s.faultDelay(f, config, d)
	}
	a := config.Field("abort")
	if !a.Exists() {
		s.step(f, flow.Because(flow.WhyFaultPasses, "no abort"))
		return true
	}
	share := s.p.cfg.override(readPercent(a.Field("percentage")), orDefault(config.Field("abort_percent_runtime").Str(), "fault.http.abort.abort_percent"))
	code, byHeader := s.abortCode(config, a), a.Field("header_abort").Exists()
	if byHeader && code == 0 {
		s.step(f, flow.Because(flow.WhyFaultPasses, "header x-envoy-fault-abort-request"))
		return true
	}
	if byHeader {
		if v, err := strconv.ParseUint(s.h.value("x-envoy-fault-abort-request-percentage"), 10, 32); err == nil {
			share.num = min(share.num, v)
		}
	}
	if !s.chance(f.name+" abort", share) {
		s.step(f, flow.Because(flow.WhyFaultPasses, share.String()))
		return true
	}
	return s.deny(f, flow.Because(flow.WhyFaultAborts, strconv.Itoa(code), share.String()), code, s.flags("FI"), "fault_filter_abort")
}

// abortCode is the status of an abort; 0 where a header should name it and does not.
func (s *stream) abortCode(config, a tree.Node) int {
	key := orDefault(config.Field("abort_http_status_runtime").Str(), "fault.http.abort.http_status")
	switch {
	case a.Field("header_abort").Exists():
		if v, err := strconv.Atoi(s.h.value("x-envoy-fault-abort-request")); err == nil && v >= 200 && v < 600 {
			return v
		}
		if s.h.has("x-envoy-fault-abort-grpc-request") {
			return 200
		}
		return 0
	case a.Field("grpc_status").Exists():
		return 200
	}
	return int(s.p.cfg.number(key, a.Field("http_status").Uint(0)))
}

// faultMisses names the condition of a fault that does not hold; empty: all hold.
func (s *stream) faultMisses(config tree.Node) string {
	if c := config.Field("upstream_cluster").Str(); c != "" && (s.route == nil || s.action.kind != actionCluster || s.action.cluster != c) {
		return "upstream_cluster " + c
	}
	if nodes := config.Field("downstream_nodes").List(); len(nodes) > 0 {
		found := false
		for _, n := range nodes {
			found = found || n.Str() == s.h.value("x-envoy-downstream-service-node")
		}
		if !found {
			return "downstream_nodes"
		}
	}
	for _, h := range config.Field("headers").All() {
		t := s.headerTest(h)
		a := t.match(s.h)
		if a == flow.Maybe {
			a = s.p.ch.Answer(s.p.ref("fault "+t.name), flow.Unmodelled)
		}
		if a == flow.No {
			return t.String()
		}
	}
	return ""
}

// headerTest is a HeaderMatcher of a filter, compiled once.
func (s *stream) headerTest(n tree.Node) *headerTest {
	v := s.p.cfg.version
	single := v.atLeast(1, 39, 0) && s.p.cfg.guard("match_headers_individually", true)
	return memo(s.p.cfg, n, func() *headerTest {
		t := readHeaderMatcher(n, v, single)
		return &t
	})
}

// faultDelay notes an injected delay, which leaves its flag.
func (s *stream) faultDelay(f *httpFilter, config, d tree.Node) {
	share := s.p.cfg.override(readPercent(d.Field("percentage")), orDefault(config.Field("delay_percent_runtime").Str(), "fault.http.delay.fixed_delay_percent"))
	if d.Field("header_delay").Exists() && !s.h.has("x-envoy-fault-delay-request") {
		return
	}
	if !s.chance(f.name+" delay", share) {
		return
	}
	s.delayed = true
	s.step(f, flow.Because(flow.WhyFaultDelays, orDefault(d.Field("fixed_delay").Str(), "by header"), share.String()))
}

// flags are the response flags with the delay's among them, which comes first: Envoy prints
// them in the order in which they were set (TestFailed: Envoy 1.40).
func (s *stream) flags(own string) string {
	if !s.delayed {
		return own
	}
	if own == "" {
		return "DI"
	}
	return "DI," + own
}

// cors is envoy.filters.http.cors: it answers a preflight from an allowed origin, and only
// where a route that forwards, or its virtual host, has a policy.
func (s *stream) cors(f *httpFilter, rc routeConfig) bool {
	policy := rc.config
	if policy.Kind() == tree.Missing && s.route != nil { // the deprecated place
		if policy = s.act().Field("cors"); !policy.Exists() {
			policy = s.vhost.node.Field("cors")
		}
	}
	origin := s.h.value("origin")
	if why := s.noPreflight(f, policy, origin); why != "" {
		s.step(f, flow.Because(flow.WhyNoPreflight, why))
		return true
	}
	s.answer(flow.Step{Stage: flow.HTTPFilter, Subject: f.name, Reason: flow.Because(flow.WhyPreflight, origin), Evidence: evidence(f.node)}, flow.Delivered,
		flow.Symptom{Code: 200, Flags: s.flags(""), Details: "cors_response"})
	return false
}

// noPreflight says why the cors filter lets a request pass; empty: it answers.
func (s *stream) noPreflight(f *httpFilter, policy tree.Node, origin string) string {
	switch {
	case policy.Kind() == tree.Missing:
		return "no policy"
	case s.action.kind != actionCluster:
		return "the route does not forward"
	case origin == "":
		return "no origin"
	case s.h.value(":method") != "OPTIONS" || s.h.value("access-control-request-method") == "":
		return "no preflight"
	}
	if e := policy.Field("filter_enabled"); e.Exists() && !s.chance(f.name+" enabled", s.p.cfg.readFraction(e, "default_value")) {
		return "not enabled"
	}
	allowed := s.originAllowed(policy, origin)
	if allowed == flow.Maybe {
		allowed = s.p.ch.Answer(s.p.ref("cors origin"), flow.Unmodelled)
	}
	if allowed == flow.No && policy.Field("forward_not_matching_preflights").Bool(true) {
		return "origin not allowed"
	}
	return "" // also a foreign origin, when its preflights are not forwarded: without CORS headers
}

func (s *stream) originAllowed(policy tree.Node, origin string) flow.Answer {
	a := flow.No
	for _, m := range policy.Field("allow_origin_string_match").All() {
		a = a.Or(s.p.cfg.stringMatch(m, "*")).Or(s.p.cfg.stringMatch(m, origin))
	}
	for _, o := range policy.Field("allow_origin").All() {
		a = a.Or(flow.Is(o.Str() == "*" || o.Str() == origin))
	}
	return a
}

// csrf is envoy.filters.http.csrf: a changing method needs an origin that is the target.
func (s *stream) csrf(f *httpFilter, rc routeConfig) bool {
	policy := f.config
	if rc.config.Kind() != tree.Missing {
		policy = rc.config
	}
	if !s.chance(f.name+" enabled", s.p.cfg.readFraction(policy.Field("filter_enabled"), "default_value")) {
		s.step(f, flow.Because(flow.WhyCSRFOff, "not enabled"))
		return true
	}
	switch m := s.h.value(":method"); m {
	case "POST", "PUT", "DELETE", "PATCH":
	default:
		s.step(f, flow.Because(flow.WhyCSRFOff, "method "+m))
		return true
	}
	source := hostAndPort(s.h.value("origin"))
	if source == "" {
		source = hostAndPort(s.h.value("referer"))
	}
	target := hostAndPort(s.h.value(":authority"))
	ok := flow.Is(source != "" && source == target)
	for _, m := range policy.Field("additional_origins").All() {
		ok = ok.Or(s.p.cfg.stringMatch(m, source))
	}
	if source == "" {
		ok = flow.No
	}
	if ok == flow.Maybe {
		ok = s.p.ch.Answer(s.p.ref("csrf origin"), flow.Unmodelled)
	}
	if ok == flow.Yes {
		s.step(f, flow.Because(flow.WhyOriginMatches, source, target))
		return true
	}
	return s.deny(f, flow.Because(flow.WhyOriginMismatch, source, target), 403, s.flags(""), "csrf_origin_mismatch")
}

// hostAndPort is the host of an absolute URL, or the text itself.
func hostAndPort(v string) string {
	i := schemeEnd(v)
	if i == 0 || !strings.HasPrefix(v[i:], "://") || !validTarget(v, false) || v[i+3:] == "" || v[i+3] == '/' {
		return v
	}
	v = v[i+3:]
	for i := 0; i < len(v); i++ {
		if v[i] == '/' || v[i] == '?' || v[i] == '#' {
			return v[:i]
		}
	}
	return v
}

// healthCheck is envoy.filters.http.health_check. Envoy is taken as not failed by its admin.
func (s *stream) healthCheck(f *httpFilter) bool {
	for _, h := range f.config.Field("headers").All() {
		t := s.headerTest(h)
		a := t.match(s.h)
		if a == flow.Maybe {
			a = s.p.ch.Answer(s.p.ref("health_check "+t.name), flow.Unmodelled)
		}
		if a == flow.No {
			s.step(f, flow.Because(flow.WhyNoHealthCheck))
			return true
		}
	}
	if f.config.Field("pass_through_mode").Bool(false) {
		if f.config.Field("cache_time").Exists() {
			return s.opaque(f, f.kind, "a cached answer may be given")
		}
		s.step(f, flow.Because(flow.WhyFilterPasses, f.kind))
		return true
	}
	if f.config.Field("cluster_min_healthy_percentages").Exists() {
		return s.opaque(f, f.kind, "by the health of clusters")
	}
	s.answer(flow.Step{Stage: flow.HTTPFilter, Subject: f.name, Reason: flow.Because(flow.WhyHealthCheck, "200"), Evidence: evidence(f.node)}, flow.Delivered,
		flow.Symptom{Code: 200, Flags: s.flags(""), Details: "health_check_ok"})
	return false
}
