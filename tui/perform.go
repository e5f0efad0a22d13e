package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// act does what a key, a click on the footer or a line of the palette asks.
func (m *model) act(a act) tea.Cmd {
	if cmd, ok := m.everywhere(a); ok {
		return cmd
	}
	e := m.screen().do(a, &m.s)
	if e.kind == effAct && e.act == a {
		m.leave(a)
		return nil
	}
	return m.perform(e)
}

// everywhere does what every screen does alike.
func (m *model) everywhere(a act) (tea.Cmd, bool) {
	switch a {
	case actQuit:
		return m.quit(), true
	case actSuspend:
		return tea.Suspend, true
	case actRefresh:
		return m.refresh(), true
	case actMouse:
		m.s.mouse = !m.s.mouse
		m.s.say = "mouse off: the terminal selects text itself"
		if m.s.mouse {
			m.s.say = "mouse on"
		}
	case actPolicy, actExtend, actUndo:
		return m.egressAct(a), true
	case actHelp:
		m.dialog = &helpDialog{title: "Help: " + m.s.at.String(), here: m.keys()[0], always: m.s.opt.Keys.everywhere()}
	case actPalette:
		return m.offer(m.palette), true
	case actActivity:
		m.dialog = activity(&m.s)
	case actOverviewScreen, actRequestScreen, actTraceScreen, actConfigScreen, actConfirmScreen:
		m.goTo(screenID(a - actOverviewScreen))
	default:
		return nil, false
	}
	return nil, true
}

// refresh reads the pod again; of one that has ended it asks what stands in its place.
func (m *model) refresh() tea.Cmd {
	switch {
	case !m.s.end.at.IsZero():
		return m.askNext()
	case m.s.open.on:
		return nil
	}
	return tea.Batch(m.readPod(), m.showPolicy())
}

// goTo shows a screen; esc leads back.
func (m *model) goTo(id screenID) {
	if id == m.s.at {
		return
	}
	if id == requestID {
		m.form.fill(m.s.req)
	}
	m.s.back = append(m.s.back, m.s.at)
	if len(m.s.back) > 20 {
		m.s.back = m.s.back[1:]
	}
	m.s.at = id
}

// leave is what esc does where the screen has nothing to close.
func (m *model) leave(a act) {
	switch n := len(m.s.back); {
	case a != actBack:
	case m.s.policy.ended.Change.Kind != flow.NoPolicy:
		m.s.policy.ended = flow.Policy{}
	case m.s.busy != nil:
		m.s.busy.stop()
	case n > 0:
		m.s.at, m.s.back = m.s.back[n-1], m.s.back[:n-1]
	}
}

// perform turns a screen's effect into commands.
func (m *model) perform(e effect) tea.Cmd {
	switch e.kind {
	case effAct:
		return m.act(e.act)
	case effTrace:
		return m.traceNow(*e.req, e.note)
	case effResolve:
		return m.resolve(e.draft)
	case effPickItem:
		return m.pickItem(e.n)
	case effWatch:
		return m.watch(e.n == 1)
	case effExport:
		return m.export()
	case effPlan:
		if d, ok := m.dialog.(*policyDialog); ok {
			return m.plan(d, e.n == 1)
		}
	case effUndo:
		return m.undo()
	case effExtend:
		return m.extend()
	case effPager:
		return m.showInPager(e.note)
	case effOffer:
		return m.offer(toOpen)
	case effSeek:
		return m.seek(e.n, e.node)
	case effPlace:
		return m.openPlace(e.place, false, false)
	case effConfig:
		return m.openConfig(e)
	case effCopy:
		return m.copy(e.text, e.note)
	case effOpen:
		return m.openBy(e.flags, e.text)
	case effChoose:
		m.choose = true
		return m.quit()
	case effQuit:
		return m.quit()
	default:
		m.shows(e)
	}
	return nil
}

// shows performs an effect that changes only what is shown.
func (m *model) shows(e effect) {
	switch e.kind {
	case effFill:
		m.goTo(requestID)
		m.form.fill(*e.req)
	case effGo:
		m.goTo(e.screen)
	case effSelect:
		m.selectRow(e.n)
	case effStep:
		m.goTo(traceID)
		m.selectRow(e.n)
	case effVariant:
		m.s.way = e.n
	case effDialog:
		m.dialog = e.dialog
	case effCancel:
		m.leave(actBack)
	case effSay:
		m.s.say, m.s.alarm = e.text, e.n != 0
	}
}

// traceNow traces a request and shows the way that it takes. Where nothing was read yet it is
// traced once that is.
func (m *model) traceNow(r flow.Request, note string) tea.Cmd {
	m.goTo(traceID)
	m.remember(r)
	m.s.req, m.s.asked, m.s.say = r, true, note
	var cmd tea.Cmd
	switch {
	case m.s.read:
		cmd = m.traceRequest(r)
	case m.s.busy == nil:
		cmd = m.readPod()
	}
	m.ahead.tracing = true
	return cmd
}

// remember keeps the last requests, the newest first, each once.
func (m *model) remember(r flow.Request) {
	out := []flow.Request{r}
	for _, old := range m.s.recent {
		if render.Request(old) != render.Request(r) && len(out) < 8 {
			out = append(out, old)
		}
	}
	m.s.recent = out
}

// selectRow selects row n of the screen's list; a step from elsewhere goes to the trace.
func (m *model) selectRow(n int) {
	switch m.s.at {
	case requestID:
		m.form.onRight, m.form.sel = false, n
	case configID:
		m.config.sel = n
	case confirmID:
		m.live.focus = onFlow
		m.live.pick(n)
	case overviewID:
		m.over.choose(n, &m.s)
	default:
		m.trace.evidence = false
		m.trace.pick(n, len(m.s.steps()))
	}
}

// pickItem is a click on a row of a dialog.
func (m *model) pickItem(n int) tea.Cmd {
	d, ok := m.dialog.(*chooser)
	if !ok {
		return nil
	}
	e, ok := d.pick(n)
	if !ok {
		return nil
	}
	m.dialog = nil
	return m.perform(e)
}

// openConfig opens the raw viewer at a step's object, or at a reference.
func (m *model) openConfig(e effect) tea.Cmd {
	if e.text != "" {
		return m.openPlace(placeOfRef(e.text), e.n != 0, false)
	}
	steps := m.s.steps()
	if e.n >= len(steps) {
		return nil
	}
	for _, ev := range steps[e.n].Evidence {
		return m.openPlace(placeOf(ev), false, false)
	}
	m.s.say = "this step was made by meshtop's reckoning alone: there is nothing raw to show"
	return nil
}

func (m *model) gotDoc(d docMsg) {
	if d.gen != m.s.docGen {
		return
	}
	m.ahead.opening, m.ahead.seeking = false, false
	if d.err != nil {
		m.fail(d.err)
		return
	}
	if strings.HasPrefix(m.s.say, "opening ") {
		m.s.say = ""
	}
	m.config.open(d.doc, d.target, d.line)
	if !d.again {
		m.goTo(configID)
	}
}
