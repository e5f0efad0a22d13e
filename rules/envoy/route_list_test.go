package envoy

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// pickSlowly is pick without the columns: each route is checked.
func pickSlowly(s *stream, routes []route) (int, []flow.Miss) {
	var missed []flow.Miss
	near, best := false, 0
	for i := range routes {
		f := routes[i].check(&s.in)
		if f.answer == flow.Yes {
			return i, missed
		}
		m := flow.Miss{Index: int32(i), Failed: f.failed, Near: routes[i].near(f, &s.in)}
		missed = append(missed, m)
		near = near || m.Near
	}
	for i := range routes {
		best = max(best, routes[i].sharedSegments(&s.in))
	}
	mark := func(fits func(r *route) bool) {
		for i, n := 0, 0; i < len(routes) && !near && n < nearest; i++ {
			if f := routes[i].check(&s.in); f.fails == 1 && fits(&routes[i]) {
				missed[i].Near = true
				n++
			}
		}
		near = near || slices.ContainsFunc(missed, func(m flow.Miss) bool { return m.Near })
	}
	mark(func(r *route) bool { return best > 0 && r.sharedSegments(&s.in) == best })
	mark(func(r *route) bool { return len(routes) <= nearest || r.slip(&s.in) })
	return -1, missed
}

// The columns change no answer: which route is taken, what the losers failed in, and which
// of them come near.
func TestPickByColumns(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		b := []byte("/")
		for range r.IntN(28) {
			b = append(b, "aab/AB-"[r.IntN(7)])
		}
		return string(b)
	}
	found := 0
	for range 3000 {
		routes := make([]route, r.IntN(2*manyRoutesFrom))
		known := []string{text(), text(), "", "/"}
		for i := range routes {
			p := &routes[i].path
			p.kind, p.text, p.fold = pathPrefix+pathKind(r.IntN(4)), text(), r.IntN(4) == 0
			if r.IntN(2) == 0 {
				p.text = known[r.IntN(2)][:1] + text()[1:]
			}
			if p.kind == pathRegex {
				p.extra = new(pathExtra)
			}
			if r.IntN(8) == 0 {
				routes[i].conds = &conditions{grpc: true}
			}
			routes[i].head = headOf(p.beginning())
			known = append(known, p.text, p.text+"/", p.text+"x")
		}
		s := stream{in: routeInput{path: known[r.IntN(len(known))], hasPath: true, grpc: r.IntN(2) == 0}}
		if r.IntN(20) == 0 {
			s.in.path, s.in.hasPath = "", false
		}
		s.in.head = headOf(s.in.path).bits
		want, missed := pickSlowly(&s, routes)
		got := s.pick(listRoutes(routes), "v")
		if got != want || !slices.Equal(s.missed, missed) {
			t.Fatalf("path %q: route %d, want %d\nmissed %v\nwant   %v", s.in.path, got, want, s.missed, missed)
		}
		if got >= 0 {
			found++
		}
	}
	if found < 500 || found > 2500 {
		t.Errorf("%d of 3000 find a route: the test lost its edge", found)
	}
}
