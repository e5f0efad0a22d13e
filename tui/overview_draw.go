package tui

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

func (t *overviewScreen) draw(c *canvas, s *state) {
	a := t.areas(c.w, c.h, s)
	t.drawPod(c, a.pod, s)
	if c.w >= wideFrom && !t.zoom {
		c.upright(a.lanes.x-1, a.lanes)
	}
	t.drawLanes(c, a.lanes, s)
	t.drawConns(c, a.conns, s)
}

func (t *overviewScreen) drawPod(c *canvas, r rect, s *state) {
	rows := t.podRows(s)
	_, in := r.top(1)
	hint := ""
	if t.focus == onPod {
		hint = s.key(actZoom) + " zoom"
	}
	if t.focus == onPod && len(rows) > in.h {
		hint = itoa(t.podTop+1) + "-" + itoa(t.podTop+in.h) + " of " + itoa(len(rows)) + "  " + hint
	}
	c.pane(r, t.focus == onPod, "pod", "", hint)
	c.page(in.inset(), t.podTop, rows)
	if t.focus == onPod && in.h > 0 {
		c.cursor.x, c.cursor.y, c.cursor.on = in.x, in.y, true
	}
}

func (t *overviewScreen) drawLanes(c *canvas, r rect, s *state) {
	rows := t.rows(s)
	hint := s.key(actPane) + ", " + s.key(actOpen) + " traces a row"
	if n := len(s.survey.findings); n > 0 {
		hint = itoa(n) + plural(n, " finding") + "  " + hint
	} else if s.survey.done && !s.survey.examined {
		hint = "looking for findings" + style.Ellipsis + "  " + hint
	}
	c.pane(r, t.focus == onLanes, "interception", "", hint)
	_, in := r.top(1)
	if !s.survey.done {
		c.put(in.x+1, in.y, in.w-2, style.Faint, waiting(s))
		return
	}
	first := scroll(0, b2i(t.focus == onLanes)*t.lane, len(rows), in.h)
	for i := 0; i < in.h && first+i < len(rows); i++ {
		c.draw(in.x+1, in.y+i, in.w-2, rows[first+i])
		if i == in.h-1 && first+i < len(rows)-1 {
			c.put(in.x+in.w-3, in.y+i, 2, style.Faint, " "+style.Ellipsis)
		}
		if t.focus == onLanes && first+i == t.lane {
			c.wash(rect{in.x, in.y + i, in.w, 1}, style.Selected)
			c.cursor.x, c.cursor.y, c.cursor.on = in.x, in.y+i, true
		}
	}
	if at := t.lane - first; t.focus == onLanes && at >= 0 && at < in.h && t.lane < len(rows) {
		c.full(in.inset(), in.y+at, in.w-2, rows[t.lane])
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
	if t.focus == onConns && t.sel < n {
		if name := s.called(t.conn(s, t.sel)); name != "" {
			source = style.Arrow + " " + name
		}
	}
	c.pane(r, t.focus == onConns, "live connections", source, hint)
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
	each := t.connRows(s)
	for i := 0; (i+1)*each <= in.h-1 && t.top+i < n; i++ {
		y := in.y + 1 + i*each
		row := t.conn(s, t.top+i)
		c.draw(in.x+1, y, in.w-2, connLine(row, s.called(row), in.w-2))
		if each > 1 {
			c.draw(in.x+1, y+1, in.w-2, connRest(row, s.called(row)))
		}
		for k := range each {
			c.spot(in.x, y+k, in.w, effect{kind: effSelect, n: t.top + i})
		}
		if t.focus == onConns && t.top+i == t.sel {
			c.wash(rect{in.x, y, in.w, each}, style.Selected)
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
	l = l.with(ink, pad(c.says(listener > 20), listener)+" ")
	if w > 0 && w < wideFrom-2 {
		return l
	}
	l = l.with(style.Faint, strings.TrimSpace(short(c.State)+"  "+c.size()))
	if called != "" {
		l = l.with(style.Plain, "  "+called)
	}
	return l
}

// says is where a connection goes; whole: with the cluster.
func (c conn) says(whole bool) string {
	switch {
	case c.outcome.Listener != "" && c.outcome.Cluster != "" && whole:
		return render.Clean(c.outcome.Listener) + " " + style.Arrow + " " + render.Clean(c.outcome.Cluster)
	case c.outcome.Listener != "":
		return render.Clean(c.outcome.Listener)
	case c.admin:
		return "Envoy's admin"
	case c.Known:
		return strings.TrimSpace(render.Clean(c.Process) + " uid " + utoa(c.UID))
	case c.NAT():
		return style.Arrow + " " + c.To.String()
	}
	return ""
}

// connRest is a connection's second row in a narrow frame.
func connRest(c conn, called string) line {
	l := text(style.Faint, "     "+strings.TrimSpace(c.says(true)+"   state "+or(short(c.State), "not known")+"  "+c.size()))
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
