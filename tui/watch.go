package tui

import (
	"errors"
	"strings"
	"sync"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// confirmed is what was seen of the trace that is shown.
type confirmed struct {
	report confirm.Report
	steps  []confirm.Step // in the order of the trace's steps
	way    int            // the variant that fits what was seen; -1: the trace has one way
}

// confirmedMsg: a watch is over.
type confirmedMsg struct {
	gen     int
	reading Reading
	report  confirm.Report
	err     error
	last    seenMsg // what the screen was not told yet
}

// askConfirm is key w: to the screen that sees whether the trace is true.
func askConfirm(s *state) effect {
	switch {
	case s.opt.Source.Confirm == nil:
		return say("this target cannot be watched")
	case !s.traced:
		return say("there is no trace to confirm: " + s.opt.Keys.first(traceID, actEdit) + " makes a request")
	}
	return effect{kind: effGo, screen: confirmID}
}

// watch confirms the trace: it sends the request, or waits for one like it.
func (m *model) watch(send bool) tea.Cmd {
	if e := askConfirm(&m.s); e.kind == effSay {
		return m.perform(e)
	}
	what := "Watching for traffic that fits"
	if send {
		what = "Sending the request and watching it"
	}
	ctx, gen, ch := m.begin(what)
	m.s.busy.counts = true
	m.s.seen = nil
	m.live = confirmScreen{gen: gen, list: m.live.list}
	m.goTo(confirmID)
	ask, in, req := m.s.opt.Source.Confirm, m.s.reading, m.s.trace.Request
	e, owner := newEyes(gen), m.owner
	return tea.Batch(follow(gen, ch), e.follow(), func() tea.Msg {
		defer owner.enter()()
		defer close(ch)
		defer close(e.done)
		r, rep, err := ask(ctx, in, req, e.watch(send))
		return confirmedMsg{gen, r, rep, err, e.take()}
	})
}

// owner waits for the watches of a program that has ended, and closes what it opened: none may
// leave a socket.
type owner struct {
	mu     sync.Mutex
	going  int
	idle   *sync.Cond
	opened []func() error
}

// keep is told of what was opened and is to be closed in the end.
func (o *owner) keep(close func() error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if close != nil {
		o.opened = append(o.opened, close)
	}
}

func newOwner() *owner {
	o := &owner{}
	o.idle = sync.NewCond(&o.mu)
	return o
}

// enter begins a watch; what it returns ends it.
func (o *owner) enter() func() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.going++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.going--
		o.idle.Broadcast()
	}
}

func (o *owner) wait() error {
	o.mu.Lock()
	for o.going > 0 {
		o.idle.Wait()
	}
	opened := o.opened
	o.mu.Unlock()
	var errs []error
	for _, shut := range opened {
		errs = append(errs, shut())
	}
	return errors.Join(errs...)
}

func (m *model) gotConfirmed(c confirmedMsg) {
	if c.gen != m.s.gen {
		return
	}
	m.s.busy = nil
	if n := len(m.s.reading.Calls); len(c.reading.Calls) > n {
		m.s.calls = append(m.s.calls, c.reading.Calls[n:]...)
	}
	if c.last.from != nil {
		m.gotSeen(c.last)
	}
	m.live.ended = true
	if c.err != nil {
		m.live.failed = render.Clean(c.err.Error())
		if errors.Is(c.err, inspect.ErrReadOnly) && !m.s.reading.Live {
			m.live.failed = "this recording holds no capture, no conntrack events and no access log: there is nothing to replay"
		}
		m.s.say, m.s.alarm = m.live.failed, true
		return
	}
	m.judged(c.report)
	m.live.arrange(&m.s)
}

// judged shows a report. The watch traced anew: what it judged is what is shown.
func (m *model) judged(r confirm.Report) {
	before := m.s.steps()
	seen := &confirmed{report: r, way: -1, steps: r.Steps}
	for i, v := range r.Trace.Variants {
		if v.Outcome == r.Trace.Outcome && v.Verdict == r.Trace.Verdict && v.Caller == r.Trace.Caller {
			seen.way = i
		}
	}
	req := m.s.trace.Request
	m.s.trace, m.s.way, m.s.seen = r.Trace, seen.way, seen
	m.s.trace.Request = req
	m.trace.keep(before, m.s.steps())
}

// exportedMsg: packets were written to a file.
type exportedMsg struct {
	file    string
	packets int
	letGo   int
	err     error
}

// export writes the packets that the screen keeps.
func (m *model) export() tea.Cmd {
	write := m.s.opt.Source.Export
	var seen []flow.Observation
	for _, o := range m.live.log.all() {
		if o.Kind == flow.SeenPacket && len(o.Raw) > 0 {
			seen = append(seen, *o)
		}
	}
	if write == nil || len(seen) == 0 {
		m.s.say = "there is no packet to export"
		return nil
	}
	loss := flow.Loss{Seen: uint64(m.live.packets)}
	if m.s.seen != nil {
		loss = m.s.seen.report.Loss
	}
	t, letGo := m.s.trace, m.live.log.letGo
	return func() tea.Msg {
		file, err := write(t, seen, loss)
		return exportedMsg{file, len(seen), letGo, err}
	}
}

func (m *model) gotExported(e exportedMsg) {
	if e.err != nil {
		m.s.say, m.s.alarm = "not exported: "+render.Clean(e.err.Error()), true
		return
	}
	m.s.say = "wrote " + itoa(e.packets) + " packets (headers only) to " + render.Clean(e.file) + ", for you alone to read"
	if e.letGo > 0 {
		m.s.say += " · " + itoa(e.letGo) + " were let go before"
	}
}

// word is what was seen of step i of the way that is shown; false: nothing was watched.
func (s *state) word(i int) (confirm.Step, bool) {
	if s.seen == nil || s.seen.way != s.way || i >= len(s.seen.steps) {
		return confirm.Step{}, false
	}
	return s.seen.steps[i], true
}

// seenMark is a step's second mark.
func (s *state) seenMark(i int) (string, style.Ink) {
	st, ok := s.word(i)
	if !ok {
		return style.SeenNotYet, style.Faint
	}
	return signOf(st.Word)
}

// signOf is the sign of a word: each has its own, so that none is told by colour alone.
func signOf(w confirm.Word) (string, style.Ink) {
	switch w {
	case confirm.Confirmed:
		return style.SeenYes, style.Goes
	case confirm.Contradicted:
		return style.SeenOther, style.Stops
	case confirm.NotObservable:
		return style.SeenNever, style.Faint
	case confirm.Unverifiable:
		return style.MarkUnknown, style.Depends
	}
	return style.SeenNotYet, style.Faint
}

// seenLines say what was seen of step i.
func (s *state) seenLines(i, width int) []line {
	st, ok := s.word(i)
	if !ok {
		return nil
	}
	_, ink := s.seenMark(i)
	word := wordOf(st.Word)
	why := render.Reason(st.Why)
	out := append([]line{{}}, para(text(ink, word+"  "), style.Plain, why, width)...)
	for _, e := range st.Evidence {
		out = append(out, para(text(style.Faint, pad(render.Clean(e.Source), textWidth(word))+"  "), style.Plain, strings.TrimSpace(render.Clean(e.Ref)+"  "+render.Clean(e.Text)), width)...)
	}
	return out
}

// seenVerdict is what the verdict line says of the watch: a contradiction comes first.
func (s *state) seenVerdict() (text string, against bool) {
	if s.seen == nil || s.seen.way != s.way {
		return "", false
	}
	r := s.seen.report
	n := itoa(r.Count(confirm.Confirmed)) + "/" + itoa(len(r.Steps)) + " confirmed"
	return n, r.Count(confirm.Contradicted) > 0
}

// confirmRows are the rows of the confirmation pane: every step of which something shows.
func (s *state) confirmRows(width int) []line {
	var out []line
	steps := s.steps()
	for i := range steps {
		st, ok := s.word(i)
		if !ok || len(st.Evidence) == 0 && st.Word != confirm.Contradicted {
			continue
		}
		g, ink := s.seenMark(i)
		l := text(ink, g).with(style.Plain, right(itoa(i+1), 3)+" ").with(style.Plain, pad(render.StageWord(st.Stage), 14)+" ")
		says, by := render.Reason(st.Why), ""
		for _, e := range st.Evidence {
			if by = render.Clean(e.Source); says == "" {
				says = strings.TrimSpace(render.Clean(e.Ref) + " " + render.Clean(e.Text))
			}
			break
		}
		l = l.with(style.Faint, pad(by, 10)+" ")
		l = l.with(style.Plain, cut(says, max(width-l.width(), 8)))
		l.click = effect{kind: effSelect, n: i}
		out = append(out, l)
	}
	return out
}

// confirmTitle heads the pane: what was sent and got, how much was seen, what was lost.
func (s *state) confirmTitle() string {
	r := s.seen.report
	out := "confirmation · " + wordOf(r.Word)
	if r.Sent != nil {
		if code := render.Clean(r.Sent.Fields["code"]); code != "" && code != "0" {
			out += " · answered " + code
		}
		out += " · tcp " + render.Clean(r.Sent.Fields["tcp"]) + " in " + render.Clean(r.Sent.Fields["ms"]) + " ms"
	}
	return out + " · " + s.seenWords()
}

// seenWords say of how many observations the report is, and how many were lost.
func (s *state) seenWords() string {
	l := s.seen.report.Loss
	return utoa(uint32(min(l.Seen, 1<<31))) + " seen, " + utoa(uint32(min(l.Dropped, 1<<31))) + " lost"
}
