package tui

import (
	"os/exec"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// pagerMsg: a command is there that shows a text.
type pagerMsg struct {
	cmd  *exec.Cmd
	done func() error
	err  error
}

// pagedMsg: it has ended.
type pagedMsg struct{ err error }

// inPager asks for the open document in the user's pager, in the form that is shown, without
// secrets.
func (t *configScreen) inPager() effect {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, t.doc.part)
	form := ".yaml"
	switch {
	case t.doc.root == nil:
		form = ".txt"
	case t.doc.asJSON:
		form = ".json"
	}
	return effect{kind: effPager, note: strings.TrimSuffix(name, ".json") + form}
}

// showInPager gives the open document to the pager: the text is made in a command, since it may be long.
func (m *model) showInPager(name string) tea.Cmd {
	pager, d := m.s.opt.Pager, m.config.doc
	if pager == nil || d == nil {
		m.s.say = "there is no pager here"
		return nil
	}
	data := d.data
	if d.root != nil {
		data = data[d.root.from:d.root.to]
	}
	yaml := strings.HasSuffix(name, ".yaml")
	return func() tea.Msg {
		if yaml {
			data = render.FromJSON(data)
		}
		cmd, done, err := pager(name, []byte(render.CleanLines(string(data))))
		return pagerMsg{cmd, done, err}
	}
}

// gotPager gives the terminal to the command until it ends.
func (m *model) gotPager(p pagerMsg) tea.Cmd {
	if p.err != nil {
		m.fail(p.err)
		return nil
	}
	return tea.ExecProcess(p.cmd, func(err error) tea.Msg {
		if e := p.done(); err == nil {
			err = e
		}
		return pagedMsg{err}
	})
}

func (m *model) paged(p pagedMsg) {
	if p.err != nil {
		m.s.say, m.s.alarm = "the pager: "+render.Clean(p.err.Error()), true
	}
}

// wrapped are the lines of row i in w columns, with its note at the end; those after the first
// stand under the row's beginning.
func (t *configScreen) wrapped(i, w int) []line {
	l := t.doc.row(i)
	if note := t.doc.margin(i); note != "" {
		l = l.with(style.Turns, "  "+style.Margin+" ").with(style.Faint, note)
	}
	if l.width() <= w {
		return []line{l}
	}
	under := 2 + len(l.String()) - len(strings.TrimLeft(l.String(), " "+style.Folded+style.Unfolded))
	return l.fold(w, min(under, w/2))
}

// fold breaks a line after w columns; the lines after the first begin at column under.
func (l line) fold(w, under int) []line {
	out := []line{{click: l.click}}
	room := w
	for _, s := range l.spans {
		for rest := s.text; rest != ""; {
			if room <= 0 {
				out = append(out, text(style.Plain, strings.Repeat(" ", under)))
				room = max(w-under, 1)
			}
			head := rest
			if !fitsIn(rest, room) {
				head, rest = split(rest, room)
			} else {
				rest = ""
			}
			last := &out[len(out)-1]
			*last = last.with(s.ink, head)
			if room -= textWidth(head); room < 0 {
				room = 0
			}
		}
	}
	return out
}

// reach scrolls on until the selected row is in sight where rows are wrapped.
func (t *configScreen) reach(r rect) {
	if !t.wrap || r.h <= 0 {
		return
	}
	w := r.w - max(len(itoa(t.doc.size())), 4) - 3
	h := 0
	for i := t.sel; i >= t.top; i-- {
		if h += len(t.wrapped(i, w)); h > r.h && i < t.sel {
			t.top = i + 1
			return
		}
	}
}
