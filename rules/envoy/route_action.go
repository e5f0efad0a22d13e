package envoy

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// routeAction is what the chosen route does with the request.
type routeAction struct {
	kind    actionKind
	cluster string
	entry   tree.Node // of weighted_clusters, when one was drawn
	code    int
	text    string
}

type actionKind uint8

const (
	actionNone     actionKind = iota // no route
	actionCluster                    // forward; an empty name is no cluster
	actionRedirect                   // redirect
	actionDirect                     // direct_response
	actionTLS                        // require_tls: no route was looked for
)

// act is the route's RouteAction; missing where no route was chosen.
func (s *stream) act() tree.Node {
	if s.route == nil {
		return tree.Node{}
	}
	return s.route.node.Field("route")
}

// readAction reads what the route does and says so in its step.
func (s *stream) readAction() {
	n := s.route.node
	step := s.p.last()
	switch r := n.Field("route"); {
	case n.Field("redirect").Exists():
		s.action = routeAction{kind: actionRedirect, code: redirectCode(n.Path("redirect", "response_code").Enum())}
		step.Reason = flow.Because(flow.WhyRouteRedirects, strconv.Itoa(s.action.code))
	case n.Field("direct_response").Exists():
		s.action = routeAction{kind: actionDirect, code: int(n.Path("direct_response", "status").Uint(0))}
		step.Reason = flow.Because(flow.WhyRouteAnswers, strconv.Itoa(s.action.code))
	case r.Exists():
		s.action.kind = actionCluster
		s.readCluster(r)
		if !s.p.over && s.action.cluster != "" {
			s.noteBounds(r)
		}
		// %UPSTREAM_CLUSTER_RAW% is set with the route, also for a request that a filter ends.
		if !s.p.over && s.p.cfg.cluster(s.action.cluster) != nil {
			s.p.res.Outcome.Cluster = s.action.cluster
		}
	default:
		s.action.kind = actionCluster
		step.Reason = flow.Because(flow.WhyRouteNothing)
	}
}

// readCluster finds the name of the cluster (RouteAction.cluster_specifier).
func (s *stream) readCluster(r tree.Node) {
	switch {
	case r.Field("cluster").Exists():
		s.action.cluster = r.Field("cluster").Str()
		s.p.last().Reason = flow.Because(flow.WhyRouteCluster, s.action.cluster, s.timeout(r).String(), s.retries(r))
	case r.Field("cluster_header").Exists():
		s.byHeader(r.Field("cluster_header").Str())
	case r.Field("weighted_clusters").Exists():
		s.weighted(r.Field("weighted_clusters"))
	case r.Field("inline_cluster_specifier_plugin").Exists():
		s.plugin(r.Path("inline_cluster_specifier_plugin", "extension"))
	case r.Field("cluster_specifier_plugin").Exists():
		name := r.Field("cluster_specifier_plugin").Str()
		for _, p := range s.table.head.Field("cluster_specifier_plugins").All() {
			if p.Path("extension", "name").Str() == name {
				s.plugin(p.Field("extension"))
				return
			}
		}
		s.p.stop(flow.Route, name, flow.Because(flow.WhyRoutePlugin, name), r)
	default:
		s.p.last().Reason = flow.Because(flow.WhyRouteNothing)
	}
}

// byHeader is cluster_header: the header's first value names the cluster.
func (s *stream) byHeader(header string) {
	v, ok, sure := s.h.first(lowerHeader(header))
	step := s.p.last()
	switch {
	case !sure:
		s.p.stop(flow.Route, header, flow.Because(flow.WhyHeaderNotKnown, header), s.act())
	case !ok:
		step.Reason = flow.Because(flow.WhyRouteNoCluster, "header "+header)
	default:
		s.action.cluster = v
		step.Reason = flow.Because(flow.WhyRouteHeader, v, header)
	}
}

// plugin is a cluster specifier plugin: the matcher one is a matcher tree whose action
// names the cluster, and no match is the empty name.
func (s *stream) plugin(ext tree.Node) {
	kind, config := kindOf(ext)
	if kind != "MatcherClusterSpecifier" {
		s.p.stop(flow.Route, ext.Field("name").Str(), flow.Because(flow.WhyRoutePlugin, kind), ext)
		return
	}
	m := matcher{p: s.p, ref: "cluster matcher of " + s.route.label(max(s.index, 0)), input: s.matcherInput}
	action, ok := m.eval(config.Field("cluster_matcher"))
	if s.p.over {
		return
	}
	if !ok {
		s.p.last().Reason = flow.Because(flow.WhyRouteNoCluster, "matcher")
		return
	}
	_, a := action.Field("typed_config").Any()
	s.action.cluster = a.Field("cluster").Str()
	s.p.last().Reason = flow.Because(flow.WhyRouteCluster, s.action.cluster, s.timeout(s.act()).String(), s.retries(s.act()))
}

// weighted draws one of weighted_clusters: value % sum, intervals in order.
func (s *stream) weighted(w tree.Node) {
	entries := w.Field("clusters").List()
	weights := make([]uint64, len(entries))
	var sum uint64
	for i, e := range entries {
		weights[i] = s.weight(w, e)
		sum += weights[i]
	}
	if sum == 0 {
		s.p.stop(flow.Route, "weighted_clusters", flow.Because(flow.WhyNotModelled, "weights that sum to 0"), w)
		return
	}
	i, why := s.drawEntry(w, entries, weights, sum)
	if s.p.over {
		return
	}
	e := entries[i]
	s.action.entry = e
	if why.Kind == flow.NoReason {
		why = flow.Because(flow.WhyRouteWeighted, "", strconv.FormatUint(weights[i], 10), strconv.FormatUint(sum, 10))
	}
	if h := e.Field("cluster_header").Str(); h != "" && e.Field("name").Str() == "" {
		s.byHeader(h)
		return
	}
	s.action.cluster = e.Field("name").Str()
	why.Args[0] = s.action.cluster
	s.p.last().Reason = why
}

// weight is an entry's weight, which runtime may override under PREFIX.NAME.
func (s *stream) weight(w, e tree.Node) uint64 {
	configured := e.Field("weight").Uint(0)
	if prefix := w.Field("runtime_key_prefix").Str(); prefix != "" {
		return s.p.cfg.number(prefix+"."+e.Field("name").Str(), configured)
	}
	return configured
}

// drawEntry decides the entry: by a header's value, by a hash, or by chance.
func (s *stream) drawEntry(w tree.Node, entries []tree.Node, weights []uint64, sum uint64) (int, flow.Reason) {
	if name := w.Field("header_name").Str(); name != "" {
		if v, ok := s.single(lowerHeader(name)); ok {
			if n, ok := number(v); ok {
				return interval(weights, n%sum), flow.Because(flow.WhyRouteWeightedValue, "", name, v)
			}
		}
	}
	cuts := make([]cut, len(entries))
	for i, e := range entries {
		cuts[i] = cut{orDefault(e.Field("name").Str(), "#"+strconv.Itoa(i)), weights[i]}
	}
	if w.Field("use_hash_policy").Bool(false) && s.hashes() {
		ch := flow.Choice{Ref: s.p.ref("hash"), Kind: flow.Condition}
		for i := range cuts {
			if cuts[i].weight > 0 {
				ch.Options = append(ch.Options, flow.Option{Value: strconv.Itoa(i), When: "the request's hash falls to " + cuts[i].value})
			}
		}
		if len(ch.Options) > 1 {
			i, _ := strconv.Atoi(ch.Options[s.p.ch.Take(ch)].Value)
			return i, flow.Reason{}
		}
	}
	return s.draw("random", sum, cuts), flow.Reason{}
}

// single is the value of a header that is there exactly once.
func (s *stream) single(name string) (string, bool) {
	n, v := 0, ""
	for i := range s.h.list {
		if e := &s.h.list[i]; e.name == name && !e.unsure {
			n++
			v = e.value
		}
	}
	return v, n == 1
}

// interval is the index whose share of the sum holds value.
func interval(weights []uint64, value uint64) int {
	for i, w := range weights {
		if value < w {
			return i
		}
		value -= w
	}
	return len(weights) - 1
}

// hashes says whether the route's hash_policy yields a hash for this request.
func (s *stream) hashes() bool {
	for _, h := range s.act().Field("hash_policy").All() {
		switch {
		case h.Field("header").Exists():
			if s.h.has(lowerHeader(h.Path("header", "header_name").Str())) {
				return true
			}
		case h.Field("query_parameter").Exists():
			if _, ok := queryValue(s.h.value(":path"), h.Path("query_parameter", "name").Str()); ok {
				return true
			}
		case h.Field("filter_state").Exists():
			if _, ok := s.p.state[h.Path("filter_state", "key").Str()]; ok {
				return true
			}
		case h.Field("cookie").Exists():
			if _, ok, _ := cookieValue(s.h, h.Path("cookie", "name").Str()); ok || h.Path("cookie", "ttl").Exists() {
				return true
			}
		case h.Path("connection_properties", "source_ip").Bool(false):
			return true
		}
	}
	return false
}

// cut is one interval of a draw.
type cut struct {
	value  string
	weight uint64
}

// drawn is a draw that was made: value % mod fell into [from, to).
type drawn struct{ mod, from, to uint64 }

// maxResidues bounds the exact treatment of two draws from one value.
const maxResidues = 20_000

// draw asks for one interval of value % mod, where value is the stream's one random number
// (C26: the stream id): a second draw depends on the first one.
func (s *stream) draw(name string, mod uint64, cuts []cut) int {
	weights := make([]uint64, len(cuts))
	for i, c := range cuts {
		weights[i] = c.weight
	}
	odds := weights
	if _, pinned := s.p.ch.Pick["random"]; !pinned && len(s.drawn) > 0 {
		odds = s.condition(mod, weights)
	}
	ch := flow.Choice{Ref: s.p.ref(name), Kind: flow.Chance}
	var index []int
	for i, w := range odds {
		if w > 0 {
			index = append(index, i)
			ch.Options = append(ch.Options, flow.Option{Value: cuts[i].value, Weight: w})
		}
	}
	i := 0
	switch len(index) {
	case 0:
		return 0
	case 1:
		i = index[0]
	default:
		i = index[s.p.ch.Take(ch)]
		s.assumeDraw(ch, cuts[i].value)
	}
	var from uint64
	for _, w := range weights[:i] {
		from += w
	}
	s.drawn = append(s.drawn, drawn{mod, from, from + weights[i]})
	return i
}

// assumeDraw notes the draw: on the route's step, once there is one.
func (s *stream) assumeDraw(ch flow.Choice, value string) {
	a := flow.Assumption{Reason: flow.Because(flow.WhyTaken, ch.Ref, value), Flag: "--pick " + quoteRef(ch.Ref) + "=" + quoteRef(value)}
	if s.route == nil {
		s.assumed = append(s.assumed, a)
		return
	}
	s.p.last().Assumed = append(s.p.last().Assumed, a)
}

// condition is how the weights look once the earlier draws are known.
func (s *stream) condition(mod uint64, weights []uint64) []uint64 {
	l := mod
	for _, d := range s.drawn {
		l = l / gcd(l, d.mod) * d.mod
		if l > maxResidues || l == 0 {
			return weights
		}
	}
	out := make([]uint64, len(weights))
next:
	for v := range l {
		for _, d := range s.drawn {
			if r := v % d.mod; r < d.from || r >= d.to {
				continue next
			}
		}
		out[interval(weights, v%mod)]++
	}
	return out
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, 1)
}

// redirectCode is the status of RedirectAction.response_code.
func redirectCode(enum string) int {
	switch enum {
	case "FOUND", "1":
		return 302
	case "SEE_OTHER", "2":
		return 303
	case "TEMPORARY_REDIRECT", "3":
		return 307
	case "PERMANENT_REDIRECT", "4":
		return 308
	}
	return 301
}
