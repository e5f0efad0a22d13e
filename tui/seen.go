package tui

import (
	"slices"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

const (
	redrawEach = 100 * time.Millisecond // observations come to the screen at most so often
	keepFirst  = 256                    // observations that are kept from the beginning on
	keepLast   = 2000                   // of the others, the newest; the rest is counted
)

// seenMsg: what was seen since the last one.
type seenMsg struct {
	gen     int
	seen    []*flow.Observation
	letGo   int             // between them, since nobody took them in time
	packets int             // since the beginning
	ready   bool            // the watch listens
	judged  *confirm.Report // nil: as before
	from    *eyes
}

// eyes gather observations between the watch and the screen: the watch never waits, and
// the screen is told at most once in redrawEach.
type eyes struct {
	mu   sync.Mutex
	now  seenMsg // what the next call of take gives
	more chan struct{}
	done chan struct{}
}

func newEyes(gen int) *eyes {
	e := &eyes{more: make(chan struct{}, 1), done: make(chan struct{})}
	e.now = seenMsg{gen: gen, from: e}
	return e
}

// tell changes what the screen is told next.
func (e *eyes) tell(f func(*seenMsg)) {
	e.mu.Lock()
	f(&e.now)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// watch are the ears of the source.
func (e *eyes) watch(send bool) Watch {
	return Watch{Send: send, Seen: e.see,
		Ready:  func() { e.tell(func(m *seenMsg) { m.ready = true }) },
		Judged: func(r confirm.Report) { e.tell(func(m *seenMsg) { m.judged = &r }) }}
}

func (e *eyes) see(o flow.Observation) {
	e.tell(func(m *seenMsg) {
		if o.Kind == flow.SeenPacket {
			m.packets++
		}
		if n := len(m.seen) - keepLast; n >= keepLast {
			m.letGo += n
			m.seen = append(m.seen[:0], m.seen[n:]...)
		}
		m.seen = append(m.seen, &o)
	})
}

// take gives what came since it was last called.
func (e *eyes) take() seenMsg {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.now
	e.now.seen, e.now.letGo, e.now.judged = nil, 0, nil
	return m
}

// follow waits for the next observations; it ends with the watch.
func (e *eyes) follow() tea.Cmd {
	return func() tea.Msg {
		select {
		case <-e.more:
		case <-e.done:
			return nil
		}
		pause := time.NewTimer(redrawEach)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-e.done:
		}
		return e.take()
	}
}

// seenLog keeps the first observations of a watch and the newest, and counts those between.
type seenLog struct {
	first, last []*flow.Observation
	letGo       int
}

func (l *seenLog) add(m seenMsg) {
	seen := m.seen
	if n := min(keepFirst-len(l.first), len(seen)); n > 0 && l.letGo == 0 {
		l.first, seen = append(l.first, seen[:n]...), seen[n:]
	}
	l.last = append(l.last, seen...)
	l.letGo += m.letGo
	if n := len(l.last) - keepLast; n > 0 {
		l.letGo += n
		l.last = slices.Delete(l.last, 0, n)
	}
}

// all are those that are kept, in the order in which they came.
func (l *seenLog) all() []*flow.Observation { return slices.Concat(l.first, l.last) }

// start is when the first packet was seen: times count from it.
func (l *seenLog) start() time.Time {
	var at time.Time
	for _, o := range l.first {
		if o.Kind == flow.SeenPacket && (at.IsZero() || o.At.Before(at)) {
			at = o.At
		}
	}
	return at
}
