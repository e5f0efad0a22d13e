package netfilter

import (
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// frame is a chain that is being run, and the rule that comes next in it.
type frame struct {
	c *chain
	i int
}

// base runs a base chain to its end: vAccept, vMapped, or a verdict that ended the walk.
func (w *walk) base(c *chain) verdict {
	if c.table.dormant == flow.Maybe && w.asleep(c) {
		return vAccept
	}
	was := w.p
	v := w.run(c)
	switch v {
	case vDrop:
		w.end(FateDropped)
	case vReject:
		w.end(FateRejected)
	case vUnknown:
		w.end(FateUnknown)
	default:
		if c.kind == kindRoute && c.hook == output && (w.p.mark != was.mark || w.p.src != was.src || w.p.dst != was.dst) {
			w.reroute()
		}
		if w.ended {
			return vDrop
		}
	}
	return v
}

// asleep chooses whether a table is dormant whose flags could not be read.
func (w *walk) asleep(c *chain) bool {
	ch := flow.Choice{Ref: w.prefix + "dormant " + c.ref(), Kind: flow.Unmodelled, Options: []flow.Option{{Value: "no"}, {Value: "yes"}}}
	i, why := w.ch.Take(ch), flow.WhyTakenAsNoMatch
	if i == 1 {
		why = flow.WhyTakenAsMatch
	}
	w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(why, "flags dormant of table "+c.table.ref, ""), Flag: pickFlag(ch, i)})
	return i == 1
}

// run runs the rules of a base chain and of those that it jumps to
// (net/ipv4/netfilter/ip_tables.c, ipt_do_table; net/netfilter/nf_tables_core.c, nft_do_chain).
func (w *walk) run(c *chain) verdict {
	var few [16]frame
	stack := append(few[:0], frame{c, 0})
	w.before = w.p
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		n := w.scan(f.c, f.i)
		if n < 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		f.i = n + 1
		o, hit := w.rule(f.c, n)
		if !hit {
			continue
		}
		w.hit(f.c, n, o)
		switch o.verdict {
		case vReturn:
			stack = stack[:len(stack)-1]
		case vGoto, vJump:
			if w.jumps++; w.jumps > maxJumps || inside(stack, o.to) {
				w.add(flow.Step{Stage: flow.Netfilter, Subject: f.c.subject(n), Reason: flow.Because(flow.WhyTooManyJumps)})
				return vUnknown
			}
			if o.verdict == vGoto {
				*f = frame{o.to, 0}
			} else {
				stack = append(stack, frame{o.to, 0})
			}
		case vNext:
		default:
			return o.verdict
		}
	}
	return w.policy(c)
}

// inside says that a chain is being run: a jump to it would go in a circle, which the
// kernel refuses to load (net/ipv4/netfilter/ip_tables.c, mark_source_chains).
func inside(stack []frame, c *chain) bool {
	return slices.ContainsFunc(stack, func(f frame) bool { return f.c == c })
}

// policy ends a base chain whose rules decided nothing.
func (w *walk) policy(c *chain) verdict {
	s := flow.Step{Stage: flow.Netfilter, Subject: c.ref() + " policy", Verdict: flow.Continue, Reason: flow.Because(flow.WhyPolicy, "ACCEPT")}
	s.Evidence = []flow.Evidence{{Source: c.table.part, Ref: s.Subject}}
	switch c.policy {
	case vDrop:
		s.Verdict, s.Reason = flow.Dropped, flow.Because(flow.WhyPolicy, "DROP")
	case vUnknown:
		s.Verdict, s.Reason = flow.Unknown, flow.Because(flow.WhyTargetNotModelled)
	default:
		if len(w.misses) == w.taken {
			return vAccept
		}
	}
	w.add(s)
	return c.policy
}

// scan is the next rule from i on of which no condition fails; -1: there is none. Most of a
// packet's time is spent here.
func (w *walk) scan(c *chain, i int) int {
	w.misses = slices.Grow(w.misses, len(c.rules)-i)
next:
	for ; i < len(c.rules); i++ {
		conds := c.rules[i].conds
		for j := range conds {
			if conds[j].ask(&w.p) == flow.No {
				w.misses = append(w.misses, flow.Miss{Index: c.first + int32(i), Failed: flow.Criterion(j), Near: near(conds[j+1:], &w.p)})
				continue next
			}
		}
		return i
	}
	return -1
}

// near says that no further condition fails. The last one is asked first: rules in long
// chains differ by an address and a port, and share what stands between the two.
func near(conds []cond, p *packet) bool {
	for i := len(conds) - 1; i >= 0; i-- {
		if conds[i].ask(p) == flow.No {
			return false
		}
	}
	return true
}

// rule decides a rule of which no condition fails, and does what it says; hit is false
// when it does not match after all.
func (w *walk) rule(c *chain, n int) (o outcome, hit bool) {
	r := &c.rules[n]
	w.chain, w.at, w.refMade = c, n, ""
	maybe := false
	for i := range r.conds {
		maybe = maybe || r.conds[i].ask(&w.p) == flow.Maybe
	}
	var assumed []flow.Assumption
	if maybe {
		a, failed := w.choose(r)
		if failed >= 0 {
			w.pending = append(w.pending, a)
			w.misses = append(w.misses, flow.Miss{Index: c.first + int32(n), Failed: flow.Criterion(failed)})
			return o, false
		}
		assumed = append(assumed, a)
	}
	w.before = w.p
	o = r.act.do(w)
	if o.verdict == vBreak {
		w.misses = append(w.misses, flow.Miss{Index: c.first + int32(n), Failed: flow.Criterion(len(r.conds) + o.failed), Near: true})
		return o, false
	}
	o.assumed = append(assumed, o.assumed...)
	return o, true
}

// choose decides a rule that hangs on something the snapshot does not say; failed is the
// condition that then does not hold, or -1.
func (w *walk) choose(r *rule) (a flow.Assumption, failed int) {
	ch := flow.Choice{Ref: w.ref(), Kind: flow.Unmodelled, Options: []flow.Option{{Value: "match"}, {Value: "no-match"}}}
	open := 0
	for i := range r.conds {
		if r.conds[i].ask(&w.p) != flow.Maybe {
			continue
		}
		if open++; open > 1 {
			ch.Kind, ch.Options = flow.Unmodelled, []flow.Option{{Value: "match"}, {Value: "no-match"}}
			break
		}
		failed = i
		if c, ok := r.conds[i].test.(chance); ok {
			ch.Kind, ch.Options = c.options(&w.p)
		}
	}
	i := w.ch.Take(ch)
	kind, _ := r.conds[failed].fact(&w.p)
	why := flow.WhyTakenAsMatch
	if i == 1 {
		why = flow.WhyTakenAsNoMatch
	}
	a = flow.Assumption{Reason: flow.Because(why, r.conds[failed].text, chanceWord(kind)), Flag: pickFlag(ch, i)}
	if i == 0 {
		failed = -1
	}
	return a, failed
}

// chanceWord says in a word what leaves a condition open.
func chanceWord(k flow.ReasonKind) string {
	switch k {
	case flow.WhyDrawDecides:
		return "chance"
	case flow.WhyStateDecides:
		return "state"
	}
	return ""
}

// pickFlag says how to take the next option instead of the one taken.
func pickFlag(ch flow.Choice, taken int) string {
	other := ch.Options[(taken+1)%len(ch.Options)].Value
	return "--pick \"" + ch.Ref + "\"=" + other
}

// hit records a rule that matched.
func (w *walk) hit(c *chain, n int, o outcome) {
	r := &c.rules[n]
	s := flow.Step{Stage: flow.Netfilter, Subject: c.subject(n), Verdict: flow.Continue, Reason: o.why, Assumed: o.assumed}
	switch o.verdict {
	case vDrop:
		s.Verdict = flow.Dropped
	case vReject:
		s.Verdict = flow.Refused
	case vUnknown:
		s.Verdict = flow.Unknown
	}
	s.Evidence = []flow.Evidence{{Source: c.table.part, Ref: s.Subject, Text: r.text}}
	if r.isNFT() {
		s.Evidence[0].Source = "nft.json"
	}
	s.Tests = explainTests(r, &w.before)
	w.add(s)
}
