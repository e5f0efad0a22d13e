package netfilter

import "github.com/meshtop/meshtop/rules/flow"

// Captures says whether a rule gives packets that were meant for others to a port of this
// host: by REDIRECT, TPROXY, or DNAT to a loopback address (iptables-extensions(8), nft(8)).
// Maybe where a rule does so whose port cannot be told.
func (rs *Ruleset) Captures(port uint16) flow.Answer {
	out := flow.No
	for _, c := range rs.chains {
		for _, r := range c.rules {
			out = out.Or(captures(r.act, port, c.table.family))
		}
	}
	return out
}

func captures(a action, port uint16, family string) flow.Answer {
	switch a := a.(type) {
	case *natAct:
		if a.src || !a.hasPorts || a.kind != natRedirect && !(a.hasAddr && a.from.addr(family == "ip6").IsLoopback()) {
			return flow.No
		}
		return flow.Is(a.ports.has(port))
	case *tproxyAct:
		return flow.Is(a.port == port)
	case *nftTProxy:
		return leadsTo(a.port, port, 0)
	case *nftNAT:
		return a.captures(port, family)
	case *sequence:
		out := flow.No
		for _, st := range a.steps {
			out = out.Or(captures(st.act, port, family))
		}
		return out
	}
	return flow.No
}

func (a *nftNAT) captures(port uint16, family string) flow.Answer {
	if a.family != "" {
		family = a.family
	}
	local := flow.Is(a.kind == natRedirect)
	place := 0
	switch addr := a.addr.(type) {
	case *constExpr:
		local = flow.Is(addr.from.addr(family == "ip6").IsLoopback())
	case *mapExpr:
		local, place = flow.No, 1 // a map's value can be an address and a port
		for _, e := range addr.set.elems {
			local = local.Or(flow.Is(e.value[0].from.addr(family == "ip6").IsLoopback()))
		}
	}
	to := a.port
	if to == nil && place == 1 && len(a.addr.(*mapExpr).set.data) > 1 {
		to = a.addr
	}
	if a.src || to == nil {
		return flow.No
	}
	if to == a.port {
		place = 0
	}
	return local.And(leadsTo(to, port, place))
}

// leadsTo says whether an expression can give a port; of a map, whether a value can, in which
// the port stands at a place.
func leadsTo(e expr, port uint16, place int) flow.Answer {
	is := func(s span) bool { return s.from.lo <= uint64(port) && uint64(port) <= s.to.lo }
	switch e := e.(type) {
	case nil: // as it was dialled
		return flow.No
	case *constExpr:
		return flow.Is(is(e.span))
	case *mapExpr:
		for _, el := range e.set.elems {
			if is(el.value[place]) {
				return flow.Yes
			}
		}
		if e.set.odd {
			return flow.Maybe
		}
		return flow.No
	}
	return flow.Maybe
}
