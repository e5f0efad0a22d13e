package render

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Candidate is one rule, chain, route or endpoint that a step looked at, in words.
type Candidate struct {
	Num     string // its number among its like; empty where it has none
	Text    string // what it asks for, or its name
	Packets string // its counter where the source holds one
	Won     bool
	Near    bool   // passed over for exactly one test
	Why     string // the first test that failed, or what the winner did
	Tests   []TestLine
	Miss    flow.Miss // valid iff not Won
}

// TestLine is one condition of a candidate in words.
type TestLine struct {
	Text   string
	Why    string
	Answer flow.Answer
	// Of a filter chain's criteria: the field, what the chain wants and what the
	// connection has, so that they can stand in columns. Field is empty elsewhere.
	Field, Want, Has string
}

// Candidates are the losers of a step in the order in which they were tried, then its
// winner. Without all, losers that are no near misses are cut after the first few, and near
// misses after the first hundreds; more is how many were left out.
func Candidates(st flow.Step, all bool) (list []Candidate, more int) {
	const few, many = 8, 200
	if st.Explain != nil {
		others, near := 0, 0
		for i, m := range st.Passed {
			if m.Near {
				near++
			} else {
				others++
			}
			if !all && (!m.Near && others > few || m.Near && near > many) {
				continue
			}
			list = append(list, Passed(st, i))
		}
	}
	more = max(st.PassedTotal, len(st.Passed)) - len(list)
	if w, ok := Winner(st); ok {
		list = append(list, w)
	}
	return list, more
}

// Passed is loser i of a step that can explain its losers.
func Passed(st flow.Step, i int) Candidate { return loser(st, st.Passed[i]) }

// Winner is the candidate that a step chose; false: it failed to choose.
func Winner(st flow.Step) (Candidate, bool) {
	if !hasWinner(st) {
		return Candidate{}, false
	}
	w := Candidate{Won: true, Tests: testLines(st.Tests)}
	if st.Stage == flow.Netfilter {
		w.Why = Reason(st.Reason)
		_, w.Num = rule(st.Subject)
		w.Num = strings.TrimPrefix(w.Num, "#")
		if len(st.Evidence) > 0 {
			w.Packets, w.Text = RuleText(st.Evidence[0].Text)
		}
	}
	switch {
	case w.Text != "":
	case st.Stage == flow.Route:
		w.Text = strings.TrimSpace(Clean(st.Subject) + " " + joinTests(w.Tests))
	default:
		w.Text = or(joinTests(w.Tests), Clean(st.Subject))
	}
	return w, true
}

// hasWinner says whether the step chose something: a stop without any test is the
// failure to choose.
func hasWinner(st flow.Step) bool {
	return len(st.Tests) > 0 || st.Verdict == flow.Continue || st.Stage == flow.Netfilter
}

func loser(st flow.Step, m flow.Miss) Candidate {
	e := st.Explain.Explain(m)
	c := Candidate{Near: m.Near, Why: Reason(e.Reason), Tests: testLines(e.Tests), Miss: m}
	if st.Stage == flow.Netfilter {
		_, c.Num = rule(e.Ref)
		c.Num = strings.TrimPrefix(c.Num, "#")
		c.Packets, c.Text = RuleText(e.Text)
	} else if raw := strings.TrimSpace(e.Text); raw != "" && raw[0] != '{' && raw[0] != '[' && !strings.Contains(raw, "\n") {
		c.Text = Clean(raw)
	}
	switch {
	case c.Text != "":
	case e.Kind == flow.Route:
		c.Text = strings.TrimSpace(Clean(e.Name) + " " + joinTests(c.Tests))
	default:
		c.Text = or(joinTests(c.Tests), Clean(e.Ref))
	}
	return c
}

// Loser is a candidate that was passed over, by name, with what it wanted and what it got.
func Loser(e flow.Explained) string {
	return loserName(e) + after(": ", loserWhy(e))
}

func loserName(e flow.Explained) string {
	if e.Kind == flow.StageNone {
		return Clean(e.Ref)
	}
	return StageWord(e.Kind) + " " + Clean(or(e.Name, "without a name")) + after(" of virtual host ", Clean(e.Of))
}

func loserWhy(e flow.Explained) string {
	if e.Wanted == "" {
		return Reason(e.Reason)
	}
	return Clean(e.Wanted) + " is wanted, " + Reason(e.Reason)
}

func testLines(tests []flow.Test) []TestLine {
	var out []TestLine
	for _, t := range tests {
		// A condition stands in its own column: not again in what the request has.
		text := Clean(t.Text)
		l := TestLine{Text: text, Why: strings.TrimPrefix(Reason(t.Reason), text+": "), Answer: t.Answer}
		if t.Reason.Kind == flow.WhyConnectionHas {
			l.Field, l.Want, _ = strings.Cut(text, " ")
			l.Field, l.Has = chainField(l.Field), Clean(t.Reason.Args[0])
		}
		out = append(out, l)
	}
	return out
}

func joinTests(tests []TestLine) string {
	var parts []string
	for _, t := range tests {
		parts = append(parts, t.Text)
	}
	return strings.Join(parts, " and ")
}

// RuleText takes a rule apart as iptables-save -c prints it, [PACKETS:BYTES] -A CHAIN
// TESTS: its packet counter and what follows the chain.
func RuleText(line string) (packets, text string) {
	text = strings.TrimSpace(line)
	if counters, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(counters, "[") {
		packets, _, _ = strings.Cut(counters[1:], ":")
		text = rest
	}
	if rest, ok := strings.CutPrefix(text, "-A "); ok {
		if _, tests, ok := strings.Cut(rest, " "); ok {
			text = tests
		}
	}
	return Clean(packets), Clean(text)
}

// chainField is a field of FilterChainMatch (config.listener.v3) as a column's head.
func chainField(f string) string {
	switch f {
	case "destination_port":
		return "dst port"
	case "prefix_ranges":
		return "dst ip"
	case "server_names":
		return "SNI"
	case "transport_protocol":
		return "transport"
	case "application_protocols":
		return "ALPN"
	case "direct_source_prefix_ranges":
		return "direct src"
	case "source_type":
		return "src type"
	case "source_prefix_ranges":
		return "src ip"
	case "source_ports":
		return "src port"
	}
	return f
}
