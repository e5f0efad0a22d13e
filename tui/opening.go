package tui

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// Opener opens a target while the screens are shown, and again in another way. Its functions may
// take long; they are never called from Update or View.
type Opener struct {
	Open func(ctx context.Context, how Opening) (Opened, error)
	// Waiting are the ways on that are offered while it takes long.
	Waiting []inspect.WayOn
	// Rights asks what the account may do with the target. Nil: there is no account.
	Rights func(ctx context.Context) (flow.Rights, error)
	// Others says that there are other targets to choose from: Run then ends with ErrChoose.
	Others bool
}

// Opening says how a target is to be opened.
type Opening struct {
	Flags []inspect.Flag // of the ways on that were chosen, beside those of the command line
	Other string         // another target of the same kind instead; empty: the one that was named
}

// Opened is a target that was opened.
type Opened struct {
	Target, Command  string // as in Options
	Source           Source
	Request          *flow.Request
	Requests         []flow.Request
	Limit            string          // why it can only be read in part; empty: nothing bars it
	NoRules, NoEnvoy []inspect.WayOn // where the kernel's half or the proxy's could not be read
	Close            func() error    // may be called twice
}

// ErrChoose is what Run ends with where the user wants another target.
var ErrChoose = errors.New("another target is wanted")

// opening is how the way to the target stands.
type opening struct {
	on     bool // it is being opened
	since  time.Time
	how    Opening // what is asked for
	was    Opening // what the target that is open was opened with
	heard  []heard
	err    error // of the last try; nil: it went well, or goes on
	now    Opened
	rights *flow.Rights
	denied string // why the rights could not be asked for
	asking bool   // for the rights
}

// heard is a line that was told while the target was being opened.
type heard struct {
	at   time.Duration
	text string
	last bool // the next replaces it
}

// beginning says whether the target is being opened, and nothing is offered yet.
func (s *state) beginning() bool { return s.open.on && !s.read && s.now.Sub(s.open.since) < soon }

// openedMsg: the target is open, or is not.
type openedMsg struct {
	gen    int
	how    Opening
	opened Opened
	err    error
}

// rightsMsg: the account's rights are there.
type rightsMsg struct {
	rights flow.Rights
	err    error
}

// open opens the target.
func (m *model) open(how Opening) tea.Cmd {
	name := m.s.opt.Target
	if how.Other != "" {
		name = how.Other
	}
	ctx, gen, ch := m.begin("Opening " + name)
	close(ch)
	m.s.open.on, m.s.open.since, m.s.open.how, m.s.open.heard, m.s.open.err = true, m.s.now, how, nil, nil
	m.s.end.asked, m.s.failed = false, ""
	open, owner := m.s.opt.Opener.Open, m.owner
	return func() tea.Msg {
		defer owner.enter()()
		o, err := open(ctx, how)
		if err == nil {
			owner.keep(o.Close)
		}
		return openedMsg{gen, how, o, err}
	}
}

// openBy opens the target by one more flag; what it was opened by stays, unless it is the same.
func (m *model) openBy(flags []inspect.Flag, other string) tea.Cmd {
	how := Opening{Other: m.s.open.how.Other}
	if other != "" {
		how.Other = other
	}
	for _, f := range m.s.open.how.Flags {
		if !slices.ContainsFunc(flags, func(g inspect.Flag) bool { return g.Name == f.Name }) {
			how.Flags = append(how.Flags, f)
		}
	}
	how.Flags = append(how.Flags, flags...)
	return m.open(how)
}

func (m *model) gotOpened(o openedMsg) tea.Cmd {
	if o.gen != m.s.gen {
		return shut(o.opened.Close)
	}
	m.s.busy = nil
	st := &m.s.open
	st.on = false
	if o.err != nil {
		st.err = o.err
		m.ahead.typed = nil // it was meant for what is not there
		if m.s.opt.Opener.Rights != nil && (errors.Is(o.err, inspect.ErrNoPower) || strings.Contains(o.err.Error(), "forbidden")) {
			return m.askRights()
		}
		return nil
	}
	old := st.now.Close
	st.now, st.was, st.rights, st.denied = o.opened, o.how, nil, ""
	m.s.opt.Target, m.s.opt.Command, m.s.opt.Source = o.opened.Target, o.opened.Command, o.opened.Source
	m.s.end = ending{}
	cmds := []tea.Cmd{shut(old), m.readPod(), m.showPolicy(), m.waitGone()}
	if o.opened.Limit != "" && m.s.opt.Opener.Rights != nil {
		cmds = append(cmds, m.askRights())
	}
	if !m.s.asked && o.opened.Request != nil {
		m.s.opt.Request, m.s.opt.Requests = o.opened.Request, o.opened.Requests
		m.s.first(o.opened.Request)
		m.ahead.tracing = true
	}
	return tea.Batch(cmds...)
}

// shut closes what is not looked at any more.
func shut(close func() error) tea.Cmd {
	if close == nil {
		return nil
	}
	return func() tea.Msg {
		_ = close() // it is closed again at the end, where an error would be told
		return nil
	}
}

func (m *model) askRights() tea.Cmd {
	m.s.open.asking = true
	ctx, ask := m.ctx, m.s.opt.Opener.Rights
	return func() tea.Msg {
		r, err := ask(ctx)
		return rightsMsg{r, err}
	}
}

func (m *model) gotRights(r rightsMsg) {
	m.s.open.asking = false
	if r.err != nil {
		m.s.open.denied = render.Clean(r.err.Error())
		return
	}
	m.s.open.rights = &r.rights
}

// hear keeps what is told while the target is being opened; a line that is not lasting is
// replaced by the next.
func (o *opening) hear(now time.Time, n News) {
	const most = 200
	if k := len(o.heard); k > 0 && o.heard[k-1].last {
		o.heard = o.heard[:k-1]
	}
	if len(o.heard) < most {
		o.heard = append(o.heard, heard{now.Sub(o.since), n.Text, !n.Lasting})
	}
}

// ending is the end of a pod that is looked at.
type ending struct {
	at    time.Time // zero: it has not ended, as far as is known
	asked bool      // the user wants to know what stands in its place
	next  string    // what does
	why   string    // why nothing is known to
	busy  bool
}

// goneMsg: the pod has ended.
type goneMsg struct{ from <-chan struct{} }

// nextMsg: who stands in its place.
type nextMsg struct {
	name string
	err  error
}

// waitGone waits until the pod has ended.
func (m *model) waitGone() tea.Cmd {
	gone, done := m.s.opt.Source.Gone, m.ctx.Done()
	if gone == nil {
		return nil
	}
	return func() tea.Msg {
		select {
		case <-gone:
			return goneMsg{gone}
		case <-done:
			return nil
		}
	}
}

func (m *model) gotGone(g goneMsg) {
	if g.from == m.s.opt.Source.Gone {
		m.s.ended()
	}
}

// ended notes that the pod has ended; what was read stays.
func (s *state) ended() {
	if s.end.at.IsZero() && s.read {
		s.end.at = s.now
	}
}

// askNext asks what stands in the place of a pod that has ended.
func (m *model) askNext() tea.Cmd {
	m.s.end.asked, m.s.end.next, m.s.end.why = true, "", ""
	next, ctx := m.s.opt.Source.Successor, m.ctx
	if next == nil {
		m.s.end.why = "nobody can be asked for it"
		return nil
	}
	m.s.end.busy = true
	return func() tea.Msg {
		name, err := next(ctx)
		return nextMsg{name, err}
	}
}

func (m *model) gotNext(n nextMsg) {
	m.s.end.busy, m.s.end.next = false, n.name
	if n.err != nil {
		m.s.end.why = render.Clean(n.err.Error())
	}
}
