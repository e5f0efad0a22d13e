package tui

import (
	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// configScreen shows a part of the snapshot as it was read, opened at an object.
type configScreen struct {
	doc     *doc
	sel     int
	top     int
	asked   field // what / is being typed
	asking  bool
	what    string // what is searched for
	hit     int    // offset of the match at hand; -1: none
	hits    int    // matches in all; -1: not counted
	nth     int
	wrap    bool   // long rows take several lines
	missing string // why there is no document
}

// open shows a document with the row of a pointer or line selected.
func (t *configScreen) open(d *doc, target *node, line int) {
	*t = configScreen{doc: d, hit: -1, hits: -1, what: t.what, wrap: t.wrap}
	if d.root == nil {
		t.sel = line
	} else if target != nil && target != d.root {
		t.sel = d.rowOf(target)
	}
}

func (t *configScreen) do(a act, s *state) effect {
	if t.doc == nil {
		if a == actBack {
			return press(actBack)
		}
		return effect{}
	}
	n, page := t.doc.size(), t.area(s.w, s.h).h
	switch a {
	case actDown:
		t.sel++
	case actUp:
		t.sel--
	case actFirst:
		t.sel = 0
	case actLast:
		t.sel = n - 1
	case actHalfDown:
		t.sel += page / 2
	case actHalfUp:
		t.sel -= page / 2
	case actPageDown:
		t.sel += page
	case actPageUp:
		t.sel -= page
	case actRight:
		return t.fold(true)
	case actLeft:
		return t.fold(false)
	case actOpen:
		if r, ok := t.row(); ok {
			return t.fold(!r.n.open)
		}
	default:
		return t.ask(a, s)
	}
	return effect{}
}

// ask are the keys that do not move.
func (t *configScreen) ask(a act, s *state) effect {
	switch a {
	case actFind:
		t.asking, t.asked = true, newField("")
	case actFindNext:
		return t.next(1)
	case actFindPrev:
		return t.next(-1)
	case actForm:
		t.doc.asJSON = !t.doc.asJSON
		t.again(t.node())
	case actWrap:
		t.wrap = !t.wrap
	case actPager:
		return t.inPager()
	case actAll:
		if t.doc.pointer != "" {
			return effect{kind: effConfig, text: t.doc.part + "#" + t.pointer(), n: 1}
		}
	case actCopy:
		return t.copyValue()
	case actCopyAs:
		return t.copyAs()
	case actBack:
		return press(actBack)
	}
	return effect{}
}

// pointer is the JSON pointer of the selected node in its part.
func (t *configScreen) pointer() string {
	if n := t.node(); n != nil {
		return t.doc.pointer + n.pointer(t.doc.data)
	}
	return t.doc.pointer
}

func (t *configScreen) copyValue() effect {
	if n := t.node(); n != nil {
		return effect{kind: effCopy, text: render.CleanLines(string(t.doc.data[n.from:n.to])), note: "the value of " + render.Clean(n.path(t.doc.data))}
	}
	if t.sel < len(t.doc.lines) {
		return effect{kind: effCopy, text: render.Clean(t.doc.lineText(t.sel)), note: "the line"}
	}
	return effect{}
}

// row is the selected row of a tree.
func (t *configScreen) row() (docRow, bool) {
	if t.doc == nil || t.sel < 0 || t.sel >= len(t.doc.rows) {
		return docRow{}, false
	}
	return t.doc.rows[t.sel], true
}

func (t *configScreen) node() *node {
	if r, ok := t.row(); ok {
		return r.n
	}
	return nil
}

// fold opens or closes the selected node; closing what is closed closes what it is in.
func (t *configScreen) fold(open bool) effect {
	const large = 1 << 20
	r, ok := t.row()
	if !ok {
		return effect{}
	}
	n := r.n
	if open {
		switch {
		case !n.container(t.doc.data):
		case !n.looked && n.to-n.from > large:
			return effect{kind: effSeek, node: n}
		default:
			n.open = true
			t.again(n)
		}
		return effect{}
	}
	for n != nil && (!n.open || !n.container(t.doc.data)) {
		n = n.parent
	}
	if n != nil && n.parent != nil {
		n.open = false
		t.again(n)
	}
	return effect{}
}

// again lays out anew and keeps a node selected.
func (t *configScreen) again(n *node) {
	t.doc.layOut()
	if n != nil {
		t.sel = t.doc.rowOf(n)
	}
}

// typing gets the keys while a search is typed.
func (t *configScreen) typing(k tea.KeyPressMsg) effect {
	switch k.String() {
	case "esc", "ctrl+c":
		t.asking = false
	case "enter":
		t.asking, t.what, t.hit, t.hits, t.nth = false, t.asked.String(), -1, -1, 0
		return t.next(1)
	default:
		t.asked.press(k)
	}
	return effect{}
}

// next goes to the next match, or the one before, and round the end.
func (t *configScreen) next(by int) effect {
	if t.what == "" {
		return effect{}
	}
	return effect{kind: effSeek, n: by}
}

// area is where the rows stand.
func (t *configScreen) area(w, h int) rect {
	_, r := body(w, h).top(1)
	r.h = max(r.h-2, 0) // a blank row and the path
	return r
}

func (t *configScreen) settle(s *state) {
	if t.doc == nil {
		return
	}
	n := t.doc.size()
	t.sel = max(min(t.sel, n-1), 0)
	t.top = scroll(t.top, t.sel, n, t.area(s.w, s.h).h)
	t.reach(t.area(s.w, s.h))
}

func (t *configScreen) draw(c *canvas, s *state) {
	b := body(c.w, c.h)
	if t.doc == nil {
		c.pane(b, true, "config", "", "")
		why := t.missing
		if why == "" {
			why = "nothing is open: " + s.opt.Keys.first(traceID, actOpen) + " on a step, or " + s.key(actPalette) + " and a name"
		}
		c.put(1, b.y+2, c.w-2, style.Faint, why)
		return
	}
	form := "yaml"
	switch {
	case t.doc.root == nil:
		form = "text"
	case t.doc.asJSON:
		form = "json"
	}
	c.pane(b, true, t.doc.title+" · "+form, "", t.where())
	r := t.area(c.w, c.h)
	num := max(len(itoa(t.doc.size())), 4)
	for at, y := t.top, r.y; y < r.y+r.h && at < t.doc.size(); at++ {
		c.put(r.x, y, num, style.Faint, right(itoa(at+1), num))
		n := t.drawLine(c, rect{r.x + num + 1, y, r.w - num - 2, r.y + r.h - y}, at)
		for i := range n {
			c.spot(r.x, y+i, r.w, effect{kind: effSelect, n: at})
		}
		if at == t.sel {
			c.wash(rect{r.x, y, r.w, n}, style.Selected)
			c.cursor.x, c.cursor.y, c.cursor.on = r.x, y, true
		}
		y += n
	}
	if !t.wrap && t.sel < t.doc.size() {
		room := r.w - num - 2
		if note := t.doc.margin(t.sel); note != "" {
			room -= textWidth(cut(note, room/2)) + 3
		}
		c.full(rect{r.x + 1, r.y, r.w - 2, r.h}, r.y+t.sel-t.top, room, t.doc.row(t.sel))
	}
	t.drawFoot(c, rect{1, b.y + b.h - 1, c.w - 2, 1})
}

// drawLine draws row i with its note behind it, or at the right end where the row is long. It
// gives how many lines that took: one, if rows are not wrapped.
func (t *configScreen) drawLine(c *canvas, r rect, i int) int {
	l, note := t.doc.row(i), t.doc.margin(i)
	switch {
	case t.wrap:
		lines := t.wrapped(i, r.w)
		for k := 0; k < len(lines) && k < r.h; k++ {
			c.draw(r.x, r.y+k, r.w, lines[k])
		}
		return min(len(lines), r.h)
	case note == "":
		c.draw(r.x, r.y, r.w, l)
		return 1
	}
	note = cut(note, r.w/2)
	at := min(max(l.width()+2, 40), r.w-textWidth(note)-2)
	c.draw(r.x, r.y, at-1, l)
	x := c.put(r.x+at, r.y, 2, style.Turns, style.Margin+" ")
	c.put(x, r.y, r.w-at-2, style.Faint, note)
	return 1
}

// where is the right end of the title: the line, and the match.
func (t *configScreen) where() string {
	s := "line " + itoa(t.sel+1) + "/" + itoa(t.doc.size())
	if t.what == "" || t.hit < 0 {
		return s
	}
	if t.hits > 0 {
		s += "  " + itoa(t.nth) + "/" + itoa(t.hits)
	}
	return s + ` "` + render.Clean(t.what) + `"`
}

// drawFoot is the row of the path, or of the search while it is typed.
func (t *configScreen) drawFoot(c *canvas, r rect) {
	if t.asking {
		x := c.put(r.x, r.y, r.w, style.Key, "/ ")
		t.asked.draw(c, x, r.y, r.w-2, style.Plain, true)
		return
	}
	if n := t.node(); n != nil {
		x := c.put(r.x, r.y, r.w, style.Faint, "path ")
		c.put(x, r.y, r.w-5, style.Plain, render.Clean(n.path(t.doc.data)))
		return
	}
	if t.doc.masked > 0 {
		c.put(r.x, r.y, r.w, style.Faint, itoa(t.doc.masked)+" secrets are masked")
	}
}
