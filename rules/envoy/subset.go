package envoy

import (
	"sort"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// subsets is a cluster's LbSubsetConfig (subset_lb.cc).
type subsets struct {
	node       tree.Node
	selectors  []selector
	listAny    bool
	localities bool // locality_weight_aware
}

type selector struct {
	keys     string // sorted, joined
	list     []string
	fallback string
	keysOf   []string // fallback_keys_subset
}

func newSubsets(n tree.Node) *subsets {
	s := &subsets{node: n, listAny: n.Field("list_as_any").Bool(false), localities: n.Field("locality_weight_aware").Bool(false)}
	for _, e := range n.Field("subset_selectors").All() {
		sel := selector{fallback: e.Field("fallback_policy").Enum()}
		for _, k := range e.Field("keys").All() {
			sel.list = append(sel.list, k.Str())
		}
		sort.Strings(sel.list)
		sel.keys = strings.Join(sel.list, "\x00")
		for _, k := range e.Field("fallback_keys_subset").All() {
			sel.keysOf = append(sel.keysOf, k.Str())
		}
		s.selectors = append(s.selectors, sel)
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
	only func(*host) bool // nil: all hosts
	none bool             // no subset, and no fallback
	how  string           // the keys of the subset, or the fallback policy
}

// pick finds the subset for the criteria, or what takes its place.
func (s *subsets) pick(hosts *hostSet, want map[string]tree.Node) subsetChoice {
	for range 16 { // KEYS_SUBSET takes keys away each time
		if want == nil {
			break
		}
		keys := make([]string, 0, len(want))
		for k := range want {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		sel := s.selector(strings.Join(keys, "\x00"))
		if sel == nil {
			break
		}
		only := func(h *host) bool { return s.has(h, want) }
		for i := range hosts.hosts {
			if only(&hosts.hosts[i]) {
				return subsetChoice{only: only, how: describe(keys, want)}
			}
		}
		if sel.fallback == "KEYS_SUBSET" {
			less := map[string]tree.Node{}
			for _, k := range sel.keysOf {
				if v, ok := want[k]; ok {
					less[k] = v
				}
			}
			if len(less) == len(want) {
				break
			}
			want = less
			continue
		}
		if sel.fallback != "" && sel.fallback != "NOT_DEFINED" {
			return s.fallback(sel.fallback)
		}
		break
	}
	return s.fallback(orDefault(s.node.Field("fallback_policy").Enum(), "NO_FALLBACK"))
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

// has says whether the host's metadata (namespace envoy.lb) holds all of want.
func (s *subsets) has(h *host, want map[string]tree.Node) bool {
	have := lbMetadata(h.meta)
	for k, v := range want {
		got := have.Key(k)
		if tree.Equal(got, v) {
			continue
		}
		if !s.listAny || got.Kind() != tree.List || !anyEqual(got, v) {
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
