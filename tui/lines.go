package tui

import (
	"strings"

	"github.com/meshtop/meshtop/tui/style"
)

// span is a piece of text in one ink.
type span struct {
	ink  style.Ink
	text string
}

// line is one row of a pane.
type line struct {
	spans []span
	click effect
}

func text(ink style.Ink, s string) line { return line{spans: []span{{ink, s}}} }

// with adds a piece.
func (l line) with(ink style.Ink, s string) line {
	l.spans = append(append([]span(nil), l.spans...), span{ink, s})
	return l
}

// width is how many columns the line takes.
func (l line) width() int {
	w := 0
	for _, s := range l.spans {
		w += textWidth(s.text)
	}
	return w
}

// to pads the line to a column, so that what follows stands in it; at least one blank.
func (l line) to(col int) line {
	if n := col - l.width(); n > 0 {
		return l.with(style.Plain, strings.Repeat(" ", n))
	}
	return l.with(style.Plain, " ")
}

// String is the line without inks.
func (l line) String() string {
	var b strings.Builder
	for _, s := range l.spans {
		b.WriteString(s.text)
	}
	return b.String()
}

// draw writes the line from x on in at most w columns.
func (c *canvas) draw(x, y, w int, l line) {
	end := x + w
	for i, s := range l.spans {
		room := end - x
		if room <= 0 {
			return
		}
		last := i == len(l.spans)-1
		if !last && !fitsIn(s.text, room-1) && rest(l.spans[i+1:]) {
			s.text = cut(s.text+" "+style.Ellipsis, room)
		}
		x = c.put(x, y, room, s.ink, s.text)
	}
	c.spot(end-w, y, w, l.click)
}

// rest says whether spans hold more than blanks.
func rest(spans []span) bool {
	for _, s := range spans {
		if strings.TrimSpace(s.text) != "" {
			return true
		}
	}
	return false
}

// para wraps s under a lead of fixed width: the first line stands behind it, the others
// under their beginning.
func para(lead line, ink style.Ink, s string, width int) []line {
	at := lead.width()
	var out []line
	for i, part := range wrap(s, max(width-at, 8)) {
		if i == 0 {
			out = append(out, lead.with(ink, part))
			continue
		}
		out = append(out, text(style.Plain, strings.Repeat(" ", at)).with(ink, part))
	}
	return out
}

// page is a scrolled view of lines with the first visible one.
func (c *canvas) page(r rect, first int, lines []line) {
	for i := 0; i < r.h && first+i < len(lines); i++ {
		c.draw(r.x, r.y+i, r.w, lines[first+i])
	}
}
