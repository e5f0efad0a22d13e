package tui

import (
	"strconv"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

const (
	redrawEach = 100 * time.Millisecond // observations come to the screen at most so often
	keepSeen   = 1000                   // observations that the screen keeps; the rest is counted
)

// confirmScreen is the live side of a watch: what is seen, as a sequence diagram.
type confirmScreen struct {
	gen     int // of the watch
	seen    []flow.Observation
	packets int
	paused  bool
	arrows  []hop // not made anew while paused
}

// seenMsg: what was seen since the last one.
type seenMsg struct {
	gen     int
	seen    []flow.Observation
	packets int
	from    *eyes
}

// eyes gather observations between the watch and the screen: the watch never waits, and
// the screen is told at most once in redrawEach.
type eyes struct {
	mu      sync.Mutex
	seen    []flow.Observation
	kept    int
	packets int
	more    chan struct{}
	done    chan struct{}
}

func newEyes() *eyes { return &eyes{more: make(chan struct{}, 1), done: make(chan struct{})} }

func (e *eyes) see(o flow.Observation) {
	e.mu.Lock()
	if o.Kind == flow.SeenPacket {
		e.packets++
	}
	if e.kept < keepSeen {
		e.kept++
		e.seen = append(e.seen, o)
	}
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// take gives what was seen since it was last called.
func (e *eyes) take(gen int) seenMsg {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := seenMsg{gen, e.seen, e.packets, e}
	e.seen = nil
	return m
}

// follow waits for the next observations; it ends with the watch.
func (e *eyes) follow(gen int) tea.Cmd {
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
		return e.take(gen)
	}
}

func (m *model) gotSeen(g seenMsg) tea.Cmd {
	if g.gen != m.live.gen {
		return nil
	}
	m.live.seen = append(m.live.seen, g.seen...)
	m.live.packets = max(m.live.packets, g.packets)
	if !m.live.paused {
		m.live.arrows = arrows(m.s.trace, m.live.seen)
	}
	return g.from.follow(g.gen)
}

func confirmKeys() []binding {
	return []binding{
		{actPause, []string{"space"}, "space", "pause the drawing, go on", "space pause"},
		{actConfirm, []string{"w"}, "w", "watch again", "w again"},
		{actCopyAs, []string{"x", "C"}, "x", "copy the command that captures to a file", "x capture command"},
	}
}

func (t *confirmScreen) do(a act, s *state) effect {
	switch a {
	case actPause:
		t.paused = !t.paused
		t.arrows = arrows(s.trace, t.seen)
	case actConfirm:
		return askConfirm(s)
	case actCopyAs:
		cmd := strings.Replace(render.Command(command(s.opt), s.trace.Request), "meshtop trace", "meshtop capture -w trace.pcapng", 1)
		return effect{kind: effCopy, text: cmd, note: cmd}
	case actBack:
		return effect{kind: effAct, act: actBack}
	}
	return effect{}
}

func (t *confirmScreen) settle(*state) {}

func (t *confirmScreen) draw(c *canvas, s *state) {
	head := verdictLines(s, c.w-2, 1+2*b2i(c.h >= tallFrom))
	top, rest := body(c.w, c.h).top(len(head))
	c.page(top.inset(), 0, head)
	steps := map[string]string{}
	for i := range s.steps() {
		st, _ := s.word(i)
		g, _ := s.seenMark(i)
		for _, e := range st.Evidence {
			if steps[e.Ref] == "" {
				steps[e.Ref] = itoa(i+1) + " " + g
			}
		}
	}
	c.pane(rest, true, "flow", "", t.hint(s))
	_, rest = rest.top(1)
	legend := para(line{}, style.Faint, style.LightRule+style.LightRule+" packet  "+style.Dashed+style.Dashed+
		" inferred from conntrack. What happens inside Envoy shows nowhere outside it.", c.w-2)
	flow, foot := rest.top(max(rest.h-len(legend), 0))
	c.page(foot.inset(), 0, legend)
	if len(t.arrows) == 0 {
		c.put(flow.x+2, flow.y+1, flow.w-4, style.Faint, "nothing that fits the request was seen yet")
		return
	}
	drawFlow(c, flow, t.arrows, steps)
}

// hint is how the watch stands: packets, drops and time.
func (t *confirmScreen) hint(s *state) string {
	out := "ended"
	if s.busy != nil && s.busy.counts {
		n := max(int(s.now.Sub(s.busy.since)/time.Second), 0)
		out = style.SeenYes + " live " + itoa(n) + " s of 30 s"
	}
	if t.paused {
		out = "paused · " + out
	}
	out += "  " + itoa(t.packets) + " packets"
	if s.seen != nil {
		out += "  " + strconv.FormatUint(s.seen.report.Loss.Dropped, 10) + " dropped"
	}
	return out
}

func fixed3(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }
