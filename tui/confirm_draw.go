package tui

import (
	"strings"

	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// packetMin is the least that a packet needs beside the counters: a title and six lines.
const packetMin = 7

// confirmAreas are the parts of the screen.
type confirmAreas struct {
	head                        []line
	verdict                     rect
	flow, steps, packet, counts rect
}

// areas divides the frame: the flow on top; below it the steps, and from wideFrom columns
// the packet beside them, with the counters under it.
func (t *confirmScreen) areas(s *state) confirmAreas {
	var a confirmAreas
	a.head = append(verdictLines(s, s.w-2, 1+2*b2i(s.h >= tallFrom)), s.tally(s.w-2)...)
	a.verdict, a.flow = body(s.w, s.h).top(len(a.head))
	if t.zoom {
		whole := a.flow
		a.flow = rect{}
		switch t.focus {
		case onSteps:
			a.steps = whole
		case onPacket:
			a.packet = whole
		default:
			a.flow = whole
		}
		return a
	}
	var foot rect
	n := max(a.flow.h*2/5, a.flow.h-len(t.rows)-2)
	if s.w < wideFrom && !t.open {
		n = min(max(a.flow.h/2, 3), s.foldedHeight())
	}
	a.flow, foot = a.flow.top(a.flow.h - min(n, a.flow.h*3/5))
	switch {
	case s.w >= wideFrom && !t.idle():
		a.packet, a.steps = foot.left(foot.w / 2)
		if n := s.countsHeight(); n > 0 && a.packet.h > n+packetMin {
			a.packet, a.counts = a.packet.top(a.packet.h - n - 1)
		}
	case t.open:
		a.packet = foot
	default:
		a.steps = foot
	}
	return a
}

func (t *confirmScreen) draw(c *canvas, s *state) {
	a := t.areas(s)
	c.page(a.verdict.inset(), 0, a.head)
	if t.idle() {
		t.drawMenu(c, a.flow, s)
	} else {
		t.drawFlowPane(c, a.flow, s)
	}
	t.drawSteps(c, a.steps, s)
	t.drawPacket(c, a.packet, s)
	s.drawCounts(c, a.counts)
	if a.packet.h > 0 && a.steps.h > 0 {
		beside := a.packet
		beside.h += a.counts.h
		c.upright(a.packet.x+a.packet.w, beside)
	}
}

func (t *confirmScreen) drawFlowPane(c *canvas, r rect, s *state) {
	if r.h < 1 {
		return
	}
	title, beside := "flow", s.key(actEvery)+" every packet"
	if t.list {
		title, beside = "every packet", s.key(actEvery)+" the path"
	}
	if c.w < wideFrom {
		beside = ""
	}
	hint := t.hint(s, false)
	if textWidth(hint)+textWidth(title)+8 > r.w {
		hint = t.hint(s, true)
	}
	c.pane(r, t.focus == onFlow, title, beside, hint)
	_, rest := r.top(1)
	switch {
	case len(t.rows) == 0:
		for i, l := range wrap(t.nothing(s), max(rest.w-4, 8)) {
			if i+1 < rest.h {
				c.put(rest.x+2, rest.y+1+i, rest.w-4, style.Faint, l)
			}
		}
	case t.list:
		t.drawList(c, rest, s)
	default:
		t.drawFlow(c, rest, s)
		t.drawLegend(c, rest)
	}
}

// drawLegend explains the lines, where rows are left for it.
func (t *confirmScreen) drawLegend(c *canvas, r rect) {
	legend := para(line{}, style.Faint, style.LightRule+style.LightRule+" packet  "+style.Dashed+style.Dashed+
		" inferred from conntrack: nat rewrites a packet before any device shows it", r.w-2)
	if y := r.h - len(legend); len(t.rows)+2 <= y {
		c.page(rect{r.x + 1, r.y + y, r.w - 2, len(legend)}, 0, legend)
	}
}

// nothing says why there are no rows.
func (t *confirmScreen) nothing(s *state) string {
	switch {
	case s.busy == nil && t.packets > 0:
		return "packets were seen, but none of this path: " + s.key(actEvery) + " shows all of them"
	case s.busy == nil:
		return "nothing that fits the request was seen. That proves nothing: " + s.key(actConfirm) + " waits again, " + s.key(actSend) + " sends one request"
	case !t.ready:
		return "reading the counters, then listening" + style.Ellipsis
	}
	return "listening: nothing that fits the request was seen yet"
}

// drawMenu is what stands in place of the flow before a watch: what can be done, and what
// it does to the pod.
func (t *confirmScreen) drawMenu(c *canvas, r rect, s *state) {
	c.pane(r, t.focus == onFlow, "what to watch", "", "nothing was watched yet")
	_, r = r.top(1)
	var out []line
	if t.failed != "" {
		out = append(out, para(text(style.Stops, style.MarkStops+" "), style.Stops, t.failed, r.w-2)...)
	}
	wait := "wait " + itoa(int(session30())) + " s for traffic that fits the request"
	if !s.reading.Live {
		wait = "replay what was recorded of this request"
	}
	can := s.canSend()
	if can == "" {
		can = "asks first, then sends: " + sentWords(s.trace.Request)
	}
	at := len(out)
	out = append(out, text(style.Plain, "  ").with(style.Key, s.key(actConfirm)+" ").with(style.Plain, pad(wait, 44)+" ").with(style.Faint, "nothing is sent"),
		text(style.Plain, "  ").with(style.Key, s.key(actSend)+" ").with(style.Plain, pad("send it once from inside the pod", 44)+" ").with(style.Faint, can), line{})
	out = append(out, para(line{}, style.Faint, "Packets of every device, conntrack, sockets, rule and Envoy counters are compared with the steps. "+
		"Of a packet 256 bytes are kept, in memory only; "+s.key(actExport)+" writes them to a file. "+s.key(actBack)+" ends a watch sooner and judges what was seen.", r.w-2)...)
	c.page(r.inset(), 0, out)
	for i := range 2 {
		y := r.y + at + i
		if y >= r.y+r.h {
			break
		}
		c.spot(r.x, y, r.w, effect{kind: effAct, act: []act{actConfirm, actSend}[i]})
		if i == t.choice && t.focus == onFlow {
			c.put(r.x, y, 1, style.Plain, style.Cursor)
			c.wash(rect{r.x, y, r.w, 1}, style.Selected)
			c.cursor.x, c.cursor.y, c.cursor.on = r.x, y, true
		}
	}
}

// tally counts the words on the steps, and says what could not be watched at all.
func (s *state) tally(width int) []line {
	if s.seen == nil || s.seen.way != s.way {
		return nil
	}
	r := s.seen.report
	head, ink := "", style.Depends
	switch {
	case s.watching() && r.Word != confirm.Contradicted:
		head, ink = "so far", style.Faint
	case r.Word == confirm.Confirmed:
		head, ink = style.MarkGoes+" as predicted", style.Goes
	case r.Word == confirm.Contradicted:
		head, ink = style.SeenOther+" not as predicted", style.Stops
	case r.Word == confirm.Unverifiable:
		head = style.MarkUnknown + " cannot be verified"
	default:
		head = style.SeenNotYet + " not all was seen"
	}
	l := text(ink, head)
	var out []line
	for _, w := range []confirm.Word{confirm.Confirmed, confirm.Contradicted, confirm.NotObserved, confirm.Unverifiable, confirm.NotObservable} {
		n := r.Count(w)
		if n == 0 && w != confirm.Contradicted {
			continue
		}
		g, ink := signOf(w)
		if n == 0 {
			ink = style.Faint
		}
		part := g + " " + itoa(n) + " " + s.wordNow(w)
		if l.width()+textWidth(part)+2 > width {
			out, l = append(out, l), line{}
		}
		l = l.with(style.Plain, "  ").with(ink, part)
	}
	out = append(out, l)
	for _, b := range r.Loss.Blind {
		out = append(out, text(style.Depends, cut(style.SeenOther+" not watched: "+render.Clean(b.Part)+": "+render.Clean(b.Reason), width)))
	}
	for _, b := range r.Loss.Unread {
		out = append(out, text(style.Faint, cut(style.SeenNever+" access log "+render.Clean(b.Part)+": "+render.Clean(b.Reason), width)))
	}
	return out[:min(len(out), 4)]
}

// drawSteps is the verdict on every step: its sign and word, and why.
func (t *confirmScreen) drawSteps(c *canvas, r rect, s *state) {
	if r.h < 2 {
		return
	}
	steps := s.steps()
	hint := itoa(len(steps)) + " steps"
	if s.seen != nil {
		hint = s.seenWords() + "  " + hint
	}
	c.pane(r, t.focus == onSteps, "steps", "", hint)
	_, r = r.top(1)
	if c.w < wideFrom && t.focus != onSteps {
		s.foldedSteps(c, r)
		return
	}
	for i := t.stepAt; i < len(steps) && i < t.stepAt+r.h; i++ {
		row := rect{r.x, r.y + i - t.stepAt, r.w, 1}
		c.draw(row.x+1, row.y, row.w-1, s.stepWord(i, row.w-1))
		c.spot(row.x, row.y, row.w, effect{kind: effStep, n: i})
		if i == t.step && t.focus == onSteps {
			c.put(row.x, row.y, 1, style.Plain, style.Cursor)
			c.wash(row, style.Selected)
			c.cursor.x, c.cursor.y, c.cursor.on = row.x, row.y, true
		}
	}
}

// foldedHeight is what the folded steps take with their title.
func (s *state) foldedHeight() int {
	n := len(s.steps())
	if s.seen != nil && s.seen.way == s.way {
		n -= s.seen.report.Count(confirm.NotObservable)
		return 2 + (n+1)/2 + b2i(s.countsHeight() > 0)
	}
	return 1 + (n+1)/2
}

// foldedSteps draws the words in two columns, without the reasons. What nothing outside
// can show shares a row, where room is short, and so do the counters.
func (s *state) foldedSteps(c *canvas, r rect) {
	if counted := s.countsLine(r.w - 22); counted != "" && r.h > 2 {
		c.draw(r.x+1, r.y+r.h-1, r.w-2, text(style.Faint, "     "+pad("counted", 14)+" ").with(style.Plain, counted))
		r.h--
	}
	var told, never []int
	for i := range s.steps() {
		if w, ok := s.word(i); ok && w.Word == confirm.NotObservable {
			never = append(never, i)
		} else {
			told = append(told, i)
		}
	}
	if len(never) > 0 && r.h > 1 {
		g, ink := signOf(confirm.NotObservable)
		c.draw(r.x+1, r.y+r.h-1, r.w-2, text(ink, g+"    "+wordOf(confirm.NotObservable)+" ").with(style.Plain, ranges(never)))
		r.h--
	}
	half := r.w / 2
	for i, n := range told[:min(len(told), 2*r.h)] {
		x, y := r.x+i/r.h*half, r.y+i%r.h
		if i == 2*r.h-1 && len(told) > 2*r.h {
			c.put(x+1, y, half-1, style.Faint, style.Ellipsis+" and "+itoa(len(told)-i)+" more: "+s.key(actPane))
			return
		}
		c.draw(x+1, y, half-1, s.stepWord(n, 0))
		c.spot(x, y, half, effect{kind: effStep, n: n})
	}
}

// ranges are numbers of steps as people write them: "2, 4, 6-9".
func ranges(steps []int) string {
	out := ""
	for i := 0; i < len(steps); i++ {
		n := i
		for n+1 < len(steps) && steps[n+1] == steps[n]+1 {
			n++
		}
		if out != "" {
			out += ", "
		}
		out += itoa(steps[i] + 1)
		if n > i {
			out += "-" + itoa(steps[n]+1)
		}
		i = n
	}
	return out
}

// stepWord is a step's row: sign, number, word and name; with a width, why too.
func (s *state) stepWord(n, width int) line {
	leg, st := s.stepAt(n)
	g, ink := s.seenMark(n)
	w, ok := s.word(n)
	word := "not seen yet"
	if ok {
		word = s.wordNow(w.Word)
	}
	long := 14
	if width == 0 {
		long = s.longestWord()
	}
	l := text(ink, g).with(style.Plain, right(itoa(n+1), 3)+" ").with(ink, pad(word, long)+" ").with(style.Plain, pad2(render.StepName(leg, st), 12+b2i(width > 0)))
	if width == 0 {
		return l.with(style.Plain, " "+render.StepBrief(leg, st))
	}
	why := render.Reason(w.Why)
	if why == "" || w.Word == confirm.NotObservable {
		why = render.StepBrief(leg, st)
	}
	room := max(width-l.width()-1, 8)
	if w.Why.Kind == flow.SeenCounted && textWidth(why) > room {
		why = why[strings.LastIndexByte(why, '.')+1:] // the row names whose counter it is
	}
	return l.with(style.Faint, " "+cut(why, room))
}

// longestWord is how many columns the words of the steps take, those that share a row left out.
func (s *state) longestWord() int {
	most := 0
	for i := range s.steps() {
		word := "not seen yet"
		if w, ok := s.word(i); ok && w.Word != confirm.NotObservable {
			word = s.wordNow(w.Word)
		} else if ok {
			continue
		}
		most = max(most, textWidth(word))
	}
	return most
}

// stepAt is step n with its leg.
func (s *state) stepAt(n int) (flow.Leg, flow.Step) {
	for _, l := range s.legs() {
		if n < len(l.Steps) {
			return l, l.Steps[n]
		}
		n -= len(l.Steps)
	}
	return flow.Leg{}, flow.Step{}
}

func (t *confirmScreen) drawPacket(c *canvas, r rect, s *state) {
	if r.h < 1 {
		return
	}
	title, hint := "packet", s.key(actPayload)+" shows payload"
	if t.sel < len(t.rows) {
		title = packetTitle(t.rows[t.sel])
	}
	if t.payload {
		hint = s.key(actPayload) + " hides payload"
	}
	c.pane(r, t.focus == onPacket, title, "", hint)
	_, r = r.top(1)
	c.page(r.inset(), t.scroll, t.packet(s, r.inset().w))
}
