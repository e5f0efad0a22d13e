package envoy

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// chainLevel is one level of the structure that Envoy builds of all chains of a listener,
// in its order (filter_chain_manager_impl.cc).
type chainLevel uint8

const (
	levelPort chainLevel = iota
	levelPrefix
	levelName
	levelTransport
	levelALPN
	levelDirect
	levelType
	levelSource
	levelSourcePort
	levelEnd
)

// chainMatch is a FilterChainMatch, compiled: of each field the keys that Envoy inserts. An
// unset field is the key "".
type chainMatch struct {
	keys  [levelEnd][]string
	nets  [levelEnd][]netip.Prefix // of the CIDR levels, beside keys
	error string                   // why Envoy would not take it, or what is not modelled
}

// chains are the filter chains of one listener, compiled once.
type chains struct {
	nodes  []tree.Node // filter_chains, then default_filter_chain if there is one
	names  []string
	match  []chainMatch
	dflt   int // index of the default chain; -1: none
	root   *chainNode
	byName map[string]int
	tree   tree.Node // filter_chain_matcher
}

// chainNode is one place in the structure. A place that only one chain reaches has no
// places below it: there the chain's own fields decide, which is the same.
type chainNode struct {
	next  map[string]*chainNode
	nets  []chainNet // of a CIDR level: the prefixes that are there, longest first
	chain int        // the only chain; -1: several
}

type chainNet struct {
	net  netip.Prefix
	next *chainNode
}

func (c *Config) chainsOf(l tree.Node) *chains {
	return memo(c, l, func() *chains { return newChains(l) })
}

func newChains(l tree.Node) *chains {
	t := &chains{dflt: -1, byName: map[string]int{}, tree: l.Field("filter_chain_matcher")}
	t.nodes = l.Field("filter_chains").List()
	for i, n := range t.nodes {
		m := newChainMatch(n.Field("filter_chain_match"))
		t.match = append(t.match, m)
		t.names = append(t.names, n.Field("name").Str())
		t.byName[t.names[i]] = i
	}
	all := make([]int, 0, len(t.match))
	for i := range t.match {
		if t.match[i].error == "" {
			all = append(all, i)
		}
	}
	t.root = buildChains(t.match, all, levelPort)
	if d := l.Field("default_filter_chain"); d.Exists() {
		t.dflt = len(t.nodes)
		t.nodes = append(t.nodes, d)
		t.names = append(t.names, d.Field("name").Str())
		t.match = append(t.match, chainMatch{})
	}
	return t
}

func newChainMatch(n tree.Node) chainMatch {
	var m chainMatch
	if what, _ := wrong(n); what != "" {
		m.error = what
		return m
	}
	if u := n.Unknown("destination_port", "prefix_ranges", "server_names", "transport_protocol", "application_protocols", "direct_source_prefix_ranges",
		"source_type", "source_prefix_ranges", "source_ports", "name"); len(u) > 0 {
		m.error = strings.Join(u, ", ")
		return m
	}
	if p := n.Field("destination_port").Uint(0); p != 0 {
		m.keys[levelPort] = []string{strconv.FormatUint(p, 10)}
	}
	m.cidrs(levelPrefix, n.Field("prefix_ranges"))
	for _, s := range n.Field("server_names").All() {
		m.keys[levelName] = append(m.keys[levelName], strings.TrimPrefix(strings.ToLower(s.Str()), "*"))
	}
	m.add(levelTransport, n.Field("transport_protocol"))
	for _, a := range n.Field("application_protocols").All() {
		m.add(levelALPN, a)
	}
	m.cidrs(levelDirect, n.Field("direct_source_prefix_ranges"))
	switch n.Field("source_type").Enum() {
	case "SAME_IP_OR_LOOPBACK", "LOCAL", "1":
		m.keys[levelType] = []string{"local"}
	case "EXTERNAL", "2":
		m.keys[levelType] = []string{"external"}
	}
	m.cidrs(levelSource, n.Field("source_prefix_ranges"))
	for _, p := range n.Field("source_ports").All() {
		if v := p.Uint(0); v != 0 {
			m.keys[levelSourcePort] = append(m.keys[levelSourcePort], strconv.FormatUint(v, 10))
		}
	}
	for l := range m.keys {
		if m.keys[l] == nil {
			m.keys[l] = []string{""}
		}
	}
	return m
}

func (m *chainMatch) add(l chainLevel, n tree.Node) {
	if s := n.Str(); s != "" {
		m.keys[l] = append(m.keys[l], s)
	}
}

func (m *chainMatch) cidrs(l chainLevel, list tree.Node) {
	for _, n := range list.All() {
		p, ok := readCIDR(n)
		if !ok {
			m.error = "a prefix that is none: " + string(n.Raw())
			return
		}
		m.nets[l] = append(m.nets[l], p)
		m.keys[l] = append(m.keys[l], p.String())
	}
}

// readCIDR reads a core.v3.CidrRange: host bits are cleared, the length is capped, an
// absent length is 0 (cidr_range.cc).
func readCIDR(n tree.Node) (netip.Prefix, bool) {
	a, err := netip.ParseAddr(n.Field("address_prefix").Str())
	if err != nil {
		return netip.Prefix{}, false
	}
	a = a.WithZone("")
	l := n.Field("prefix_len").Uint(0)
	return netip.PrefixFrom(a, int(min(l, uint64(a.BitLen())))).Masked(), true
}

// buildChains makes the place at level l that the chains in of reach. Two chains that
// reach the same leaf are refused by Envoy; the first one stands there.
func buildChains(match []chainMatch, of []int, l chainLevel) *chainNode {
	if len(of) == 0 {
		return nil
	}
	if len(of) == 1 || l == levelEnd {
		return &chainNode{chain: of[0]}
	}
	n := &chainNode{chain: -1, next: map[string]*chainNode{}}
	below := map[string][]int{}
	var order []string
	nets := map[string]netip.Prefix{}
	for _, i := range of {
		for j, k := range match[i].keys[l] {
			if below[k] == nil {
				order = append(order, k)
				if match[i].nets[l] != nil {
					nets[k] = match[i].nets[l][j]
				}
			}
			if list := below[k]; len(list) == 0 || list[len(list)-1] != i {
				below[k] = append(list, i)
			}
		}
	}
	for _, k := range order {
		n.next[k] = buildChains(match, below[k], l+1)
		if net, ok := nets[k]; ok {
			n.nets = append(n.nets, chainNet{net, n.next[k]})
		}
	}
	sort.SliceStable(n.nets, func(i, j int) bool { return n.nets[i].net.Bits() > n.nets[j].net.Bits() })
	return n
}

// walkChains goes down one path, the most specific key of each level that is there, and
// never back: a failure further down fails the match (section 4.2). chosen are the keys
// taken, depth is how many.
func (p *pass) walkChains(t *chains) (chain int, chosen [levelEnd]string, depth chainLevel) {
	n := t.root
	if n == nil {
		return -1, chosen, 0
	}
	l := levelPort
	for ; n.chain < 0; l++ {
		key, ok := p.chainKey(n, l)
		if !ok {
			return -1, chosen, l
		}
		chosen[l] = key
		n = n.next[key]
	}
	facts := p.chainFacts()
	for d := l; d < levelEnd; d++ {
		if !facts.fits(&t.match[n.chain], d) {
			return -1, chosen, l
		}
	}
	return n.chain, chosen, l
}

// chainKey is the best key of node n at its level.
func (p *pass) chainKey(n *chainNode, l chainLevel) (string, bool) {
	has := func(k string) bool { _, ok := n.next[k]; return ok }
	switch l {
	case levelPort:
		if k := strconv.Itoa(int(p.local.Port())); p.local.IsValid() && has(k) {
			return k, true
		}
	case levelPrefix:
		return p.bestNet(n, p.local.Addr(), "destination")
	case levelName:
		for _, k := range nameKeys(p.sni) {
			if has(k) {
				return k, true
			}
		}
		return "", false
	case levelTransport:
		if has(p.transport) {
			return p.transport, true
		}
	case levelALPN:
		for _, a := range p.alpn {
			if has(a) {
				return a, true
			}
		}
	case levelDirect:
		return p.bestNet(n, p.direct.Addr(), "direct source")
	case levelType:
		k := "external"
		if sourceLocal(p.remote.Addr(), p.local.Addr()) {
			k = "local"
		}
		if has(k) {
			return k, true
		}
	case levelSource:
		return p.bestNet(n, p.remote.Addr(), "source")
	case levelSourcePort:
		if k := strconv.Itoa(int(p.remote.Port())); has(k) {
			return k, true
		}
	}
	return "", has("")
}

// bestNet is the longest prefix of a CIDR level that holds the address; an unset field
// stands for 0.0.0.0/0 and ::/0. Beside an explicit /0 either may win: Envoy's choice
// differs from process to process.
func (p *pass) bestNet(n *chainNode, a netip.Addr, what string) (string, bool) {
	if !a.IsValid() {
		a = netip.AddrFrom4([4]byte{255, 255, 255, 255}) // a pipe
	}
	a = a.WithZone("")
	_, unset := n.next[""]
	for _, c := range n.nets {
		if !c.net.Contains(a) {
			continue
		}
		key := c.net.String()
		if c.net.Bits() > 0 || !unset {
			return key, true
		}
		choice := flow.Choice{Ref: p.ref("chain " + what + " /0"), Kind: flow.Unmodelled, Options: []flow.Option{{Value: "unset"}, {Value: key}}}
		if p.ch.Take(choice) == 1 {
			return key, true
		}
		return "", true
	}
	return "", unset
}

// nameKeys are the keys that the server name level is asked for, in order: the name, the
// suffixes that begin at its dots, and "".
func nameKeys(sni string) []string {
	keys := []string{sni}
	if sni == "" {
		return keys
	}
	for i := 1; i < len(sni)-1; i++ {
		if sni[i] == '.' {
			keys = append(keys, sni[i:])
		}
	}
	return append(keys, "")
}
