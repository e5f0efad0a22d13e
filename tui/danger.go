package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// danger says whether the target's context is one that the user marked as dangerous.
func (s *state) danger() bool { return s.opt.Danger != nil && s.opt.Danger(s.opt.Context) }

// alarm is the part of a header that names a dangerous context: in words, for no fact is told by
// colour alone. It returns the column after it; in other contexts x.
func alarm(c *canvas, x, end int, marked func(string) bool, context string) int {
	if marked == nil || context == "" || !marked(context) {
		return x
	}
	words := " DANGER " + cut(render.Clean(context), max((end-x)/3, 8)) + " "
	return c.put(x, 0, end-x, style.Alarm, words) + 1
}

// typedDialog asks for the pod's name before something is done in a dangerous context for which
// a key is enough elsewhere.
type typedDialog struct {
	what string
	does effect
	name field
}

func (d *typedDialog) press(k tea.KeyPressMsg, s *state) (effect, bool) {
	switch k.String() {
	case "esc", "ctrl+c":
		return effect{}, true
	case "enter":
		if name := s.opt.Source.Egress.Name; strings.TrimSpace(d.name.String()) != name {
			return say("type " + render.Clean(name) + ": " + d.saidWhere(s)), false
		}
		return d.does, true
	}
	d.name.press(k)
	return effect{}, false
}

func (d *typedDialog) saidWhere(s *state) string {
	return "the context " + render.Clean(s.opt.Context) + " is marked as dangerous"
}

func (d *typedDialog) draw(c *canvas, s *state) {
	const width = 74
	inner := min(width, c.w) - 6
	p := s.policy.policy
	out := para(text(style.Alarm, " DANGER "), style.Plain, " "+d.saidWhere(s), inner)
	out = append(out, line{})
	out = append(out, para(line{}, style.Plain, p.Change.Kind.String()+byWords(p.Change)+": "+s.endsWords(p), inner)...)
	in := c.box(width, len(out)+4, d.what+"?")
	c.page(rect{in.x + 1, in.y, in.w - 1, max(in.h-2, 0)}, 0, out)
	y := in.y + in.h - 1
	x := c.put(in.x+1, y, in.w-1, style.Plain, "Type "+render.Clean(s.opt.Source.Egress.Name)+": [")
	d.name.draw(c, x, y, nameRoom, style.Strong, true)
	c.draw(x+nameRoom, y, max(in.x+in.w-x-nameRoom, 0), text(style.Plain, "]  ").with(style.Key, "enter").with(style.Plain, " does it  ").with(style.Key, "esc").with(style.Plain, " does not"))
}
