package tui

import (
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
	legend := 4
	if d.markless {
		legend = 0
	}
	h := max(left, right, 1) + 5 + legend
	in := c.box(76, h, d.title)
	x := c.put(in.x+1, in.y, in.w, style.Plain, "type to filter: ")
	d.filter.draw(c, x, in.y, 14, style.Plain, true)
	c.right(in.x+in.w-1, in.y, style.Plain, "enter runs the key, esc closes")
	half := in.w / 2
	c.put(in.x+1, in.y+2, half, style.Strong, "this screen")
	c.put(in.x+half, in.y+2, half, style.Strong, "everywhere")
	bottom := in.y + in.h - legend
	room := bottom - (in.y + 3)
	var at [2]int
	for i, r := range rows {
		side := b2i(r.right)
		y, x := in.y+3+at[side], in.x+side*half
		at[side]++
		if at[side] > room {
			continue
		}
		c.put(x+1, y, 10, style.Key, r.label)
		c.put(x+11, y, half-12, style.Plain, r.help)
		c.spot(x, y, half-1, press(r.act))
		if i == d.sel {
			c.wash(rect{x, y, half - 1, 1}, style.Selected)
		}
	}
	if !d.markless {
		marks(c, rect{in.x, bottom, in.w, legend})
	}
}

// marks is the legend of the two marks of a step.
func marks(c *canvas, r rect) {
	c.draw(r.x+1, r.y+1, r.w-1, text(style.Strong, "marks  ").
		with(style.Goes, style.MarkGoes).with(style.Plain, " goes on  ").
		with(style.Turns, style.MarkTurns).with(style.Plain, " redirected  ").
		with(style.Stops, style.MarkStops).with(style.Plain, " stops  ").
		with(style.Depends, style.MarkDepends).with(style.Plain, " depends  ").
		with(style.Depends, style.MarkUnknown).with(style.Plain, " unknown"))
	c.draw(r.x+1, r.y+2, r.w-1, text(style.Plain, "       ").
		with(style.Goes, style.SeenYes).with(style.Plain, " confirmed  ").
		with(style.Faint, style.SeenNotYet).with(style.Plain, " not seen yet  ").
		with(style.Stops, style.SeenOther).with(style.Plain, " seen otherwise  ").
		with(style.Faint, style.SeenNever).with(style.Plain, " not observable"))
}
