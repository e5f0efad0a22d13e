package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// bannerRows is how many rows the banner takes from the screens.
func (s *state) bannerRows() int { return b2i(s.bannerText() != "") }

// bannerText is what every screen says of a policy that is in force, or was until now; empty:
// nothing. The words come first: no fact of it is told by colour alone.
func (s *state) bannerText() string {
	st := &s.policy
	switch {
	case s.inForce():
		p := st.policy
		what := style.Warning + " " + strings.ToUpper(p.Change.Kind.String()) + " EGRESS"
		switch p.State {
		case flow.StateUnknown:
			what += ": STATE UNKNOWN: " + render.Clean(p.Why)
		case flow.StateTold:
			what += " told of by " + render.Clean(or(p.Record.Where, "its record")) + ": not looked at"
		default:
			what += " in force"
		}
		return what + " · " + s.endsWords(p) + byWords(whose(p))
	case st.ended.Change.Kind != flow.NoPolicy:
		how := "nothing of it is left"
		if st.policy.State == flow.StateExpired {
			how = "an inert table is left: " + s.keyOutside(actUndo) + " takes it away"
		}
		return style.MarkGoes + " " + st.ended.Change.Kind.String() + " has ended: " + how + " · " + s.keyOutside(actBack) + " hides this"
	case st.known && st.policy.State == flow.StateExpired:
		return style.SeenOther + " an expired " + st.policy.Change.Kind.String() + byWords(whose(st.policy)) + " left an inert table: " + s.keyOutside(actUndo) + " takes it away"
	}
	return ""
}

// endsWords say when a policy ends.
func (s *state) endsWords(p flow.Policy) string {
	if p.Change.Permanent {
		return "PERMANENT, ends only by u"
	}
	switch {
	case p.Expires.IsZero():
		return "its end is not known"
	case !s.now.Before(p.Expires):
		return "its time is over"
	}
	return "ends in " + countdown(p.Expires.Sub(s.now))
}

// countdown is a time that is left: "1h05m", "08:41", and seconds alone in the last minute.
func countdown(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	switch {
	case d < time.Minute:
		return itoa(int(d/time.Second)) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%02d:%02d", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

// whose is a policy's change by whom its record says, who is known to the API server; what the
// change itself says of that, its maker chose.
func whose(p flow.Policy) flow.Change {
	c := p.Change
	if p.Record.By != "" {
		c.By = p.Record.By
	}
	return c
}

// byWords say whose a policy is, since when and why.
func byWords(c flow.Change) string {
	out := ""
	if c.By != "" {
		out += " · by " + render.Clean(c.By)
	}
	if !c.Since.IsZero() {
		out += " since " + c.Since.Local().Format("15:04")
	}
	if c.Reason != "" {
		out += " · " + render.Clean(c.Reason)
	}
	return out
}

// banner draws the row below the header.
func banner(c *canvas, s *state) {
	words := s.bannerText()
	if words == "" {
		return
	}
	ink, keys := style.Bar, ""
	if s.inForce() {
		ink = style.Alarm
		if s.canChange() == "" && s.at != requestID { // whose letters are text
			keys = s.keyOutside(actPolicy) + " change  " + s.keyOutside(actExtend) + " extend  " + s.keyOutside(actUndo) + " undo"
		}
	}
	c.wash(rect{0, 1, c.w, 1}, ink)
	room := c.w - 2
	if keys != "" && c.w >= wideFrom {
		room = c.right(c.w-1, 1, ink, keys) - 3
	}
	c.put(1, 1, room, ink, words)
}

// under draws the screens on a canvas without the banner's row, and puts the banner in.
func (c *canvas) under(s *state, draw func(*canvas)) {
	n := s.bannerRows()
	if n == 0 {
		draw(c)
		return
	}
	inner := newCanvas(c.w, c.h-n)
	draw(inner)
	copy(c.cells[:c.w], inner.cells[:c.w])
	copy(c.cells[(1+n)*c.w:], inner.cells[c.w:])
	for _, h := range inner.hits {
		if h.y > 0 {
			h.y += n
		}
		c.hits = append(c.hits, h)
	}
	c.cursor = inner.cursor
	if c.cursor.on && c.cursor.y > 0 {
		c.cursor.y += n
	}
	banner(c, s)
}

// heldLines say who holds what is in force, where others read of it, and what was last noted of
// the pod, by whichever session.
func heldLines(s *state, width int) []line {
	p := s.policy.policy
	if !s.policy.known || !s.inForce() && p.Record.Where == "" && p.Record.Why == "" {
		return nil
	}
	var out []line
	row := func(name string, ink style.Ink, words string) {
		out = append(out, para(text(style.Strong, pad(name, 10)), ink, words, width)...)
	}
	if s.inForce() {
		row("in force", style.Turns, p.Change.Kind.String()+" · "+s.endsWords(p)+byWords(whose(p)))
	}
	if p.Record.Where != "" {
		row("record", style.Plain, render.Clean(p.Record.Where))
	}
	if p.Record.Why != "" {
		row("record", style.Depends, "! "+render.Clean(p.Record.Why))
	}
	for _, n := range p.Record.Log {
		row("event", style.Faint, n.At.Local().Format("15:04")+" "+render.Clean(n.Kind)+": "+render.Clean(n.Text))
	}
	return append(out, line{})
}
