package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// begin marks that something is asked of the pod, and gives the context and the channel
// that its command needs. What was asked before is cancelled.
func (m *model) begin(what string) (context.Context, int, chan inspect.Progress) {
	if m.s.busy != nil {
		m.s.busy.stop()
	}
	ctx, stop := context.WithCancel(m.ctx)
	m.s.gen++
	m.s.busy = &busy{what: what, since: m.s.now, stop: stop}
	return ctx, m.s.gen, make(chan inspect.Progress, 64)
}

// readPod reads the pod anew.
func (m *model) readPod() tea.Cmd {
	ctx, gen, ch := m.begin("Reading " + m.s.opt.Target)
	read := m.s.opt.Source.Read
	return tea.Batch(follow(gen, ch), func() tea.Msg {
		defer close(ch)
		r, err := read(ctx, tell(ch))
		return readingMsg{gen, r, err}
	})
}

// traceRequest traces over what was read.
func (m *model) traceRequest(req flow.Request) tea.Cmd {
	ctx, gen, ch := m.begin("Tracing")
	trace, in := m.s.opt.Source.Trace, m.s.reading
	return tea.Batch(follow(gen, ch), func() tea.Msg {
		defer close(ch)
		r, t, err := trace(ctx, in, req, tell(ch))
		return tracedMsg{gen, r, t, err}
	})
}

// tell passes progress on and never waits: a screen that is behind misses some.
func tell(ch chan<- inspect.Progress) func(inspect.Progress) {
	return func(p inspect.Progress) {
		select {
		case ch <- p:
		default:
		}
	}
}

// follow waits for the next progress; the channel is closed by the command that asked.
func follow(gen int, ch <-chan inspect.Progress) tea.Cmd {
	return func() tea.Msg {
		p, ok := <-ch
		if !ok {
			return nil
		}
		return progressMsg{gen, p, ch}
	}
}

// tick is the clock of the header: the age of what was read.
func tick() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tickMsg(t) })
}
