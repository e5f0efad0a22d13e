package envoy

import (
	"sync"
	"sync/atomic"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// cache keeps what traces decoded and compiled for the next ones, up to a bound. What was
// asked for lately is in one of two generations: when the young one is full, the old one
// goes, and what it held is made again when somebody asks for it.
type cache struct {
	budget int64 // bytes of one generation, about
	now    atomic.Pointer[generations]
}

// generations is the state of a cache. It is replaced as a whole.
type generations struct {
	young, old *sync.Map
	bytes, n   atomic.Int64 // of the young one
}

// kept is a value with what it takes, by an estimate.
type kept struct {
	value any
	bytes int64
}

const (
	// leastBudget lets small configurations stay decoded in whole.
	leastBudget = 128 << 10
	// budgetShare: both generations together take a sixth of the text at most. The index
	// and the tables of domains take as much again.
	budgetShare = 12
	// leastKept is the number of values that a generation holds whatever their size: more
	// than one trace asks for, so that a trace never drives out what it needs itself.
	leastKept = 96
	// entryBytes is about what a value costs beside its own bytes.
	entryBytes = 160
)

func newCache() *cache {
	c := &cache{budget: leastBudget}
	c.now.Store(&generations{young: new(sync.Map), old: new(sync.Map)})
	return c
}

// sized gives the cache its bound, by the bytes of the configuration.
func (c *cache) sized(text int64) { c.budget = max(leastBudget, text/budgetShare) }

func (c *cache) load(key any) (any, bool) {
	g := c.now.Load()
	if v, ok := g.young.Load(key); ok {
		return v.(*kept).value, true
	}
	v, ok := g.old.Load(key)
	if !ok {
		return nil, false
	}
	return c.keep(g, key, v.(*kept)), true
}

// store keeps a value, and gives the one to use: of two that are made at once the first.
func (c *cache) store(key, value any, bytes int64) any {
	return c.keep(c.now.Load(), key, &kept{value, bytes + entryBytes})
}

func (c *cache) keep(g *generations, key any, k *kept) any {
	v, had := g.young.LoadOrStore(key, k)
	if !had && g.bytes.Add(k.bytes) > c.budget && g.n.Load() >= leastKept {
		c.now.CompareAndSwap(g, &generations{young: new(sync.Map), old: g.young})
	}
	if !had {
		g.n.Add(1)
	}
	return v.(*kept).value
}

// doc is a decoded document, kept under a key.
func (c *cache) doc(key any, decode func() *tree.Doc) *tree.Doc {
	if v, ok := c.load(key); ok {
		return v.(*tree.Doc)
	}
	d := decode()
	if d == nil {
		return nil
	}
	return c.store(key, d, d.Size()).(*tree.Doc)
}

// memoKey tells the memos of different types apart.
type memoKey[T any] struct{ of tree.Node }

// memo is what build makes of n, kept for a while. build must be a function of n and the
// Config alone.
func memo[T any](c *Config, n tree.Node, build func() T) T {
	if v, ok := c.cache.load(memoKey[T]{n}); ok {
		return v.(T)
	}
	return c.cache.store(memoKey[T]{n}, build(), n.Size()/4).(T)
}
