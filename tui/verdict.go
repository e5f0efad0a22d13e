package tui

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// verdictMark is the glyph and ink of a verdict.
func verdictMark(v flow.Verdict) (string, style.Ink) {
	switch v {
	case flow.Delivered, flow.Continue:
		return style.MarkGoes, style.Goes
	case flow.Unknown:
		return style.MarkUnknown, style.Depends
	case flow.Depends:
		return style.MarkDepends, style.Depends
	}
	return style.MarkStops, style.Stops
}

// verdictWords are the verdict's word and what follows it.
func verdictWords(s *state) (v flow.Verdict, word, rest string) {
	sentence := render.Verdict(s.trace)
	v = s.trace.Verdict
	if s.way >= 0 && s.way < len(s.trace.Variants) {
		v = s.trace.Variants[s.way].Verdict
		sentence = render.VariantVerdict(s.trace.Variants[s.way])
	}
	i := strings.IndexAny(sentence, " :,")
	if i < 0 {
		return v, sentence, ""
	}
	return v, sentence[:i], sentence[i:]
}

// verdictLines are the request and its verdict, in one row where both fit, else in as many
// as rows allows. Where room is short still, the request gives
// way, never the verdict's word.
func verdictLines(s *state, width, rows int) []line {
	if !s.traced {
		return []line{text(style.Faint, waitingTrace(s))}
	}
	v, word, rest := verdictWords(s)
	g, ink := verdictMark(v)
	if ink = s.meant(ink); len(s.trace.Intent) > 0 {
		g = style.MarkUnknown
	}
	seen, against := s.seenVerdict()
	if against {
		g, ink, word, rest = style.SeenOther, style.Stops, "PREDICTED "+word+", BUT SEEN OTHERWISE", ""
	}
	if s.way >= 0 {
		rest += " (way " + itoa(s.way+1) + " of " + itoa(len(s.trace.Variants)) + ")"
	}
	if sees := render.Symptom(s.trace.Caller); sees != "" && v == flow.Refused && s.way < 0 {
		rest += " · the caller sees " + sees
	}
	req := render.RequestLine(s.trace.Request)
	room := width - textWidth(word) - 5
	if seen != "" {
		seen = " · " + seen
	}
	if textWidth(req)+textWidth(rest+seen) > room && rows > 1 {
		lead := text(ink, g+" "+word)
		if strings.HasPrefix(rest, " ") {
			lead = lead.with(style.Plain, " ")
		}
		told := para(lead, s.meant(restInk(v)), strings.TrimSpace(rest), width)
		return append([]line{text(style.Plain, cut(req, width-textWidth(seen))).with(style.Plain, seen)}, told[:min(len(told), rows-1)]...)
	}
	rest += seen
	// The request keeps five eighths of the line, or what the verdict leaves.
	keep := max(room-textWidth(rest), room*5/8)
	return []line{text(style.Plain, cut(req, keep)+"  ").with(ink, g+" "+word).with(s.meant(restInk(v)), rest)}
}

// waitingTrace says why there is no verdict.
func waitingTrace(s *state) string {
	if s.busy != nil {
		return "tracing" + style.Ellipsis
	}
	return "no request is traced yet"
}

// restInk is the ink of what follows the word: a refusal is told in its own.
func restInk(v flow.Verdict) style.Ink {
	if v == flow.Refused || v == flow.Dropped || v == flow.Looped {
		return style.Stops
	}
	return style.Plain
}

// variantWords say one way a trace can go.
func variantWords(v flow.Variant) string {
	s := render.VariantVerdict(v)
	word, rest, _ := strings.Cut(s, " ")
	s = strings.ToLower(word) + " " + rest
	switch {
	case v.When != "":
		return "if " + render.Clean(v.When) + ": " + s
	case v.Computable:
		return render.Percent(v.Probability) + " " + s
	}
	return "else " + s
}
