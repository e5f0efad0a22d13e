package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// model is the root: it holds the state and the screens, decides who gets a key, and
// turns the screens' effects into commands.
type model struct {
	ctx    context.Context
	s      state
	trace  traceScreen
	dialog dialog
}

// screen is what the root needs of each screen.
type screen interface {
	do(a act, s *state) effect
	settle(s *state)
	draw(c *canvas, s *state)
}

// dialog is a box over the screen; it gets every key until it closes.
type dialog interface {
	press(k tea.KeyPressMsg, s *state) (e effect, done bool)
	draw(c *canvas, s *state)
}

func newModel(ctx context.Context, opt Options, now time.Time) *model {
	m := &model{ctx: ctx}
	m.s = state{opt: opt, w: 80, h: 24, now: now, way: -1, mouse: !opt.NoMouse}
	if opt.Request != nil {
		m.s.req, m.s.asked, m.s.at = *opt.Request, true, traceID
	}
	m.dress()
	return m
}

// dress makes the palette.
func (m *model) dress() {
	t := m.s.opt.Theme
	if m.s.opt.NoColor {
		t = style.Mono
	}
	m.s.palette = style.New(t, m.s.light, m.s.opt.ASCII)
}

// Init reads the pod; the first frame does not wait for it.
func (m *model) Init() tea.Cmd {
	cmds := []tea.Cmd{m.readPod(), tick()}
	if m.s.opt.Theme == style.Auto || m.s.opt.Theme == "" {
		cmds = append(cmds, tea.RequestBackgroundColor)
	}
	return tea.Batch(cmds...)
}

// Update answers one message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	cmd := m.update(msg)
	m.screen().settle(&m.s)
	return m, cmd
}

func (m *model) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.s.w, m.s.h = max(msg.Width, 1), max(msg.Height, 1)
	case tea.BackgroundColorMsg:
		m.s.light = !msg.IsDark()
		m.dress()
	case tea.KeyPressMsg:
		return m.press(msg)
	case tea.MouseClickMsg:
		return m.click(msg)
	case tea.MouseWheelMsg:
		return m.wheel(msg)
	case tickMsg:
		m.s.now = time.Time(msg)
		return tick()
	case progressMsg:
		return m.progress(msg)
	case readingMsg:
		return m.gotReading(msg)
	case tracedMsg:
		return m.gotTrace(msg)
	case copiedMsg:
		m.s.say = "copied " + msg.what
	}
	return nil
}

// screen is the one that is shown.
func (m *model) screen() screen { return &m.trace }

// press decides who gets a key: dialog, then screen, then everywhere.
func (m *model) press(k tea.KeyPressMsg) tea.Cmd {
	m.s.say, m.s.alarm = "", false
	if m.dialog != nil {
		e, done := m.dialog.press(k, &m.s)
		if done {
			m.dialog = nil
		}
		return m.perform(e)
	}
	a := lookup(k.String(), m.keys()...)
	if a == actNone {
		return nil
	}
	return m.act(a)
}

// keys are the key lists that act now, the screen's own first.
func (m *model) keys() [][]binding {
	return [][]binding{traceKeys(), globalKeys()}
}

// act does what a key, a click on the footer or a line of the palette asks.
func (m *model) act(a act) tea.Cmd {
	switch a {
	case actQuit:
		return m.quit()
	case actSuspend:
		return tea.Suspend
	case actRefresh:
		return m.readPod()
	case actMouse:
		m.s.mouse = !m.s.mouse
		return nil
	}
	e := m.screen().do(a, &m.s)
	if e.kind == effAct && e.act == a {
		return m.leave(a)
	}
	return m.perform(e)
}

// leave is what esc does where the screen has nothing to close.
func (m *model) leave(a act) tea.Cmd {
	if a != actBack {
		return nil
	}
	if m.s.busy != nil {
		m.s.busy.stop()
		return nil
	}
	if n := len(m.s.back); n > 0 {
		m.s.at, m.s.back = m.s.back[n-1], m.s.back[:n-1]
	}
	return nil
}

// perform turns a screen's effect into commands.
func (m *model) perform(e effect) tea.Cmd {
	switch e.kind {
	case effAct:
		return m.act(e.act)
	case effTrace:
		m.s.req, m.s.asked = *e.req, true
		return m.traceRequest(*e.req)
	case effSelect:
		m.trace.evidence = false
		m.trace.pick(e.n, len(m.s.steps()))
	case effVariant:
		m.s.way = e.n
	case effDialog:
		m.dialog = e.dialog
	case effSay:
		m.s.say = e.text
	case effCopy:
		note := e.note
		return tea.Batch(tea.SetClipboard(e.text), func() tea.Msg { return copiedMsg{note} })
	case effQuit:
		return m.quit()
	}
	return nil
}

func (m *model) quit() tea.Cmd {
	if m.s.busy != nil {
		m.s.busy.stop()
	}
	return tea.Quit
}

func (m *model) progress(p progressMsg) tea.Cmd {
	if p.gen == m.s.gen && m.s.busy != nil {
		m.s.busy.note(p.Progress)
	}
	return follow(p.gen, p.from)
}

func (m *model) gotReading(r readingMsg) tea.Cmd {
	if r.gen != m.s.gen {
		return nil
	}
	m.s.busy = nil
	m.s.calls = append(m.s.calls, r.reading.Calls...)
	if r.err != nil {
		m.fail(r.err)
	} else {
		m.s.failed = ""
	}
	if len(r.reading.Files) == 0 && r.err != nil {
		return nil
	}
	m.s.reading, m.s.read = r.reading, true
	if m.s.asked {
		return m.traceRequest(m.s.req)
	}
	return nil
}

func (m *model) gotTrace(t tracedMsg) tea.Cmd {
	if t.gen != m.s.gen {
		return nil
	}
	m.s.busy = nil
	m.s.calls = append(m.s.calls, t.reading.Calls...)
	if t.err != nil {
		m.fail(t.err)
		return nil
	}
	before := m.s.steps()
	m.s.reading, m.s.trace, m.s.traced, m.s.way = t.reading, t.trace, true, -1
	m.trace.keep(before, m.s.steps())
	return nil
}

func (m *model) fail(err error) {
	m.s.failed = render.Clean(err.Error())
	m.s.say, m.s.alarm = m.s.failed, true
}

// click selects, or runs a key of the footer.
func (m *model) click(msg tea.MouseClickMsg) tea.Cmd {
	if msg.Button != tea.MouseLeft {
		return nil
	}
	c := newCanvas(m.s.w, m.s.h)
	m.paint(c)
	return m.perform(c.at(msg.X, msg.Y))
}

// wheel scrolls the pane under the pointer.
func (m *model) wheel(msg tea.MouseWheelMsg) tea.Cmd {
	a := actDown
	if msg.Button == tea.MouseWheelUp {
		a = actUp
	}
	return m.act(a)
}

// View draws the frame.
func (m *model) View() tea.View {
	c := newCanvas(m.s.w, m.s.h)
	m.paint(c)
	v := tea.NewView(c.String(m.s.palette))
	v.AltScreen = true
	v.WindowTitle = "meshtop " + render.Clean(m.s.opt.Target)
	if m.s.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if c.cursor.on {
		v.Cursor = tea.NewCursor(c.cursor.x, c.cursor.y)
	}
	return v
}

func (m *model) paint(c *canvas) {
	if c.w < minWidth || c.h < minHeight {
		paintSmall(c, &m.s)
		return
	}
	header(c, &m.s)
	m.screen().draw(c, &m.s)
	footer(c, &m.s, m.keys())
	if m.dialog != nil {
		m.dialog.draw(c, &m.s)
	}
}
