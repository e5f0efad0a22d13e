package tui

import (
	"strings"

	"github.com/meshtop/meshtop/tui/style"
)

// Layout arithmetic stands here and nowhere else.

const (
	minWidth, minHeight = 60, 16 // under this the verdict alone is shown
	wideFrom            = 100    // columns from which panes stand side by side
	tallFrom            = 22     // rows from which the verdict may take more than one
	confirmFrom         = 34     // rows from which what was seen has a pane of its own
	railWidth           = 44     // of the trace's rail, side by side
	podWidth            = 52     // of the overview's pod pane, side by side
)

// rect is an area of the frame.
type rect struct{ x, y, w, h int }

// body is what header and footer leave.
func body(w, h int) rect { return rect{0, 1, w, max(h-2, 0)} }

// top cuts n rows off the top.
func (r rect) top(n int) (head, rest rect) {
	n = min(n, r.h)
	return rect{r.x, r.y, r.w, n}, rect{r.x, r.y + n, r.w, r.h - n}
}

// left cuts n columns off the left and leaves one between for the upright line.
func (r rect) left(n int) (head, rest rect) {
	n = min(n, r.w)
	return rect{r.x, r.y, n, r.h}, rect{r.x + n + 1, r.y, max(r.w-n-1, 0), r.h}
}

// inset leaves one column on each side.
func (r rect) inset() rect { return rect{r.x + 1, r.y, max(r.w-2, 0), r.h} }

// centre is a w by h area in the middle of r, as far as it fits.
func (r rect) centre(w, h int) rect {
	w, h = min(w, r.w), min(h, r.h)
	return rect{r.x + (r.w-w)/2, r.y + (r.h-h)/2, w, h}
}

// pane draws the rule line of a pane: title, then a hint at the right end.
func (c *canvas) pane(r rect, focus bool, title, beside, hint string) {
	if r.h < 1 {
		return
	}
	ink, dim, line := style.Rule, style.Rule, style.LightRule
	if focus {
		ink, dim, line = style.Focus, style.FocusDim, style.HeavyRule
	}
	c.fill(r.x, r.y, r.w, ink, line)
	x := c.put(r.x+1, r.y, r.w-2, ink, " "+title+" ")
	if beside != "" && x+textWidth(beside)+2 < r.x+r.w {
		x = c.put(x, r.y, r.w, dim, beside+" ")
	}
	if hint != "" && x+textWidth(hint)+4 <= r.x+r.w {
		c.put(r.x+r.w-textWidth(hint)-2, r.y, r.w, ink, " "+hint+" ")
	}
}

// upright draws the line between two panes beside r; at its top it meets their rules.
func (c *canvas) upright(x int, r rect) {
	for y := r.y; y < r.y+r.h; y++ {
		g := style.Upright
		if y == r.y {
			g = style.TeeDown
		}
		c.put(x, y, 1, style.Rule, g)
	}
}

// box draws a dialog over the dimmed frame and returns its inside.
func (c *canvas) box(w, h int, title string) rect {
	c.wash(body(c.w, c.h), style.Faint)
	r := body(c.w, c.h).centre(w, h)
	c.clear(r)
	c.fill(r.x, r.y, r.w, style.Frame, style.DoubleH)
	c.fill(r.x, r.y+r.h-1, r.w, style.Frame, style.DoubleH)
	for y := r.y; y < r.y+r.h; y++ {
		c.put(r.x, y, 1, style.Frame, style.DoubleV)
		c.put(r.x+r.w-1, y, 1, style.Frame, style.DoubleV)
	}
	c.put(r.x, r.y, 1, style.Frame, style.DoubleTL)
	c.put(r.x+r.w-1, r.y, 1, style.Frame, style.DoubleTR)
	c.put(r.x, r.y+r.h-1, 1, style.Frame, style.DoubleBL)
	c.put(r.x+r.w-1, r.y+r.h-1, 1, style.Frame, style.DoubleBR)
	c.put(r.x+2, r.y, r.w-4, style.Frame, " "+title+" ")
	return rect{r.x + 2, r.y + 1, max(r.w-4, 0), max(r.h-2, 0)}
}

// full shows the selected row of r whole over the rows at its other end, if it did not fit in room
// columns. at is the row that it stands in.
func (c *canvas) full(r rect, at, room int, l line) {
	if r.w < 4 || r.h < 3 || l.width() <= room {
		return
	}
	rows := para(text(style.Key, style.Cursor+" "), style.Plain, strings.Join(strings.Fields(l.String()), " "), r.w)
	rows = rows[:min(len(rows), r.h/2)]
	y := r.y + r.h - len(rows)
	if at >= y {
		y = r.y
	}
	over := rect{r.x, y, r.w, len(rows)}
	c.clear(over)
	c.page(over, 0, rows)
	c.wash(over, style.Selected) // it is the selected row, and not those that stand there
}

// scroll is the first visible row so that row sel of n is in sight of h rows.
func scroll(first, sel, n, h int) int {
	if sel < first {
		first = sel
	}
	if sel >= first+h {
		first = sel - h + 1
	}
	return max(min(first, n-h), 0)
}
