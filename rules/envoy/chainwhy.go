package envoy

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// pickChain chooses the filter chain and adds its step; false: the pass has ended.
func (p *pass) pickChain() bool {
	t := p.cfg.chainsOf(p.listener)
	if t.tree.Exists() {
		return p.chainByMatcher(t)
	}
	for i, m := range t.match {
		if m.error != "" {
			p.stop(flow.FilterChain, t.names[i], flow.Because(flow.WhyNotModelled, "filter_chain_match: "+m.error), t.nodes[i])
			return false
		}
	}
	i, chosen, depth := p.walkChains(t)
	w := &chainWhy{t: t, winner: i, chosen: chosen, depth: depth, conn: p.chainFacts()}
	switch {
	case i >= 0:
		return p.took(t, i, flow.Because(flow.WhyChainMatched, w.words(i)), w)
	case t.dflt >= 0:
		return p.took(t, t.dflt, flow.Because(flow.WhyChainDefault), w)
	}
	return p.noChain(flow.Because(flow.WhyNoChain), w)
}

// took goes on with chain i.
func (p *pass) took(t *chains, i int, why flow.Reason, w *chainWhy) bool {
	p.chain = t.nodes[i]
	p.res.Outcome.FilterChain = t.names[i]
	s := flow.Step{Stage: flow.FilterChain, Subject: t.names[i], Verdict: flow.Continue, Reason: why, Evidence: p.evidence(p.chain), Origin: origin(p.chain), Decision: len(t.nodes) > 1}
	w.losers(&s, i)
	p.add(s)
	return !p.wrong(flow.FilterChain, t.names[i], p.chain, elements(p.chain, "filters")...) &&
		p.odd(flow.FilterChain, t.names[i], p.chain, p.chain.Unknown(chainFields...))
}

// noChain closes the connection: no chain of the listener takes it (section 4.3).
func (p *pass) noChain(why flow.Reason, w *chainWhy) bool {
	if f := p.listener.Field("fcds_config"); f.Exists() { // chains that the dump does not hold
		p.stop(flow.FilterChain, p.listenerName, flow.Because(flow.WhyNotModelled, "fcds_config"), f)
		return false
	}
	s := flow.Step{Stage: flow.FilterChain, Subject: p.listenerName, Reason: why, Evidence: p.evidence(p.listener), Decision: true}
	w.losers(&s, -1)
	p.refuse(s, "NR", "filter_chain_not_found")
	return false
}

// chainFacts is what a connection shows to the chain match.
type chainFacts struct {
	local, direct, remote netip.AddrPort
	sni, transport        string
	alpn                  []string
}

func (p *pass) chainFacts() chainFacts {
	return chainFacts{p.local, p.direct, p.remote, p.sni, p.transport, p.alpn}
}

// chainWhy words the chains that lost.
type chainWhy struct {
	t      *chains
	winner int
	chosen [levelEnd]string // the keys that the walk took, up to depth
	depth  chainLevel       // where it ended
	conn   chainFacts
}

// losers are all chains but the one that took the connection. With a matcher tree there
// are none: the tree does not look at chains.
func (w *chainWhy) losers(s *flow.Step, taken int) {
	if w == nil {
		return
	}
	for i := range w.t.nodes {
		if i == taken || i == w.t.dflt {
			continue
		}
		s.Passed = append(s.Passed, w.miss(i))
	}
	if s.PassedTotal = len(s.Passed); s.PassedTotal > 0 {
		s.Explain = w
	}
}

// miss finds the first criterion that chain i fails, in Envoy's order. A chain whose own
// fields all fit lost to a more specific key: the criterion is that level, counted from levelEnd.
func (w *chainWhy) miss(i int) flow.Miss {
	m := &w.t.match[i]
	first, n := chainLevel(0), 0
	for l := levelPort; l < levelEnd; l++ {
		if !w.conn.fits(m, l) {
			if n == 0 {
				first = l
			}
			n++
		}
	}
	if n > 0 {
		return flow.Miss{Index: int32(i), Failed: flow.Criterion(first), Near: n == 1}
	}
	for l := levelPort; l < levelEnd; l++ {
		if l >= w.depth || !m.has(l, w.chosen[l]) {
			first = l
			break
		}
	}
	return flow.Miss{Index: int32(i), Failed: flow.Criterion(first + levelEnd), Near: true}
}

func (m *chainMatch) has(l chainLevel, key string) bool {
	for _, k := range m.keys[l] {
		if k == key {
			return true
		}
	}
	return false
}

// fits says whether the connection would pass this field of a chain alone.
func (c *chainFacts) fits(m *chainMatch, l chainLevel) bool {
	if m.has(l, "") {
		return true
	}
	in := func(a netip.Addr) bool {
		for _, n := range m.nets[l] {
			if n.Contains(a) {
				return true
			}
		}
		return false
	}
	switch l {
	case levelPort:
		return m.has(l, strconv.Itoa(int(c.local.Port())))
	case levelPrefix:
		return in(c.local.Addr())
	case levelName:
		for _, k := range nameKeys(c.sni) {
			if k != "" && m.has(l, k) {
				return true
			}
		}
	case levelTransport:
		return m.has(l, c.transport)
	case levelALPN:
		for _, a := range c.alpn {
			if m.has(l, a) {
				return true
			}
		}
	case levelDirect:
		return in(c.direct.Addr())
	case levelType:
		if sourceLocal(c.remote.Addr(), c.local.Addr()) {
			return m.has(l, "local")
		}
		return m.has(l, "external")
	case levelSource:
		return in(c.remote.Addr())
	case levelSourcePort:
		return m.has(l, strconv.Itoa(int(c.remote.Port())))
	}
	return false
}

// field is the field of FilterChainMatch that a level looks at.
func (l chainLevel) field() string {
	return [levelEnd]string{"destination_port", "prefix_ranges", "server_names", "transport_protocol", "application_protocols",
		"direct_source_prefix_ranges", "source_type", "source_prefix_ranges", "source_ports"}[l]
}

// shows is what the connection has at a level.
func (c *chainFacts) shows(l chainLevel) string {
	switch l {
	case levelPort:
		return strconv.Itoa(int(c.local.Port()))
	case levelPrefix:
		return c.local.Addr().String()
	case levelName:
		return c.sni
	case levelTransport:
		return c.transport
	case levelALPN:
		return strings.Join(c.alpn, ",")
	case levelDirect:
		return c.direct.Addr().String()
	case levelType:
		if sourceLocal(c.remote.Addr(), c.local.Addr()) {
			return "SAME_IP_OR_LOOPBACK"
		}
		return "EXTERNAL"
	case levelSource:
		return c.remote.Addr().String()
	}
	return strconv.Itoa(int(c.remote.Port()))
}

// wants is what a chain asks for at a level.
func (m *chainMatch) wants(l chainLevel) string {
	keys := strings.Join(m.keys[l], ",")
	switch {
	case l == levelType && keys == "local":
		return "SAME_IP_OR_LOOPBACK"
	case l == levelType && keys == "external":
		return "EXTERNAL"
	}
	return keys
}

// words are the fields that chain i sets, as the reason for its choice.
func (w *chainWhy) words(i int) string {
	var b strings.Builder
	m := &w.t.match[i]
	for l := levelPort; l < levelEnd; l++ {
		if m.has(l, "") {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.field() + " " + m.wants(l))
	}
	return b.String()
}

// Explain words one chain that lost.
func (w *chainWhy) Explain(m flow.Miss) flow.Explained {
	i := int(m.Index)
	if i < 0 || i >= len(w.t.nodes) {
		return flow.Explained{}
	}
	match := &w.t.match[i]
	e := flow.Explained{Ref: reference(w.t.nodes[i]), Kind: flow.FilterChain, Name: orDefault(w.t.names[i], "#"+strconv.Itoa(i)), Text: w.t.names[i]}
	l := chainLevel(m.Failed)
	if l < levelEnd {
		e.Reason = flow.Because(flow.WhyChainField, l.field(), match.wants(l), w.conn.shows(l))
	} else if l -= levelEnd; l < w.depth {
		e.Reason = flow.Because(flow.WhyChainLessSpecific, l.field(), w.chosen[l])
	} else {
		e.Reason = flow.Because(flow.WhyChainDeadEnd, l.field())
	}
	for l := levelPort; l < levelEnd; l++ {
		if !match.has(l, "") {
			e.Tests = append(e.Tests, flow.Test{Text: l.field() + " " + match.wants(l), Answer: flow.Is(w.conn.fits(match, l)), Reason: flow.Because(flow.WhyConnectionHas, w.conn.shows(l))})
		}
	}
	return e
}
