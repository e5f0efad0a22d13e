package kernel

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/netfilter"
)

// Shrink takes away from a rule set and a packet what the disagreement does not need:
// tables, chains, rules, clauses, then the packet's oddities. bad tells whether a smaller
// one still disagrees; it is asked at most limit times.
func Shrink(s Set, p netfilter.Packet, limit int, bad func(Set, netfilter.Packet) bool) (Set, netfilter.Packet) {
	k := &shrinker{set: s, packet: p, left: limit, bad: bad}
	for again := true; again && k.left > 0; {
		again = false
		for _, cut := range []func() bool{k.tables, k.chains, k.rules, k.decls, k.clauses, k.switches, k.plain} {
			again = cut() || again
		}
	}
	return k.set, k.packet
}

type shrinker struct {
	set    Set
	packet netfilter.Packet
	left   int
	bad    func(Set, netfilter.Packet) bool
}

// try keeps a smaller set if it still disagrees.
func (k *shrinker) try(change func(*Set)) bool {
	if k.left <= 0 {
		return false
	}
	k.left--
	s := k.set.clone()
	change(&s)
	if !k.bad(s, k.packet) {
		return false
	}
	k.set = s
	return true
}

func cut[T any](list []T, from, to int) []T { return append(list[:from:from], list[to:]...) }

func (k *shrinker) tables() (any bool) {
	for i := len(k.set.Tables) - 1; i >= 0; i-- {
		any = k.try(func(s *Set) { s.Tables = cut(s.Tables, i, i+1) }) || any
	}
	return any
}

func (k *shrinker) chains() (any bool) {
	for t := range k.set.Tables {
		for i := len(k.set.Tables[t].Chains) - 1; i >= 0; i-- {
			any = k.try(func(s *Set) { s.Tables[t].Chains = cut(s.Tables[t].Chains, i, i+1) }) || any
		}
	}
	return any
}

// rules takes away runs of rules, halves first.
func (k *shrinker) rules() (any bool) {
	for t := range k.set.Tables {
		for c := range k.set.Tables[t].Chains {
			for size := len(k.set.Tables[t].Chains[c].Rules); size > 0; size /= 2 {
				for i := len(k.set.Tables[t].Chains[c].Rules) - size; i >= 0; i -= size {
					any = k.try(func(s *Set) { r := &s.Tables[t].Chains[c].Rules; *r = cut(*r, i, i+size) }) || any
				}
			}
		}
	}
	return any
}

func (k *shrinker) decls() (any bool) {
	for t := range k.set.Tables {
		for i := len(k.set.Tables[t].Decls) - 1; i >= 0; i-- {
			any = k.try(func(s *Set) { s.Tables[t].Decls = cut(s.Tables[t].Decls, i, i+1) }) || any
		}
	}
	return any
}

func (k *shrinker) clauses() (any bool) {
	for t := range k.set.Tables {
		for c := range k.set.Tables[t].Chains {
			for r := range k.set.Tables[t].Chains[c].Rules {
				for i := len(k.set.Tables[t].Chains[c].Rules[r]) - 1; i >= 0; i-- {
					any = k.try(func(s *Set) { x := &s.Tables[t].Chains[c].Rules[r]; *x = cut(*x, i, i+1) }) || any
				}
			}
		}
	}
	return any
}

func (k *shrinker) switches() (any bool) {
	if k.set.Forward {
		any = k.try(func(s *Set) { s.Forward = false }) || any
	}
	if k.set.LocalNet {
		any = k.try(func(s *Set) { s.LocalNet = false }) || any
	}
	if k.set.RPFilter != 0 {
		any = k.try(func(s *Set) { s.RPFilter = 0 }) || any
	}
	if k.set.IPSet != nil {
		any = k.try(func(s *Set) { s.IPSet = nil }) || any
	}
	return any
}

// plain makes the packet as usual as it can be.
func (k *shrinker) plain() (any bool) {
	for _, change := range []func(*netfilter.Packet){
		func(p *netfilter.Packet) { p.Mark = 0 },
		func(p *netfilter.Packet) { p.UID, p.GID = 0, 0 },
		func(p *netfilter.Packet) { p.GID = p.UID },
		func(p *netfilter.Packet) { p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 80) },
		func(p *netfilter.Packet) {
			if p.Src.Addr().IsUnspecified() {
				return
			}
			if any := netip.IPv6Unspecified(); p.Src.Addr().Is6() && p.In == "" {
				p.Src = netip.AddrPortFrom(any, p.Src.Port())
			} else if p.In == "" {
				p.Src = netip.AddrPortFrom(netip.IPv4Unspecified(), p.Src.Port())
			}
		},
	} {
		p := k.packet
		change(&p)
		if p == k.packet || k.left <= 0 {
			continue
		}
		if k.left--; k.bad(k.set, p) {
			k.packet, any = p, true
		}
	}
	return any
}
