package envoy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// routerFilter is the terminal filter envoy.filters.http.router.
func (s *stream) routerFilter(f *httpFilter) bool {
	s.last = f
	for _, n := range f.config.Field("strict_check_headers").All() {
		if s.h.has(lower(n.Str())) && !s.p.opaque(flow.HTTPFilter, f.name, flow.Because(flow.WhyNotModelled, "strict_check_headers "+n.Str()), n) {
			return false
		}
	}
	return s.p.odd(flow.HTTPFilter, f.name, f.config, f.odd)
}

// router answers or forwards. (source/common/router/router.cc: Filter::decodeHeaders)
func (s *stream) router() {
	step := flow.Step{Stage: flow.HTTPFilter, Subject: s.last.name}
	switch s.action.kind {
	case actionNone:
		step.Reason = flow.Because(flow.WhyRouterNotFound)
		s.answer(step, flow.Refused, flow.Symptom{Code: 404, Flags: s.flags("NR"), Details: "route_not_found"})
	case actionTLS:
		to := "https://" + s.h.value(":authority") + s.h.value(":path")
		step.Reason, step.Evidence = flow.Because(flow.WhyTLSRequired, s.action.text, s.h.value("x-forwarded-proto"), to), evidence(s.vhost.node.Field("require_tls"))
		s.answer(step, flow.Delivered, flow.Symptom{Code: 301, Flags: s.flags(""), Details: "direct_response", Location: to})
	case actionRedirect:
		to, sure := s.redirectURL(s.route.node.Field("redirect"))
		if !sure {
			to = ""
		}
		step.Reason, step.Evidence = flow.Because(flow.WhyRouterRedirect, strconv.Itoa(s.action.code), to), evidence(s.route.node.Field("redirect"))
		s.answer(step, flow.Delivered, flow.Symptom{Code: s.action.code, Flags: s.flags(""), Details: "direct_response", Location: to})
	case actionDirect:
		step.Reason, step.Evidence = flow.Because(flow.WhyRouterAnswers, strconv.Itoa(s.action.code)), evidence(s.route.node.Field("direct_response"))
		c := flow.Symptom{Code: s.action.code, Flags: s.flags(""), Details: "direct_response"}
		if c.Code == 201 || c.Code >= 300 && c.Code < 400 {
			c.Location, _ = s.redirectURL(tree.Node{}) // the request's own URL
		}
		s.answer(step, flow.Delivered, c)
	case actionCluster:
		s.forward(step)
	}
}

// forward sends the request to its cluster.
func (s *stream) forward(step flow.Step) {
	a := s.act()
	method, host, path := s.h.value(":method"), s.h.value(":authority"), s.h.value(":path")
	// Envoy looks the cluster up before it touches the headers, and chooses the host after.
	if s.p.cfg.cluster(s.action.cluster) != nil {
		s.finalize()
		if h, p := s.h.value(":authority"), s.h.value(":path"); h != host || p != path {
			step.Verdict, step.Reason = flow.Continue, flow.Because(flow.WhyRouterForwards, method+" "+s.shown(":path"), s.shown(":authority"))
			s.p.add(step)
		}
	}
	if s.unsureSubset() {
		return
	}
	hints := s.hints(a)
	fate := s.p.toCluster(s.action.cluster, hints)
	switch {
	case fate.unknown:
		return
	case !fate.ok:
		s.unreached(fate, a)
		return
	}
	if a.Field("auto_host_rewrite").Bool(false) && fate.name != "" {
		s.own()
		s.setHost(fate.name, true, a)
	}
	if !s.upstreamFilters(fate.cluster) {
		return
	}
	up := s.upstreamRequest()
	if versions := fate.cluster.versions(s.http2); len(versions) == 1 {
		up.Version = versions[0]
	}
	s.p.res.Upstream.HTTP = up
	end := flow.Symptom{Code: 200, Flags: s.flags(""), Details: "via_upstream", TCP: flow.TCPOK}
	if s.upgrades && s.upgrade != "CONNECT" {
		end.Code = 101 // Switching Protocols (RFC 9110, 15.2.2)
	}
	code, by, known := s.custom(end.Code)
	if !known {
		s.p.stop(flow.HTTPFilter, by, flow.Because(flow.WhyCustomFetches, strconv.Itoa(end.Code)), tree.Node{})
		return
	}
	if by != "" {
		end.Code, end.Details = code, ""
	}
	s.p.end(flow.Continue, end)
	s.failures(fate.cluster)
}

// shown is a header's value, or that it is not known.
func (s *stream) shown(name string) string {
	v, ok, sure := s.h.first(name)
	if ok && !sure {
		return "?"
	}
	return v
}

// hints are what the choice of a host looks at.
func (s *stream) hints(a tree.Node) lbHints {
	h := lbHints{http: true, h2: s.http2, high: a.Field("priority").Enum() == "HIGH" || a.Field("priority").Enum() == "1", hash: s.hashes(), authority: s.h.value(":authority")}
	h.header = func(name string) (string, bool) {
		v, ok, _ := s.h.first(lower(name))
		return v, ok
	}
	for _, n := range []tree.Node{a, s.action.entry} {
		if m := n.Path("metadata_match", "filter_metadata").Key("envoy.lb"); m.Exists() {
			h.match = append(h.match, m)
		}
	}
	h.match = append(h.match, s.lb.match...)
	return h
}

// unreached answers for a cluster that does not exist or has no host.
func (s *stream) unreached(f fate, a tree.Node) {
	c := flow.Symptom{Code: f.code, Flags: s.flags(f.flags), Details: f.details}
	if f.flags == "UF" && s.plan.retries(retriesFailed) {
		c.Flags = s.flags("URX,UF")
	}
	if f.flags == "NC" && s.onDemandClusters() {
		return
	}
	if f.flags == "NC" {
		c.Code, c.Details = notFoundCode(a.Field("cluster_not_found_response_code").Enum()), "cluster_not_found"
	}
	s.answer(flow.Step{Stage: flow.HTTPFilter, Subject: s.last.name, Reason: flow.Because(flow.WhyRouterNoCluster, s.action.cluster, strconv.Itoa(c.Code), f.flags)}, flow.Refused, c)
}

// onDemandClusters ends the pass where a cluster that is not there would be fetched (ODCDS).
func (s *stream) onDemandClusters() bool {
	levels := s.levels()
	for i := range s.m.filters {
		f := &s.m.filters[i]
		if f.kind != "on_demand" {
			continue
		}
		rc := perRoute(levels, f.name)
		if off, _ := f.off(rc); !off && (f.config.Field("odcds").Exists() || rc.config.Field("odcds").Exists()) {
			s.p.stop(flow.HTTPFilter, f.name, flow.Because(flow.WhyFilterOpaque, f.kind, "fetches cluster "+s.action.cluster), f.node)
			return true
		}
	}
	return false
}

func notFoundCode(enum string) int {
	switch enum {
	case "NOT_FOUND", "1":
		return 404
	case "INTERNAL_SERVER_ERROR", "2":
		return 500
	}
	return 503
}

// upstreamRequest is what the endpoint receives.
func (s *stream) upstreamRequest() *flow.HTTP {
	out := &flow.HTTP{Exact: true, NoHost: !s.h.has(":authority"), Body: s.p.req.HTTP.Body}
	for i := range s.h.list {
		e := &s.h.list[i]
		switch {
		case e.unsure && e.name != ":authority" && e.name != ":path":
			out.Unsure = append(out.Unsure, e.name)
		case e.name == ":method":
			out.Method = e.value
		case e.name == ":path":
			out.Path = e.value
		case e.name == ":authority":
			out.Authority = e.value
		case e.name[0] == ':':
		default:
			out.Headers = append(out.Headers, [2]string{e.name, e.value})
		}
	}
	slices.Sort(out.Unsure)
	out.Unsure = slices.Compact(out.Unsure)
	out.Headers = slices.DeleteFunc(out.Headers, func(e [2]string) bool { return slices.Contains(out.Unsure, e[0]) })
	if out.Method == "CONNECT" && out.Path == "" {
		out.Path = out.Authority
	}
	return out
}

// mappedCode is the status after local_reply_config; known is false where that cannot be told.
func (s *stream) mappedCode(c flow.Symptom) (code int, known bool) {
	for _, m := range s.m.node.Path("local_reply_config", "mappers").All() {
		to := m.Field("status_code")
		if !to.Exists() && !m.Field("filter").Exists() {
			return c.Code, true
		}
		switch s.replyFilter(m.Field("filter"), c) {
		case flow.Maybe:
			return c.Code, false
		case flow.Yes:
			if to.Exists() {
				return int(to.Uint(0)), true
			}
			return c.Code, true
		}
	}
	return c.Code, true
}

// replyFilter is an access log filter on a local reply, as far as status and flags decide.
func (s *stream) replyFilter(n tree.Node, c flow.Symptom) flow.Answer {
	if f := n.Field("status_code_filter"); f.Exists() {
		cmp := f.Field("comparison")
		want := s.p.cfg.number(cmp.Path("value", "runtime_key").Str(), cmp.Path("value", "default_value").Uint(0))
		got := uint64(c.Code)
		switch cmp.Field("op").Enum() {
		case "GE", "1":
			return flow.Is(got >= want)
		case "LE", "2":
			return flow.Is(got <= want)
		case "NE", "3":
			return flow.Is(got != want)
		}
		return flow.Is(got == want)
	}
	if f := n.Field("response_flag_filter"); f.Exists() {
		if f.Field("flags").Len() == 0 {
			return flow.Is(c.Flags != "")
		}
		a := flow.No
		for _, x := range f.Field("flags").All() {
			a = a.Or(flow.Is(slices.Contains(strings.Split(c.Flags, ","), x.Str())))
		}
		return a
	}
	if f := n.Field("and_filter"); f.Exists() {
		a := flow.Yes
		for _, x := range f.Field("filters").All() {
			a = a.And(s.replyFilter(x, c))
		}
		return a
	}
	if f := n.Field("or_filter"); f.Exists() {
		a := flow.No
		for _, x := range f.Field("filters").All() {
			a = a.Or(s.replyFilter(x, c))
		}
		return a
	}
	if f := n.Field("header_filter"); f.Exists() {
		return s.headerTest(f.Field("header")).match(s.h)
	}
	return flow.Maybe
}
