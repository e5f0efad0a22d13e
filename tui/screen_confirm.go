package tui

import (
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// Panes of the confirm screen.
const (
	onFlow = iota
	onSteps
	onPacket
)

// confirmScreen is the live side of a watch: what is seen, as a sequence diagram or a list,
// the words on the steps, and one packet.
type confirmScreen struct {
	gen     int // of the watch; 0: there was none
	ready   bool
	ended   bool
	failed  string // why there is nothing to show
	log     seenLog
	parties parties
	packets int
	start   time.Time // of the first packet

	paused  bool
	list    bool // every observation is a row
	payload bool // payload is shown
	open    bool // the packet has the place of the steps, where there is none for both
	zoom    bool
	focus   int

	rows   []hop // not made anew while paused
	proof  map[*flow.Observation]proven
	sel    int
	moved  bool // the selection stays where it is
	top    int
	choice int // of the menu before a watch
	step   int // selected in the steps
	stepAt int
	scroll int // of the packet
}

func confirmKeys() []row {
	return append(moves("next, previous row", ""), []row{
		{actPause, []string{"space"}, 1, "pause the drawing, go on", "%s pause", ""},
		{actOpen, []string{"enter"}, 1, "the packet, or the step's trace", "%s packet", ""},
		{actEvery, []string{"f"}, 1, "every packet, or the path", "%s all", ""},
		{actConfirm, []string{"w"}, 1, "watch: nothing is sent", "%s watch", ""},
		{actSend, []string{"s"}, 1, "send one request (asks)", "%s send", ""},
		{actPayload, []string{"b"}, 1, "payload: show, hide", "%s payload", ""},
		{actExport, []string{"x"}, 1, "export as pcapng", "%s export", ""},
		{actZoom, []string{"z"}, 1, "zoom the pane", "", ""},
		{actCopyAs, []string{"C"}, 1, "copy as", "", ""},
	}...)
}

// gotSeen takes in what was seen.
func (m *model) gotSeen(g seenMsg) tea.Cmd {
	t := &m.live
	if g.gen != t.gen {
		return nil
	}
	if t.parties.client == nil {
		t.parties = newParties(m.s.trace)
	}
	for _, o := range g.seen {
		t.parties.learn(o)
	}
	t.log.add(g)
	t.packets, t.ready = max(t.packets, g.packets), t.ready || g.ready
	t.start = t.log.start()
	if g.judged != nil {
		m.judged(*g.judged)
	}
	if !t.paused {
		t.arrange(&m.s)
	}
	return g.from.follow()
}

// arrange makes the rows anew and keeps the selection on what it was on.
func (t *confirmScreen) arrange(s *state) {
	var was *flow.Observation
	if t.moved && t.sel < len(t.rows) {
		was = t.rows[t.sel].o
	}
	t.rows = t.parties.hops(&t.log, t.list)
	t.prove(s)
	switch {
	case was != nil:
		for i := range t.rows {
			if t.rows[i].o == was {
				t.sel = i
			}
		}
	case !t.moved && t.ended:
		t.sel = 0 // the path begins at its beginning
	case !t.moved:
		t.sel = len(t.rows) - 1
	}
	t.sel = max(min(t.sel, len(t.rows)-1), 0)
}

// prove finds for each row the steps that it proves.
func (t *confirmScreen) prove(s *state) {
	t.proof = map[*flow.Observation]proven{}
	type key struct{ source, ref string }
	steps := map[key][]int{}
	for i := range s.steps() {
		st, _ := s.word(i)
		for _, e := range st.Evidence {
			k := key{e.Source, e.Ref}
			steps[k] = append(steps[k], i)
		}
	}
	if len(steps) == 0 {
		return
	}
	told := map[int]bool{} // the steps of a conntrack entry are told by its first event
	for _, h := range t.rows {
		if h.o == nil {
			continue
		}
		k := key{"capture " + h.o.Device, h.o.Ref}
		switch h.o.Kind {
		case flow.SeenConntrack:
			k.source = "conntrack"
		case flow.SeenSocket:
			k.source = "sockets"
		}
		var mine []int
		for _, i := range steps[k] {
			if !told[i] {
				mine, told[i] = append(mine, i), true
			}
		}
		if len(mine) > 0 {
			t.proof[h.o] = proven{s.proofLine(mine)}
		}
	}
}

// proofLine is what a row proves: the numbers of steps with their sign; where there is
// room, with the word and of a single step why.
func (s *state) proofLine(steps []int) line {
	if len(steps) == 0 {
		return line{}
	}
	var out line
	words := s.w >= wideFrom
	slices.SortStableFunc(steps, func(a, b int) int { return s.contradicts(b) - s.contradicts(a) }) // where room is short, the worst is told
	for i := 0; i < len(steps); {
		st, _ := s.word(steps[i])
		n := i
		for n+1 < len(steps) && steps[n+1] == steps[n]+1 {
			if next, _ := s.word(steps[n+1]); next.Word != st.Word {
				break
			}
			n++
		}
		if i > 0 {
			out = out.with(style.Plain, " ")
		}
		number := ranges(steps[i : n+1])
		g, ink := signOf(st.Word)
		out = out.with(style.Plain, number+" ").with(ink, g)
		if words {
			out = out.with(ink, " "+s.wordNow(st.Word))
		}
		if why := render.Reason(st.Why); words && len(steps) == 1 && why != "" {
			out = out.with(style.Faint, " "+why)
		}
		i = n + 1
	}
	return out
}

// contradicts is 1 where what was seen contradicts step i.
func (s *state) contradicts(i int) int {
	st, _ := s.word(i)
	return b2i(st.Word == confirm.Contradicted)
}

// wordNow is a word on a step: while the watch goes on, what was not seen may still come.
func (s *state) wordNow(w confirm.Word) string {
	if w == confirm.NotObserved && s.watching() {
		return "not seen yet"
	}
	return wordOf(w)
}

// watching says whether a watch goes on.
func (s *state) watching() bool { return s.busy != nil && s.busy.counts }

// wordOf is a word as screens say it.
func wordOf(w confirm.Word) string { return strings.ReplaceAll(w.String(), "-", " ") }

// idle says whether nothing was watched yet.
func (t *confirmScreen) idle() bool { return t.gen == 0 || t.failed != "" }

func (t *confirmScreen) do(a act, s *state) effect {
	switch a {
	case actPause:
		t.paused = !t.paused
		t.arrange(s)
	case actEvery:
		t.list, t.moved = !t.list, false
		t.arrange(s)
	case actPayload:
		t.payload = !t.payload
	case actZoom:
		t.zoom = !t.zoom
	case actPane:
		t.turn(1, s)
	case actPaneBack:
		t.turn(-1, s)
	case actOpen:
		return t.enter(s)
	case actConfirm:
		return effect{kind: effWatch}
	case actSend:
		return askSend(s)
	case actExport:
		return effect{kind: effExport}
	case actCopyAs:
		return t.copyAs(s)
	case actBack:
		return t.back(s)
	default:
		t.move(a, s)
	}
	return effect{}
}

// back closes what is open, before it leads back.
func (t *confirmScreen) back(s *state) effect {
	switch {
	case s.busy != nil:
	case t.zoom:
		t.zoom = false
		return effect{}
	case t.open:
		t.open, t.focus = false, onFlow
		return effect{}
	}
	return effect{kind: effAct, act: actBack}
}

// enter acts on what is selected.
func (t *confirmScreen) enter(s *state) effect {
	switch {
	case t.idle() && t.choice == 0:
		return effect{kind: effWatch}
	case t.idle():
		return askSend(s)
	case t.focus == onSteps:
		return effect{kind: effStep, n: t.step}
	case t.focus == onPacket:
		t.focus, t.open = onFlow, false
	case s.w < wideFrom:
		t.open = !t.open
	default:
		t.focus = onPacket
	}
	return effect{}
}

// turn gives the keys to the next pane that is there.
func (t *confirmScreen) turn(by int, s *state) {
	panes := []int{onFlow, onSteps}
	switch {
	case t.idle():
	case s.w >= wideFrom:
		panes = []int{onFlow, onPacket, onSteps}
	case t.open:
		panes = []int{onFlow, onPacket}
	}
	at := 0
	for i, p := range panes {
		if p == t.focus {
			at = i
		}
	}
	t.focus = panes[(at+by+len(panes))%len(panes)]
}

// move moves in the pane that has the keys.
func (t *confirmScreen) move(a act, s *state) {
	h := t.areas(s).flow.h
	by, ok := map[act]int{actDown: 1, actUp: -1, actHalfDown: h / 2, actHalfUp: -h / 2, actPageDown: h, actPageUp: -h, actFirst: -1 << 30, actLast: 1 << 30}[a]
	if !ok {
		return
	}
	switch {
	case t.focus == onSteps:
		t.step += by
	case t.idle():
		t.choice += by
	case t.focus == onPacket:
		t.scroll += by
	default:
		t.pick(t.sel + by)
		t.moved = a != actLast
	}
}

func (t *confirmScreen) pick(n int) {
	t.sel, t.moved, t.scroll = max(min(n, len(t.rows)-1), 0), true, 0
}

// settle brings what is scrolled back into its bounds.
func (t *confirmScreen) settle(s *state) {
	n := len(s.steps())
	t.choice = max(min(t.choice, b2i(s.canSend() == "")), 0)
	t.step = max(min(t.step, n-1), 0)
	a := t.areas(s)
	t.top = scroll(t.top, t.sel, len(t.rows), max(a.flow.h-2, 1))
	t.stepAt = scroll(t.stepAt, t.step, n, max(a.steps.h-1, 1))
	t.scroll = max(min(t.scroll, len(t.packet(s, a.packet.inset().w))-(a.packet.h-1)), 0)
}

// packet are the lines of the selected observation.
func (t *confirmScreen) packet(s *state, width int) []line {
	if t.sel >= len(t.rows) {
		return nil
	}
	return packetLines(t.rows[t.sel], t.payload, s.key(actPayload), max(width, 8))
}

// hint is how the watch stands: time, packets, and what was not seen.
func (t *confirmScreen) hint(s *state, short bool) string {
	var out []string
	switch {
	case s.watching() && t.ended:
		out = append(out, "judging"+style.Ellipsis)
	case s.watching() && !t.ready:
		out = append(out, "starting"+style.Ellipsis)
	case s.watching():
		out = append(out, style.SeenYes+" live "+itoa(since(s.busy.since, s.now))+" s of "+itoa(int(session.DefaultWatch/time.Second))+" s")
	default:
		out = append(out, "ended")
	}
	if t.paused {
		out = append([]string{"paused"}, out...)
	}
	dropped := uint64(0)
	if s.seen != nil {
		dropped = s.seen.report.Loss.Dropped
	}
	out = append(out, itoa(t.packets)+" packets", strconv.FormatUint(dropped, 10)+" dropped")
	if t.log.letGo > 0 {
		out = append(out, itoa(t.log.letGo)+" let go")
	}
	if short {
		return strings.NewReplacer(" packets", " pkt", " dropped", " drop", " of 30 s", "").Replace(strings.Join(out, " "))
	}
	return strings.Join(out, " · ")
}

func fixed3(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }
