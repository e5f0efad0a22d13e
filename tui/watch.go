package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
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

// askConfirm is key w: how to see whether the trace is true.
func askConfirm(s *state) effect {
	switch {
	case s.opt.Source.Confirm == nil:
		return say("this target cannot be watched")
	case !s.traced:
		return say("there is no trace to confirm: e makes a request")
	}
	d := &chooser{title: "Confirm with what really happens", prompt: "filter: ", width: 76, foot: "rules, conntrack, sockets and packets are compared with the steps"}
	what := render.Curl(s.trace.Request)
	if what == "" {
		what = render.RequestLine(s.trace.Request)
	}
	if s.trace.Request.Dir == flow.Outbound {
		d.items = append(d.items, item{name: "send it once from inside the pod", note: what, ink: style.Faint, effect: effect{kind: effWatch, n: 1}})
	}
	d.items = append(d.items, item{name: "wait 30 s for traffic that fits", note: "nothing is sent; esc judges what was seen", ink: style.Faint, effect: effect{kind: effWatch}})
	return effect{kind: effDialog, dialog: d}
}

// watch confirms the trace: it sends the request, or waits for one like it.
func (m *model) watch(send bool) tea.Cmd {
	what := "Watching for traffic that fits"
	if send {
		what = "Sending the request and watching it"
	}
	ctx, gen, ch := m.begin(what)
	m.s.busy.counts = true
	m.live = confirmScreen{gen: gen}
	m.goTo(confirmID)
	ask, in, req := m.s.opt.Source.Confirm, m.s.reading, m.s.trace.Request
	e := newEyes()
	return tea.Batch(follow(gen, ch), e.follow(gen), func() tea.Msg {
		defer close(ch)
		defer close(e.done)
		r, rep, err := ask(ctx, in, req, send, e.see)
		last := e.take(gen)
		return confirmedMsg{gen, r, rep, err, last}
	})
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
	if c.err != nil {
		if m.s.at == confirmID {
			m.leave(actBack)
		}
		m.fail(c.err)
		m.s.failed = ""
		return
	}
	// The watch traced anew: what it judged is what is shown.
	before := m.s.steps()
	seen := &confirmed{report: c.report, way: -1, steps: c.report.Steps}
	for i, v := range c.report.Trace.Variants {
		if v.Outcome == c.report.Trace.Outcome && v.Verdict == c.report.Trace.Verdict && v.Caller == c.report.Trace.Caller {
			seen.way = i
		}
	}
	req := m.s.trace.Request
	m.s.trace, m.s.way, m.s.seen = c.report.Trace, seen.way, seen
	m.s.trace.Request = req
	m.trace.keep(before, m.s.steps())
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
	switch st.Word {
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
	word := strings.ReplaceAll(st.Word.String(), "-", " ")
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
	out := "confirmation · " + strings.ReplaceAll(r.Word.String(), "-", " ")
	if r.Sent != nil {
		if code := render.Clean(r.Sent.Fields["code"]); code != "" && code != "0" {
			out += " · answered " + code
		}
		out += " · tcp " + render.Clean(r.Sent.Fields["tcp"]) + " in " + render.Clean(r.Sent.Fields["ms"]) + " ms"
	}
	out += " · " + utoa(uint32(min(r.Loss.Seen, 1<<31))) + " seen, " + utoa(uint32(min(r.Loss.Dropped, 1<<31))) + " lost"
	return out
}
