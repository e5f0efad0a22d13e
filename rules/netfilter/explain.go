package netfilter

import "github.com/meshtop/meshtop/rules/flow"

// losers words the rules that were passed over before a step. It keeps the packet as
// those rules saw it.
type losers struct {
	rs     *Ruleset
	packet packet
}

// Explain names a rule that was passed over, the first condition that failed, and what
// the packet has instead.
func (l *losers) Explain(m flow.Miss) flow.Explained {
	c, n := l.rs.rule(m.Index)
	if c == nil {
		return flow.Explained{}
	}
	r := &c.rules[n]
	e := flow.Explained{Ref: c.subject(n), Text: r.words(c.table), Tests: explainTests(r, &l.packet)}
	if int(m.Failed) < len(e.Tests) {
		e.Reason = e.Tests[m.Failed].Reason
	}
	return e
}

// explainTests are a rule's conditions with what a packet answers to each.
func explainTests(r *rule, p *packet) []flow.Test {
	var out []flow.Test
	if len(r.conds) > 0 {
		out = make([]flow.Test, 0, len(r.conds))
	}
	for i := range r.conds {
		out = append(out, explainTest(&r.conds[i], p))
	}
	if s, ok := r.act.(*sequence); ok {
		for i := range s.guards {
			out = append(out, explainTest(&s.guards[i], p))
		}
	}
	return out
}

func explainTest(c *cond, p *packet) flow.Test {
	kind, has := c.fact(p)
	return flow.Test{Text: c.text, Answer: c.ask(p), Reason: flow.Because(kind, c.text, has)}
}
