package envoy

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// presence says what is known of a matcher's input.
type presence uint8

const (
	inputUnknown presence = iota // meshtop does not know the input or its value
	inputAbsent
	inputPresent
)

// matcher evaluates an xds.type.matcher.v3.Matcher (section 4.5). It is shared by filter
// chains, virtual hosts, RBAC and the rest; what the inputs are is the caller's.
type matcher struct {
	p *pass
	// ref names the tree in choices, where a test cannot be decided.
	ref string
	// input answers an input extension by its kind: the last part of its type, such as
	// DestinationPortInput, and its configuration.
	input func(kind string, config tree.Node) (string, presence)
	// keepMatching is called for a match that keep_matching turns into none; it may end
	// the pass. Nil: nothing happens.
	keepMatching func(onMatch tree.Node)
}

// kindOf is the last part of an extension's type, and its configuration.
func kindOf(ext tree.Node) (string, tree.Node) {
	typ, config := ext.Field("typed_config").Any()
	return typ[strings.LastIndexByte(typ, '.')+1:], config
}

// eval finds the action of the tree: a TypedExtensionConfig. ok is false where nothing matches.
func (m *matcher) eval(n tree.Node) (action tree.Node, ok bool) {
	if l := n.Field("matcher_list"); l.Exists() {
		for _, e := range l.Field("matchers").All() {
			if m.sure(m.predicate(e.Field("predicate")), e) {
				if a, ok := m.onMatch(e.Field("on_match")); ok {
					return a, true
				}
			}
		}
	} else if t := n.Field("matcher_tree"); t.Exists() {
		if a, ok := m.tree(t); ok {
			return a, true
		}
	}
	return m.onMatch(n.Field("on_no_match"))
}

// sure decides an answer: Maybe becomes a choice of the caller's variants.
func (m *matcher) sure(a flow.Answer, n tree.Node) bool {
	if a == flow.Maybe {
		a = m.p.ch.Answer(m.p.ref(m.ref+" "+n.Pointer()), flow.Unmodelled)
	}
	return a == flow.Yes
}

func (m *matcher) onMatch(n tree.Node) (tree.Node, bool) {
	var action tree.Node
	ok := false
	if sub := n.Field("matcher"); sub.Exists() {
		action, ok = m.eval(sub)
	} else if a := n.Field("action"); a.Exists() {
		action, ok = a, true
	}
	if ok && n.Field("keep_matching").Bool(false) {
		if m.keepMatching != nil {
			m.keepMatching(n)
		}
		return tree.Node{}, false
	}
	return action, ok
}

func (m *matcher) predicate(n tree.Node) flow.Answer {
	if s := n.Field("single_predicate"); s.Exists() {
		return m.single(s)
	}
	if l := n.Field("and_matcher"); l.Exists() {
		a := flow.Yes
		for _, e := range l.Field("predicate").All() {
			a = a.And(m.predicate(e))
		}
		return a
	}
	if l := n.Field("or_matcher"); l.Exists() {
		a := flow.No
		for _, e := range l.Field("predicate").All() {
			a = a.Or(m.predicate(e))
		}
		return a
	}
	if e := n.Field("not_matcher"); e.Exists() {
		return m.predicate(e).Not()
	}
	return flow.Maybe
}

func (m *matcher) read(input tree.Node) (string, presence) {
	kind, config := kindOf(input)
	return m.input(kind, config)
}

// single tests one input. An absent input fails every test.
func (m *matcher) single(n tree.Node) flow.Answer {
	s, have := m.read(n.Field("input"))
	switch have {
	case inputUnknown:
		return flow.Maybe
	case inputAbsent:
		return flow.No
	}
	if v := n.Field("value_match"); v.Exists() {
		return m.p.cfg.stringMatch(v, s)
	}
	kind, config := kindOf(n.Field("custom_match"))
	if kind == "Ip" {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return flow.No
		}
		return inRanges(config.Field("cidr_ranges"), a)
	}
	return flow.Maybe
}

// tree is a matcher_tree: a look-up by one input.
func (m *matcher) tree(n tree.Node) (tree.Node, bool) {
	s, have := m.read(n.Field("input"))
	if have == inputUnknown {
		return m.guess(n)
	}
	if have == inputAbsent {
		return tree.Node{}, false
	}
	if e := n.Field("exact_match_map"); e.Exists() {
		return m.onMatch(e.Field("map").Key(s))
	}
	if e := n.Field("prefix_match_map"); e.Exists() {
		return m.prefixes(e.Field("map"), s)
	}
	kind, config := kindOf(n.Field("custom_match"))
	switch kind {
	case "IPMatcher":
		return m.ips(config, s)
	case "ServerNameMatcher":
		return m.serverNames(config, s)
	}
	return m.guess(n)
}

// guess is a look-up that cannot be decided: each entry may be taken, or none.
func (m *matcher) guess(n tree.Node) (tree.Node, bool) {
	var keys []string
	var nodes []tree.Node
	for _, f := range []string{"exact_match_map", "prefix_match_map"} {
		for k, v := range n.Field(f).Field("map").Members() {
			keys, nodes = append(keys, "key "+k), append(nodes, v)
		}
	}
	choice := flow.Choice{Ref: m.p.ref(m.ref + " " + n.Pointer()), Kind: flow.Unmodelled, Options: []flow.Option{{Value: "none"}, {Value: "other", Stop: true}}}
	for _, k := range keys {
		choice.Options = append(choice.Options, flow.Option{Value: k})
	}
	switch i := m.p.ch.Take(choice); i {
	case 0:
		return tree.Node{}, false
	case 1:
		m.p.stop(flow.FilterChain, m.ref, flow.Because(flow.WhyNotModelled, "this matcher"), n)
		return tree.Node{}, false
	default:
		return m.onMatch(nodes[i-2])
	}
}

// prefixes tries all keys that begin the input, longest first; a sub-tree that misses
// gives way to the next one (prefix_map_matcher_resume_after_subtree_miss).
func (m *matcher) prefixes(n tree.Node, s string) (tree.Node, bool) {
	type hit struct {
		key string
		on  tree.Node
	}
	var hits []hit
	for k, v := range n.Members() {
		if strings.HasPrefix(s, k) {
			hits = append(hits, hit{k, v})
		}
	}
	sort.SliceStable(hits, func(i, j int) bool { return len(hits[i].key) > len(hits[j].key) })
	resume := m.p.cfg.guard("prefix_map_matcher_resume_after_subtree_miss", true)
	for _, h := range hits {
		if a, ok := m.onMatch(h.on); ok || !resume {
			return a, ok
		}
	}
	return tree.Node{}, false
}

// ips is an IPMatcher: ranges that hold the address, longest first, then as declared; an
// exclusive one counts only as the first (ip_range_matcher.h).
func (m *matcher) ips(n tree.Node, s string) (tree.Node, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return tree.Node{}, false
	}
	type hit struct {
		bits      int
		exclusive bool
		on        tree.Node
	}
	var hits []hit
	for _, r := range n.Field("range_matchers").All() {
		for _, c := range r.Field("ranges").All() {
			if p, ok := readCIDR(c); ok && p.Contains(a) {
				hits = append(hits, hit{p.Bits(), r.Field("exclusive").Bool(false), r.Field("on_match")})
			}
		}
	}
	sort.SliceStable(hits, func(i, j int) bool { return hits[i].bits > hits[j].bits })
	for i, h := range hits {
		if i > 0 && h.exclusive {
			continue
		}
		if a, ok := m.onMatch(h.on); ok {
			return a, true
		}
	}
	return tree.Node{}, false
}

// serverNames is a ServerNameMatcher: the name, then *.suffix at each label, longest
// first, then *.
func (m *matcher) serverNames(n tree.Node, s string) (tree.Node, bool) {
	keys := []string{s}
	for rest := s; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		keys, rest = append(keys, "*."+after), after
	}
	for _, key := range append(keys, "*") {
		for _, d := range n.Field("domain_matchers").All() {
			for _, name := range d.Field("domains").All() {
				if name.Str() != key {
					continue
				}
				if a, ok := m.onMatch(d.Field("on_match")); ok {
					return a, true
				}
			}
		}
	}
	return tree.Node{}, false
}

// networkInput answers the inputs of envoy.extensions.matching.common_inputs.network.v3.
func (p *pass) networkInput(kind string, config tree.Node) (string, presence) {
	addr := func(a netip.Addr) (string, presence) {
		if !a.IsValid() {
			return "", inputAbsent
		}
		return a.String(), inputPresent
	}
	text := func(s string) (string, presence) {
		if s == "" {
			return "", inputAbsent
		}
		return s, inputPresent
	}
	switch kind {
	case "DestinationIPInput":
		return addr(p.local.Addr())
	case "SourceIPInput":
		return addr(p.remote.Addr())
	case "DirectSourceIPInput":
		return addr(p.direct.Addr())
	case "DestinationPortInput":
		return port(p.local)
	case "SourcePortInput":
		return port(p.remote)
	case "SourceTypeInput":
		if sourceLocal(p.remote.Addr(), p.local.Addr()) {
			return "local", inputPresent
		}
		return "", inputAbsent
	case "ServerNameInput":
		return text(p.sni)
	case "TransportProtocolInput":
		return text(p.transport)
	case "ApplicationProtocolInput":
		if len(p.alpn) == 0 {
			return "", inputAbsent
		}
		return "'" + strings.Join(p.alpn, "','") + "'", inputPresent
	case "UriSanInput", "DnsSanInput", "SubjectInput":
		return p.certInput(kind)
	case "FilterStateInput":
		key := config.Field("key").Str()
		if p.unsure[key] {
			return "", inputUnknown
		}
		if v, ok := p.state[key]; ok {
			return v, inputPresent
		}
		return "", inputAbsent
	}
	return "", inputUnknown
}

func port(a netip.AddrPort) (string, presence) {
	if !a.IsValid() {
		return "", inputAbsent
	}
	return strconv.Itoa(int(a.Port())), inputPresent
}

// chainByMatcher chooses the chain by filter_chain_matcher (section 4.4).
func (p *pass) chainByMatcher(t *chains) bool {
	m := matcher{p: p, ref: "filter_chain_matcher", input: p.networkInput}
	m.keepMatching = func(n tree.Node) {
		// Envoy 1.40.0 calls a null callback there and dies.
		p.stop(flow.FilterChain, p.listenerName, flow.Because(flow.WhyKeepMatching), n)
	}
	action, ok := m.eval(t.tree)
	if p.over {
		return false
	}
	if !ok {
		if t.dflt >= 0 {
			return p.took(t, t.dflt, flow.Because(flow.WhyChainDefault), nil)
		}
		return p.noChain(flow.Because(flow.WhyNoChain), nil)
	}
	_, value := action.Field("typed_config").Any()
	name := value.Str()
	if i, ok := t.byName[name]; ok {
		return p.took(t, i, flow.Because(flow.WhyChainMatcher, name), nil)
	}
	return p.noChain(flow.Because(flow.WhyChainUnknownName, name), nil)
}
