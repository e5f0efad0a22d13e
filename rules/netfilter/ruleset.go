package netfilter

import (
	"slices"
	"sort"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// Ruleset is all rules that are live in one network namespace: both back ends of
// iptables, both families, and nftables' own tables. It does not change once parsed.
type Ruleset struct {
	tables []*table
	chains []*chain // all of them; a rule's number is chain.first and its place in the chain
	hooks  [2][hooks]hookPlan
	// tracked says of each family whether something needs conntrack, so that its hooks
	// are registered (nf_ct_netns_get); Maybe where a part could not be read whole.
	tracked [2]flow.Answer
	// marksTemplates: a rule of a raw table writes the mark of connections, and so of the
	// templates that CT --zone uses there.
	marksTemplates bool
	partial        [2]bool // a part of this family could not be read whole
}

// Empty says whether there is no rule at all.
func (rs *Ruleset) Empty() bool {
	return !slices.ContainsFunc(rs.chains, func(c *chain) bool { return len(c.rules) > 0 })
}

// backend says who made a table.
type backend uint8

const (
	backNFT    backend = iota // iptables-nft
	backLegacy                // iptables-legacy
	backNative                // nftables' own language
)

// table is one table with its chains.
type table struct {
	back   backend
	family string // ip, ip6, inet
	name   string
	part   string // of the snapshot, for evidence
	chains map[string]*chain
	order  []*chain
	handle uint64 // of nft.json: tables are numbered as they are made; 0: not known
	// dormant: its chains are not registered at their hooks (nft(8), "flags dormant").
	dormant flow.Answer
	ref     string // "ip nat", "legacy ip nat", "inet istio-proxy-nat"
}

// chain is one chain with its rules.
type chain struct {
	table  *table
	name   string
	rules  []rule
	first  int32 // number of the first rule in the whole rule set
	policy verdict
	base   bool
	kind   chainKind // valid iff base, as are hook and prio
	hook   hook
	prio   int
	handle uint64
}

// chainKind is the type of a base chain (nft(8), "Chain types").
type chainKind uint8

const (
	kindFilter chainKind = iota
	kindNAT
	kindRoute // like filter, but a changed packet is routed again
)

// rule is one rule: all its conditions, then what it does.
type rule struct {
	conds []cond
	act   action
	text  string // as it stands in the part: a line, or nft's JSON
	line  int32  // of its part; 0: none
}

// ref is the chain as a reference: "ip nat OUTPUT".
func (c *chain) ref() string { return c.table.ref + " " + c.name }

// subject is a rule's reference; n is its place in the chain from 0.
func (c *chain) subject(n int) string { return c.ref() + " " + strconv.Itoa(n+1) }

// covers says whether a table's rules see packets of a family.
func (t *table) covers(v6 bool) bool {
	return t.family == "inet" || t.family == "ip6" && v6 || t.family == "ip" && !v6
}

// newTable adds a table.
func (rs *Ruleset) newTable(back backend, family, name, part string) *table {
	t := &table{back: back, dormant: flow.No, family: family, name: name, part: part, chains: map[string]*chain{}, ref: family + " " + name}
	if back == backLegacy {
		t.ref = "legacy " + t.ref
	}
	rs.tables = append(rs.tables, t)
	return t
}

// chain is the chain of a name, made if it is not there.
func (t *table) chain(name string) *chain {
	c := t.chains[name]
	if c == nil {
		c = &chain{table: t, name: name, policy: vAccept}
		t.chains[name] = c
		t.order = append(t.order, c)
	}
	return c
}

// number gives every rule its number.
func (rs *Ruleset) number() {
	n := int32(0)
	for _, t := range rs.tables {
		for _, c := range t.order {
			c.first = n
			n += int32(len(c.rules))
			rs.chains = append(rs.chains, c)
		}
	}
}

// rule finds a rule by its number.
func (rs *Ruleset) rule(n int32) (*chain, int) {
	i := sort.Search(len(rs.chains), func(i int) bool { return rs.chains[i].first > n })
	for i--; i >= 0; i-- {
		if c := rs.chains[i]; int(n-c.first) < len(c.rules) {
			return c, int(n - c.first)
		}
	}
	return nil, 0
}

// iptablesBase says where a built-in chain of iptables stands
// (include/uapi/linux/netfilter_ipv4.h, enum nf_ip_hook_priorities).
func iptablesBase(table, chain string, back backend) (h hook, kind chainKind, prio int, ok bool) {
	for h = 0; h < hooks && hookNames[h] != chain; h++ {
	}
	local := h == input || h == forward || h == output
	switch table {
	case "raw":
		return h, kindFilter, -300, h == prerouting || h == output
	case "mangle":
		if h == output {
			kind = kindRoute
		}
		return h, kind, -150, h < hooks
	case "nat":
		prio = -100
		if h == input || h == postrouting {
			prio = 100
		}
		return h, kindNAT, prio, h < hooks && h != forward
	case "filter":
		return h, kindFilter, 0, local
	case "security":
		// iptables-nft and legacy differ here (iptables/nft.c, xtables_ipv4).
		prio = 50
		if back == backNFT {
			prio = 150
		}
		return h, kindFilter, prio, local
	}
	return 0, 0, 0, false
}
