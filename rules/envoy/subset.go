package envoy

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// subsets is a cluster's LbSubsetConfig, or the Subset policy, which has the same fields
// (config.cluster.v3, extensions.load_balancing_policies.subset.v3; subset_lb.cc).
type subsets struct {
	node       tree.Node
	selectors  []selector
	listAny    bool
	localities bool // locality_weight_aware
	scale      bool // scale_locality_weight
	redundant  bool // allow_redundant_keys
	panicAny   bool // panic_mode_any
	fallbacks  bool // metadata_fallback_policy FALLBACK_LIST
}

type selector struct {
	list     []string // sorted
	keys     string   // list, joined
	fallback string   // empty: that of the cluster
	keysOf   []string // fallback_keys_subset
	single   bool     // single_host_per_subset
}

func newSubsets(n tree.Node) *subsets {
	s := &subsets{node: n, listAny: n.Field("list_as_any").Bool(false), localities: n.Field("locality_weight_aware").Bool(false),
		scale: n.Field("scale_locality_weight").Bool(false), redundant: n.Field("allow_redundant_keys").Bool(false),
		panicAny: n.Field("panic_mode_any").Bool(false)}
	policy := n.Field("metadata_fallback_policy").Enum()
	s.fallbacks = policy == "FALLBACK_LIST" || policy == "1"
	known := map[string]bool{}
	for _, e := range n.Field("subset_selectors").All() {
		sel := selector{fallback: selectorFallback(e.Field("fallback_policy").Enum()), single: e.Field("single_host_per_subset").Bool(false)}
		for _, k := range e.Field("keys").All() {
			sel.list = append(sel.list, k.Str())
		}
		slices.Sort(sel.list)
		sel.list = slices.Compact(sel.list)
		sel.keys = strings.Join(sel.list, "\x00")
		for _, k := range e.Field("fallback_keys_subset").All() {
			sel.keysOf = append(sel.keysOf, k.Str())
		}
		// Selectors are kept as a tree of keys. One that is found there already, as the
		// beginning of a longer one, brings no fallback policy of its own.
		if known[sel.keys] {
			sel.fallback = ""
		}
		for i := range sel.list {
			known[strings.Join(sel.list[:i+1], "\x00")] = true
		}
		s.selectors = append(s.selectors, sel)
	}
	return s
}

// selectorFallback is a LbSubsetSelectorFallbackPolicy by name; empty: not defined.
func selectorFallback(s string) string {
	switch s {
	case "NOT_DEFINED", "0":
		return ""
	case "1":
		return "NO_FALLBACK"
	case "2":
		return "ANY_ENDPOINT"
	case "3":
		return "DEFAULT_SUBSET"
	case "4":
		return "KEYS_SUBSET"
	}
	return s
}

// criteria are the subset keys that a request asks for: those of several metadata_match,
// later ones win.
func criteria(match []tree.Node) map[string]tree.Node {
	var out map[string]tree.Node
	for _, m := range match {
		for k, v := range m.Members() {
			if out == nil {
				out = map[string]tree.Node{}
			}
			out[k] = v
		}
	}
	return out
}

// subsetChoice is which hosts the subset load balancer draws from.
type subsetChoice struct {
	only   func(*host) bool // nil: all hosts
	none   bool             // no subset, and no fallback
	single bool             // the first host takes it all, healthy or not
	how    string           // the keys of the subset, or the fallback policy
}

// fallbackList is the key of the criteria that holds others to try.
// (Config::MetadataEnvoyLbKeys)
const fallbackList = "fallback_list"

// tries are the subsets for the criteria in the order in which they are asked for a host;
// the first one that has one ends it.
func (s *subsets) tries(hosts *hostSet, want map[string]tree.Node) []subsetChoice {
	list, has := want[fallbackList]
	if !s.fallbacks || !has {
		return s.iterate(hosts, want, 0)
	}
	base := maps.Clone(want)
	delete(base, fallbackList)
	if list.Len() == 0 {
		return s.iterate(hosts, base, 0)
	}
	var out []subsetChoice
	for _, e := range list.All() {
		next := maps.Clone(base)
		maps.Copy(next, criteria([]tree.Node{e}))
		out = append(out, s.iterate(hosts, next, 0)...)
	}
	return out
}

// mostKeySubsets bounds KEYS_SUBSET, each of which takes keys away.
const mostKeySubsets = 16

// iterate is SubsetLoadBalancer::chooseHostIteration.
func (s *subsets) iterate(hosts *hostSet, want map[string]tree.Node, depth int) []subsetChoice {
	if s.redundant {
		want = s.needed(want)
	}
	if len(want) > 0 {
		keys := slices.Sorted(maps.Keys(want))
		if sel := s.selector(strings.Join(keys, "\x00")); sel != nil {
			only := func(h *host) bool { return s.has(h, want) }
			switch {
			case slices.ContainsFunc(hosts.hosts, func(h host) bool { return only(&h) }):
				return []subsetChoice{{only: only, single: sel.single, how: describe(keys, want)}}
			case sel.fallback == "KEYS_SUBSET" && depth < mostKeySubsets:
				return s.iterate(hosts, restricted(want, sel.keysOf), depth+1)
			case sel.fallback != "":
				return []subsetChoice{s.fallback(sel.fallback)}
			}
		}
	}
	first := s.fallback(orDefault(s.node.Field("fallback_policy").Enum(), "NO_FALLBACK"))
	if first.none || !s.panicAny {
		return []subsetChoice{first}
	}
	return []subsetChoice{first, {how: "panic_mode_any"}}
}

// needed leaves of the criteria the keys of the first selector whose keys are all there.
func (s *subsets) needed(want map[string]tree.Node) map[string]tree.Node {
	for _, sel := range s.selectors {
		if got := restricted(want, sel.list); len(got) == len(sel.list) && len(got) > 0 {
			return got
		}
	}
	return want
}

func restricted(want map[string]tree.Node, keys []string) map[string]tree.Node {
	out := map[string]tree.Node{}
	for _, k := range keys {
		if v, ok := want[k]; ok {
			out[k] = v
		}
	}
	return out
}

func (s *subsets) selector(keys string) *selector {
	for i := range s.selectors {
		if s.selectors[i].keys == keys {
			return &s.selectors[i]
		}
	}
	return nil
}

func (s *subsets) fallback(policy string) subsetChoice {
	switch policy {
	case "ANY_ENDPOINT", "1":
		return subsetChoice{how: "ANY_ENDPOINT"}
	case "DEFAULT_SUBSET", "2":
		want := criteria([]tree.Node{s.node.Field("default_subset")})
		return subsetChoice{only: func(h *host) bool { return s.has(h, want) }, how: "DEFAULT_SUBSET"}
	}
	return subsetChoice{none: true, how: "NO_FALLBACK"}
}

// has says whether the host's metadata (namespace envoy.lb) holds all of want. With
// list_as_any one value of a list is enough, and the list itself is no value.
func (s *subsets) has(h *host, want map[string]tree.Node) bool {
	have := lbMetadata(h.meta)
	for k, v := range want {
		got := have.Key(k)
		if s.listAny && got.Kind() == tree.List {
			if !anyEqual(got, v) {
				return false
			}
		} else if !tree.Equal(got, v) {
			return false
		}
	}
	return true
}

func anyEqual(list, v tree.Node) bool {
	for _, e := range list.All() {
		if tree.Equal(e, v) {
			return true
		}
	}
	return false
}

func describe(keys []string, want map[string]tree.Node) string {
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k + "=" + string(want[k].Raw()))
	}
	return b.String()
}

// toSubset asks one subset after the other for a host.
func (p *pass) toSubset(c *cluster, s *hostSet, h lbHints) fate {
	want := criteria(h.match)
	tries := c.subsets.tries(s, want)
	for i, t := range tries {
		last := i == len(tries)-1
		if t.none {
			if !last {
				continue
			}
			return p.noHost(c, h, whyNoSubset(h), evidence(c.subsets.node), &hostWhy{s: s, want: want})
		}
		d := p.cfg.draws(c, s, t.only)
		if t.single {
			d = singleDraw(s, t.only)
		}
		if len(d.list) == 0 && !last {
			continue
		}
		if f, found := p.draw(c, s, d, h, t.how, i, !last); found {
			return f
		}
	}
	return p.noHost(c, h, whyNoSubset(h), evidence(c.subsets.node), &hostWhy{s: s, want: want})
}

// singleDraw is the one host of a subset with single_host_per_subset: the first of the
// lowest priority.
func singleDraw(s *hostSet, only func(*host) bool) *draws {
	best := -1
	for i := range s.hosts {
		if only(&s.hosts[i]) && (best < 0 || s.hosts[i].priority < s.hosts[best].priority) {
			best = i
		}
	}
	return newDraws(s, []candidate{{best, 1}}, 0)
}
