package tui

import (
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// counts are the counters of the way that is shown, before the watch and after it.
func (s *state) counts() []confirm.Count {
	if s.seen == nil || s.seen.way != s.way {
		return nil
	}
	return s.seen.report.Counts
}

// uncounted says that a watch goes on whose counters were not read again yet: a large Envoy
// answers slowly for all it counts.
func (s *state) uncounted() bool { return s.watching() && len(s.counts()) == 0 }

// countsLater is what stands in their place meanwhile.
const countsLater = "not read again yet"

// countsHeight is how many lines the counters take.
func (s *state) countsHeight() int { return max(len(s.counts()), b2i(s.uncounted())) }

// drawCounts is the pane of the counters; those that stayed are faint.
func (s *state) drawCounts(c *canvas, r rect) {
	if r.h < 2 {
		return
	}
	c.pane(r, false, "counters", "", "before → after")
	_, r = r.top(1)
	if s.uncounted() {
		c.draw(r.x+1, r.y, r.w-2, text(style.Faint, cut(countsLater, r.w-2)))
	}
	for i, n := range s.counts() {
		if i >= r.h {
			return
		}
		of, change := render.Count(n)
		ink := style.Plain
		if n.Before == n.After {
			ink = style.Faint
		}
		room := max(r.w-3-textWidth(change), 8)
		c.draw(r.x+1, r.y+i, r.w-2, text(ink, pad(cut(of, room), room)+" "+change))
	}
}

// countsLine are the counters that fit into one line: those of the cluster first.
func (s *state) countsLine(width int) string {
	if s.uncounted() {
		return cut(countsLater, width)
	}
	order := []flow.Stage{flow.Cluster, flow.Listener, flow.Netfilter, flow.Endpoint}
	all := slices.Clone(s.counts())
	slices.SortStableFunc(all, func(a, b confirm.Count) int { return slices.Index(order, a.Stage) - slices.Index(order, b.Stage) })
	var out []string
	for _, n := range all {
		of, change := render.Count(n)
		next := append(out[:len(out):len(out)], of+" "+change)
		switch {
		case textWidth(strings.Join(next, " · ")) <= width:
			out = next
		case len(out) == 0:
			out = []string{cut(of, max(width-textWidth(change)-1, 8)) + " " + change}
		}
	}
	return strings.Join(out, " · ")
}
