package tui

import (
	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/diff"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// besideDialog shows two traces beside each other in place of the screen: both verdicts, where
// they part first, and their steps in rows. Where columns are few the sides of a row stand below
// each other, and rows that are alike are folded.
type besideDialog struct {
	a, b pastTrace
	diff diff.Diff
	all  bool // rows that are alike are shown too
	sel  int  // a row of diff
	top  int
}

func newBeside(a, b pastTrace) *besideDialog {
	d := &besideDialog{a: a, b: b, diff: diff.Traces(a.trace, b.trace)}
	d.sel = max(d.diff.First, 0)
	return d
}

// besideLine is a line of the rows, with the row that it belongs to.
type besideLine struct {
	line
	row int
}

func (d *besideDialog) press(k tea.KeyPressMsg, s *state) (effect, bool) {
	rows := d.lines(s.w)
	at := 0
	for i, l := range rows {
		if l.row == d.sel {
			at = i
			break
		}
	}
	to := func(i int) { d.sel = rows[max(min(i, len(rows)-1), 0)].row }
	if len(rows) == 0 {
		to = func(int) {}
	}
	page := max(s.h/2, 2)
	switch lookup(k.String(), s.opt.Keys.of(traceID)...) {
	case actBack, actQuit:
		return effect{}, true
	case actDown:
		d.step(rows, at, 1)
	case actUp:
		d.step(rows, at, -1)
	case actFirst:
		to(0)
	case actLast:
		to(len(rows) - 1)
	case actHalfDown, actPageDown:
		to(at + page)
	case actHalfUp, actPageUp:
		to(at - page)
	case actNextDecision:
		d.parting(1)
	case actPrevDecision:
		d.parting(-1)
	case actAll:
		d.all = !d.all
	case actCopy:
		return effect{kind: effCopy, text: render.DiffText(d.diff, d.names()), note: "the comparison"}, false
	case actOpen:
		if d.sel < len(d.diff.Rows) && d.diff.Rows[d.sel].B.N > 0 {
			return effect{kind: effStep, n: d.diff.Rows[d.sel].B.N - 1}, true
		}
		return say("B has no such step"), false
	}
	return effect{}, false
}

func (d *besideDialog) names() render.DiffNames {
	name := func(p pastTrace) string {
		out := p.at.Format("15:04:05")
		for _, w := range []string{p.policy, p.taken} {
			if w != "" {
				out += ", " + w
			}
		}
		return out
	}
	return render.DiffNames{A: name(d.a), B: name(d.b)}
}

// step goes to the next row that is shown.
func (d *besideDialog) step(rows []besideLine, at, by int) {
	for i := at + by; i >= 0 && i < len(rows); i += by {
		if rows[i].row != d.sel {
			d.sel = rows[i].row
			return
		}
	}
}

// parting goes to the next row in which they are other.
func (d *besideDialog) parting(by int) {
	for i := d.sel + by; i >= 0 && i < len(d.diff.Rows); i += by {
		if !alike(d.diff.Rows[i]) {
			d.sel = i
			return
		}
	}
}

func alike(r diff.Row) bool { return r.Kind == diff.Same || r.Kind == diff.Renumbered }

// head is what stands above the rows.
func (d *besideDialog) head(w int) []line {
	var out []line
	for _, side := range []struct {
		name string
		pastTrace
	}{{"A", d.a}, {"B", d.b}} {
		words, ink := side.note()
		lead := text(style.Key, side.name+" ").with(style.Plain, side.at.Format("15:04:05")+" ")
		out = append(out, most(para(lead, ink, words, w), 2)...)
		if d.diff.Request {
			out = append(out, most(para(text(style.Plain, "  "), style.Plain, render.RequestLine(side.trace.Request), w), 1)...)
		}
	}
	ink := style.Depends
	if d.diff.Alike() {
		ink = style.Goes
	}
	return append(out, most(para(text(style.Strong, "first difference "), ink, render.DiffFirst(d.diff), w), 4)...)
}

// lines are the rows as they are shown in a frame of w columns.
func (d *besideDialog) lines(w int) []besideLine {
	var out []besideLine
	for i := 0; i < len(d.diff.Rows); i++ {
		n := i
		for !d.all && n < len(d.diff.Rows) && alike(d.diff.Rows[n]) {
			n++
		}
		if n-i > 1 { // a fold takes a row, so that two are worth one
			first, last := d.diff.Rows[i], d.diff.Rows[n-1]
			words := itoa(n-i) + " steps alike: " + render.DiffSide(first.B) + " " + style.Ellipsis + " " + render.DiffSide(last.B)
			out = append(out, besideLine{text(style.Faint, pad("", besideWord)+words), i})
			i = n - 1
			continue
		}
		out = append(out, d.row(i, w)...)
	}
	return out
}

// besideWord is the width of the word of a row.
const besideWord = 9

func (d *besideDialog) row(i, w int) []besideLine {
	r := d.diff.Rows[i]
	word, ink := render.DiffKind(r.Kind), style.Faint
	switch {
	case i == d.diff.First:
		word, ink = "FIRST", style.Stops
	case r.Kind == diff.OnlyA || r.Kind == diff.OnlyB:
		ink = style.Turns
	case !alike(r):
		ink = style.Depends
	}
	lead := text(ink, pad(word, besideWord))
	a, b := render.DiffSide(r.A), render.DiffSide(r.B)
	plain := style.Plain
	if alike(r) {
		plain = style.Faint
	}
	if w >= wideFrom {
		half := (w - 2 - besideWord) / 2
		return []besideLine{{lead.with(plain, pad(a, half-2)+"  ").with(plain, b), i}}
	}
	if alike(r) {
		return []besideLine{{lead.with(plain, "  "+b), i}}
	}
	var out []besideLine
	for _, side := range [][2]string{{"A ", a}, {"B ", b}} {
		if side[1] == "" {
			continue
		}
		out = append(out, besideLine{lead.with(style.Key, side[0]).with(plain, side[1]), i})
		lead = text(style.Plain, pad("", besideWord))
	}
	return out
}

func (d *besideDialog) draw(c *canvas, s *state) {
	r := body(c.w, c.h)
	c.clear(r)
	head := d.head(c.w - 2)
	top, rest := r.top(min(len(head), max(r.h-3, 0)))
	c.page(top.inset(), 0, head)
	hint := "alike: " + s.key(actAll) + " shows all"
	if d.all {
		hint = s.key(actAll) + " folds what is alike"
	}
	c.pane(rest, true, "side by side", "", hint)
	_, in := rest.top(1)
	if c.w >= wideFrom && in.h > 1 {
		half := (in.w - 2 - besideWord) / 2
		c.put(in.x+1+besideWord, in.y, half, style.Key, "A")
		c.put(in.x+1+besideWord+half, in.y, half, style.Key, "B")
		_, in = in.top(1)
	}
	rows := d.lines(c.w)
	first, last := 0, 0
	for i, l := range rows {
		if l.row == d.sel || l.row < d.sel {
			if l.row != rows[first].row {
				first = i
			}
			last = i
		}
	}
	at := scroll(scroll(d.top, last, len(rows), in.h), first, len(rows), in.h)
	for i := 0; i < in.h && at+i < len(rows); i++ {
		y := in.y + i
		c.draw(in.x+1, y, in.w-2, rows[at+i].line)
		if at+i >= first && at+i <= last {
			c.wash(rect{in.x, y, in.w, 1}, style.Selected)
			if at+i == first {
				c.cursor.x, c.cursor.y, c.cursor.on, c.cursor.text = in.x, y, true, false
			}
		}
	}
	d.foot(c, s)
}

// foot are the keys, in place of the screen's.
func (d *besideDialog) foot(c *canvas, s *state) {
	y := c.h - 1
	words := s.key(actDown) + "/" + s.key(actUp) + " move  " + s.key(actNextDecision) + " next difference  " + s.key(actOpen) + " go to B's step  " +
		s.key(actAll) + " all  " + s.key(actCopy) + " copy  " + s.key(actBack) + " back"
	if s.say != "" {
		words = s.say
	}
	c.clear(rect{0, y, c.w, 1})
	c.wash(rect{0, y, c.w, 1}, style.Bar)
	c.put(1, y, c.w-2, style.Bar, words)
}
