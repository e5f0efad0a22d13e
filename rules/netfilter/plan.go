package netfilter

import (
	"slices"
	"sort"

	"github.com/meshtop/meshtop/rules/flow"
)

// hookPlan is what runs at a hook for packets of one family, in order of priority over
// all tables of all back ends.
type hookPlan struct{ items []hookItem }

type itemKind uint8

const (
	itemChains itemKind = iota
	itemConntrack
	itemNAT // all nat chains, at one place whatever their priority (nf_nat_core.c)
)

// hookItem is one place of a hook. nft and legacy are the chains of the two registries;
// where several tables hold some at one priority, see ordered.
type hookItem struct {
	kind   itemKind
	prio   int
	groups []group
	meets  string // of nat: a plain chain of another table at its priority; empty: none
}

// group is the chains of one priority.
type group struct {
	prio        int
	nft, legacy []*chain
}

// Priorities of the kernel's own (include/uapi/linux/netfilter_ipv4.h).
const (
	prioConntrack = -200
	prioNATDst    = -100
	prioNATSrc    = 100
)

// plan sorts all base chains into the hooks.
func (rs *Ruleset) plan() {
	for _, v6 := range []bool{false, true} {
		i := famIndex(v6)
		for h := range hooks {
			rs.hooks[i][h] = rs.planHook(h, v6)
		}
		rs.tracked[i] = rs.needsConntrack(v6)
	}
	for _, c := range rs.chains {
		for i := range c.rules {
			if m, ok := c.rules[i].act.(*setConnmark); ok && m.mode != connmarkRestore && c.table.name == "raw" {
				rs.marksTemplates = true
			}
		}
	}
}

func (rs *Ruleset) planHook(h hook, v6 bool) hookPlan {
	var plain, nat []*chain
	hasNAT := false
	for _, c := range rs.chains {
		if !c.base || c.table.dormant == flow.Yes || !c.table.covers(v6) {
			continue
		}
		hasNAT = hasNAT || c.kind == kindNAT
		switch {
		case c.hook != h || len(c.rules) == 0 && c.policy == vAccept:
		case c.kind == kindNAT:
			nat = append(nat, c)
		default:
			plain = append(plain, c)
		}
	}
	var plan hookPlan
	for _, g := range groupByPriority(plain) {
		plan.items = append(plan.items, hookItem{prio: g.prio, groups: []group{g}})
	}
	if h == prerouting || h == output {
		plan.insert(hookItem{kind: itemConntrack, prio: prioConntrack}, false)
	}
	// The first nat chain brings nat to all its hooks: a connection that met none of them
	// at OUTPUT is settled there, and nat does not look at it again when lo hands it back.
	if hasNAT && h != forward {
		prio := prioNATSrc
		if h == prerouting || h == output {
			prio = prioNATDst
		}
		plan.insertNAT(hookItem{kind: itemNAT, prio: prio, groups: groupByPriority(nat)})
	}
	return plan
}

// insert puts an item before or after those of its priority.
func (p *hookPlan) insert(it hookItem, after bool) {
	i := sort.Search(len(p.items), func(i int) bool {
		return p.items[i].prio > it.prio || !after && p.items[i].prio == it.prio
	})
	p.items = slices.Insert(p.items, i, it)
}

// insertNAT puts the nat chains where they were registered: a chain of the same priority
// that is younger than the first nat chain runs before them.
func (p *hookPlan) insertNAT(it hookItem) {
	oldest := [2]uint64{^uint64(0), ^uint64(0)}
	for _, g := range it.groups {
		for _, c := range g.nft {
			if a := age(c); older(a, oldest) {
				oldest = a
			}
		}
	}
	for i := range p.items {
		if p.items[i].prio != it.prio || p.items[i].kind != itemChains {
			continue
		}
		g := &p.items[i].groups[0]
		it.meets = g.meets(it)
		cut := 0
		for cut < len(g.nft) && older(oldest, age(g.nft[cut])) {
			cut++
		}
		if cut > 0 && cut < len(g.nft) {
			rest := hookItem{prio: it.prio, groups: []group{{prio: it.prio, nft: g.nft[cut:], legacy: g.legacy}}}
			g.nft, g.legacy = g.nft[:cut], nil
			p.items = slices.Insert(p.items, i+1, it, rest)
			return
		}
		p.insert(it, cut > 0)
		return
	}
	p.insert(it, false)
}

// meets is the first plain chain of another table than those of nat.
func (g *group) meets(nat hookItem) string {
	for _, c := range slices.Concat(g.nft, g.legacy) {
		for _, n := range nat.groups {
			for _, o := range slices.Concat(n.nft, n.legacy) {
				if !o.table.is(c.table) {
					return c.name
				}
			}
		}
	}
	return ""
}

// age tells when a chain of nf_tables was made: tables are numbered as they are made, and
// chains within a table.
func age(c *chain) [2]uint64 { return [2]uint64{c.table.handle, c.handle} }

func older(a, b [2]uint64) bool { return a[0] < b[0] || a[0] == b[0] && a[1] < b[1] }

// groupByPriority sorts chains by priority; within one, the youngest comes first.
func groupByPriority(chains []*chain) []group {
	sorted := slices.Clone(chains)
	slices.SortStableFunc(sorted, func(a, b *chain) int {
		switch {
		case a.prio != b.prio:
			return a.prio - b.prio
		case older(age(b), age(a)):
			return -1
		case older(age(a), age(b)):
			return 1
		}
		return 0
	})
	var out []group
	for _, c := range sorted {
		if len(out) == 0 || out[len(out)-1].prio != c.prio {
			out = append(out, group{prio: c.prio})
		}
		g := &out[len(out)-1]
		if c.table.back == backLegacy {
			g.legacy = append(g.legacy, c)
		} else {
			g.nft = append(g.nft, c)
		}
	}
	return out
}
