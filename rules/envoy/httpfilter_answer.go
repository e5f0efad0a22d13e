package envoy

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// forwardCluster is the kind of a cluster whose endpoint the request's host names.
const forwardCluster = "envoy.clusters.dynamic_forward_proxy"

// forwardProxy is envoy.filters.http.dynamic_forward_proxy: it resolves the request's host
// for a cluster of that kind, and a route may put another host in its place. For other
// clusters it does nothing. (source/extensions/filters/http/dynamic_forward_proxy)
func (s *stream) forwardProxy(f *httpFilter, rc routeConfig) bool {
	c := s.p.cfg.cluster(s.action.cluster)
	if s.action.kind != actionCluster || c == nil || c.kind != forwardCluster {
		s.step(f, flow.Because(flow.WhyForwardIdle))
		return true
	}
	if host := rc.config.Field("host_rewrite_literal").Str(); host != "" {
		s.own()
		s.h.set(":authority", host)
	} else if name := rc.config.Field("host_rewrite_header").Str(); name != "" {
		if v, ok, sure := s.h.first(lowerHeader(name)); ok {
			s.own()
			s.h.set(":authority", v)
			if !sure {
				s.h.setUnsure(":authority")
			}
		}
	}
	if f.config.Field("allow_dynamic_host_from_filter_state").Bool(false) {
		for _, key := range []string{"envoy.upstream.dynamic_host", "envoy.upstream.dynamic_port"} {
			if _, ok := s.p.state[key]; ok || s.p.unsure[key] {
				s.p.stop(flow.HTTPFilter, f.name, flow.Because(flow.WhyStateUnknown, key), f.node)
				return false
			}
		}
	}
	s.step(f, flow.Because(flow.WhyForwardHost, s.shown(":authority")))
	return true
}

// onDemandFilter is envoy.filters.http.on_demand: without a route it asks for the virtual
// hosts or scopes that would bring one, and waits. A missing cluster is asked for likewise
// (onDemandClusters).
func (s *stream) onDemandFilter(f *httpFilter) bool {
	if s.route == nil && (s.table != nil && s.table.vhds || s.table == nil && s.m.node.Field("scoped_routes").Exists()) {
		s.p.stop(flow.HTTPFilter, f.name, flow.Because(flow.WhyVHDS, s.shown(":authority")), f.node)
		return false
	}
	s.step(f, flow.Because(flow.WhyOnDemandIdle))
	return true
}

// custom puts another answer in the place of one, where a custom_response filter says so.
// Filters see every answer, those of filters before them too; the most specific
// configuration whose matcher matches decides. ok: the status is known.
// (source/extensions/filters/http/custom_response: encodeHeaders)
func (s *stream) custom(code int) (to int, by string, ok bool) {
	levels := s.levels()
	for i := range s.m.filters {
		f := &s.m.filters[i]
		if f.kind != "custom_response" {
			continue
		}
		rc := perRoute(levels, f.name)
		if off, _ := f.off(rc); off {
			continue
		}
		for _, n := range append(rc.all[:len(rc.all):len(rc.all)], f.config) {
			m := matcher{p: s.p, ref: "custom_response " + f.name, input: s.answerInput(code)}
			action, matches := m.eval(n.Field("custom_response_matcher"))
			if !matches {
				continue
			}
			kind, policy := kindOf(action)
			if kind != "LocalResponsePolicy" {
				return code, f.name, false
			}
			return int(policy.Field("status_code").Uint(uint64(code))), f.name, true
		}
	}
	return code, "", true
}

// answerInput answers the inputs of matchers of answers: the status, its class, and what
// the request shows.
func (s *stream) answerInput(code int) func(string, tree.Node) (string, presence) {
	return func(kind string, config tree.Node) (string, presence) {
		switch kind {
		case "HttpResponseStatusCodeMatchInput":
			return strconv.Itoa(code), inputPresent
		case "HttpResponseStatusCodeClassMatchInput":
			return strconv.Itoa(code/100) + "xx", inputPresent
		case "HttpResponseHeaderMatchInput", "HttpResponseTrailerMatchInput":
			return "", inputUnknown
		}
		return s.matcherInput(kind, config)
	}
}
