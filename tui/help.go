package tui

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/tui/style"
)

// helpDialog shows the key map of the screen: the same rows that decide what keys do. It
// is filtered by typing, and enter runs the chosen key.
type helpDialog struct {
	title        string
	here, always []binding
	filter       field
	sel          int
	moved        bool // the last key moved the selection: the terminal's cursor is on its row
	markless     bool // the screen has no steps, and so no marks
}

// helpRow is one row with its column.
type helpRow struct {
	binding
	right bool
}

func (d *helpDialog) rows() []helpRow {
	words := strings.Fields(d.filter.String())
	var out []helpRow
	for i, list := range [][]binding{d.here, d.always} {
		for _, b := range list {
			if b.help != "" && holds(b.label+" "+b.help, words) {
				out = append(out, helpRow{b, i == 1})
			}
		}
	}
	return out
}

func (d *helpDialog) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	rows := d.rows()
	d.moved = slices.Contains([]string{"down", "tab", "up", "shift+tab"}, k.String())
	switch k.String() {
	case "esc", "f1", "ctrl+c":
		return effect{}, true
	case "enter":
		if d.sel < len(rows) {
			return press(rows[d.sel].act), true
		}
		return effect{}, true
	case "down", "tab":
		d.sel = min(d.sel+1, max(len(rows)-1, 0))
	case "up", "shift+tab":
		d.sel = max(d.sel-1, 0)
	default:
		if d.filter.press(k) {
			d.sel = 0
		}
	}
	return effect{}, false
}

func (d *helpDialog) draw(c *canvas, _ *state) {
	rows := d.rows()
	var left, right int
	for _, r := range rows {
		if r.right {
			right++
		} else {
			left++
		}
	}
	legend, gap := 4, 2
	if d.markless {
		legend = 0
	}
	h := max(left, right, 1) + 3 + gap + legend
	if h > c.h-2 { // the blank rows give way first
		legend, gap, h = max(legend-2, 0), 1, h-1
	}
	in := c.box(76, h, d.title)
	x := c.put(in.x+1, in.y, in.w, style.Plain, "type to filter: ")
	d.filter.draw(c, x, in.y, 14, style.Plain, true)
	c.right(in.x+in.w-1, in.y, style.Plain, "enter runs the key, esc closes")
	half := in.w / 2
	c.put(in.x+1, in.y+gap, half, style.Strong, "this screen")
	c.put(in.x+half, in.y+gap, half, style.Strong, "everywhere")
	bottom := in.y + in.h - legend
	d.column(c, rect{in.x, in.y + gap + 1, half, bottom - in.y - gap - 1}, rows, false)
	d.column(c, rect{in.x + half, in.y + gap + 1, half, bottom - in.y - gap - 1}, rows, true)
	if !d.markless {
		marks(c, rect{in.x, bottom + b2i(legend > 2), in.w, legend})
	}
}

// column draws the rows of one side, so that the selected one is in sight.
func (d *helpDialog) column(c *canvas, r rect, rows []helpRow, right bool) {
	var mine []int // of rows
	sel := 0
	for i, row := range rows {
		if row.right == right {
			if i <= d.sel {
				sel = len(mine)
			}
			mine = append(mine, i)
		}
	}
	first := scroll(0, sel, len(mine), r.h-b2i(len(mine) > r.h))
	for k := first; k < len(mine) && k-first < r.h; k++ {
		row, y := rows[mine[k]], r.y+k-first
		if more := len(mine) - k; k-first == r.h-1 && more > 1 {
			c.put(r.x+1, y, r.w-2, style.Faint, style.Ellipsis+" and "+itoa(more)+" more: ↓ shows them, or type")
			return
		}
		c.put(r.x+1, y, 10, style.Key, row.label)
		c.put(r.x+11, y, r.w-12, style.Plain, row.help)
		c.spot(r.x, y, r.w-1, press(row.act))
		if mine[k] == d.sel {
			c.wash(rect{r.x, y, r.w - 1, 1}, style.Selected)
			if d.moved {
				c.cursor.x, c.cursor.y, c.cursor.text = r.x, y, false
			}
		}
	}
}

// marks is the legend of the two marks of a step.
func marks(c *canvas, r rect) {
	c.draw(r.x+1, r.y, r.w-1, text(style.Strong, "marks  ").
		with(style.Goes, style.MarkGoes).with(style.Plain, " goes on  ").
		with(style.Turns, style.MarkTurns).with(style.Plain, " redirected  ").
		with(style.Stops, style.MarkStops).with(style.Plain, " stops  ").
		with(style.Depends, style.MarkDepends).with(style.Plain, " depends  ").
		with(style.Depends, style.MarkUnknown).with(style.Plain, " unknown"))
	c.draw(r.x+1, r.y+1, r.w-1, text(style.Plain, "       ").
		with(style.Goes, style.SeenYes).with(style.Plain, " confirmed  ").
		with(style.Faint, style.SeenNotYet).with(style.Plain, " not seen yet  ").
		with(style.Stops, style.SeenOther).with(style.Plain, " seen otherwise  ").
		with(style.Faint, style.SeenNever).with(style.Plain, " not observable"))
}
