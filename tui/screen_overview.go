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
		if list := t.shown(s); t.sel < len(list) {
			r := list[t.sel].Request()
			return effect{kind: effTrace, req: &r}
		}
	case actEdit:
		return effect{kind: effFill, req: &s.req}
	case actRaw:
		return effect{kind: effDialog, dialog: &chooser{title: "Open", prompt: "filter: ", items: s.objects(), empty: "nothing was read"}}
	case actFind:
		t.asking = true
	case actCopy:
		if list := t.shown(s); t.sel < len(list) && !t.lanes {
			return effect{kind: effCopy, text: connLine(list[t.sel], s.called(list[t.sel]), 0).String(), note: "the connection"}
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

// shown are the connections that the filter lets through.
func (t *overviewScreen) shown(s *state) []conn {
	words := strings.Fields(t.filter.String())
	if len(words) == 0 {
		return s.survey.conns
	}
	var out []conn
	for _, c := range s.survey.conns {
		if holds(connLine(c, s.called(c), 0).String(), words) {
			out = append(out, c)
		}
	}
	return out
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
	n := len(t.shown(s))
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
	list := t.shown(s)
	hint := itoa(len(list)) + " of " + itoa(len(s.survey.conns)) + "   " + s.key(actFind) + " filter"
	source := connSource(s)
	if !t.lanes && t.sel < len(list) {
		if name := s.called(list[t.sel]); name != "" {
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
	for i := 0; i < in.h-1 && t.top+i < len(list); i++ {
		y := in.y + 1 + i
		c.draw(in.x+1, y, in.w-2, connLine(list[t.top+i], s.called(list[t.top+i]), in.w-2))
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
