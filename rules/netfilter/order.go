package netfilter

import (
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// unit is what was registered together at one priority: the chains of one table of
// nf_tables, or those of the legacy back end.
type unit struct {
	name   string // as an option names it
	chains []*chain
}

// units are those of a group, the youngest table of nf_tables first, legacy last. Tables
// are numbered as they are made; when their chains were registered cannot be read.
func (g *group) units() []unit {
	var out []unit
	for _, c := range g.nft {
		if n := len(out); n == 0 || !out[n-1].chains[0].table.is(c.table) {
			out = append(out, unit{name: c.table.family + "/" + c.table.name})
		}
		u := &out[len(out)-1]
		u.chains = append(u.chains, c)
	}
	if len(out) == 1 {
		out[0].name = "nft"
	}
	if len(g.legacy) > 0 {
		out = append(out, unit{"legacy", g.legacy})
	}
	return out
}

// is says that two are one table of the kernel's, which two parts describe.
func (t *table) is(o *table) bool {
	return t == o || t.back != backLegacy && o.back != backLegacy && t.family == o.family && t.name == o.name
}

// ordered runs the chains of an item. Where units meet at one priority, the one that was
// registered last runs first (net/netfilter/core.c, nf_hook_entries_grow): the order is a
// choice where its result tells, else an assumption.
func (w *walk) ordered(it *hookItem, run func([]*chain) verdict) {
	for i := range it.groups {
		units := it.groups[i].units()
		if len(units) > 1 {
			units = w.inOrder(units, run)
		}
		for _, u := range units {
			if v := run(u.chains); v != vAccept || w.ended {
				return
			}
		}
	}
}

// inOrder chooses which unit runs first, among those that make a difference.
func (w *walk) inOrder(units []unit, run func([]*chain) verdict) []unit {
	usual := w.try(units, run)
	firsts := []int{0} // of the options
	ch := flow.Choice{Kind: flow.Unmodelled, Options: []flow.Option{{Value: units[0].name + "-first"}}}
	same := true
	for i := 1; i < len(units); i++ {
		t := w.try(first(units, i), run)
		same = same && slices.Equal(t.hits, usual.hits)
		if usual.open || t.open || !t.alike(&usual) {
			ch.Options = append(ch.Options, flow.Option{Value: units[i].name + "-first"})
			firsts = append(firsts, i)
		}
	}
	c := units[len(units)-1].chains[0]
	if len(ch.Options) == 1 {
		if !same {
			w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhyOrderByAge, c.name)})
		}
		return units
	}
	ch.Ref = w.prefix + "order " + c.table.family + " " + c.table.name + " " + c.name
	n := w.ch.Take(ch)
	w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhyOrder, c.name, ch.Options[n].Value), Flag: pickFlag(ch, n)})
	return first(units, firsts[n])
}

// first puts one unit before the others.
func first(units []unit, i int) []unit {
	if i == 0 {
		return units
	}
	return slices.Concat(units[i:i+1], units[:i], units[i+1:])
}

// trial is how an order of units ends.
type trial struct {
	ended bool
	fate  Fate
	p     packet
	open  bool // something in it is a choice of its own
	hits  []string
}

// try runs units without a trace of it.
func (w *walk) try(units []unit, run func([]*chain) verdict) trial {
	here := *w
	defer func() { *w = here }()
	w.steps, w.misses, w.taken, w.pending, w.asked = nil, nil, 0, nil, nil
	w.ch = &flow.Choices{Pick: here.ch.Pick}
	for _, u := range units {
		if run(u.chains) != vAccept || w.ended {
			break
		}
	}
	t := trial{ended: w.ended, fate: w.fate, p: w.p, open: len(w.ch.Made()) > 0}
	for _, s := range w.steps {
		if s.Reason.Kind != flow.WhyPolicy {
			t.hits = append(t.hits, s.Subject)
		}
	}
	return t
}

// alike says that two orders end alike and by the same rules.
func (t *trial) alike(o *trial) bool {
	return t.ended == o.ended && t.fate == o.fate && t.p == o.p && slices.Equal(slices.Sorted(slices.Values(t.hits)), slices.Sorted(slices.Values(o.hits)))
}
