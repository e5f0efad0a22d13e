package tui

import (
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// traceScreen is the stepper: the path as a rail of steps, and the evidence of the one
// that is selected.
type traceScreen struct {
	sel      int
	evidence bool // the keys scroll the evidence
	zoom     bool // the evidence fills the body
	all      bool // every loser is shown
	railTop  int
	text     pieces // the evidence, made by settle: a frame costs what is visible
	first    roll   // its first line in sight
}

// railRow is one row of the rail: a heading, a step, or a word on the end.
type railRow struct {
	line
	step int // -1: no step
}

// do is what a key does here.
func (t *traceScreen) do(a act, s *state) effect {
	n := len(s.steps())
	if t.evidence || t.zoom {
		if by, ok := t.scrollBy(a, s); ok {
			t.first.move(t.text, by, t.room(s))
			return effect{}
		}
	}
	switch a {
	case actDown:
		t.pick(t.sel+1, n)
	case actUp:
		t.pick(t.sel-1, n)
	case actFirst:
		t.pick(0, n)
	case actLast:
		t.pick(n-1, n)
	case actHalfDown, actPageDown:
		t.pick(t.sel+5, n)
	case actHalfUp, actPageUp:
		t.pick(t.sel-5, n)
	case actNextDecision:
		t.decision(s, 1)
	case actPrevDecision:
		t.decision(s, -1)
	case actPane, actPaneBack:
		t.evidence = !t.evidence
	case actZoom:
		t.zoom = !t.zoom
	case actAll:
		t.all = !t.all
	case actBack:
		if t.zoom {
			t.zoom = false
			return effect{}
		}
		return effect{kind: effAct, act: actBack}
	default:
		return t.ask(a, s)
	}
	return effect{}
}

// scrollBy is how far a movement scrolls the evidence.
func (t *traceScreen) scrollBy(a act, s *state) (int, bool) {
	h := t.areas(s.w, s.h, s).evidence.h
	switch a {
	case actDown:
		return 1, true
	case actUp:
		return -1, true
	case actHalfDown:
		return h / 2, true
	case actHalfUp:
		return -h / 2, true
	case actPageDown:
		return h, true
	case actPageUp:
		return -h, true
	case actFirst:
		return -far, true
	case actLast:
		return far, true
	}
	return 0, false
}

// room is how many lines of the evidence are in sight.
func (t *traceScreen) room(s *state) int { return t.areas(s.w, s.h, s).evidence.h - 1 }

// ask are the keys that leave the screen.
func (t *traceScreen) ask(a act, s *state) effect {
	leg, st, ok := t.step(s)
	if !ok {
		return effect{}
	}
	switch a {
	case actOpen, actRaw:
		return effect{kind: effConfig, n: t.sel}
	case actEdit:
		return effect{kind: effFill, req: &s.req}
	case actCopy:
		return effect{kind: effCopy, text: stepText(st), note: "the text of " + render.StepName(leg, st)}
	case actFind:
		return effect{kind: effDialog, dialog: &chooser{title: "Find a step", prompt: "/ ", items: s.stepItems(), empty: "no step says that", width: 76}}
	case actDiff:
		return askDiff(s)
	case actWhatIf:
		return t.askWhatIf(s, leg, st)
	case actCopyAs:
		return copyAs(s, leg, st)
	case actConfirm:
		return askConfirm(s)
	case actVariant:
		if len(s.trace.Variants) == 0 {
			return say("there is only one way: nothing here is left to chance")
		}
		return effect{kind: effDialog, dialog: variants(s)}
	}
	return effect{}
}

// stepText is what c copies: the raw text of a step's first evidence, else its reason.
func stepText(st flow.Step) string {
	for _, e := range st.Evidence {
		if e.Text != "" {
			return render.CleanLines(e.Text)
		}
	}
	return render.Reason(st.Reason)
}

func (t *traceScreen) pick(i, n int) {
	i = max(min(i, n-1), 0)
	if i != t.sel {
		t.sel, t.first = i, roll{}
	}
}

// decision goes to the next step that had more than one candidate.
func (t *traceScreen) decision(s *state, by int) {
	steps := s.steps()
	for i := t.sel + by; i >= 0 && i < len(steps); i += by {
		if st := steps[i]; st.Decision || len(st.Passed) > 0 || render.Mark(st) == "depends" {
			t.pick(i, len(steps))
			return
		}
	}
}

// step is the selected step with its leg.
func (t *traceScreen) step(s *state) (flow.Leg, flow.Step, bool) {
	i := t.sel
	for _, l := range s.legs() {
		if i < len(l.Steps) {
			return l, l.Steps[i], true
		}
		i -= len(l.Steps)
	}
	return flow.Leg{}, flow.Step{}, false
}

// keep finds the selected step of an older trace in the new one: the same stage and
// subject, else the same number.
func (t *traceScreen) keep(before, after []flow.Step) {
	if t.sel < len(before) {
		was := before[t.sel]
		if t.sel < len(after) && same(after[t.sel], was) {
			return
		}
		for i, st := range after {
			if same(st, was) {
				t.sel = i
				return
			}
		}
	}
	t.pick(t.sel, len(after))
}

func same(a, b flow.Step) bool { return a.Stage == b.Stage && a.Subject == b.Subject }

// traceAreas are the parts of the screen.
type traceAreas struct {
	verdict, rail, evidence rect
	confirm                 rect // what was seen; no rows where nothing was, or there is no room
	folded                  bool
}

// areas divides the frame: side by side from wideFrom columns, else stacked with the
// rail in two columns.
func (t *traceScreen) areas(w, h int, s *state) traceAreas {
	var a traceAreas
	rest := body(w, h)
	a.verdict, rest = rest.top(len(verdictLines(s, w-2, 1+2*b2i(h >= tallFrom))))
	if n := len(s.confirmRows(w)); s.seen != nil && n > 0 && h >= confirmFrom && !t.zoom {
		n = min(n+1, rest.h/3)
		a.confirm = rect{rest.x, rest.y + rest.h - n, rest.w, n}
		rest.h -= n
	}
	switch {
	case t.zoom:
		a.evidence = rest
	case w >= wideFrom:
		a.rail, a.evidence = rest.left(railWidth)
	default:
		a.folded = true
		n := (len(s.steps()) + 1) / 2
		a.rail, a.evidence = rest.top(min(n, max(rest.h/2, 2)) + 1)
	}
	return a
}

// settle brings what is scrolled back into its bounds.
func (t *traceScreen) settle(s *state) {
	t.pick(t.sel, len(s.steps()))
	a := t.areas(s.w, s.h, s)
	leg, st, ok := t.step(s)
	if !ok {
		t.text = pieces{}
		return
	}
	t.text = evidence(s, leg, st, t.sel, a.evidence.inset().w, t.all)
	t.first.settle(t.text, a.evidence.h-1)
	if a.folded {
		page := max(2*(a.rail.h-1), 1)
		t.railTop = t.sel / page * page
		return
	}
	rows := t.rows(s, a.rail.w)
	at := 0
	for i, r := range rows {
		if r.step == t.sel {
			at = i
		}
	}
	t.railTop = scroll(t.railTop, at, len(rows), a.rail.h-1)
	if at > 0 && t.railTop == at && rows[at-1].step < 0 {
		t.railTop-- // a step's heading comes with it
	}
}

// draw draws the screen.
func (t *traceScreen) draw(c *canvas, s *state) {
	a := t.areas(c.w, c.h, s)
	c.page(a.verdict.inset(), 0, verdictLines(s, c.w-2, 1+2*b2i(c.h >= tallFrom)))
	if !s.traced && s.busy == nil {
		t.drawEmpty(c, s, body(c.w, c.h))
		return
	}
	if !t.zoom {
		t.drawRail(c, a, s)
	}
	if a.confirm.h > 0 {
		c.pane(a.confirm, false, s.confirmTitle(), "", s.key(actConfirm)+" again")
		_, in := a.confirm.top(1)
		c.page(in.inset(), 0, s.confirmRows(in.w-2))
	}
	leg, st, ok := t.step(s)
	if !ok {
		c.pane(a.evidence, false, "evidence", "", "")
		return
	}
	title := "evidence · step " + itoa(t.sel+1) + " " + render.StepName(leg, st)
	hint := s.key(actOpen) + " raw  " + s.key(actZoom) + " zoom"
	c.pane(a.evidence, t.evidence || t.zoom, title, "", hint)
	in := a.evidence.inset()
	_, in = in.top(1)
	c.roll(in, t.text, t.first)
	if !a.folded && !t.zoom {
		c.upright(a.evidence.x-1, a.evidence)
	}
}

// drawEmpty says how to come to a trace.
func (t *traceScreen) drawEmpty(c *canvas, s *state, r rect) {
	for i, l := range []line{
		text(style.Key, s.key(actEdit)).with(style.Plain, "  make a request, or paste a curl command anywhere"),
		text(style.Key, s.key(actOverviewScreen)).with(style.Plain, "  the overview: "+s.opt.Keys.first(overviewID, actOpen)+" on a connection or on a way of the traffic traces it"),
		text(style.Key, s.key(actPalette)).with(style.Plain, "  look at what was read, by name"),
	} {
		c.draw(r.x+3, r.y+2+i, r.w-4, l)
	}
}

func (t *traceScreen) drawRail(c *canvas, a traceAreas, s *state) {
	n := len(s.steps())
	hint := itoa(n) + " steps"
	_, in := a.rail.top(1)
	if seen := 2 * in.h; a.folded && seen < n {
		hint = itoa(t.railTop+1) + "-" + itoa(min(t.railTop+seen, n)) + " of " + hint
	}
	c.pane(a.rail, !t.evidence, "path", "", hint)
	if a.folded {
		t.drawFolded(c, in, s)
		return
	}
	rows := t.rows(s, in.w)
	for i := 0; i < in.h && t.railTop+i < len(rows); i++ {
		t.drawRow(c, rect{in.x, in.y + i, in.w, 1}, rows[t.railTop+i])
	}
}

func (t *traceScreen) drawRow(c *canvas, r rect, row railRow) {
	x := r.x + 1
	c.draw(x, r.y, r.w-1, row.line)
	if row.step < 0 {
		return
	}
	c.spot(r.x, r.y, r.w, effect{kind: effSelect, n: row.step})
	if row.step == t.sel {
		c.put(r.x, r.y, 1, style.Plain, style.Cursor)
		c.wash(r, style.Selected)
		c.cursor.x, c.cursor.y, c.cursor.on = r.x, r.y, true
	}
}

// drawFolded draws the steps in two columns, page by page.
func (t *traceScreen) drawFolded(c *canvas, r rect, s *state) {
	steps := t.stepRows(s)
	half := r.w / 2
	for i := t.railTop; i < len(steps) && i < t.railTop+2*r.h; i++ {
		at := i - t.railTop
		t.drawRow(c, rect{r.x + at/r.h*half, r.y + at%r.h, half - 1, 1}, steps[i])
	}
}

// stepRows are the steps alone.
func (t *traceScreen) stepRows(s *state) []railRow {
	var out []railRow
	for _, leg := range s.legs() {
		for _, st := range leg.Steps {
			out = append(out, railRow{s.stepLine(leg, st, len(out)), len(out)})
		}
	}
	return out
}

// rows are the steps under headings, then the ways it can end.
func (t *traceScreen) rows(s *state, width int) []railRow {
	var out []railRow
	place, n := "", 0
	for _, leg := range s.legs() {
		for _, st := range leg.Steps {
			if p := render.Place(leg, st); p != place {
				place = p
				out = append(out, railRow{text(style.Faint, p), -1})
			}
			out = append(out, railRow{s.stepLine(leg, st, n), n})
			n++
		}
	}
	return append(out, t.ending(s, width)...)
}

// stepLine is a step's row: both marks, its number, its name, what it came to.
func (s *state) stepLine(leg flow.Leg, st flow.Step, n int) line {
	g, ink := mark(st)
	ink = s.meant(ink)
	seen, seenInk := s.seenMark(n)
	l := text(ink, g).with(seenInk, seen).with(style.Plain, right(itoa(n+1), 3)).with(style.Strong, s.changeMark(n))
	return l.with(style.Plain, pad2(render.StepName(leg, st), 12)+" ").with(style.Plain, render.StepBrief(leg, st))
}

// pad2 is s in at least width columns.
func pad2(s string, width int) string {
	if textWidth(s) >= width {
		return s
	}
	return pad(s, width)
}

// ending lists the variants under the steps.
func (t *traceScreen) ending(s *state, width int) []railRow {
	if len(s.trace.Variants) == 0 {
		return nil
	}
	out := []railRow{{line{}, -1}, {text(style.Depends, "It can go "+itoa(len(s.trace.Variants))+" ways:"), -1}}
	for i, v := range s.trace.Variants {
		g, ink := verdictMark(v.Verdict)
		ink = s.meant(ink)
		lead := text(style.Plain, "  ").with(ink, g+" ")
		if i == s.way {
			lead = text(style.Strong, style.Cursor+" ").with(ink, g+" ")
		}
		for k, l := range para(lead, style.Plain, variantWords(v), width-2) {
			l.click = effect{kind: effVariant, n: i}
			if k < 3 {
				out = append(out, railRow{l, -1})
			}
		}
	}
	return append(out, railRow{line{}, -1}, railRow{text(style.Faint, s.key(actVariant)+": choose one and go on"), -1})
}
