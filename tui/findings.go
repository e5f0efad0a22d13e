package tui

import (
	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/doctor"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// findingBase tells a finding's number from a connection's and a lane's.
const findingBase = 1 << 21

// findingLines are the doctor's findings, a row each.
func findingLines(list []doctor.Finding) []line {
	var out []line
	for i, f := range list {
		what, _ := render.Finding(f)
		g, ink := findingMark(f.Severity)
		l := text(ink, g+" ").with(style.Faint, f.Severity.String()+" ").with(style.Plain, what)
		l.click = effect{kind: effSelect, n: findingBase + i}
		out = append(out, l)
	}
	return out
}

func findingMark(s doctor.Severity) (string, style.Ink) {
	switch s {
	case doctor.Problem:
		return style.SeenOther, style.Stops
	case doctor.Warning:
		return style.SeenOther, style.Depends
	case doctor.Note:
		return style.SeenNever, style.Faint
	}
	return style.MarkUnknown, style.Depends
}

// findingDialog shows one finding: what it is, the rules that say so, what to do next.
type findingDialog struct{ finding doctor.Finding }

func (d *findingDialog) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	switch k.String() {
	case "c":
		what, next := render.Finding(d.finding)
		return effect{kind: effCopy, text: what + "\n" + next, note: "the finding"}, true
	case "enter":
		for _, e := range d.finding.Evidence {
			return effect{kind: effPlace, place: placeOf(e)}, true
		}
	}
	return effect{}, true
}

func (d *findingDialog) draw(c *canvas, _ *state) {
	const width = 76
	w := min(width, c.w) - 6
	what, next := render.Finding(d.finding)
	g, ink := findingMark(d.finding.Severity)
	lines := para(text(ink, g+" "), style.Strong, what, w)
	for i, e := range d.finding.Evidence {
		if i == 0 {
			lines = append(lines, line{})
		}
		lines = append(lines, para(text(style.Faint, "  "), style.Plain, render.Clean(or(e.Text, e.Ref)), w)...)
	}
	if next != "" {
		lines = append(append(lines, line{}), para(text(style.Key, "next  "), style.Plain, next, w)...)
	}
	in := c.box(width, len(lines)+4, "Finding: "+d.finding.Severity.String())
	c.page(rect{in.x + 1, in.y, in.w - 1, in.h - 2}, 0, lines)
	c.right(in.x+in.w-1, in.y+in.h-1, style.Faint, "enter the rule  c copy  esc closes")
}
