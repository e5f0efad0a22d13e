package tui

import (
	"time"

	"github.com/meshtop/meshtop/rules/diff"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// pastTrace is a trace of this session.
type pastTrace struct {
	trace flow.Trace
	making
}

// making is what was so when a trace was made.
type making struct {
	at     time.Time
	taken  string // when what it was made from was read
	policy string // what was in force; empty: nothing, or it is not known
}

// changes are the steps that are others than in the trace before.
type changes struct {
	steps map[int]bool
	at    time.Time
}

// mostPast is how many traces are kept to compare with.
const mostPast = 12

// remains keeps the trace that is shown before another takes its place.
func (s *state) remains() {
	if !s.traced {
		return
	}
	s.past = append(s.past, s.present())
	if len(s.past) > mostPast {
		s.past = s.past[len(s.past)-mostPast:]
	}
}

// present is the trace that is shown, along the way that is shown.
func (s *state) present() pastTrace {
	p := pastTrace{s.trace, s.made}
	if s.way >= 0 && s.way < len(s.trace.Variants) {
		p.trace = along(s.trace, s.way)
	}
	return p
}

// along is a trace as if it could go one of its ways only.
func along(t flow.Trace, way int) flow.Trace {
	v := t.Variants[way]
	t.Legs, t.Verdict, t.Outcome, t.Caller, t.Upstream, t.Needs, t.Variants = v.Legs, v.Verdict, v.Outcome, v.Caller, v.Upstream, v.Needs, nil
	return t
}

// stamp notes what is so when a trace comes.
func (s *state) stamp() {
	s.made = making{at: s.now, taken: s.age()}
	if s.reading.Live && !s.reading.Taken.IsZero() {
		s.made.taken = "read " + s.reading.Taken.Format("15:04:05")
	}
	if s.inForce() {
		s.made.policy = s.policy.policy.Change.Kind.String() + " in force"
	}
}

// name is the trace in a line.
func (p pastTrace) name() string {
	return p.at.Format("15:04:05") + "  " + render.RequestLine(p.trace.Request)
}

// note is what it came to, and when it was so.
func (p pastTrace) note() (string, style.Ink) {
	g, ink := verdictMark(p.trace.Verdict)
	words := g + " " + render.Verdict(p.trace)
	for _, w := range []string{p.policy, p.taken} {
		if w != "" {
			words += " · " + w
		}
	}
	return words, meant(p.trace, ink)
}

// askDiff offers what the trace that is shown can be compared with: earlier ones of this session,
// the newest first, and its other ways.
func askDiff(s *state) effect {
	now := s.present()
	d := &chooser{title: "Compare with", prompt: "filter: ", foot: "A is what you choose, B the trace that is shown", width: 78}
	for i := len(s.past) - 1; i >= 0; i-- {
		d.items = append(d.items, compareItem(s.past[i], now))
	}
	for i, v := range s.trace.Variants {
		if i != s.way {
			p := now
			p.trace = along(s.trace, i)
			it := compareItem(p, now)
			it.name = "the way " + variantWords(v)
			d.items = append(d.items, it)
		}
	}
	if len(d.items) == 0 {
		return say("there is nothing to compare with yet: " + s.key(actWhatIf) + ", " + s.key(actEdit) + " and " + s.key(actRefresh) + " make another trace; meshtop diff compares targets")
	}
	return effect{kind: effDialog, dialog: d}
}

func compareItem(a, b pastTrace) item {
	note, ink := a.note()
	return item{name: a.name(), note: note, ink: ink, effect: effect{kind: effDialog, dialog: newBeside(a, b)}}
}

// changedFor is how long what has changed is marked.
const changedFor = 2 * time.Second

// markChanges notes the steps that are others than in the trace before, of the same request.
func (s *state) markChanges(before flow.Trace, had bool) {
	s.changed = changes{at: s.now}
	if !had || render.Request(before.Request) != render.Request(s.trace.Request) {
		return
	}
	for _, r := range diff.Legs(before.Legs, s.trace.Legs) {
		if r.Kind != diff.Same && r.Kind != diff.Renumbered && r.B.N > 0 {
			if s.changed.steps == nil {
				s.changed.steps = map[int]bool{}
			}
			s.changed.steps[r.B.N-1] = true
		}
	}
}

// changeMark stands behind a step's number while it is news.
func (s *state) changeMark(n int) string {
	if s.changed.steps[n] && s.way < 0 && s.now.Sub(s.changed.at) <= changedFor {
		return "*"
	}
	return " "
}
