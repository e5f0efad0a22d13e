package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
)

// News is what the target tells by itself, such as that the stream to its agent has ended.
type News struct {
	Text    string // one sentence; it may begin with the target's name
	Lasting bool   // else it is how things stand until the next
}

// newsMsg: the target told something.
type newsMsg struct{ News }

// news waits for the next that the target tells.
func (m *model) news() tea.Cmd {
	from := m.s.opt.News
	if from == nil {
		return nil
	}
	done := m.ctx.Done()
	return func() tea.Msg {
		select {
		case n := <-from:
			return newsMsg{n}
		case <-done:
			return nil
		}
	}
}

// gotNews shows it where what is said stands; how things stand remains there under what keys say.
func (m *model) gotNews(n newsMsg) tea.Cmd {
	if m.s.open.on {
		m.s.open.hear(m.s.now, News{strings.TrimPrefix(n.Text, m.s.opt.Target+": "), n.Lasting})
		return m.news()
	}
	text := render.Clean(strings.TrimPrefix(n.Text, m.s.opt.Target+": "))
	if n.Lasting {
		m.s.link, m.s.say, m.s.alarm = "", text, false
	} else {
		m.s.link, m.s.say = text, ""
	}
	return m.news()
}
