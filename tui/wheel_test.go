package tui

import (
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// The wheel scrolls the pane under the pointer and no other, whichever has the keys.
func TestWheelScrollsThePaneUnderIt(t *testing.T) {
	for _, sz := range [][2]int{{80, 24}, {140, 40}} {
		for _, banner := range []bool{false, true} {
			wheelIn(t, sz[0], sz[1], banner)
		}
	}
}

func wheelIn(t *testing.T, w, h int, banner bool) {
	opt, _ := gated(t)
	d := drive(t, opt, w, h)
	if banner {
		d.keys("p", "enter", "y", "enter", "enter")
		d.has("⚠ BLOCK-ALL")
	}
	state := func() string {
		m := d.m
		return fmt.Sprint("trace ", m.trace.sel, " ", m.trace.first.at, ":", m.trace.first.off, " lane ", m.over.lane, " conn ", m.over.sel, " field ", m.form.sel, " preset ", m.form.preset, " choice ", m.live.choice, " step ", m.live.step, " line ", m.config.sel)
	}
	spin := func(r rect, up bool) {
		b := tea.MouseWheelDown
		if up {
			b = tea.MouseWheelUp
		}
		d.send(tea.MouseWheelMsg{X: r.x + r.w/2, Y: r.y + r.h/2 + b2i(banner), Button: b})
	}
	for _, c := range []struct {
		keys string
		at   func() rect
		want string // what moves
	}{
		{"3 g", func() rect { return d.m.trace.areas(d.m.s.w, d.m.s.h, &d.m.s).rail }, "trace 1 0:0"},
		{"3 g s", func() rect { return d.m.trace.areas(d.m.s.w, d.m.s.h, &d.m.s).evidence }, "trace 2 "},
		{"1", func() rect { return d.m.over.areas(d.m.s.w, d.m.s.h, &d.m.s).lanes }, "lane 1"},
		{"2", func() rect { _, r := d.m.form.areas(d.m.s.w, d.m.s.h); return r }, "preset "},
		{"2", func() rect { l, _ := d.m.form.areas(d.m.s.w, d.m.s.h); return l }, "field "},
		{"5", func() rect { return d.m.live.areas(&d.m.s).steps }, "step 1"},
		{"3 enter", func() rect { return rect{0, 5, 80, 5} }, "line "},
	} {
		d.keys("esc")
		d.keys(strings.Fields(c.keys)...)
		r := c.at()
		if r.h < 2 || c.want == "trace 2 " && d.m.trace.text.last(r.h-1) == (roll{}) {
			continue // there is no such pane at this size, or all of it is in sight
		}
		before := state()
		spin(r, false)
		after := state()
		name := fmt.Sprintf("%dx%d banner %v, %s, %v", w, h, banner, c.keys, r)
		changed := 0
		was, is := strings.Fields(before), strings.Fields(after)
		for i := range was {
			if was[i] != is[i] {
				changed++
			}
		}
		if changed != 1 || !strings.Contains(after, c.want) {
			t.Errorf("%s: %s, then %s", name, before, after)
		}
		spin(r, true)
		if back := state(); back != before {
			t.Errorf("%s: down and up is %s, was %s", name, back, before)
		}
		d.exact(name)
		d.keys("esc")
	}
}
