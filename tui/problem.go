package tui

import (
	"cmp"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// problem is a read that failed, wholly or in a part that matters, as a state of the
// screen: what failed, what was tried, what still works, the ways on, the exact words.
type problem struct {
	headline string
	exact    []string
	works    []part
	ways     []item
}

// part is something that was or was not read.
type part struct {
	name string
	ok   bool
}

// trouble is the problem to be shown, or nil. A problem in a part is left by going on.
func (s *state) trouble() *problem {
	snap := s.reading.Snapshot
	switch {
	case !s.read && s.failed == "":
		return nil
	case !s.read || snap == nil:
		p := &problem{headline: render.Clean(s.opt.Target) + " could not be read", exact: []string{s.failed}}
		p.ways = append(p.ways, item{name: "try again", effect: press(actRefresh)})
		p.offline(s, "--iptables FILE --config-dump FILE")
		return p
	case s.goOn || s.failed == "" && len(snap.Gaps) == 0:
		return nil
	case snap.Envoy != nil && snap.Rules != nil && s.failed == "":
		return nil // small gaps stand in the pod's pane
	}
	return s.partial()
}

// partial is the problem of a reading that lacks the kernel's half or the proxy's.
func (s *state) partial() *problem {
	snap := s.reading.Snapshot
	p := &problem{headline: "a part makes no sense and was left out", works: []part{
		{"rules", snap.Rules != nil}, {"addresses, sockets", snap.Host != nil}, {"Envoy", snap.Envoy != nil}}}
	switch {
	case snap.Envoy == nil && snap.Rules == nil:
		p.headline = "neither rules nor Envoy's configuration could be read"
	case snap.Envoy == nil:
		p.headline = "Envoy's configuration could not be read: steps inside Envoy are unknown"
	case snap.Rules == nil:
		p.headline = "the kernel's rules could not be read: a trace begins at Envoy"
	}
	if s.failed != "" {
		p.exact = append(p.exact, s.failed)
	}
	for _, g := range flow.Alike(snap.Gaps) {
		p.exact = append(p.exact, render.Clean(g.Part+": "+g.Reason))
	}
	p.ways = append(p.ways, item{name: "go on with what was read", effect: press(actOpen)}, item{name: "read again", effect: press(actRefresh)})
	if snap.Envoy == nil {
		p.offline(s, "--config-dump FILE")
	} else {
		p.offline(s, "--iptables FILE")
	}
	return p
}

// offline is the way by files.
func (p *problem) offline(s *state, flags string) {
	cmd := "meshtop attach " + render.Clean(command(s.opt)) + " " + flags
	p.ways = append(p.ways, item{name: "give it as a file: " + cmd, note: "copies the command", effect: effect{kind: effCopy, text: cmd, note: "the command"}})
}

// text is what c copies: all of it.
func (p *problem) text(s *state) string {
	out := append([]string{p.headline}, p.exact...)
	for _, c := range s.calls {
		out = append(out, callItem(c).name+"  "+callItem(c).note)
	}
	return strings.Join(out, "\n")
}

// press answers a key while the problem is shown; false: the key is not its own.
func (p *problem) press(k tea.KeyPressMsg, s *state) (effect, bool) {
	key := k.String()
	switch {
	case key == "enter":
		s.goOn = true
		return effect{}, true
	case key == "c":
		return effect{kind: effCopy, text: p.text(s), note: "the error and the calls"}, true
	case len(key) == 1 && key[0] >= '1' && int(key[0]-'1') < len(p.ways):
		e := p.ways[key[0]-'1'].effect
		if e.kind == effAct && e.act == actOpen {
			s.goOn = true
			return effect{}, true
		}
		return e, true
	}
	return effect{}, false
}

func (p *problem) draw(c *canvas, s *state) {
	b := body(c.w, c.h)
	banner, rest := b.top(1)
	c.wash(banner, style.Alarm)
	c.put(1, banner.y, c.w-2, style.Alarm, style.MarkStops+" "+p.headline)
	c.pane(rest, true, "what was tried", "", "")
	_, in := rest.top(1)
	c.page(in.inset(), 0, p.lines(s, in.w-2))
	y := c.h - 1
	c.clear(rect{0, y, c.w, 1})
	c.wash(rect{0, y, c.w, 1}, style.Bar)
	words := "1-" + itoa(len(p.ways)) + " choose  enter go on  r try again  c copy error  @ activity  ? help"
	if s.say != "" || s.link != "" {
		words = cmp.Or(s.say, s.link)
	}
	c.put(1, y, c.w-2, style.Bar, words)
}

func (p *problem) lines(s *state, w int) []line {
	var out []line
	const tried = 8
	calls := s.calls[max(len(s.calls)-tried, 0):]
	for _, c := range calls {
		g, ink, says := style.MarkGoes, style.Goes, bytesWord(c.Bytes)
		if c.Err != "" {
			g, ink, says = style.MarkStops, style.Stops, render.Clean(strings.TrimPrefix(c.Err, c.What+": "))
		}
		out = append(out, text(ink, g+" ").with(style.Plain, pad(render.Clean(c.What), min(34, w/2))+"  ").with(style.Plain, says))
	}
	if len(calls) == 0 {
		out = append(out, text(style.Faint, "no call came as far as the pod"))
	}
	out = append(out, line{}, text(style.Strong, "what you can do"))
	for i, way := range p.ways {
		l := text(style.Key, "  "+itoa(i+1)+"  ")
		for k, row := range para(l, style.Plain, way.name, w) {
			if k == 0 {
				row.click = way.effect
			}
			out = append(out, row)
		}
	}
	if len(p.works) > 0 {
		l := text(style.Strong, "what still works")
		for _, k := range p.works {
			g, ink := style.MarkGoes, style.Goes
			if !k.ok {
				g, ink = style.MarkStops, style.Stops
			}
			l = l.with(style.Plain, "   ").with(ink, g).with(style.Plain, " "+k.name)
		}
		out = append(out, line{}, l)
	}
	out = append(out, line{})
	for _, e := range p.exact {
		out = append(out, para(text(style.Faint, "error  "), style.Faint, e, w)...)
	}
	return out
}

// sameWay finds the variant of the new trace that makes the choices of an older one.
func sameWay(was flow.Variant, now []flow.Variant) int {
	for i, v := range now {
		if choices(v) == choices(was) {
			return i
		}
	}
	return -1
}
