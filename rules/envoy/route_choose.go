package envoy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// maxListed is the number of losers up to which a virtual host's rivals are all listed.
const maxListed = 64

// chooseRoute finds virtual host and route (sections 6.6 to 6.8); false: the pass has ended.
func (s *stream) chooseRoute() bool {
	if s.table == nil {
		return true
	}
	if !s.chooseHost() {
		return false
	}
	if s.vhost == nil {
		return true
	}
	proto := s.h.value("x-forwarded-proto")
	if proto == "" { // sent empty: Envoy then looks for no route
		s.p.add(flow.Step{Stage: flow.Route, Verdict: flow.Continue, Reason: flow.Because(flow.WhyNoProto)})
		return true
	}
	if s.tlsRequired(proto); s.action.kind == actionTLS {
		return true
	}
	s.in = s.input()
	if t := s.vhost.node.Field("matcher"); t.Exists() {
		return s.chooseByTree(t)
	}
	i := s.pick(s.vhost.routes, s.vhost.name)
	if s.p.over || s.wrongRoute(i) {
		return false
	}
	s.matched(s.vhost.routes.routes, i)
	return true
}

// wrongRoute ends the pass where something in the chosen route, or in the condition of one
// before it, cannot be read. Without a chosen one (-1) all conditions count.
func (s *stream) wrongRoute(i int) bool {
	if what, _ := wrong(s.vhost.node.Field("routes")); what == "" {
		return false
	}
	list := s.vhost.routes.routes
	for j := range list {
		n := list[j].node
		if j == i {
			return s.p.wrong(flow.Route, list[j].label(j), n)
		}
		if what, newer := wrong(n.Field("match")); what != "" || !n.IsObject() {
			s.p.stop(flow.Route, list[j].label(j), wrongWhy(what, newer), n)
			return true
		}
	}
	return false
}

// input is what conditions look at.
func (s *stream) input() routeInput {
	path, has, _ := s.h.first(":path")
	in := routeInput{h: s.h, version: s.p.cfg.version, full: path, path: withoutQuery(path), hasPath: has, connect: s.upgrade == "CONNECT",
		grpc: s.h.isGRPC(), state: s.p.state, unsure: s.p.unsure, presented: flow.No, validated: flow.No}
	if t := s.p.downTLS; t != nil {
		in.presented, in.validated = t.Cert, s.p.valid
	}
	if s.table != nil && s.table.ignoreParam {
		in.path = withoutParameters(in.path, s.p.cfg.version)
	}
	in.head = headOf(in.path).bits
	return in
}

// hostName is the name that virtual hosts are looked up by; false: there is none.
func (s *stream) hostName() (string, bool) {
	name := ":authority"
	if s.table.vhostHeader != "" {
		name = s.table.vhostHeader
	}
	v, ok, _ := s.h.first(name)
	if s.table.ignorePort {
		v = withoutPort(v)
	}
	return lower(v), ok
}

// lookHost finds the virtual host without a word of it.
func (s *stream) lookHost() (i int32, kind domainKind, domain, host string) {
	x := s.table.index
	if x.onlyAny() {
		return x.any, domainAny, "*", ""
	}
	host, ok := s.hostName()
	if !ok {
		return -1, domainNone, "", ""
	}
	i, kind, domain = x.find(host)
	return i, kind, domain, host
}

// chooseHost adds the virtual host's step; false: the pass has ended.
func (s *stream) chooseHost() bool {
	i, kind, domain, host := s.lookHost()
	step := flow.Step{Stage: flow.VirtualHost, Verdict: flow.Continue, Decision: len(s.table.hosts) > 1}
	s.rivals(&step, i, kind, host)
	if i < 0 {
		if s.table.vhds {
			s.p.add(step)
			return s.onDemand(host)
		}
		step.Reason = flow.Because(flow.WhyNoDomain, host)
		s.p.add(step)
		return true
	}
	s.vhost = s.p.cfg.vhost(s.table, i)
	s.p.res.Outcome.VirtualHost = s.vhost.name
	if s.p.wrong(flow.VirtualHost, s.vhost.name, s.vhost.node, elements(s.vhost.node, "routes")...) {
		return false
	}
	step.Subject, step.Origin, step.Evidence = s.vhost.name, s.vhost.origin, s.vhost.where
	switch kind {
	case domainExact:
		step.Reason = flow.Because(flow.WhyDomainExact, host, domain)
	case domainSuffix:
		step.Reason = flow.Because(flow.WhyDomainSuffix, host, domain)
	case domainPrefix:
		step.Reason = flow.Because(flow.WhyDomainPrefix, host, domain)
	default:
		step.Reason = flow.Because(flow.WhyDomainAny, host)
		if s.table.index.onlyAny() {
			step.Reason = flow.Because(flow.WhyDomainOnlyAny)
		}
	}
	s.p.add(step)
	return s.p.odd(flow.VirtualHost, s.vhost.name, s.vhost.node, s.vhost.unknown)
}

// onDemand: the table says that virtual hosts come by VHDS. What was not asked for yet is
// not in the dump, so nobody can tell.
func (s *stream) onDemand(host string) bool {
	st := s.p.last()
	st.Verdict, st.Reason = flow.Unknown, flow.Because(flow.WhyVHDS, host)
	s.p.end(flow.Unknown, flow.Symptom{})
	return false
}

// rivals lists the virtual hosts that were passed over: all of a small table, else those
// whose names come close.
func (s *stream) rivals(step *flow.Step, winner int32, kind domainKind, host string) {
	total := len(s.table.hosts)
	if winner >= 0 {
		total--
	}
	if total <= 0 || kind == domainExact && total > maxListed {
		return
	}
	step.PassedTotal = total
	var near []int32
	if kind != domainExact {
		near = s.table.index.candidates(host, winner)
	}
	switch {
	case kind == domainExact:
	case near == nil && (kind == domainAny || kind == domainNone) && !s.table.index.onlyAny():
		near = typos(s.table.hosts, host, winner)
	}
	if winner < 0 && len(near) == 0 && total <= nearest { // so few that each may have been meant
		for i := range s.table.hosts {
			near = append(near, int32(i))
		}
	}
	isNear := func(i int32) bool {
		for _, n := range near {
			if n == i {
				return true
			}
		}
		return false
	}
	if total > maxListed {
		for _, i := range near {
			step.Passed = append(step.Passed, flow.Miss{Index: i, Near: true})
		}
	} else {
		step.Passed = make([]flow.Miss, 0, total)
		for i := range s.table.hosts {
			if int32(i) != winner {
				step.Passed = append(step.Passed, flow.Miss{Index: int32(i), Near: isNear(int32(i))})
			}
		}
	}
	if step.Passed != nil {
		step.Explain = hostMisses{s.table}
	}
}

// hostMisses words the virtual hosts that were passed over.
type hostMisses struct{ table *httpTable }

// Explain words one of them.
func (m hostMisses) Explain(miss flow.Miss) flow.Explained {
	if miss.Index < 0 || int(miss.Index) >= len(m.table.hosts) {
		return flow.Explained{}
	}
	h := m.table.hosts[miss.Index]
	domains := strings.Join(h.domains[:min(len(h.domains), 16)], ", ")
	return flow.Explained{Ref: h.name, Kind: flow.VirtualHost, Name: h.name, Text: domains, Reason: flow.Because(flow.WhyDomainsAre, domains)}
}

// tlsRequired is VirtualHost.require_tls, which believes X-Forwarded-Proto.
func (s *stream) tlsRequired(proto string) {
	mode := s.vhost.node.Field("require_tls").Enum()
	switch mode {
	case "ALL", "2":
	case "EXTERNAL_ONLY", "1":
		if s.h.value("x-envoy-internal") == "true" {
			return
		}
	default:
		return
	}
	if proto != "https" {
		s.action = routeAction{kind: actionTLS, text: mode}
	}
}

// settle decides a route whose known conditions all hold: what is not known is a choice,
// and what is chance a draw. Maybe: the pass has ended.
func (s *stream) settle(r *route, f fit, owner string, i int) flow.Answer {
	ref := "route " + owner + " " + r.label(i)
	if f.answer == flow.Maybe {
		if s.p.ch.Answer(s.p.ref(ref), flow.Unmodelled) == flow.No {
			return flow.No
		}
		s.assumed = append(s.assumed, flow.Assumption{Reason: flow.Because(flow.WhyAssumedMatch, s.notModelled(r)), Flag: "--pick " + quoteRef(s.p.ref(ref)) + "=match"})
	}
	if r.conds != nil && r.conds.chance != nil && !r.conds.chance.always() {
		fr := *r.conds.chance
		if s.draw("random "+r.label(i), fr.den, []cut{{"match", fr.num}, {"no-match", fr.den - fr.num}}) != 0 {
			return flow.No
		}
	}
	return flow.Yes
}

// notModelled names the first condition of a route whose answer is not known.
func (s *stream) notModelled(r *route) string {
	for _, t := range r.tests(&s.in) {
		if t.Answer == flow.Maybe && !strings.HasPrefix(t.Text, "runtime_fraction") {
			return t.Text
		}
	}
	return ""
}

// matched adds the route's step, and reads what the route does.
func (s *stream) matched(routes []route, i int) {
	step := flow.Step{Stage: flow.Route, Verdict: flow.Continue, Decision: len(routes) > 1, Assumed: s.assumed,
		Passed: s.missed, PassedTotal: len(s.missed)}
	if s.missed != nil {
		step.Explain = &routeMisses{routes, s.vhost.name, s.vhost.routesRef, s.in}
	}
	if i < 0 {
		step.Reason = flow.Because(flow.WhyNoRouteMatches, strconv.Itoa(len(routes)))
		s.p.add(step)
		return
	}
	s.index = i
	s.took(&routes[i], i, step)
}

// took makes the route the request's, and names it in the outcome.
func (s *stream) took(r *route, i int, step flow.Step) {
	s.route = r
	step.Subject, step.Origin, step.Tests = r.label(max(i, 0)), origin(r.node), r.tests(&s.in)
	base := ""
	if i >= 0 {
		base = s.vhost.routesRef
	}
	step.Evidence = []flow.Evidence{{Source: r.node.Source(), Ref: routeRef(base, r, i), Text: clip(r.node.Raw())}}
	if i < 0 && r.node.Field("name").Str() == "" {
		step.Subject = "of the matcher tree"
	}
	s.p.res.Outcome.Route, s.p.res.Outcome.RouteIndex = r.node.Field("name").Str(), s.index
	s.p.add(step)
	if s.readAction(); !s.p.over {
		s.noteAnswer()
		s.oddRoute()
	}
}

// chooseByTree is VirtualHost.matcher: the action is a route whose own match must hold too,
// or a list of routes.
func (s *stream) chooseByTree(n tree.Node) bool {
	m := matcher{p: s.p, ref: "matcher of " + s.vhost.name, input: s.matcherInput}
	action, ok := m.eval(n)
	if s.p.over {
		return false
	}
	if !ok {
		s.p.add(flow.Step{Stage: flow.Route, Verdict: flow.Continue, Reason: flow.Because(flow.WhyTreeNoRoute), Evidence: evidence(n)})
		return true
	}
	typ, config := action.Field("typed_config").Any()
	if typ != "envoy.config.route.v3.Route" && typ != "envoy.config.route.v3.RouteList" {
		s.p.stop(flow.Route, typ, flow.Because(flow.WhyNotModelled, "matcher action "+typ), action)
		return false
	}
	list := memo(s.p.cfg, config, func() *routeList {
		if typ == "envoy.config.route.v3.Route" {
			return listRoutes([]route{s.p.cfg.readRoute(config)})
		}
		var out []route
		for _, r := range config.Field("routes").All() {
			out = append(out, s.p.cfg.readRoute(r))
		}
		return listRoutes(out)
	})
	i := s.pick(list, s.vhost.name)
	if s.p.over {
		return false
	}
	s.fromTree(list.routes, i)
	return true
}

func (s *stream) fromTree(routes []route, i int) {
	step := flow.Step{Stage: flow.Route, Verdict: flow.Continue, Decision: len(routes) > 1, Assumed: s.assumed, Passed: s.missed, PassedTotal: len(s.missed)}
	if s.missed != nil {
		step.Explain = &routeMisses{routes, s.vhost.name, "", s.in}
	}
	if i < 0 {
		name := ""
		if len(routes) > 0 {
			name = routes[0].label(0)
		}
		step.Reason = flow.Because(flow.WhyTreeRouteFails, name)
		s.p.add(step)
		return
	}
	s.took(&routes[i], -1, step)
}

// matcherInput answers the inputs of matcher trees inside the connection manager: request
// headers (all values joined), and what the connection shows.
func (s *stream) matcherInput(kind string, config tree.Node) (string, presence) {
	switch kind {
	case "HttpRequestHeaderMatchInput":
		v, ok, sure := s.h.joined(lowerHeader(config.Field("header_name").Str()))
		switch {
		case !sure:
			return "", inputUnknown
		case !ok:
			return "", inputAbsent
		}
		return v, inputPresent
	case "HttpRequestQueryParamMatchInput":
		if v, ok := queryValue(s.h.value(":path"), config.Field("query_param").Str()); ok {
			return v, inputPresent
		}
		return "", inputAbsent
	}
	return s.p.networkInput(kind, config)
}

// nameEarly names in the outcome what Envoy's log names for an answer that came before a
// route was looked for: what the headers as they are lead to. As long as X-Forwarded-Proto
// is missing no route matches. The facts are what the route does to the answer's headers, as
// far as it forwards (unsayAnswer says why).
func (s *stream) nameEarly() (facts []flow.Reason) {
	if s.table = s.quietTable(); s.table == nil {
		return nil
	}
	p := s.p
	before := p.res
	if s.h.has("x-forwarded-proto") {
		s.chooseRoute()
	} else {
		s.chooseHost()
	}
	named := p.res.Outcome
	if s.route != nil && s.action.kind == actionCluster {
		for _, st := range p.res.Steps[len(before.Steps):] {
			facts = append(facts, slices.DeleteFunc(slices.Clone(st.Facts), func(f flow.Reason) bool { return !ofAnswer(f.Kind) })...)
		}
	}
	p.res, p.over = before, false
	p.res.Outcome.VirtualHost, p.res.Outcome.Cluster = named.VirtualHost, named.Cluster
	p.res.Outcome.Route, p.res.Outcome.RouteIndex = named.Route, named.RouteIndex
	return facts
}

// quietTable is the table of a request that needs no step of it.
func (s *stream) quietTable() *httpTable {
	n := s.m.node
	if rc := n.Field("route_config"); rc.Exists() {
		return s.p.cfg.httpTable(s.p.cfg.inlineTable(rc))
	}
	if t, found := s.p.cfg.routeTable(n.Path("rds", "route_config_name").Str()); found == present {
		return s.p.cfg.httpTable(t)
	}
	return nil
}
