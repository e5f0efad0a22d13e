package tui

import (
	"context"
	"errors"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// model is the root: it holds the state and the screens, decides who gets a key, and
// turns the screens' effects into commands.
type model struct {
	ctx    context.Context
	tick   func() tea.Cmd // the header's clock
	s      state
	over   overviewScreen
	form   requestScreen
	trace  traceScreen
	config configScreen
	live   confirmScreen
	dialog dialog
	owner  *owner // of watches, and of what was opened
	rows   int    // of the window
	ahead  ahead  // what was typed before its time
	page   page   // of the problem that is shown
	choose bool   // the user wants another target
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
	opt.Keys = opt.Keys.orBuiltIn()
	m := &model{ctx: ctx, tick: tick, owner: newOwner()}
	m.rows = 24
	m.s = state{opt: opt, w: 80, h: 24, now: now, way: -1, mouse: !opt.NoMouse}
	m.config.hit = -1
	m.s.req.HTTP = &flow.HTTP{} // what the empty form asks for, as the command line does
	if opt.Request != nil {
		m.s.first(opt.Request)
		m.ahead.tracing = true
	}
	m.s.dress()
	return m
}

// Init opens the target where it is not open, and reads it; the first frame waits for neither.
func (m *model) Init() tea.Cmd {
	cmds := []tea.Cmd{m.tick(), m.news()}
	if m.s.opt.Opener != nil {
		cmds = append(cmds, m.open(Opening{}))
	} else {
		cmds = append(cmds, m.readPod(), m.showPolicy(), m.waitGone())
	}
	if m.s.opt.Theme.AsksBackground() {
		cmds = append(cmds, tea.RequestBackgroundColor)
	}
	return tea.Batch(cmds...)
}

// Update answers one message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	cmd := m.update(msg)
	m.s.h = max(m.rows-m.s.bannerRows(), 1)
	m.screen().settle(&m.s)
	if len(m.ahead.typed) > 0 {
		cmd = tea.Batch(cmd, m.catchUp())
	}
	m.page.settle(m.trouble(), &m.s)
	return m, cmd
}

func (m *model) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.s.w, m.rows = max(msg.Width, 1), max(msg.Height, 1)
	case tea.BackgroundColorMsg:
		m.s.light = !msg.IsDark()
		m.s.dress()
	case tea.KeyPressMsg:
		return m.press(msg)
	case tea.PasteMsg:
		return m.paste(msg.Content)
	case tea.MouseClickMsg:
		return m.click(msg)
	case tea.MouseWheelMsg:
		return m.wheel(msg)
	case tickMsg:
		return m.ticked(time.Time(msg))
	default:
		return m.answered(msg)
	}
	return nil
}

// answered takes what commands bring, and what the target tells by itself.
func (m *model) answered(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case progressMsg:
		return m.progress(msg)
	case readingMsg:
		return m.gotReading(msg)
	case tracedMsg:
		return m.gotTrace(msg)
	case namesMsg:
		return m.gotNames(msg)
	case resolvedMsg:
		return m.gotResolved(msg)
	case namedMsg:
		m.gotNamed(msg)
	case docMsg:
		m.gotDoc(msg)
	case confirmedMsg:
		m.gotConfirmed(msg)
	case surveyMsg:
		return m.gotSurvey(msg)
	case seenMsg:
		return m.gotSeen(msg)
	case exportedMsg:
		m.gotExported(msg)
	case policyMsg:
		return m.gotPolicy(msg)
	case plannedMsg:
		return m.gotPlan(msg)
	case newsMsg:
		return m.gotNews(msg)
	case openedMsg:
		return m.gotOpened(msg)
	case rightsMsg:
		m.gotRights(msg)
	case goneMsg:
		m.gotGone(msg)
	case nextMsg:
		m.gotNext(msg)
	case copiedMsg:
		return m.gotCopied(msg)
	case pagerMsg:
		return m.gotPager(msg)
	case pagedMsg:
		m.paged(msg)
	default:
		m.made(msg)
	}
	return nil
}

// made takes what was made in the background of what is shown already.
func (m *model) made(msg tea.Msg) {
	switch msg := msg.(type) {
	case soughtMsg:
		m.gotSought(msg)
	case findingsMsg:
		m.gotFindings(msg)
	case siftedMsg:
		m.gotSifted(msg)
	}
}

// ticked is a second that passed.
func (m *model) ticked(now time.Time) tea.Cmd {
	m.s.now = now
	return tea.Batch(m.tick(), m.policyOver(), m.lookAgain(), m.rereadPod())
}

// screen is the one that is shown.
func (m *model) screen() screen {
	switch m.s.at {
	case requestID:
		return &m.form
	case traceID:
		return &m.trace
	case configID:
		return &m.config
	case confirmID:
		return &m.live
	}
	return &m.over
}

// press decides who gets a key: dialog, then text that is typed, then the screen, then
// everywhere.
func (m *model) press(k tea.KeyPressMsg) tea.Cmd {
	if m.hold(k) {
		return nil
	}
	m.s.say, m.s.alarm = "", false
	if m.dialog != nil {
		e, done := m.dialog.press(k, &m.s)
		if done {
			m.dialog = nil
		}
		return m.perform(e)
	}
	if m.typingNow() {
		return m.perform(m.typed(k))
	}
	if p := m.trouble(); p != nil {
		if e, ok := p.press(k, m); ok {
			return m.perform(e)
		}
	}
	a := lookup(k.String(), m.keys()...)
	if a == actNone {
		if m.s.at == requestID {
			return m.perform(m.form.typing(k))
		}
		return nil
	}
	return m.act(a)
}

// typingNow says whether a line of text on the screen gets the keys.
func (m *model) typingNow() bool {
	return m.s.at == configID && m.config.asking || m.s.at == overviewID && m.over.asking
}

func (m *model) typed(k tea.KeyPressMsg) effect {
	if m.s.at == configID {
		return m.config.typing(k)
	}
	return m.over.typing(k)
}

func (m *model) paste(text string) tea.Cmd {
	switch {
	case len(m.ahead.typed) > 0 && m.waits():
		m.ahead.typed = append(m.ahead.typed, tea.PasteMsg{Content: text})
	case m.dialog != nil:
		switch d := m.dialog.(type) {
		case *chooser:
			d.filter.insert(text)
		case *typedDialog:
			d.name.insert(text)
		case *wayDialog:
			d.value.insert(text)
		case *policyDialog:
			if f := d.text(); f != nil {
				f.insert(text)
			}
		}
	case m.typingNow() && m.s.at == configID:
		m.config.asked.insert(text)
	case m.typingNow():
		m.over.filter.insert(text)
	case m.s.at == requestID:
		return m.perform(m.form.paste(text))
	case looksLikeCurl(text):
		m.goTo(requestID)
		return m.perform(m.form.paste(text))
	}
	return nil
}

// keys are the key lists that act now, the screen's own first. The form takes letters as
// text, so nothing else acts there.
func (m *model) keys() [][]binding {
	if p := m.trouble(); p != nil {
		return [][]binding{p.keys(m.s.opt.Keys), m.s.opt.Keys.everywhere()}
	}
	return m.s.opt.Keys.of(m.s.at)
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
	m.s.goOn, m.s.failed, m.s.kept = false, "", false
	if r.err != nil {
		m.fail(r.err)
		if errors.Is(r.err, inspect.ErrGone) {
			m.s.ended()
		}
	}
	if m.s.read && r.err != nil && len(r.reading.Files) == 0 || r.reading.Snapshot == nil {
		m.s.kept = m.s.read // what was read before stays
		return nil
	}
	m.s.reading, m.s.read = r.reading, true
	cmds := []tea.Cmd{m.survey()}
	if m.config.doc != nil {
		cmds = append(cmds, m.openAgain())
	}
	if m.s.asked {
		cmds = append(cmds, m.traceRequest(m.s.req))
	}
	return tea.Batch(cmds...)
}

func (m *model) gotTrace(t tracedMsg) tea.Cmd {
	if t.gen != m.s.gen {
		return nil
	}
	m.s.busy, m.ahead.tracing = nil, false
	if n := len(m.s.reading.Calls); len(t.reading.Calls) > n { // what the trace read on
		m.s.calls = append(m.s.calls, t.reading.Calls[n:]...)
	}
	if t.err != nil {
		m.fail(t.err)
		return nil
	}
	before, way := m.s.steps(), -1
	if m.s.way >= 0 && m.s.way < len(m.s.trace.Variants) {
		way = sameWay(m.s.trace.Variants[m.s.way], t.trace.Variants)
	}
	m.s.remains()
	old, had := m.s.trace, m.s.traced
	m.s.reading, m.s.trace, m.s.traced, m.s.way = t.reading, t.trace, true, way
	m.s.stamp()
	m.s.markChanges(old, had)
	m.s.seen, m.live = nil, confirmScreen{} // of an older trace
	m.trace.keep(before, m.s.steps())
	return m.askNames(rules.Addresses(t.trace))
}

func (m *model) fail(err error) {
	m.s.failed = render.Clean(err.Error())
	m.s.say, m.s.alarm = m.s.failed, true
}

// click selects, or runs a key of the footer.
func (m *model) click(msg tea.MouseClickMsg) tea.Cmd {
	if msg.Button != tea.MouseLeft || m.waits() {
		return nil
	}
	c := newCanvas(m.s.w, m.rows)
	m.paint(c)
	e := c.at(msg.X, msg.Y)
	if m.dialog != nil && e.kind != effPickItem && e.kind != effAct {
		return nil
	}
	if e.kind == effAct {
		m.dialog = nil
	}
	return m.perform(e)
}

// View draws the frame.
func (m *model) View() tea.View {
	c := newCanvas(m.s.w, m.rows)
	m.paint(c)
	v := tea.NewView(c.String(m.s.palette))
	v.AltScreen = true
	v.WindowTitle = "meshtop " + render.Clean(m.s.opt.Target)
	if m.s.danger() {
		v.WindowTitle = "DANGER " + v.WindowTitle
	}
	if m.s.inForce() {
		v.WindowTitle = strings.ToUpper(m.s.policy.policy.Change.Kind.String()) + " " + v.WindowTitle
	}
	if m.s.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if c.cursor.on {
		v.Cursor = tea.NewCursor(c.cursor.x, c.cursor.y)
		if c.cursor.text {
			v.Cursor.Shape = tea.CursorBar
		}
	}
	return v
}

func (m *model) paint(c *canvas) {
	if c.w < minWidth || c.h < minHeight {
		paintSmall(c, &m.s)
		return
	}
	c.under(&m.s, m.paintScreen)
}

// paintScreen draws all but the banner.
func (m *model) paintScreen(c *canvas) {
	header(c, &m.s)
	if p := m.trouble(); p != nil {
		p.draw(c, &m.s, m.page.top)
	} else {
		m.screen().draw(c, &m.s)
		footer(c, &m.s, m.keys())
	}
	switch {
	case m.dialog != nil:
		m.dialog.draw(c, &m.s)
	case m.s.busy != nil && m.s.at != confirmID && m.trouble() == nil && m.s.now.Sub(m.s.busy.since) >= time.Second:
		drawBusy(c, &m.s)
	}
}
