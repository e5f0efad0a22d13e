package tui

import tea "charm.land/bubbletea/v2"

// wheelRows is how far one turn of the wheel scrolls a text.
const wheelRows = 3

// wheel scrolls the pane under the pointer, whichever has the keys.
func (m *model) wheel(msg tea.MouseWheelMsg) tea.Cmd {
	if m.waits() {
		return nil
	}
	a, by := actDown, 1
	k := tea.KeyPressMsg{Code: tea.KeyDown}
	switch msg.Button {
	case tea.MouseWheelUp:
		a, by, k.Code = actUp, -1, tea.KeyUp
	case tea.MouseWheelDown:
	default:
		return nil // sideways
	}
	if d, ok := m.dialog.(*policyDialog); ok {
		d.top = max(min(d.top+by*wheelRows, d.lines-d.room), 0)
		return nil
	}
	if m.dialog != nil {
		return m.press(k)
	}
	if p := m.trouble(); p != nil {
		e, _ := p.do(a, m)
		return m.perform(e)
	}
	x, y := msg.X, msg.Y
	if y > 0 {
		y -= m.s.bannerRows()
	}
	if t, ok := m.screen().(wheeler); ok && t.spin(by, x, y, &m.s) {
		return nil
	}
	return m.act(a)
}

// wheeler is a screen with several panes. Its spin scrolls the one at x, y, by 1 down or -1 up;
// false: a movement of the list that has the keys is meant.
type wheeler interface {
	spin(by, x, y int, s *state) bool
}

func (r rect) holds(x, y int) bool { return x >= r.x && x < r.x+r.w && y >= r.y && y < r.y+r.h }

func (t *traceScreen) spin(by, x, y int, s *state) bool {
	a := t.areas(s.w, s.h, s)
	switch {
	case a.evidence.holds(x, y):
		t.first.move(t.text, by*wheelRows, t.room(s))
	case a.rail.holds(x, y):
		t.pick(t.sel+by, len(s.steps()))
	default:
		return a.verdict.holds(x, y) || a.confirm.holds(x, y) // they do not scroll
	}
	return true
}

func (t *overviewScreen) spin(by, x, y int, s *state) bool {
	a := t.areas(s.w, s.h, s)
	switch {
	case a.lanes.holds(x, y):
		t.focus = onLanes // which of its rows is in sight follows from the one that is selected
		t.lane += by
	case a.pod.holds(x, y):
		t.podTop += by
	case a.conns.holds(x, y):
		t.sel += by
	}
	return true
}

func (t *requestScreen) spin(by, x, y int, s *state) bool {
	left, right := t.areas(s.w, s.h)
	switch {
	case right.holds(x, y):
		t.movePreset(by)
	case left.holds(x, y):
		t.sel = max(min(t.sel+by, len(t.rows())-1), 0)
	}
	return true
}

func (t *confirmScreen) spin(by, x, y int, s *state) bool {
	a := t.areas(s)
	switch {
	case a.packet.holds(x, y):
		t.scroll += by * wheelRows
	case a.steps.holds(x, y):
		t.focus = onSteps
		t.step += by
	case a.flow.holds(x, y) && t.idle():
		t.choice += by
	case a.flow.holds(x, y):
		t.pick(t.sel + by)
	}
	return true
}
