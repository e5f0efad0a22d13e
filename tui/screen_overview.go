package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// overviewScreen is the pod at a glance: what it is, how its traffic is intercepted, and
// what is connected now.
type overviewScreen struct {
	lanes  bool // the interception has the keys, not the connections
	sel    int  // selected connection, among those the filter shows
	lane   int  // selected row of the diagram
	top    int
	filter field
	asking bool
}

func (t *overviewScreen) do(a act, s *state) effect {
	by := 0
	page := t.areas(s.w, s.h, s).conns.h - 2
	switch a {
	case actDown:
		by = 1
	case actUp:
		by = -1
	case actFirst:
		by = -1 << 20
	case actLast:
		by = 1 << 20
	case actHalfDown, actPageDown:
		by = page / 2
	case actHalfUp, actPageUp:
		by = -page / 2
	case actPane, actPaneBack:
		t.lanes = !t.lanes
	default:
		return t.ask(a, s)
	}
	if t.lanes {
		t.lane += by
	} else {
		t.sel += by
	}
	return effect{}
}

func (t *overviewScreen) ask(a act, s *state) effect {
	switch a {
	case actOpen:
		if t.lanes {
			return t.openLane(s)
		}
		if t.sel < t.count(s) {
			r := t.conn(s, t.sel).Request()
			return effect{kind: effTrace, req: &r}
		}
	case actEdit:
		return effect{kind: effFill, req: &s.req}
	case actRaw:
		return effect{kind: effDialog, dialog: &chooser{title: "Open", prompt: "filter: ", items: s.objects(), empty: "nothing was read"}}
	case actFind:
		t.asking = true
	case actCopy:
		if t.sel < t.count(s) && !t.lanes {
			row := t.conn(s, t.sel)
			return effect{kind: effCopy, text: connLine(row, s.called(row), 0).String(), note: "the connection"}
		}
	case actBack:
		if len(t.filter.text) > 0 {
			t.filter.set("")
			return effect{}
		}
		return press(actBack)
	}
	return effect{}
}

func (t *overviewScreen) typing(k tea.KeyPressMsg) effect {
	switch k.String() {
	case "esc", "ctrl+c":
		t.asking = false
		t.filter.set("")
	case "enter":
		t.asking = false
	default:
		t.filter.press(k)
	}
	return effect{}
}

// choose selects a connection or, by the number of its click, a row of the diagram.
func (t *overviewScreen) choose(n int, s *state) {
	if t.lanes = n >= laneBase; !t.lanes {
		t.sel = n
		return
	}
	for i, r := range t.rows(s) {
		if r.click.n == n {
			t.lane = i
		}
	}
}

// openLane traces the packet that the selected row of the diagram stands for.
func (t *overviewScreen) openLane(s *state) effect {
	rows := t.rows(s)
	if t.lane >= len(rows) {
		return effect{}
	}
	if n := rows[t.lane].click.n - findingBase; n >= 0 && n < len(s.survey.findings) {
		return effect{kind: effDialog, dialog: &findingDialog{s.survey.findings[n]}}
	}
	n := rows[t.lane].click.n - laneBase
	if n < 0 || n >= len(s.survey.lanes) {
		return effect{}
	}
	r := s.survey.lanes[n].req
	return effect{kind: effTrace, req: &r}
}

// rows are those of the diagram.
func (t *overviewScreen) rows(s *state) []line {
	var tracks []track
	for _, l := range s.survey.lanes {
		tracks = append(tracks, trackOf(l))
	}
	return append(diagram(tracks), findingLines(s.survey.findings)...)
}

// count is how many connections the filter lets through.
func (t *overviewScreen) count(s *state) int {
	if t.all(s) {
		return len(s.survey.conns)
	}
	return len(s.survey.sieve.through(t.filter.String()))
}

// conn is connection i of those.
func (t *overviewScreen) conn(s *state, i int) conn {
	if t.all(s) {
		return s.survey.conns[i]
	}
	return s.survey.conns[s.survey.sieve.through(t.filter.String())[i]]
}

// all says whether nothing is filtered.
func (t *overviewScreen) all(s *state) bool {
	return s.survey.sieve == nil || strings.TrimSpace(t.filter.String()) == ""
}

type overviewAreas struct{ pod, lanes, conns rect }

func (t *overviewScreen) areas(w, h int, s *state) overviewAreas {
	b := body(w, h)
	var a overviewAreas
	n := len(t.rows(s))
	if w >= wideFrom {
		pod := len(podLines(s, podWidth))
		var top rect
		top, a.conns = b.top(min(max(n, pod)+1, b.h*3/5) + 1)
		a.pod, a.lanes = top.left(podWidth)
		return a
	}
	a.pod, b = b.top(len(podBrief(s, w-2)) + 1)
	a.lanes, a.conns = b.top(min(max(n, 1)+1, b.h*3/5))
	return a
}

func (t *overviewScreen) settle(s *state) {
	a := t.areas(s.w, s.h, s)
	n := t.count(s)
	t.sel = max(min(t.sel, n-1), 0)
	t.lane = max(min(t.lane, len(t.rows(s))-1), 0)
	t.top = scroll(t.top, t.sel, n, max(a.conns.h-2, 1))
}

func (t *overviewScreen) draw(c *canvas, s *state) {
	a := t.areas(c.w, c.h, s)
	c.pane(a.pod, false, "pod", "", "")
	_, in := a.pod.top(1)
	if c.w >= wideFrom {
		c.page(in.inset(), 0, podLines(s, podWidth-2))
		c.upright(a.lanes.x-1, a.lanes)
	} else {
		c.page(in.inset(), 0, podBrief(s, c.w-2))
	}
	t.drawLanes(c, a.lanes, s)
	t.drawConns(c, a.conns, s)
}

func (t *overviewScreen) drawLanes(c *canvas, r rect, s *state) {
	rows := t.rows(s)
	hint := s.key(actPane) + ", " + s.key(actOpen) + " traces a row"
	if n := len(s.survey.findings); n > 0 {
		hint = itoa(n) + plural(n, " finding") + "  " + hint
	} else if s.survey.done && !s.survey.examined {
		hint = "looking for findings" + style.Ellipsis + "  " + hint
	}
	c.pane(r, t.lanes, "interception", "", hint)
	_, in := r.top(1)
	if !s.survey.done {
		c.put(in.x+1, in.y, in.w-2, style.Faint, waiting(s))
		return
	}
	first := scroll(0, b2i(t.lanes)*t.lane, len(rows), in.h)
	for i := 0; i < in.h && first+i < len(rows); i++ {
		c.draw(in.x+1, in.y+i, in.w-2, rows[first+i])
		if i == in.h-1 && first+i < len(rows)-1 {
			c.put(in.x+in.w-3, in.y+i, 2, style.Faint, " "+style.Ellipsis)
		}
		if t.lanes && first+i == t.lane {
			c.wash(rect{in.x, in.y + i, in.w, 1}, style.Selected)
			c.cursor.x, c.cursor.y, c.cursor.on = in.x, in.y+i, true
		}
	}
}

// waiting says why there is nothing yet.
func waiting(s *state) string {
	switch {
	case s.failed != "":
		return s.failed
	case s.busy != nil:
		return "reading " + render.Clean(s.opt.Target) + style.Ellipsis
	}
	return "nothing was read"
}

func (t *overviewScreen) drawConns(c *canvas, r rect, s *state) {
	n := t.count(s)
	hint := itoa(n) + " of " + itoa(len(s.survey.conns)) + "   " + s.key(actFind) + " filter"
	source := connSource(s)
	if !t.lanes && t.sel < n {
		if name := s.called(t.conn(s, t.sel)); name != "" {
			source = style.Arrow + " " + name
		}
	}
	c.pane(r, !t.lanes, "live connections", source, hint)
	_, in := r.top(1)
	if t.asking || len(t.filter.text) > 0 {
		x := c.put(in.x+1, in.y, in.w, style.Key, "/ ")
		t.filter.draw(c, x, in.y, in.w-4, style.Plain, t.asking)
	} else {
		c.draw(in.x+1, in.y, in.w-2, connHead(in.w-2))
	}
	if s.survey.done && len(s.survey.conns) == 0 {
		c.put(in.x+1, in.y+1, in.w-2, style.Faint, "none is open: "+s.key(actEdit)+" makes a request, "+s.key(actPane)+" and "+s.key(actOpen)+" trace a way of the traffic")
	}
	for i := 0; i < in.h-1 && t.top+i < n; i++ {
		y := in.y + 1 + i
		row := t.conn(s, t.top+i)
		c.draw(in.x+1, y, in.w-2, connLine(row, s.called(row), in.w-2))
		c.spot(in.x, y, in.w, effect{kind: effSelect, n: t.top + i})
		if !t.lanes && t.top+i == t.sel {
			c.wash(rect{in.x, y, in.w, 1}, style.Selected)
			if !t.asking {
				c.cursor.x, c.cursor.y, c.cursor.on = in.x, y, true
			}
		}
	}
}

func connSource(s *state) string {
	if s.reading.Snapshot == nil {
		return ""
	}
	if len(s.reading.Snapshot.Files["conntrack"]) > 0 {
		return "(conntrack + sockets)"
	}
	return "(sockets)"
}

// connColumns are where the columns stand at a width; 0 leaves a column out.
func connColumns(w int) (addr, via, listener int) {
	if w >= wideFrom-2 {
		return 24, 9, 48
	}
	return 22, 7, 20
}

func connHead(w int) line {
	addr, via, listener := connColumns(w)
	return text(style.Faint, "dir  "+pad("from", addr)+pad("original dst", addr)+pad("via", via)+pad("listener "+style.Arrow+" cluster", listener)+stateHead(w))
}

// connLine is a connection's row; called is what stands behind its far end.
func connLine(c conn, called string, w int) line {
	addr, via, listener := connColumns(w)
	dir := "out  "
	if c.Dir == flow.Inbound {
		dir = "in   "
	}
	l := text(style.Plain, dir+pad(c.Src.String(), addr-1)+" "+pad(c.Dst.String(), addr-1)+" ")
	way, ink := "direct", style.Faint
	switch {
	case c.outcome.Listener != "":
		way, ink = "envoy", style.Plain
	case c.NAT():
		way, ink = "nat", style.Turns
	}
	l = l.with(ink, pad(way, via))
	says := ""
	switch {
	case c.outcome.Listener != "" && c.outcome.Cluster != "" && listener > 20:
		says = render.Clean(c.outcome.Listener) + " " + style.Arrow + " " + render.Clean(c.outcome.Cluster)
	case c.outcome.Listener != "":
		says = render.Clean(c.outcome.Listener)
	case c.admin:
		says = "Envoy's admin"
	case c.Known:
		says = strings.TrimSpace(render.Clean(c.Process) + " uid " + utoa(c.UID))
	case c.NAT():
		says = style.Arrow + " " + c.To.String()
	}
	l = l.with(ink, pad(says, listener)+" ")
	if w > 0 && w < wideFrom-2 {
		return l
	}
	l = l.with(style.Faint, strings.TrimSpace(short(c.State)+"  "+c.size()))
	if called != "" {
		l = l.with(style.Plain, "  "+called)
	}
	return l
}

// stateHead heads the column that narrow frames have no room for.
func stateHead(w int) string {
	if w < wideFrom-2 {
		return ""
	}
	return " state"
}

// short is a TCP state in the width of a column.
func short(state string) string {
	if state == "ESTABLISHED" {
		return "ESTAB"
	}
	return render.Clean(state)
}
