package doctor

import (
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// backEnds says that both iptables back ends hold rules: the kernel runs them all, and
// each tool shows only its own.
func (e *examiner) backEnds() {
	var legacy, nft []string
	var ev []flow.Evidence
	for _, l := range e.book.lines {
		list := &nft
		if l.legacy {
			list = &legacy
		}
		if name := l.family + " " + l.table; !slices.Contains(*list, name) {
			*list = append(*list, name)
			ev = append(ev, l.evidence())
		}
	}
	if len(legacy) > 0 && len(nft) > 0 {
		e.add(BothBackends, Warning, ev, join(legacy), join(nft))
	}
}

// captures says whether a target takes a packet to a local port.
func (l line) redirects() bool {
	return slices.Contains([]string{"REDIRECT", "DNAT", "TPROXY", "redirect", "dnat", "tproxy"}, l.target)
}

// chains finds chains that no hook leads to. Where such a chain captures, and the base
// chain that should lead to it is empty, another tool has emptied that.
func (e *examiner) chains() {
	reached := e.reached()
	for _, c := range e.book.chains {
		if reached[c.place()] || c.rules == 0 || c.base || e.inner(c) {
			continue
		}
		ev := e.rulesOf(c)
		if base := e.emptyBase(c); base != "" && e.leadsToCapture(c, map[string]bool{}) {
			e.add(NatEmptied, Problem, ev, c.place(), base)
			continue
		}
		e.add(Unreachable, Note, ev, c.place())
	}
	e.bare()
}

// bare finds a nat table whose chains are all without rules, though chains of a mesh are
// there: what `iptables -t nat -F` leaves.
func (e *examiner) bare() {
	type key struct {
		legacy        bool
		family, table string
	}
	rules, users := map[key]int{}, map[key]chain{}
	var order []key
	for _, c := range e.book.chains {
		k := key{c.legacy, c.family, c.table}
		if _, seen := rules[k]; !seen {
			order = append(order, k)
		}
		rules[k] += c.rules
		if !c.base && users[k].name == "" {
			users[k] = c
		}
	}
	for _, k := range order {
		if c := users[k]; rules[k] == 0 && c.name != "" && strings.Contains(k.table, "nat") {
			// There is no rule to show: the chain itself is what was left.
			left := []flow.Evidence{{Source: c.source, Ref: c.place(), Text: ":" + c.name}}
			e.add(NatEmptied, Problem, left, c.place(), where(k.legacy, k.family, k.table, "OUTPUT"))
		}
	}
}

// reached are the places that a base chain leads to, itself included.
func (e *examiner) reached() map[string]bool {
	out := map[string]bool{}
	for _, c := range e.book.chains {
		if c.base {
			out[c.place()] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, l := range e.book.lines {
			if to := where(l.legacy, l.family, l.table, l.to); l.to != "" && out[l.place()] && !out[to] {
				out[to], grown = true, true
			}
			for _, c := range e.book.chains { // verdict maps name chains too
				if l.target == "vmap" && out[l.place()] && c.table == l.table && c.family == l.family && !out[c.place()] && (strings.Contains(l.text, `"`+c.name+`"`) || e.book.inMap(c.name)) {
					out[c.place()], grown = true, true
				}
			}
		}
	}
	return out
}

// inner says whether a chain is led to by another unreached one: the first of a tree is
// enough to name.
func (e *examiner) inner(c chain) bool {
	for _, l := range e.book.lines {
		if l.to == c.name && l.table == c.table && l.family == c.family && l.legacy == c.legacy && l.chain != c.name {
			return true
		}
	}
	return false
}

// emptyBase is a base chain without rules in a nat or mangle table of the chain's own.
func (e *examiner) emptyBase(c chain) string {
	for _, b := range e.book.chains {
		if b.base && b.rules == 0 && b.table == c.table && b.family == c.family && b.legacy == c.legacy && (b.hook == "prerouting" || b.hook == "output") {
			return b.place()
		}
	}
	return ""
}

func (e *examiner) leadsToCapture(c chain, seen map[string]bool) bool {
	if seen[c.name] {
		return false
	}
	seen[c.name] = true
	for _, l := range e.book.lines {
		if l.place() != c.place() {
			continue
		}
		if l.redirects() {
			return true
		}
		next := c
		next.name = l.to
		if l.to != "" && e.leadsToCapture(next, seen) {
			return true
		}
	}
	return false
}

func (e *examiner) rulesOf(c chain) []flow.Evidence {
	var ev []flow.Evidence
	for _, l := range e.book.lines {
		if l.place() == c.place() && len(ev) < maxEvidence {
			ev = append(ev, l.evidence())
		}
	}
	return ev
}

// landing asks whether something waits where connections are redirected to.
func (e *examiner) landing() {
	for _, d := range []struct {
		name string
		by   map[bool]probe
	}{{"outbound", e.outbound}, {"inbound", e.inbound}} {
		for _, v6 := range []bool{false, true} {
			p := d.by[v6]
			if !p.captured || !p.known || v6 && !e.hasV6() {
				continue
			}
			if e.snap.Host != nil {
				if _, a := e.snap.Host.Listening(flow.TCP, p.to); a == flow.No {
					e.add(NothingListens, Problem, p.evidence, p.to.String(), d.name)
					continue
				}
			}
			if e.snap.Envoy != nil && e.snap.Envoy.Takes(p.to, flow.TCP) == flow.No {
				e.add(NoListener, Problem, p.evidence, p.to.String(), d.name)
			}
		}
	}
}
