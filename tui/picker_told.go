package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// toldMsg: something told by itself while pods are chosen, such as the code that a credential
// plugin wants typed in a browser.
type toldMsg struct {
	text string
	at   time.Time // zero: not said
}

// told is what was told while pods are chosen: the last lines, the newest at the end.
type told struct {
	lines []toldMsg
	lost  int // how many before them are not kept
}

// hear waits for the next that is told.
func (p *picker) hear() tea.Cmd {
	from, done, clock := p.s.opt.News, p.ctx.Done(), p.clock
	if from == nil {
		return nil
	}
	return func() tea.Msg {
		select {
		case n := <-from:
			m := toldMsg{text: render.Clean(n.Text)}
			if clock != nil {
				m.at = clock()
			}
			return m
		case <-done:
			return nil
		}
	}
}

// gotTold says it in the footer until the next key, and keeps it.
func (p *picker) gotTold(m toldMsg) tea.Cmd {
	const most = 200
	p.s.say, p.s.alarm = m.text, false
	if p.told.lines = append(p.told.lines, m); len(p.told.lines) > most {
		p.told.lines = p.told.lines[1:]
		p.told.lost++
	}
	return p.hear()
}

// activity lists what was told, the newest first; what is longer than a row goes on in the next.
func (t told) activity() dialog {
	const width, clock = 78, 10
	d := &chooser{title: "Activity: what was told", prompt: "filter: ", foot: "newest first", empty: "nothing was told", width: width}
	for i := len(t.lines) - 1; i >= 0; i-- {
		name := t.lines[i].at.Format("15:04:05")
		for _, part := range wrap(t.lines[i].text, width-clock-5) {
			d.items = append(d.items, item{name: name, note: part, ink: style.Plain})
			name = ""
		}
	}
	if t.lost > 0 {
		d.items = append(d.items, item{note: style.Ellipsis + " and " + itoa(t.lost) + " before these", ink: style.Faint})
	}
	return d
}

// page is what was told last, in the h rows of w columns that the pods leave while they are awaited.
func (t told) page(w, h int) []line {
	var out []line
	for _, m := range t.lines {
		out = append(out, para(line{}, style.Plain, m.text, w)...)
	}
	return out[max(len(out)-max(h, 0), 0):]
}
