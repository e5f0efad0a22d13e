package envoy

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// rbac is envoy.filters.http.rbac. A RBACPerRoute without rbac switches it off.
func (s *stream) rbac(f *httpFilter, rc routeConfig) bool {
	config := f.config
	if rc.config.Kind() != tree.Missing {
		config = rc.config.Field("rbac")
	}
	if m := config.Field("matcher"); m.Exists() {
		return s.rbacMatcher(f, m)
	}
	rules := config.Field("rules")
	if !rules.Exists() {
		s.step(f, flow.Because(flow.WhyRBACNoRules))
		return true
	}
	r := rbac{p: s.p, remote: s.from.addr, other: s.rbacOther}
	allowed, policy := r.verdict(rules)
	action := orDefault(rules.Field("action").Enum(), "ALLOW")
	if allowed == flow.Maybe {
		ref := s.p.ref("rbac " + f.name)
		choice := flow.Choice{Ref: ref, Kind: flow.Unmodelled, Options: []flow.Option{{Value: "allows"}, {Value: "denies", Stop: true}}}
		if s.p.ch.Take(choice) == 1 {
			s.p.stop(flow.HTTPFilter, f.name, flow.Because(flow.WhyFilterOpaque, "rbac policy "+policy, ""), f.node)
			return false
		}
		s.step(f, flow.Because(flow.WhyFilterOpaque, "rbac policy "+policy, ""))
		st := s.p.last()
		st.Assumed = append(st.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyAssumedPass, f.name), Flag: "--pick " + quoteRef(ref) + "=allows"})
		st.Assumed = append(st.Assumed, s.p.namesUnsaid()...)
		return true
	}
	if allowed == flow.No {
		return s.rbacDenies(f, action, policy)
	}
	s.step(f, flow.Because(flow.WhyRBACAllows, action, policy))
	s.p.last().Origin = s.p.cfg.policyOrigin(policy, "")
	return true
}

func (s *stream) rbacDenies(f *httpFilter, action, policy string) bool {
	details := "rbac_access_denied_matched_policy[" + orDefault(policy, "none") + "]"
	s.answer(flow.Step{Stage: flow.HTTPFilter, Subject: f.name, Reason: flow.Because(flow.WhyRBACDenies, action, policy), Evidence: evidence(f.node), Origin: s.p.cfg.policyOrigin(policy, "")},
		flow.Refused, flow.Symptom{Code: 403, Flags: s.flags(""), Details: details})
	return false
}

// rbacMatcher is the filter with an xds matcher: no match denies.
func (s *stream) rbacMatcher(f *httpFilter, m tree.Node) bool {
	t := matcher{p: s.p, ref: "rbac " + f.name, input: s.matcherInput}
	action, ok := t.eval(m)
	if s.p.over {
		return false
	}
	_, config := action.Field("typed_config").Any()
	name, does := config.Field("name").Str(), orDefault(config.Field("action").Enum(), "ALLOW")
	if ok && does != "DENY" && does != "1" {
		s.step(f, flow.Because(flow.WhyRBACAllows, does, name))
		s.p.last().Origin = s.p.cfg.policyOrigin(name, "")
		return true
	}
	return s.rbacDenies(f, does, name)
}

// rbacOther answers the rules that only HTTP knows.
func (s *stream) rbacOther(field string, n tree.Node) flow.Answer {
	v := s.p.cfg.version
	switch field {
	case "header":
		single := v.atLeast(1, 38, 0) && s.p.cfg.guard("rbac_match_headers_individually", true)
		t := memo(s.p.cfg, n, func() *headerTest {
			t := readHeaderMatcher(n, v, single)
			return &t
		})
		return t.match(s.h)
	case "url_path":
		path := withoutQuery(s.h.value(":path"))
		if s.table != nil && s.table.ignoreParam && v.atLeast(1, 40, 0) {
			path = withoutParameters(path, v)
		}
		return s.p.cfg.stringMatch(n.Field("path"), path)
	case "uri_template":
		_, config := n.Field("typed_config").Any()
		if t, ok := readTemplate(config.Field("path_template").Str()); ok {
			return flow.Is(t.match(withoutQuery(s.h.value(":path"))))
		}
	case "metadata", "sourced_metadata":
		if !s.marked {
			return flow.Is(n.Field("invert").Bool(false) || n.Path("metadata_matcher").Field("invert").Bool(false))
		}
	case "filter_state":
		t := stateTest{key: n.Field("key").Str(), known: n.Field("string_match").Exists(), value: readStringMatcher(n.Field("string_match"), v)}
		in := routeInput{state: s.p.state, unsure: s.p.unsure}
		return t.match(&in)
	}
	return flow.Maybe
}

// localRateLimit is envoy.filters.http.local_ratelimit. Both fractions are 0 % where
// nothing is said, at every level; a route's configuration replaces the filter's.
func (s *stream) localRateLimit(f *httpFilter, rc routeConfig) bool {
	config := f.config
	if rc.config.Kind() != tree.Missing {
		config = rc.config
	}
	enabled, enforced := s.optionalFraction(config.Field("filter_enabled")), s.optionalFraction(config.Field("filter_enforced"))
	off := flow.Because(flow.WhyLimitOff, enabled.String(), enforced.String())
	if enabled.never() || enforced.never() {
		s.step(f, off)
		return true
	}
	for _, x := range []struct {
		name string
		fraction
	}{{"enabled", enabled}, {"enforced", enforced}} {
		if !s.chance(f.name+" "+x.name, x.fraction) {
			s.step(f, off)
			return true
		}
	}
	b := config.Field("token_bucket")
	perFill, interval := orDefault(b.Field("tokens_per_fill").Str(), "1"), b.Field("fill_interval").Str()
	choice := flow.Choice{Ref: s.p.ref("bucket " + f.name), Kind: flow.Condition,
		Options: []flow.Option{{Value: "tokens"}, {Value: "empty", When: "bucket empty"}}}
	if s.p.ch.Take(choice) == 0 {
		s.step(f, flow.Because(flow.WhyLimitTokens, b.Field("max_tokens").Str(), perFill, interval))
		s.assumeChoice(choice, "tokens")
		return true
	}
	code := statusCode(config.Path("status", "code"))
	if code < 400 {
		code = 429
	}
	s.answer(flow.Step{Stage: flow.HTTPFilter, Subject: f.name, Reason: flow.Because(flow.WhyLimitEmpty, strconv.Itoa(code), perFill, interval), Evidence: evidence(f.node, rc.config)},
		flow.Refused, flow.Symptom{Code: code, Flags: s.flags("RL"), Details: "local_rate_limited"})
	return false
}

// assumeChoice notes on the step which way an open choice went.
func (s *stream) assumeChoice(ch flow.Choice, value string) {
	st := s.p.last()
	st.Assumed = append(st.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyTaken, ch.Ref, value), Flag: "--pick " + quoteRef(ch.Ref) + "=" + quoteRef(value)})
}

// optionalFraction is a RuntimeFractionalPercent that is 0 % where it is missing.
func (s *stream) optionalFraction(n tree.Node) fraction {
	if !n.Exists() {
		return fraction{den: 100}
	}
	return s.p.cfg.readFraction(n, "default_value")
}

// chance draws from a filter's own random number.
func (s *stream) chance(name string, f fraction) bool {
	switch {
	case f.always():
		return true
	case f.never():
		return false
	}
	ch := flow.Choice{Ref: s.p.ref(name), Kind: flow.Chance, Options: []flow.Option{{Value: "yes", Weight: f.num}, {Value: "no", Weight: f.den - f.num}}}
	return s.p.ch.Take(ch) == 0
}
