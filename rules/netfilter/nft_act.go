package netfilter

import (
	"github.com/meshtop/meshtop/rules/flow"
)

// vmapAct is a verdict map.
type vmapAct struct{ m *mapExpr }

func (a *vmapAct) do(w *walk) outcome {
	e, g := a.m.find(&w.p, w)
	switch g {
	case gotNone:
		return outcome{verdict: vBreak}
	case gotUnknown:
		return opaqueAct{}.do(w)
	}
	if e.then.to != nil {
		return (&jump{to: e.then.to, noBack: e.then.verdict == vGoto}).do(w)
	}
	return final{verdict: e.then.verdict}.do(w)
}

// mangleWhat is what a statement sets.
type mangleWhat uint8

const (
	mangleMark mangleWhat = iota
	mangleConnmark
	mangleZone
	mangleSrc
	mangleDst
	mangleSport
	mangleDport
)

// mangleAct sets a mark, a zone or a field of the header (nft_meta.c, nft_ct.c,
// nft_payload.c).
type mangleAct struct {
	what  mangleWhat
	value expr
	only  *field // a packet without this field breaks the rule off
	dir   string // of a zone
}

func (a *mangleAct) needsConntrack(v6 bool) bool {
	return a.what == mangleConnmark || a.what == mangleZone || anyNeeds(v6, a.value)
}

func (a *mangleAct) do(w *walk) outcome {
	p := &w.p
	if a.only != nil {
		if _, g := a.only.get(p); g == gotNone {
			return outcome{verdict: vBreak}
		}
	}
	n, g := a.value.value(p, w)
	switch g {
	case gotNone:
		return outcome{verdict: vBreak}
	case gotUnknown:
		return opaqueAct{}.do(w)
	}
	o := outcome{verdict: vNext}
	switch a.what {
	case mangleMark:
		p.mark = uint32(n.lo)
		o.why = flow.Because(flow.WhySetMark, hex(p.mark))
	case mangleConnmark:
		if p.ct.state != newConn {
			o.why = flow.Because(flow.WhyConnmarkNoConn)
			break
		}
		p.ct.mark = uint32(n.lo)
		o.why = flow.Because(flow.WhySetConnmark, hex(p.ct.mark))
	case mangleZone:
		return (&setConn{nft: true, zone: uint16(n.lo), orig: a.dir != "reply", reply: a.dir != "original"}).do(w)
	default:
		a.header(p, n)
		o.why = flow.Because(flow.WhyStatements, sourceWord(p)+" > "+p.dstPort().String())
	}
	return o
}

func (a *mangleAct) header(p *packet, n num) {
	switch a.what {
	case mangleSrc:
		p.src, p.srcUnknown = n, false
	case mangleDst:
		p.dst = n
	case mangleSport:
		p.sport = uint16(n.lo)
	case mangleDport:
		p.dport = uint16(n.lo)
	}
}

// nftNAT is redirect, dnat, snat or masquerade; its address and port may come of a map.
type nftNAT struct {
	natAct
	family     string // ip or ip6: other packets are left alone (nft_nat.c, nft_nat_inet_eval)
	addr, port expr
	netmap     bool
}

// needsConntrack: dnat ip in a table inet turns conntrack on for IPv4 alone.
func (a *nftNAT) needsConntrack(v6 bool) bool { return a.family == "" || (a.family == "ip6") == v6 }

func (a *nftNAT) do(w *walk) outcome {
	p := &w.p
	if a.family == "ip" && p.v6 || a.family == "ip6" && !p.v6 {
		return outcome{verdict: vNext, why: flow.Because(flow.WhyStatements, "no "+a.family+" packet: left alone")}
	}
	n := a.natAct
	if g := a.readAddr(w, &n); g != gotValue {
		return breakOr(g, w)
	}
	if a.port != nil {
		s, g := spanOf(a.port, p, w)
		if g != gotValue {
			return breakOr(g, w)
		}
		n.ports, n.hasPorts = portRange{uint16(s.from.lo), uint16(s.to.lo)}, true
	}
	return n.do(w)
}

func breakOr(g got, w *walk) outcome {
	if g == gotNone {
		return outcome{verdict: vBreak}
	}
	return opaqueAct{}.do(w)
}

// readAddr takes the address, and the port beside it where a map gives both.
func (a *nftNAT) readAddr(w *walk, n *natAct) got {
	if a.addr == nil {
		return gotValue
	}
	if m, ok := a.addr.(*mapExpr); ok {
		e, g := m.find(&w.p, w)
		if g != gotValue {
			return g
		}
		n.set(e.value[0], a.netmap, w.p.v6)
		if len(m.set.data) == 2 {
			n.ports, n.hasPorts = portRange{uint16(e.value[1].from.lo), uint16(e.value[1].to.lo)}, true
		}
		return gotValue
	}
	s, g := spanOf(a.addr, &w.p, w)
	if g == gotValue {
		n.set(s, a.netmap, w.p.v6)
	}
	return g
}

func (n *natAct) set(s span, netmap, v6 bool) {
	n.hasAddr, n.from, n.to = true, s.from, s.to
	if netmap { // the bits that differ between first and last are the host's
		n.kind = natMap
		n.to = s.from.xor(s.to).not().and(allOnes(v6))
	}
}

// spanOf is a value or a range.
func spanOf(e expr, p *packet, w *walk) (span, got) {
	if c, ok := e.(*constExpr); ok {
		return c.span, gotValue
	}
	if m, ok := e.(*mapExpr); ok {
		el, g := m.find(p, w)
		if g != gotValue {
			return span{}, g
		}
		return el.value[0], gotValue
	}
	n, g := e.value(p, w)
	return span{n, n}, g
}

// nftTProxy is tproxy; where no transparent listener is, the rule is broken off.
type nftTProxy struct {
	family     string
	addr, port expr
}

func (a *nftTProxy) do(w *walk) outcome {
	t := tproxyAct{nft: true, family: a.family}
	if a.addr != nil {
		n, g := a.addr.value(&w.p, w)
		if g != gotValue {
			return breakOr(g, w)
		}
		t.addr = n
	}
	if a.port != nil {
		n, g := a.port.value(&w.p, w)
		if g != gotValue {
			return breakOr(g, w)
		}
		t.port = uint16(n.lo)
	}
	return t.do(w)
}
