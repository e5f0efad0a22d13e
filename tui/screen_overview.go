package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
)

// overviewScreen is the pod at a glance: what it is, how its traffic is intercepted, and
// what is connected now.
type overviewScreen struct {
	focus  overviewPane
	zoom   bool // that pane fills the body
	podTop int
	sel    int // selected connection, among those the filter shows
	lane   int // selected row of the diagram
	top    int
	filter field
	asking bool
}

// overviewPane is the pane that has the keys.
type overviewPane uint8

const (
	onConns overviewPane = iota
	onLanes
	onPod
	overviewPanes
)

func (t *overviewScreen) do(a act, s *state) effect {
	by := 0
	page := t.page(s)
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
	case actPane:
		t.focus = (t.focus + 1) % overviewPanes
	case actPaneBack:
		t.focus = (t.focus + overviewPanes - 1) % overviewPanes
	case actZoom:
		t.zoom = !t.zoom
	default:
		return t.ask(a, s)
	}
	switch t.focus {
	case onLanes:
		t.lane += by
	case onPod:
		t.podTop += by
	default:
		t.sel += by
	}
	return effect{}
}

// page is how many rows the pane that has the keys shows.
func (t *overviewScreen) page(s *state) int {
	a := t.areas(s.w, s.h, s)
	switch t.focus {
	case onLanes:
		return a.lanes.h - 1
	case onPod:
		return a.pod.h - 1
	}
	return (a.conns.h - 2) / t.connRows(s)
}

// connRows is how many rows a connection takes: where the columns have no room for all of it,
// the zoomed pane has a second row.
func (t *overviewScreen) connRows(s *state) int { return 1 + b2i(t.zoom && s.w < wideFrom) }

func (t *overviewScreen) ask(a act, s *state) effect {
	switch a {
	case actOpen:
		switch t.focus {
		case onLanes:
			return t.openLane(s)
		case onPod:
			t.zoom = !t.zoom
			return effect{}
		}
		if t.sel < t.count(s) {
			r := t.conn(s, t.sel).Request()
			return effect{kind: effTrace, req: &r}
		}
	case actEdit:
		return effect{kind: effFill, req: &s.req}
	case actRaw:
		return effect{kind: effOffer}
	case actFind:
		t.asking = true
	case actCopy:
		if t.sel < t.count(s) && t.focus == onConns {
			row := t.conn(s, t.sel)
			return effect{kind: effCopy, text: connLine(row, s.called(row), 0).String(), note: "the connection"}
		}
	case actBack:
		if t.zoom {
			t.zoom = false
			return effect{}
		}
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
	if t.focus = onConns; n < laneBase {
		t.sel = n
		return
	}
	t.focus = onLanes
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
	if t.zoom {
		*map[overviewPane]*rect{onConns: &a.conns, onPod: &a.pod, onLanes: &a.lanes}[t.focus] = b
		return a
	}
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
	t.top = scroll(t.top, t.sel, n, max((a.conns.h-2)/t.connRows(s), 1))
	t.podTop = max(min(t.podTop, len(t.podRows(s))-(a.pod.h-1)), 0)
}

// podRows are the pod's lines: in few words where its pane is small.
func (t *overviewScreen) podRows(s *state) []line {
	switch {
	case t.zoom:
		return podLines(s, s.w-2)
	case s.w >= wideFrom:
		return podLines(s, podWidth-2)
	}
	return podBrief(s, s.w-2)
}
