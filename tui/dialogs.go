package tui

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// things are those of a reading that have a name.
type things struct {
	of    *rules.Snapshot
	items []item
}

// offer opens a dialog that offers them. Of a large mesh they are collected in a command: what is
// typed meanwhile waits.
func (m *model) offer(show func([]item) dialog) tea.Cmd {
	snap := m.s.reading.Snapshot
	if snap == nil || snap == m.s.things.of {
		m.dialog = show(m.s.things.items)
		return nil
	}
	m.s.docGen++
	m.ahead.opening = true
	gen := m.s.docGen
	return func() tea.Msg { return namedMsg{gen, things{snap, objects(snap)}, show} }
}

func (m *model) gotNamed(msg namedMsg) {
	if msg.of == m.s.reading.Snapshot {
		m.s.things = msg.things
	}
	if msg.gen == m.s.docGen {
		m.ahead.opening = false
		m.dialog = msg.show(msg.items)
	}
}

// toOpen chooses among the things that have a name.
func toOpen(objects []item) dialog {
	return &chooser{title: "Open", prompt: "filter: ", items: objects, empty: "nothing was read"}
}

// palette offers every command with its key, and every thing that has a name.
func (m *model) palette(objects []item) dialog {
	d := &chooser{title: "Go to / do", prompt: ": ", foot: "listeners, routes, clusters, endpoints, steps, commands", empty: "nothing has that name"}
	d.items = append(m.s.stepItems(), objects...)
	if m.s.opt.Opener != nil && m.s.opt.Opener.Others {
		d.items = append(d.items, item{name: "pods: choose another", note: "this one is left", ink: style.Faint, effect: effect{kind: effChoose}})
	}
	for _, list := range m.keys() {
		for _, b := range list {
			if b.help != "" {
				d.items = append(d.items, item{name: b.help, note: "key " + b.label, ink: style.Faint, effect: press(b.act)})
			}
		}
	}
	return d
}

// stepItems are the steps of the trace, each with what it came to.
func (s *state) stepItems() []item {
	var out []item
	for _, l := range s.legs() {
		for _, st := range l.Steps {
			g, ink := mark(st)
			ink = s.meant(ink)
			n := len(out)
			out = append(out, item{name: "step " + itoa(n+1) + " " + render.StepName(l, st) + " " + render.StepBrief(l, st),
				note: g + " " + render.Reason(st.Reason), ink: ink, effect: effect{kind: effStep, n: n}})
		}
	}
	return out
}

// objects are the named things of the configuration and the files of the snapshot.
func objects(snap *rules.Snapshot) []item {
	var out []item
	for _, o := range snap.Envoy.Objects() {
		name := render.Clean(o.Name)
		if name == "" {
			continue
		}
		note := "config"
		if o.Parent != "" {
			note += ", of " + render.Clean(o.Parent)
		}
		out = append(out, item{name: render.StageWord(o.Kind) + " " + name, note: note, ink: style.Faint, effect: effect{kind: effConfig, text: o.Ref}})
	}
	const most = 20_000 // a mesh may have more than anybody looks through
	list, all := snap.Envoy.Endpoints(most)
	for _, o := range list {
		if name := render.Clean(o.Name); name != "" {
			out = append(out, item{name: render.StageWord(o.Kind) + " " + name, note: "of " + render.Clean(o.Parent), ink: style.Faint, effect: effect{kind: effConfig, text: o.Ref}})
		}
	}
	if !all {
		out = append(out, item{name: "endpoint: more than " + itoa(most) + ", which are not listed", note: "open their cluster", ink: style.Faint, effect: say("open the endpoint's cluster, and look for it there")})
	}
	for _, p := range snap.Parts() {
		out = append(out, item{name: "file " + render.Clean(p), note: bytesWord(int64(len(snap.Files[p]))), ink: style.Faint, effect: effect{kind: effConfig, text: p + "#"}})
	}
	return out
}

// variants offers the ways a trace can go.
func variants(s *state) dialog {
	d := &chooser{title: "Choose a way", prompt: "filter: ", foot: "enter shows it · the choices are what --pick takes", width: 76}
	d.items = append(d.items, item{name: "what all ways share", effect: effect{kind: effVariant, n: -1}})
	for i, v := range s.trace.Variants {
		d.items = append(d.items, item{name: variantWords(v), note: render.Clean(choices(v)), ink: style.Faint, effect: effect{kind: effVariant, n: i}})
	}
	return d
}

// choices are the choices of a variant as --pick takes them.
func choices(v flow.Variant) string {
	s := ""
	for _, c := range v.Choices {
		if c.Pinned {
			continue
		}
		if s != "" {
			s += ", "
		}
		s += c.Choice.Ref + "=" + c.Option().Value
	}
	return s
}

// activity lists every call that was made.
func activity(s *state) dialog {
	d := &chooser{title: "Activity: each call made", prompt: "filter: ", foot: "time · took · bytes", empty: "no call was made: the snapshot was there", width: 78}
	for i := len(s.calls) - 1; i >= 0; i-- {
		d.items = append(d.items, callItem(s.calls[i]))
	}
	return d
}

func callItem(c inspect.Call) item {
	name := c.Start.Format("15:04:05") + "  " + render.Clean(c.What)
	note, ink := took(c.Took)+"  "+bytesWord(c.Bytes), style.Faint
	if c.Err != "" {
		note, ink = took(c.Took)+"  "+style.MarkStops+" "+render.Clean(strings.TrimPrefix(c.Err, c.What+": ")), style.Stops
	}
	return item{name: name, note: note, ink: ink, effect: effect{kind: effCopy, text: name + "  " + note, note: "the call"}}
}

func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// bytesWord is a size in a word: "412 B", "41 kB", "104.2 MB".
func bytesWord(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// drawBusy is the box over the frame while something is read. Keys still go to the
// screen below; esc cancels.
func drawBusy(c *canvas, s *state) {
	b := s.busy
	if b == nil {
		return
	}
	rows := min(len(b.parts), max(c.h-10, 1), 12)
	in := c.box(74, rows+6, b.what)
	how, esc := " · "+itoa(b.done())+" of "+itoa(len(b.parts))+" parts read, "+bytesWord(b.bytes()), s.key(actBack)+" cancel, keep what is read"
	if b.counts {
		how, esc = "", s.key(actBack)+" judge what was seen so far"
	}
	c.put(in.x+1, in.y, in.w-1, style.Plain, ago(s.now.Sub(b.since))+how)
	for i, p := range b.parts[len(b.parts)-rows:] {
		g, ink, says := style.Ellipsis, style.Depends, "reading"
		switch {
		case p.Err != nil:
			g, ink, says = style.MarkStops, style.Stops, render.Clean(p.Err.Error())
		case p.Done:
			g, ink, says = style.MarkGoes, style.Goes, ""
		}
		l := text(ink, g+" ").with(style.Plain, pad(render.Clean(p.Part), 26)+" "+right(b.amount(p.Bytes), 9)+"  ")
		if p.Total > 0 && !p.Done {
			l = l.with(style.Plain, meter(p.Bytes, p.Total, 14)+" ").with(style.Faint, "of "+bytesWord(p.Total))
		} else {
			l = l.with(style.Faint, says)
		}
		c.draw(in.x+1, in.y+2+i, in.w-1, l)
	}
	c.right(in.x+in.w-1, in.y+in.h-1, style.Faint, esc)
}

// meter is a bar of w columns.
func meter(n, total int64, w int) string {
	full := int(min(n*int64(w)/max(total, 1), int64(w)))
	s := ""
	for i := range w {
		if i < full {
			s += style.BarFull
		} else {
			s += style.BarRest
		}
	}
	return s
}

// amount is a number of bytes, or of what is counted.
func (b *busy) amount(n int64) string {
	if b.counts {
		return itoa(int(n))
	}
	return bytesWord(n)
}

func (b *busy) done() int {
	n := 0
	for _, p := range b.parts {
		n += b2i(p.Done)
	}
	return n
}

func (b *busy) bytes() int64 {
	var n int64
	for _, p := range b.parts {
		n += p.Bytes
	}
	return n
}
