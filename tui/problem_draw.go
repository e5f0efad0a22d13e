package tui

import (
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

func (p *problem) draw(c *canvas, s *state, top int) {
	ink, mark := style.Alarm, style.MarkStops
	if p.calm {
		ink, mark = style.Strong, style.Ellipsis
	}
	head, rest := p.areas(c.w, c.h)
	c.page(head.inset(), 0, para(text(ink, mark+" "), ink, p.headline, head.w-2))
	c.wash(head, ink)
	lines := p.lines(c.w - 2)
	_, in := rest.top(1)
	hint := ""
	if n := len(lines); n > in.h {
		hint = "j/k: " + itoa(top+1) + "-" + itoa(min(top+in.h, n)) + " of " + itoa(n)
	}
	c.pane(rest, true, p.title, "", hint)
	c.page(in.inset(), top, lines)
	keys := p.keys(s.opt.Keys)
	if n := len(p.ways); n > 0 {
		keys = append([]binding{{short: "1-" + itoa(n) + " choose"}}, keys...)
		if n == 1 {
			keys[0].short = "1 choose"
		}
	}
	quiet := *s
	if s.say == s.failed {
		quiet.say = "" // it stands above
	}
	footer(c, &quiet, [][]binding{keys})
}

// areas are the headline, in as many rows as it takes, and the rest.
func (p *problem) areas(w, h int) (head, rest rect) {
	return body(w, h).top(len(wrap(p.headline, max(w-4, 8))))
}

// settle brings what is scrolled back into its bounds.
func (v *page) settle(p *problem, s *state) {
	if p == nil {
		*v = page{}
		return
	}
	v.most, v.room = p.size(s.w, s.h)
	v.top = max(min(v.top, v.most-v.room), 0)
}

// size is how many lines it has, and how many are seen at once.
func (p *problem) size(w, h int) (lines, room int) {
	_, rest := p.areas(w, h)
	return len(p.lines(w - 2)), max(rest.h-1, 0)
}

// waysTitle is what stands over the ways on.
const waysTitle = "what you can do"

func (p *problem) lines(w int) []line {
	var out []line
	if p.told != nil {
		out = append(p.told(w), line{})
	}
	if len(p.ways) > 0 {
		if p.title != waysTitle {
			out = append(out, text(style.Strong, waysTitle))
		}
		out = append(append(out, wayLines(p.ways, w)...), line{})
	}
	if len(p.works) > 0 {
		out = append(append(out, workLines(p.works, w)...), line{})
	}
	if p.asking != "" {
		out = append(out, text(style.Strong, "rights ").with(style.Depends, p.asking))
	}
	for _, e := range p.exact {
		out = append(out, para(text(style.Strong, "error  "), style.Plain, e, w)...)
	}
	if p.asks == "" {
		return out
	}
	out = append(out, line{}, text(style.Strong, "what to ask for").with(style.Plain, "  (c copies it)"))
	for _, l := range strings.Split(strings.TrimRight(p.asks, "\n"), "\n") {
		out = append(out, para(text(style.Plain, "  "), style.Faint, l, w)...)
	}
	return out
}

// workLines are what still works and what does not, in as many rows as it takes.
func workLines(works []part, w int) []line {
	const lead = "what still works"
	l := text(style.Strong, lead)
	var out []line
	for _, k := range works {
		g, ink := style.MarkGoes, style.Goes
		if !k.ok {
			g, ink = style.MarkStops, style.Stops
		}
		if l.width()+3+textWidth(g+" "+k.name) > w {
			out = append(out, l)
			l = text(style.Plain, strings.Repeat(" ", len(lead)))
		}
		l = l.with(style.Plain, "   ").with(ink, g).with(style.Plain, " "+k.name)
	}
	return append(out, l)
}

// wayLines are the ways on, each with its number and what a command line calls it.
func wayLines(ways []item, w int) []line {
	var out []line
	for i, way := range ways {
		words := para(text(style.Key, "  "+itoa(i+1)+"  "), style.Plain, way.name, w)
		if way.note != "" {
			if last := words[len(words)-1]; last.width()+textWidth(way.note)+3 <= w {
				words[len(words)-1] = last.with(style.Faint, "   "+way.note)
			} else {
				words = append(words, para(text(style.Plain, "     "), style.Faint, way.note, w)...)
			}
		}
		for _, row := range words {
			row.click = way.effect
			out = append(out, row)
		}
	}
	return out
}

// tried are the last calls that were made.
func (s *state) tried(w int) []line {
	var out []line
	const most = 8
	calls := s.calls[max(len(s.calls)-most, 0):]
	for _, c := range calls {
		g, ink, says := style.MarkGoes, style.Goes, bytesWord(c.Bytes)
		if c.Err != "" {
			g, ink, says = style.MarkStops, style.Stops, render.Clean(strings.TrimPrefix(c.Err, c.What+": "))
		}
		lead := text(ink, g+" ").with(style.Plain, pad(render.Clean(c.What), min(34, w/2))+"  ")
		out = append(out, para(lead, style.Plain, says, w)...)
	}
	if len(calls) == 0 {
		out = append(out, text(style.Faint, "no call came as far as the pod"))
	}
	return out
}

// heardLines are what was told while the target was being opened.
func (s *state) heardLines(w int) []line {
	var out []line
	for _, h := range s.open.heard {
		g, ink := style.Dot, style.Plain
		if h.last && s.open.on {
			g, ink = style.Ellipsis, style.Depends
		}
		at := ago(h.at)
		words := para(text(ink, g+" "), style.Plain, render.Clean(h.text), w-textWidth(at)-2)
		words[0] = words[0].to(w-textWidth(at)).with(style.Faint, at)
		out = append(out, words...)
	}
	if len(out) == 0 {
		out = append(out, text(style.Faint, "nothing was told yet"))
	}
	return out
}

// withRights puts what the account may do before all else, where that is what is lacking.
func (s *state) withRights(p *problem) {
	r := s.open.rights
	switch {
	case s.open.asking:
		p.asking = "asking what your account may do" + style.Ellipsis
		return
	case s.open.denied != "":
		p.exact = append(p.exact, s.open.denied)
		return
	case r == nil || r.Agent:
		return
	}
	p.title = "what " + or(render.Clean(r.User), "your account") + " may do in namespace " + render.Clean(r.Namespace)
	if what := lacking(*r); what != "" {
		p.headline = "your account may not " + what
	}
	role, bind, yaml := render.RightsAsk(*r)
	if role != "" {
		p.ways = slices.DeleteFunc(p.ways, func(it item) bool { return strings.Contains(it.effect.text, "meshtop can-i ") })
		p.asks = bind + "\n" + yaml
		p.ways = append(p.ways, item{name: "copy what to ask for: the role " + role, effect: effect{kind: effCopy, text: p.asks, note: "the role to ask for"}})
	}
	p.told = func(w int) []line { return rightLines(*r, w) }
}

// lacking is what the account may not do of that which the agent takes.
func lacking(r flow.Rights) string {
	var no []string
	for _, one := range r.List {
		if (one.Role == "capture" || one.Object == "pods" && one.Verbs[0].Name == "get") && !one.Allowed() {
			no = append(no, one.Need)
		}
	}
	return strings.Join(no, ", or ")
}

// rightLines are rights as a table, and what follows from them.
func rightLines(r flow.Rights, w int) []line {
	need, verbs := 28, 11
	if w < 76 {
		need, verbs = 0, 11 // the object and the verbs say it
	}
	out := []line{text(style.Faint, "  "+pad("need", need)+" "+pad("verbs", verbs)+" "+"resource").to(w-6).with(style.Faint, "answer")}
	for _, one := range r.List {
		if one.Role == "sidecar" || one.Role == "networkpolicy" || one.Role == "node" {
			continue // of drivers that one asks for
		}
		g, ink, says := style.MarkGoes, style.Goes, "yes"
		if !one.Allowed() {
			g, ink, says = style.MarkStops, style.Stops, "no"
		}
		var names []string
		for _, v := range one.Verbs {
			names = append(names, v.Name)
		}
		l := text(ink, g+" ").with(style.Plain, pad(one.Need, need)+" "+pad(strings.Join(names, ","), verbs)+" "+cut(one.Object, max(w-need-verbs-12, 4)))
		out = append(out, l.to(w-6).with(ink, says))
	}
	out = append(out, line{})
	out = append(out, para(text(style.Strong, "so  "), style.Plain, render.Ways(r), w)...)
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
