package tui

import tea "charm.land/bubbletea/v2"

// ahead is what was typed for something that is not there yet: a target, a trace, a document, a
// match.
// It is acted on in its order once that is there, so that nobody has to wait before they type.
type ahead struct {
	tracing bool // the screen is that of a trace that is being made
	opening bool // a document is being made, and its screen will be shown
	seeking bool // a text is being searched
	typed   []tea.Msg
}

// waits says whether a key means what is not there yet.
func (m *model) waits() bool {
	a := &m.ahead
	if m.s.busy == nil {
		a.tracing = false // it was given up
	}
	return m.dialog == nil && (a.opening || a.seeking || a.tracing && m.s.at == traceID || m.s.beginning())
}

// hold keeps a key for what it means; false: it acts at once. A key that leads away always
// does, and so does one that every screen knows, unless it would overtake another.
func (m *model) hold(k tea.KeyPressMsg) bool {
	if !m.waits() {
		return false
	}
	lists := m.keys()
	switch a := lookup(k.String(), lists...); {
	case a == actQuit || a == actSuspend, a == actBack && m.s.beginning():
		return false
	case a == actBack && !m.ahead.seeking:
		return m.giveUp()
	case m.ahead.tracing && len(m.ahead.typed) == 0 && lookup(k.String(), lists[0]) == actNone:
		return false
	}
	m.ahead.typed = append(m.ahead.typed, k)
	return true
}

// giveUp forgets what was typed, and what it waits for; false: esc has more to do.
func (m *model) giveUp() bool {
	tracing := m.ahead.tracing
	m.ahead = ahead{}
	m.s.docGen++
	m.s.say = ""
	return !tracing
}

// catchUp acts on what was typed, as far as it no longer waits.
func (m *model) catchUp() tea.Cmd {
	var cmds []tea.Cmd
	for len(m.ahead.typed) > 0 && !m.waits() {
		msg := m.ahead.typed[0]
		m.ahead.typed = m.ahead.typed[1:]
		switch msg := msg.(type) {
		case tea.KeyPressMsg:
			cmds = append(cmds, m.press(msg))
		case tea.PasteMsg:
			cmds = append(cmds, m.paste(msg.Content))
		}
		m.screen().settle(&m.s)
	}
	return tea.Batch(cmds...)
}
