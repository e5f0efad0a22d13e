package tui

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// mark is a step's first mark: what was predicted, as glyph, ink and word.
func mark(st flow.Step) (glyph string, ink style.Ink) {
	switch render.Mark(st) {
	case "ok", "delivered":
		return style.MarkGoes, style.Goes
	case "redirected", "handed over":
		return style.MarkTurns, style.Turns
	case "depends":
		return style.MarkDepends, style.Depends
	case "unknown":
		return style.MarkUnknown, style.Depends
	}
	return style.MarkStops, style.Stops
}

// meant is the ink of what may be no fact: by intent nothing is shown as one.
func (s *state) meant(ink style.Ink) style.Ink { return meant(s.trace, ink) }

func meant(t flow.Trace, ink style.Ink) style.Ink {
	if len(t.Intent) > 0 {
		return style.Depends
	}
	return ink
}

// evidence is what the evidence pane shows of step n, in lines of width columns.
func evidence(s *state, leg flow.Leg, st flow.Step, n, width int, all bool) pieces {
	const many = 200
	head := evidenceHead(s, leg, st, width)
	tail := func() []line {
		return append(append(assumed(st, width), s.seenLines(n, width)...), sources(s, st, width)...)
	}
	if all && st.Explain != nil && len(st.Passed) > many {
		losers, last := manyLosers(st, width)
		return losers.around(head, append(last, tail()...))
	}
	list, more := render.Candidates(st, all)
	out := append(head, candidates(st, list, width)...)
	if more > 0 {
		out = append(out, text(style.Faint, "   and "+itoa(more)+" more passed over · "+s.key(actAll)+" shows them"))
	}
	return linesOf(append(out, tail()...))
}

// manyLosers are the losers of a step that has very many, and what follows them: the winner,
// and how many losers are not kept.
func manyLosers(st flow.Step, width int) (losers pieces, last []line) {
	w, won := render.Winner(st)
	first, end := render.Passed(st, 0), render.Passed(st, len(st.Passed)-1)
	num := max(len(end.Num), len(w.Num), 1)
	packets := max(len(first.Packets), len(end.Packets), len(w.Packets))
	if packets > 0 {
		packets = max(packets, 8) // the others are not looked at before they are shown
	}
	if more := st.PassedTotal - len(st.Passed); more > 0 {
		last = append(last, text(style.Faint, "   and "+itoa(more)+" more passed over"))
	}
	if won {
		last = append(last, candidate(w, num, packets, width)...)
	}
	return pieces{len(st.Passed), func(i int) []line { return candidate(render.Passed(st, i), num, packets, width) }}, last
}

func evidenceHead(s *state, leg flow.Leg, st flow.Step, width int) []line {
	head := render.StageWord(st.Stage)
	if st.Subject != "" {
		head += " " + render.Clean(st.Subject)
	}
	if n := max(st.PassedTotal, len(st.Passed)); n > 0 {
		head += " · " + itoa(n) + " passed over before"
	}
	out := para(line{}, style.Plain, head, width)
	if why := render.Reason(st.Reason); why != "" && st.Stage != flow.Netfilter {
		g, ink := mark(st)
		out = append(out, most(para(text(s.meant(ink), g+" "), style.Strong, why, width), 4)...)
	}
	for _, f := range st.Facts {
		out = append(out, most(para(text(style.Plain, "  "), style.Plain, render.Reason(f), width), 4)...)
	}
	if st.Origin != "" {
		out = append(out, para(text(style.Faint, "made by "), style.Plain, render.Clean(st.Origin), width)...)
	}
	if len(st.Tests) > 0 || st.Explain != nil || st.Stage == flow.Netfilter {
		out = append(out, line{})
	}
	return out
}

// most cuts a long sentence, such as one that quotes a script: its source follows below.
func most(lines []line, n int) []line {
	if len(lines) <= n {
		return lines
	}
	return append(lines[:n:n], text(style.Faint, "  "+style.Ellipsis))
}

// candidates are the losers and the winner, each with its tests ticked off.
func candidates(st flow.Step, list []render.Candidate, width int) []line {
	if len(list) == 0 || (len(list) == 1 && len(list[0].Tests) == 0 && st.Stage != flow.Netfilter) {
		return nil
	}
	if table := chainTable(list, width); table != nil {
		return table
	}
	num := 1
	packets := 0
	for _, c := range list {
		num, packets = max(num, len(c.Num)), max(packets, len(c.Packets))
	}
	var out []line
	for _, c := range list {
		out = append(out, candidate(c, num, packets, width)...)
	}
	return out
}

const resultWidth = 10 // of the column that says "no match", "near miss" or "MATCH"

func candidate(c render.Candidate, num, packets, width int) []line {
	lead := text(style.Stops, style.MarkStops+" ")
	ink, result, rink := style.Plain, "no match", style.Plain
	switch {
	case c.Won:
		lead, ink, result, rink = text(style.Goes, style.Winner+" "), style.Strong, "MATCH", style.Strong
	case c.Near:
		result, rink = "near miss", style.Depends
	}
	lead = lead.with(ink, strings.Repeat(" ", num-len(c.Num))+c.Num+"  ")
	tail := resultWidth
	if packets > 0 {
		tail += packets + 7
	}
	room := max(width-lead.width()-tail-1, 16)
	var out []line
	for i, part := range wrap(c.Text, room) {
		l := lead
		if i > 0 {
			l = text(style.Plain, strings.Repeat(" ", lead.width()+2))
		}
		l = l.with(ink, part)
		if i == 0 {
			l = l.to(width - tail)
			if packets > 0 {
				l = l.with(style.Faint, right(c.Packets, packets)+" pkts  ")
			}
			l = l.with(rink, result)
		}
		out = append(out, l)
	}
	return append(out, tests(c, lead.width(), width)...)
}

// tests tick off the conditions of a candidate; then its reason where no test says it.
func tests(c render.Candidate, indent, width int) []line {
	var out []line
	lead := strings.Repeat(" ", indent+2)
	col := 0
	for _, t := range c.Tests {
		col = max(col, textWidth(t.Text))
	}
	col = min(col, max(width/3, 20))
	said := false
	for _, t := range c.Tests {
		g, ink := style.MarkGoes, style.Goes
		switch t.Answer {
		case flow.No:
			g, ink = style.MarkStops, style.Stops
		case flow.Maybe:
			g, ink = style.MarkUnknown, style.Depends
		}
		said = said || (t.Why != "" && strings.HasSuffix(c.Why, t.Why))
		l := text(style.Plain, lead).with(ink, g+" ").with(style.Plain, pad(t.Text, col)+"  ")
		out = append(out, para(l, style.Plain, t.Why, width)...)
	}
	if c.Why == "" || said || strings.HasSuffix(c.Why, c.Text) {
		return out
	}
	g, ink := style.MarkStops, style.Stops
	if c.Won {
		g, ink = style.MarkTurns, style.Turns
	} else if c.Near {
		ink = style.Depends
	}
	return append(out, para(text(style.Plain, lead).with(ink, g+" "), style.Plain, c.Why, width)...)
}

func assumed(st flow.Step, width int) []line {
	var out []line
	for _, a := range st.Assumed {
		if len(out) == 0 {
			out = append(out, line{})
		}
		out = append(out, para(text(style.Depends, style.MarkDepends+" assumed  "), style.Plain, render.Reason(a.Reason), width)...)
		if a.Flag != "" {
			out = append(out, para(text(style.Faint, "           change it: "), style.Faint, render.Clean(a.Flag), width)...)
		}
	}
	return out
}

// sources say where the facts were read, when, and show the raw text.
func sources(s *state, st flow.Step, width int) []line {
	var out []line
	for _, e := range st.Evidence {
		out = append(out, line{})
		where := render.Clean(e.Source)
		if e.Ref != "" && e.Ref != st.Subject {
			where += " " + render.Clean(e.Ref)
		}
		if age := s.age(); age != "" {
			where += " · " + age
		}
		out = append(out, para(text(style.Faint, "source  "), style.Faint, where, width)...)
		out = append(out, raw(e.Text, width, s.key(actOpen))...)
	}
	return out
}

// raw is the text of an evidence as it stands in its source; JSON is indented.
func raw(s string, width int, opens string) []line {
	const most = 200
	var b bytes.Buffer
	if t := strings.TrimSpace(s); t != "" && (t[0] == '{' || t[0] == '[') && json.Indent(&b, []byte(t), "", "  ") == nil {
		s = b.String()
	}
	s = strings.TrimRight(render.CleanLines(s), "\n")
	if s == "" {
		return nil
	}
	var out []line
	for i, l := range render.Dedent(strings.Split(s, "\n")) {
		if i == most {
			return append(out, text(style.Faint, "        "+style.Ellipsis+" "+opens+" shows all"))
		}
		for _, part := range hard(l, max(width-8, 8)) {
			out = append(out, text(style.Faint, "        "+part))
		}
	}
	return out
}

// hard cuts a line of raw text into pieces of at most width columns.
func hard(s string, width int) []string {
	var out []string
	for len(out) < 20 && !fitsIn(s, width) {
		head, tail := split(s, width)
		out, s = append(out, head), tail
	}
	return append(out, s)
}

func right(s string, width int) string {
	if n := width - textWidth(s); n > 0 {
		return strings.Repeat(" ", n) + s
	}
	return s
}
