package tui

import (
	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/tui/style"
)

// wayDialog asks for the value of the last flag of a way on.
type wayDialog struct {
	way   inspect.WayOn
	value field
}

func (d *wayDialog) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	switch k.String() {
	case "esc", "ctrl+c":
		return effect{}, true
	case "enter":
		if d.value.String() == "" {
			return say("write what " + d.way.Asks() + " takes, or esc"), false
		}
		flags := append([]inspect.Flag(nil), d.way.Flags...)
		flags[len(flags)-1].Value = d.value.String()
		return effect{kind: effOpen, flags: flags}, true
	}
	d.value.press(k)
	return effect{}, false
}

func (d *wayDialog) draw(c *canvas, _ *state) {
	const width = 74
	lines := para(line{}, style.Plain, d.way.Text, min(width, c.w)-6)
	in := c.box(width, len(lines)+6, "Open it again by "+d.way.Asks())
	c.page(rect{in.x + 1, in.y, in.w - 1, len(lines)}, 0, lines)
	y := in.y + len(lines) + 1
	x := c.put(in.x+1, y, in.w, style.Key, d.way.Asks()+" ")
	d.value.draw(c, x, y, in.x+in.w-x-1, style.Strong, true)
	c.right(in.x+in.w-1, in.y+in.h-1, style.Faint, "enter opens  esc goes back")
}
