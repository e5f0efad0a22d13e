package envoy

import (
	"fmt"
	"strings"
)

// treeGen makes the filter_chain_matcher of one listener (xds.type.matcher.v3.Matcher),
// and remembers how a connection meets its values. keep_matching is left out: Envoy 1.40.0
// dies when such an entry matches.
type treeGen struct {
	*dice
	listener string
	chains   int
	own      bool // the source port is one of sourcePorts, not the kernel's
	values   []func(*dialed)
}

func (g *treeGen) remember(f func(*dialed)) { g.values = append(g.values, f) }

// meet gives the connection one to three of the tree's values.
func (g *treeGen) meet(c *dialed) {
	for range 1 + g.IntN(3) {
		if len(g.values) > 0 {
			pick(g.dice, g.values...)(c)
		}
	}
}

func input(name string) M {
	return ext(name, "envoy.extensions.matching.common_inputs.network.v3."+name, nil)
}

func (g *treeGen) onMatch(depth int) M {
	if depth > 0 && g.chance(0.35) {
		return M{"matcher": g.matcher(depth - 1)}
	}
	name := fmt.Sprintf("%s.f%d", g.listener, g.IntN(g.chains))
	if g.chance(0.04) {
		name = "nosuchchain"
	}
	return M{"action": ext("act", "google.protobuf.StringValue", M{"value": name})}
}

// matcher is a list, an exact or prefix map, an IP or a server name tree.
func (g *treeGen) matcher(depth int) M {
	m := M{}
	switch g.IntN(6) {
	case 0, 1:
		var l A
		for range 1 + g.IntN(4) {
			l = append(l, M{"predicate": g.predicate(1), "on_match": g.onMatch(depth)})
		}
		m["matcher_list"] = M{"matchers": l}
	case 2:
		m["matcher_tree"] = g.exactTree(depth)
	case 3:
		in, value := g.inputValue()
		entries := M{}
		for range 1 + g.IntN(3) {
			entries[value[:1+g.IntN(len(value))]] = g.onMatch(depth)
		}
		m["matcher_tree"] = M{"input": input(in), "prefix_match_map": M{"map": entries}}
	case 4:
		m["matcher_tree"] = g.ipTree(depth)
	case 5:
		m["matcher_tree"] = g.nameTree(depth)
	}
	if g.chance(0.4) {
		m["on_no_match"] = g.onMatch(depth)
	}
	return m
}

func (g *treeGen) exactTree(depth int) M {
	in, value := g.inputValue()
	entries := M{value: g.onMatch(depth)}
	for more, try := g.IntN(3), 0; more > 0 && try < 100; try++ {
		before := g.values
		if in2, v := g.inputValue(); in2 == in {
			entries[v] = g.onMatch(depth)
			more--
		} else {
			g.values = before
		}
	}
	return M{"input": input(in), "exact_match_map": M{"map": entries}}
}

func (g *treeGen) ipTree(depth int) M {
	in := pick(g.dice, "DestinationIPInput", "SourceIPInput")
	var l A
	for range 1 + g.IntN(3) {
		ranges := g.prefixes(nil)
		g.remember(func(c *dialed) {
			if in == "SourceIPInput" {
				c.src = g.within(ranges[0])
			} else {
				c.dst = g.within(ranges[0])
			}
		})
		e := M{"ranges": cidrs(ranges), "on_match": g.onMatch(depth)}
		if g.chance(0.25) {
			e["exclusive"] = true
		}
		l = append(l, e)
	}
	return M{"input": input(in), "custom_match": ext("ip", "xds.type.matcher.v3.IPMatcher", M{"range_matchers": l})}
}

func (g *treeGen) nameTree(depth int) M {
	var l A
	taken := map[string]bool{}
	for range 1 + g.IntN(3) {
		var domains A
		for _, s := range some(g.dice, 1+g.IntN(2), []string{"a.example.com", "*.example.com", "*.com", "*", "*.a.example.com", "foo.org", "*.org", "example.com"}) {
			if !taken[s] {
				taken[s] = true
				domains = append(domains, s)
			}
		}
		if domains != nil {
			l = append(l, M{"domains": domains, "on_match": g.onMatch(depth)})
		}
	}
	g.remember(func(c *dialed) { c.name, c.tls = pick(g.dice, names...), true })
	return M{"input": input("ServerNameInput"), "custom_match": ext("sn", "xds.type.matcher.v3.ServerNameMatcher", M{"domain_matchers": l})}
}

func (g *treeGen) predicate(depth int) M {
	two := func() A { return A{g.predicate(depth - 1), g.predicate(depth - 1)} }
	switch n := g.IntN(10); {
	case n == 0 && depth > 0:
		return M{"and_matcher": M{"predicate": two()}}
	case n == 1 && depth > 0:
		return M{"or_matcher": M{"predicate": two()}}
	case n == 2 && depth > 0:
		return M{"not_matcher": g.predicate(depth - 1)}
	case n < 5:
		return g.ipPredicate()
	}
	in, v := g.inputValue()
	sm := pick(g.dice, M{"exact": v}, M{"exact": v}, M{"prefix": v[:max(1, len(v)/2)]}, M{"suffix": v[len(v)/2:]},
		M{"contains": v[len(v)/3 : max(len(v)/3+1, len(v)-1)]})
	if g.chance(0.1) {
		sm["ignore_case"] = true
	}
	return M{"single_predicate": M{"input": input(in), "value_match": sm}}
}

func (g *treeGen) ipPredicate() M {
	in := pick(g.dice, "DestinationIPInput", "SourceIPInput", "DirectSourceIPInput")
	p := g.prefix(ips4)
	if in == "DirectSourceIPInput" {
		p = g.prefix(clients)
	}
	g.remember(func(c *dialed) {
		switch in {
		case "DestinationIPInput":
			c.dst = g.within(p)
		case "SourceIPInput":
			c.src = g.within(p)
		}
	})
	ip := ext("ip", "envoy.extensions.matching.input_matchers.ip.v3.Ip", M{"cidr_ranges": A{cidr(p)}, "stat_prefix": "ip"})
	return M{"single_predicate": M{"input": input(in), "custom_match": ip}}
}

// inputValue is an input with a value of it, remembered.
func (g *treeGen) inputValue() (in, value string) {
	in = pick(g.dice, "DestinationPortInput", "SourcePortInput", "ServerNameInput", "TransportProtocolInput", "ApplicationProtocolInput",
		"SourceTypeInput", "DestinationIPInput", "SourceIPInput", "DirectSourceIPInput")
	if in == "SourcePortInput" && !g.own {
		in = "DestinationPortInput"
	}
	switch in {
	case "DestinationPortInput":
		p := pick(g.dice, ports...)
		g.remember(func(c *dialed) { c.dstPort = p })
		return in, fmt.Sprint(p)
	case "SourcePortInput":
		p := pick(g.dice, sourcePorts...)
		g.remember(func(c *dialed) { c.srcPort = p })
		return in, fmt.Sprint(p)
	case "ServerNameInput":
		value = strings.ToLower(pick(g.dice, names...))
		g.remember(func(c *dialed) { c.name, c.tls = value, true })
	case "TransportProtocolInput":
		value = pick(g.dice, "tls", "raw_buffer")
		g.remember(func(c *dialed) { c.tls = value == "tls" })
	case "ApplicationProtocolInput":
		l := some(g.dice, 1+g.IntN(2), protocols)
		value = "'" + strings.Join(l, "','") + "'"
		g.remember(func(c *dialed) { c.alpn, c.tls = l, true })
	case "SourceTypeInput":
		value = "local"
		g.remember(func(c *dialed) { c.src = c.dst })
	case "DestinationIPInput":
		value = g.ip()
		g.remember(func(c *dialed) { c.dst = value })
	case "SourceIPInput":
		value = g.ip()
		g.remember(func(c *dialed) { c.src = value })
	case "DirectSourceIPInput":
		value = pick(g.dice, clients...)
		g.remember(func(c *dialed) { c.direct = value })
	}
	return in, value
}
