package envoy

import (
	"math/bits"

	"github.com/meshtop/meshtop/rules/flow"
)

// routeList is routes in their order, with the beginnings of their paths side by side: of
// 100,000 routes most are passed over without a look at the route itself.
type routeList struct {
	routes []route
	// heads are the paths' beginnings, eight bytes a column. A route with other conditions
	// has empty ones, which differ from nothing: how near it comes is theirs to say.
	heads [headColumns][]pathHead
}

const (
	headColumns = 3
	// manyRoutesFrom is the number of routes from which more than one column pays.
	manyRoutesFrom = 64
)

// listRoutes makes the columns.
func listRoutes(routes []route) *routeList {
	l := &routeList{routes: routes}
	columns := headColumns
	if len(routes) < manyRoutesFrom {
		columns = 1
	}
	for c := range columns {
		l.heads[c] = make([]pathHead, len(routes))
		for i := range routes {
			if r := &routes[i]; r.conds == nil {
				l.heads[c][i] = headAt(r.path.beginning(), 8*c)
			}
		}
	}
	return l
}

// headAt is the head of the text from a place on.
func headAt(text string, from int) pathHead { return headOf(text[min(from, len(text)):]) }

// far says whether route i has no condition but a path, which differs from the request's
// near its beginning: it does not match, and comes nowhere near.
func (l *routeList) far(i int, in *[headColumns]uint64) bool {
	if l.heads[0][i].differs(in[0]) {
		return true
	}
	return l.heads[1] != nil && (l.heads[1][i].differs(in[1]) || l.heads[2][i].differs(in[2]))
}

// pick is the first of the routes that matches, or -1. The step of the choice is added by
// the caller; what was passed over is left in s.missed.
func (s *stream) pick(l *routeList, owner string) int {
	s.missed, s.assumed = nil, nil
	var head [headColumns]uint64
	for c := range head {
		head[c] = headAt(s.in.path, 8*c).bits
	}
	var seen []flow.Miss // those that are not far
	for i := range l.routes {
		if l.far(i, &head) {
			continue
		}
		r := &l.routes[i]
		f := r.check(&s.in)
		if f.answer != flow.No {
			switch s.settle(r, f, owner, i) {
			case flow.Yes:
				s.missed = misses(seen, i)
				return i
			case flow.Maybe:
				s.missed = misses(seen, i)
				return -1
			}
			f.failed, f.fails = failChance, 2
			if r.conds != nil && r.conds.chance == nil {
				f.failed = failUnknown
			}
		}
		seen = append(seen, flow.Miss{Index: int32(i), Failed: f.failed, Near: r.near(f, &s.in)})
	}
	s.missed = misses(seen, len(l.routes))
	s.markNearest(l)
	return -1
}

// misses are the first n routes, given those that are not far.
func misses(seen []flow.Miss, n int) []flow.Miss {
	if len(seen) == n {
		return seen
	}
	out := make([]flow.Miss, n)
	for i := range out {
		if len(seen) > 0 && int(seen[0].Index) == i {
			out[i], seen = seen[0], seen[1:]
			continue
		}
		out[i] = flow.Miss{Index: int32(i), Failed: failPath}
	}
	return out
}

// nearest is how many losers are marked where no route matched and none came close.
const nearest = 3

// markNearest marks the routes whose path has most in common with the request, where no
// route is a near miss already.
func (s *stream) markNearest(l *routeList) {
	for i := range s.missed {
		if s.missed[i].Near {
			return
		}
	}
	most := s.segmentsByHead()
	best := 1
	var at []int // the routes that share as much as best
	for i := range l.routes {
		if l.shares(i, &s.in, &most) < best {
			continue
		}
		n := l.routes[i].sharedSegments(&s.in)
		if n > best {
			best, at = n, at[:0]
		}
		if n == best {
			at = append(at, i)
		}
	}
	if s.markNear(l, at) {
		return
	}
	at = at[:0]
	for i := range l.routes[:min(len(l.routes), maxTypos)] {
		if len(l.routes) <= nearest || l.routes[i].slip(&s.in) { // so few that each may have been meant
			at = append(at, i)
		}
	}
	s.markNear(l, at)
}

// markNear marks the first of these that fail in one test alone; false: there is none.
func (s *stream) markNear(l *routeList, at []int) bool {
	n := 0
	for _, i := range at {
		if f := l.routes[i].check(&s.in); f.fails == 1 {
			s.missed[i].Near = true
			if n++; n == nearest {
				break
			}
		}
	}
	return n > 0
}

// segmentsByHead tells how many segments a path shares with the request's at most that
// differs from it first in this byte.
func (s *stream) segmentsByHead() (most [8]int) {
	for i := 1; i < 7; i++ {
		most[i+1] = most[i]
		if i < len(s.in.path) && s.in.path[i] == '/' {
			most[i+1]++
		}
	}
	return most
}

// shares bounds sharedSegments of route i by a look at its head.
func (l *routeList) shares(i int, in *routeInput, most *[8]int) int {
	h := l.heads[0][i]
	if d := (h.bits ^ in.head) & h.mask; d != 0 {
		return most[bits.TrailingZeros64(d)/8]
	}
	return len(in.path)
}
