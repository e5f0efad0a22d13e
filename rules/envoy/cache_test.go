package envoy

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// What is kept stays within the bound, the newest of it always, and one key gives one value
// to all who ask at the same time.
func TestCacheBound(t *testing.T) {
	c := newCache()
	c.sized(100 << 20)
	const each = 10_000
	for i := range 50_000 {
		c.store(i, i, each)
		if v, ok := c.load(max(0, i-3)); !ok || v != max(0, i-3) {
			t.Fatalf("after %d values a new one is gone", i+1)
		}
	}
	held := int64(0)
	g := c.now.Load()
	for _, m := range []*sync.Map{g.young, g.old} {
		m.Range(func(_, v any) bool { held += v.(*kept).bytes; return true })
	}
	if most := 2 * (c.budget + each + entryBytes); held > most || held < c.budget {
		t.Errorf("%d bytes are kept, want %d to %d", held, c.budget, most)
	}
	if a, b := c.store("k", 1, 1), c.store("k", 2, 1); a != 1 || b != 1 {
		t.Errorf("two values of one key: %v, %v", a, b)
	}
}

// A trace drives out nothing that it needs itself, however large: the second one finds all.
func TestCacheHoldsOneTrace(t *testing.T) {
	c := newCache()
	for round := range 3 {
		for i := range leastKept {
			if _, ok := c.load(i); !ok {
				if round > 0 {
					t.Fatalf("round %d: value %d is gone", round, i)
				}
				c.store(i, i, leastBudget)
			}
		}
	}
}

// Answers do not depend on what the cache holds: traces that run side by side over one that
// forgets at once are those of a fresh Config.
func TestTracesOverSmallCache(t *testing.T) {
	h := flow.HTTP{Method: "GET", Authority: "a", Path: "/nothing/here", Headers: [][2]string{{"x-version", "v1"}}}
	want := ask(httpDump(t, manyRoutes(40)), h)
	shared := httpDump(t, manyRoutes(40))
	shared.cache = newCache()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				for k := range 200 {
					shared.cache.store(fmt.Sprint(g, i, k), k, leastBudget)
				}
				if got := ask(shared, h); !reflect.DeepEqual(got.Outcome, want.Outcome) || len(got.Steps) != len(want.Steps) {
					t.Errorf("%+v, want %+v", got.Outcome, want.Outcome)
				}
			}
		})
	}
	wg.Wait()
}
