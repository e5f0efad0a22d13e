package envoy

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// noHost is the end of a search: no healthy upstream.
func (p *pass) noHost(c *cluster, h lbHints, why flow.Reason, ev []flow.Evidence, w *hostWhy) fate {
	s := flow.Step{Stage: flow.Endpoint, Subject: c.name, Verdict: flow.Refused, Reason: why, Evidence: ev}
	if w != nil {
		s.Passed, s.PassedTotal = w.all()
		s.Explain = w
	}
	p.add(s)
	f := fate{flags: "UH"}
	if h.http {
		f.code, f.details = 503, "no_healthy_upstream"
	}
	return f
}

// toHost chooses a host of a cluster that lists its hosts.
func (p *pass) toHost(c *cluster, h lbHints) fate {
	if p.wrongHosts(c) {
		return fate{unknown: true}
	}
	s := p.cfg.hostsOf(c)
	if !p.odd(flow.Endpoint, c.name, c.node, s.strange) {
		return fate{unknown: true}
	}
	if s.known == unread {
		p.need(flow.Endpoint, partEndpoints, c.endpointsName())
		return fate{unknown: true}
	}
	if len(s.hosts) == 0 && len(s.names) > 0 {
		p.stop(flow.Endpoint, c.name, flow.Because(flow.WhyDNS, strings.Join(s.names, ", ")), c.node)
		return fate{unknown: true}
	}
	if c.odd != "" {
		if !p.opaque(flow.Endpoint, c.name, flow.Because(flow.WhyNotModelled, "load balancing by "+c.odd), c.node.Field("load_balancing_policy")) {
			return fate{unknown: true}
		}
	}
	if len(s.hosts) == 0 {
		return p.noHost(c, h, flow.Because(flow.WhyNoHosts), s.all(), nil)
	}
	if c.subsets != nil {
		return p.toSubset(c, s, h)
	}
	d := memo(p.cfg, c.node, func() *draws { return p.cfg.draws(c, s, nil) })
	f, _ := p.draw(c, s, d, h, "", 0, false)
	return f
}

func whyNoSubset(h lbHints) flow.Reason { return flow.Because(flow.WhyNoSubset, keysOf(h.match)) }

// draws are the hosts that a load balancer can choose, ready for a choice.
type draws struct {
	list    []candidate
	options []flow.Option // one for each of list; then "none", if some of the traffic finds no host
	passed  []flow.Miss   // the other hosts
	zoned   bool          // by zone-aware routing, so that the shares say nothing
}

func (c *Config) draws(cl *cluster, s *hostSet, only func(*host) bool) *draws {
	b := c.lbConfig(cl, cl.policy, s)
	if cl.subsets != nil {
		b.localities, b.scale = b.localities && cl.subsets.localities, cl.subsets.scale
	}
	list, none := b.choose(s, only)
	d := newDraws(s, list, none)
	d.zoned = c.zoned(cl, b, s)
	return d
}

func newDraws(s *hostSet, list []candidate, none float64) *draws {
	d := &draws{list: list}
	shares := make([]float64, 0, len(list)+1)
	in := make([]bool, len(s.hosts))
	for _, k := range list {
		d.options = append(d.options, flow.Option{Value: strconv.Itoa(k.host + 1)})
		shares = append(shares, k.share)
		in[k.host] = true
	}
	if none > 0 {
		d.options = append(d.options, flow.Option{Value: "none"})
		shares = append(shares, none)
	}
	for i, w := range weights(shares) {
		d.options[i].Weight = w
	}
	for i := range in {
		if !in[i] {
			d.passed = append(d.passed, flow.Miss{Index: int32(i), Near: s.hosts[i].health != healthy})
		}
	}
	return d
}

// weights are whole numbers in the proportion of the shares: exact where they are multiples
// of the smallest one, else parts of a million.
func weights(shares []float64) []uint64 {
	out := make([]uint64, len(shares))
	if len(shares) == 0 {
		return out
	}
	least := slices.Min(shares)
	exact := true
	for i, s := range shares {
		r := s / least
		out[i] = uint64(math.Round(r))
		exact = exact && math.Abs(r-math.Round(r)) < 1e-9
	}
	for i, s := range shares {
		if !exact {
			out[i] = max(1, uint64(math.Round(s*1e6)))
		}
	}
	return out
}

func keysOf(match []tree.Node) string {
	var b strings.Builder
	for _, m := range match {
		b.WriteString(string(m.Raw()))
	}
	return b.String()
}

// draw takes one of the hosts, or none where part of the traffic finds none. try counts the
// subsets that were asked before; with more to ask, none is no end, and found is false.
func (p *pass) draw(c *cluster, s *hostSet, d *draws, h lbHints, subset string, try int, more bool) (f fate, found bool) {
	if len(d.list) == 0 {
		return p.noHealthy(c, s, h), true
	}
	ref := "endpoint"
	if try > 0 {
		ref += " fallback " + strconv.Itoa(try)
	}
	choice := flow.Choice{Ref: p.ref(ref), Kind: flow.Chance, Options: d.options}
	groups := p.groups(c, s, d, choice.Ref)
	if groups != nil {
		choice.Options = d.grouped(groups)
	}
	if d.zoned {
		choice = s.byZone(d, choice, groups)
	}
	i := 0
	if len(choice.Options) > 1 {
		i = p.ch.Take(choice)
	}
	if choice.Options[i].Value == "none" {
		if more {
			return fate{}, false
		}
		return p.noHealthy(c, s, h), true
	}
	at, many := i, false
	if groups != nil {
		at, many = groups[i][0], len(groups[i]) > 1
	}
	got := &s.hosts[d.list[at].host]
	step := flow.Step{Reason: flow.Because(flow.WhyEndpoint, c.policyWords(h), strconv.Itoa(len(d.list)), subset), Decision: len(s.hosts) > 1, Evidence: s.evidence(got)}
	if len(d.options) > 1 {
		step.Assumed = []flow.Assumption{{Reason: flow.Because(flow.WhyDrawn, got.text), Flag: "--pick " + quoteRef(choice.Ref) + "=" + d.options[at].Value}}
	}
	if many {
		step.Evidence = append(step.Evidence, s.all()...)
	}
	if step.Passed, step.PassedTotal = d.passed, len(d.passed); len(d.passed) > 0 {
		step.Explain = &hostWhy{s: s}
	}
	f = p.dial(c, got, h, step)
	if many {
		p.res.Outcome.Endpoint = ""
	}
	return f, true
}

func (p *pass) noHealthy(c *cluster, s *hostSet, h lbHints) fate {
	return p.noHost(c, h, flow.Because(flow.WhyNoHealthy, strconv.Itoa(len(s.hosts)), s.firstWhy()), s.all(), &hostWhy{s: s})
}

func (s *hostSet) firstWhy() string {
	for i := range s.hosts {
		if s.hosts[i].why != "" {
			return s.hosts[i].why
		}
	}
	return ""
}

// policyWords says how the cluster draws.
func (c *cluster) policyWords(h lbHints) string {
	if (c.policy == "RING_HASH" || c.policy == "MAGLEV") && h.hash {
		return c.policy + ", sticky by hash"
	}
	return c.policy
}

// hostWhy words the hosts that could not be chosen.
type hostWhy struct {
	s    *hostSet
	want map[string]tree.Node // subset criteria that no host fits; nil: health or priority decides
}

// all are the hosts of a set none of which can be chosen: the first of them, and how many.
func (w *hostWhy) all() ([]flow.Miss, int) {
	n := len(w.s.hosts)
	out := make([]flow.Miss, 0, min(n, 50))
	for i := range min(n, 50) {
		out = append(out, flow.Miss{Index: int32(i), Near: w.want == nil || w.differs(&w.s.hosts[i]) == 1})
	}
	return out, n
}

// differs is how many of the wanted keys the host has with another value, or not at all.
func (w *hostWhy) differs(h *host) int {
	n := 0
	for k, v := range w.want {
		if !tree.Equal(lbMetadata(h.meta).Key(k), v) {
			n++
		}
	}
	return n
}

// Explain words one host that lost.
func (w *hostWhy) Explain(m flow.Miss) flow.Explained {
	if m.Index < 0 || int(m.Index) >= len(w.s.hosts) {
		return flow.Explained{}
	}
	h := &w.s.hosts[m.Index]
	e := flow.Explained{Ref: w.s.reference(h), Kind: flow.Endpoint, Name: h.text, Text: h.text, Reason: flow.Because(flow.WhyHostLoses, strconv.Itoa(int(h.priority)))}
	switch {
	case w.want != nil:
		e.Reason = flow.Because(flow.WhyHostSubset, orDefault(string(lbMetadata(h.meta).Raw()), "{}"))
	case h.health != healthy:
		e.Reason = flow.Because(flow.WhyHostUnhealthy, h.why)
	}
	return e
}

// originalState is the filter state that names an ORIGINAL_DST cluster's destination.
const originalState = "envoy.network.transport_socket.original_dst_address"

// toOriginal dials where the connection wanted to go (original_dst_cluster.cc).
func (p *pass) toOriginal(c *cluster, h lbHints) fate {
	o := c.node.Field("original_dst_lb_config")
	if p.unsure[originalState] {
		p.stop(flow.Endpoint, c.name, flow.Because(flow.WhyStateUnknown, originalState), c.node)
		return fate{unknown: true}
	}
	dst, why := p.originalTarget(o, h)
	if !dst.IsValid() {
		return p.noHost(c, h, flow.Because(flow.WhyNoOriginal), evidence(c.node), nil)
	}
	if port := o.Field("upstream_port_override"); port.Exists() {
		dst = netip.AddrPortFrom(dst.Addr(), uint16(port.Uint(0)))
	}
	f := p.dial(c, &host{addr: dst, text: dst.String(), weight: 1, socket: c.socketOf(tree.Node{}, tree.Node{}), name: c.name + dst.String()}, h, flow.Step{Reason: why, Evidence: evidence(o)})
	return f
}

func (p *pass) originalTarget(o tree.Node, h lbHints) (netip.AddrPort, flow.Reason) {
	if v, ok := p.state[originalState]; ok {
		if a, err := netip.ParseAddrPort(v); err == nil {
			return a, flow.Because(flow.WhyOriginalState, v)
		}
	}
	if o.Field("use_http_header").Bool(false) && h.header != nil {
		name := orDefault(o.Field("http_header_name").Str(), "x-envoy-original-dst-host")
		if v, ok := h.header(strings.ToLower(name)); ok {
			if a, err := netip.ParseAddrPort(v); err == nil {
				return a, flow.Because(flow.WhyOriginalHeader, name, v)
			}
		}
	}
	if p.restored {
		return p.local, flow.Because(flow.WhyOriginalDst, p.local.String())
	}
	return netip.AddrPort{}, flow.Reason{}
}

// toForward is a dynamic_forward_proxy cluster: the host is a name that Envoy resolves.
func (p *pass) toForward(c *cluster, h lbHints) fate {
	name := hostOnly(h.authority)
	if a, err := netip.ParseAddr(name); err == nil {
		port := uint16(80)
		if kind, _ := unwrapSocket(c.node.Field("transport_socket")); kind == "tls" {
			port = 443
		}
		if ap, err := netip.ParseAddrPort(h.authority); err == nil {
			port = ap.Port()
		}
		return p.dial(c, &host{addr: netip.AddrPortFrom(a, port), text: netip.AddrPortFrom(a, port).String(), weight: 1, socket: c.socketOf(tree.Node{}, tree.Node{}), name: h.authority}, h, flow.Step{Reason: flow.Because(flow.WhyForward, h.authority)})
	}
	p.stop(flow.Endpoint, c.name, flow.Because(flow.WhyDNS, h.authority), c.node)
	return fate{unknown: true}
}

// hostOnly is an authority without its port, if that is one, and without the brackets of an
// address. (Http::Utility::parseAuthority)
func hostOnly(s string) string {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		if n, ok := number(s[i+1:]); ok && n <= 65535 {
			host = s[:i]
		}
	}
	if in, ok := strings.CutPrefix(host, "["); ok {
		in, closed := strings.CutSuffix(in, "]")
		if _, err := netip.ParseAddr(in); closed && err == nil {
			return in
		}
	}
	return host
}

// toAggregate chooses among the priorities of all its clusters, one after the other; the
// cluster of the priority chooses the host (aggregate/cluster.cc).
func (p *pass) toAggregate(c *cluster, h lbHints) fate {
	if p.depth++; p.depth > 8 {
		p.stop(flow.Endpoint, c.name, flow.Because(flow.WhyNotModelled, "an aggregate that holds itself"), c.node)
		return fate{unknown: true}
	}
	var parts []aggregatePart
	for _, n := range c.config.Field("clusters").All() {
		sub := p.cfg.cluster(n.Str())
		if sub == nil {
			if p.cfg.has(n.Str(), staticClusters, dynamicActiveClusters) == unread {
				p.need(flow.Cluster, partCluster, n.Str())
				return fate{unknown: true}
			}
			continue // not there: the aggregate goes on without it
		}
		if p.wrong(flow.Cluster, sub.name, sub.node) || p.wrongHosts(sub) {
			return fate{unknown: true}
		}
		switch sub.kind {
		case "STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS":
		default:
			p.stop(flow.Endpoint, c.name, flow.Because(flow.WhyNotModelled, "an aggregate of "+sub.kind), sub.node)
			return fate{unknown: true}
		}
		s := p.cfg.hostsOf(sub)
		if s.known == unread {
			p.need(flow.Endpoint, partEndpoints, sub.endpointsName())
			return fate{unknown: true}
		}
		if len(s.hosts) == 0 && len(s.names) > 0 {
			p.stop(flow.Endpoint, sub.name, flow.Because(flow.WhyDNS, strings.Join(s.names, ", ")), sub.node)
			return fate{unknown: true}
		}
		parts = append(parts, aggregatePart{sub, s})
	}
	return p.aggregated(c, h, parts)
}

type aggregatePart struct {
	c *cluster
	s *hostSet
}

// aggregated draws the cluster, then hands over to it.
func (p *pass) aggregated(c *cluster, h lbHints, parts []aggregatePart) fate {
	var levels []level
	var owner []int
	for i, part := range parts {
		for _, l := range p.cfg.lbConfig(part.c, part.c.policy, part.s).levels(part.s, nil) {
			levels, owner = append(levels, l), append(owner, i)
		}
	}
	b := p.cfg.lbConfig(c, c.policy, &hostSet{over: 140})
	balance(levels, b.over, b.threshold)
	loads := make([]int, len(parts))
	for i := range levels {
		loads[owner[i]] += levels[i].healthyLoad + levels[i].degradedLoad
	}
	choice := flow.Choice{Ref: p.ref("aggregate " + c.name), Kind: flow.Chance}
	var open []int
	for i, load := range loads {
		if load > 0 {
			open = append(open, i)
			choice.Options = append(choice.Options, flow.Option{Value: parts[i].c.name, Weight: uint64(load)})
		}
	}
	if len(open) == 0 {
		return p.noHost(c, h, flow.Because(flow.WhyNoHosts), evidence(c.node), nil)
	}
	i := 0
	if len(open) > 1 {
		i = p.ch.Take(choice)
	}
	sub := parts[open[i]].c
	p.add(flow.Step{Stage: flow.Cluster, Subject: sub.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyAggregate, c.name), Evidence: evidence(sub.node), Origin: p.cfg.clusterOrigin(sub.node), Decision: true})
	return p.toHost(sub, h)
}
