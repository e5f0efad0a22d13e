package xds

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// swapped is a configuration's listeners under a policy, and what the policy does not reach.
type swapped struct {
	listeners  []object
	capturing  []string // the names of those that differ
	notCovered []flow.Reach
}

// under is the configuration's listeners as a change wants them. What the change asks for and a
// configuration cannot do is an error.
func (c *Config) under(ch flow.Change) (swapped, error) {
	if err := refuse(ch); err != nil {
		return swapped{}, err
	}
	if err := c.clear(); err != nil {
		return swapped{}, err
	}
	var out swapped
	for _, l := range c.listeners {
		switch {
		case captures(l) && !inbound(l):
			next, err := c.egress(l, ch)
			if err != nil {
				return swapped{}, err
			}
			out.listeners = append(out.listeners, next)
			out.capturing = append(out.capturing, l.text("name"))
		case !c.handedTo(l):
			out.listeners = append(out.listeners, l)
		case bound(l):
			out.listeners = append(out.listeners, l)
			out.notCovered = append(out.notCovered, flow.Reach{What: "handoff", Whose: l.text("name")})
		default:
			keep, err := keeps(l, ch)
			if err != nil {
				return swapped{}, err
			}
			if keep {
				out.listeners = append(out.listeners, l)
				out.notCovered = append(out.notCovered, flow.Reach{What: "handoff", Whose: l.text("name")})
			}
		}
	}
	return out, nil
}

// refuse says what no configuration can do.
func refuse(ch flow.Change) error {
	switch {
	case ch.Kind != flow.BlockAll && ch.Kind != flow.AllowAll:
		return fmt.Errorf("the control plane serves no policy %q", ch.Kind)
	case ch.CloseOpen:
		return errors.New("the xds driver ends no open connection: Envoy's drain time does; use the kernel driver with --close-open")
	case ch.Strong:
		return errors.New("the xds driver cannot block the proxy's own connections nor UDP: use the kernel driver")
	case ch.Kind == flow.AllowAll && ch.All == (len(ch.Open) > 0):
		return errors.New("it opens every destination or those that it names: this change does neither or both")
	case ch.Kind == flow.AllowAll && len(ch.Except) > 0:
		return errors.New("the xds driver opens what is listed or all, and leaves nothing out of all (--except)")
	}
	for _, h := range slices.Concat(ch.Except, ch.Open) {
		if !h.Prefix.IsValid() || h.Prefix != h.Prefix.Masked() || h.Prefix.Addr().Is4In6() {
			return fmt.Errorf("the destination %s is no prefix of IPv4 or IPv6 without host bits", h)
		}
	}
	return nil
}

// clear says whether it is known which listeners are on the way out.
func (c *Config) clear() error {
	in, out := "", ""
	for _, l := range c.listeners {
		switch {
		case !captures(l):
		case inbound(l) && hands(l):
			in = l.text("name")
		case !inbound(l):
			out = l.text("name")
		}
	}
	if out == "" {
		return fmt.Errorf("%s: no listener captures what the pod sends (use_original_dst, not INBOUND): the xds driver has nothing to swap", c.file)
	}
	for _, l := range c.listeners {
		if in != "" && !bound(l) && l.text("traffic_direction") == "UNSPECIFIED" {
			return fmt.Errorf("%s: listener %s has no traffic_direction, and both %s and %s hand connections over: it is not known whose it is",
				c.file, l.text("name"), in, out)
		}
	}
	return nil
}

// handedTo says whether connections that leave the pod can be handed to a listener.
func (c *Config) handedTo(l object) bool {
	if inbound(l) || bound(l) && l.text("traffic_direction") != "OUTBOUND" {
		return false
	}
	return slices.ContainsFunc(c.listeners, func(from object) bool {
		return from != l && hands(from) && !inbound(from)
	})
}

// keeps says whether a listener that is not bound stays: it does where the change asks for all of
// them, or where the policy does not concern its address.
func keeps(l object, ch flow.Change) (bool, error) {
	if ch.KeepHandoff {
		return true, nil
	}
	a := l.at("address.socket_address")
	ip, err := netip.ParseAddr(a.text("address"))
	if err != nil {
		return false, fmt.Errorf("listener %s: its address is not one of IP: it is not known whether the policy is about it", l.text("name"))
	}
	holes, inside := ch.Except, true // block: what is in a hole stays
	if ch.Kind == flow.AllowAll {
		if ch.All {
			return false, nil
		}
		holes, inside = ch.Open, false
	}
	at := netip.AddrPortFrom(ip.Unmap(), uint16(a.number("port_value")))
	for _, h := range holes {
		if ip.IsUnspecified() && (h.Port == 0 || h.Port == at.Port()) {
			return false, fmt.Errorf("listener %s takes every address, and %s is only one: the xds driver cannot part them; --keep-handoff keeps all of them", l.text("name"), h)
		}
		if h.Prefix.Contains(at.Addr()) && (h.Port == 0 || h.Port == at.Port()) {
			return inside, nil
		}
	}
	return !inside, nil
}

// egress is a capturing listener under the change. Only its filter chains differ, so that Envoy
// puts the new ones in place without a new listener (Envoy, "Listener discovery service").
func (c *Config) egress(l object, ch flow.Change) (object, error) {
	to := c.block
	if ch.Kind == flow.AllowAll {
		to = c.open
	}
	next := l.clone()
	chain, err := c.chain(l, to)
	if err != nil {
		return object{}, err
	}
	if ch.Kind == flow.AllowAll && !ch.All {
		return next, punch(next, chain, ch.Open)
	}
	next.put("filter_chains", chain)
	next.put("default_filter_chain")
	next.put("filter_chain_matcher")
	if len(ch.Except) == 0 {
		return next, nil
	}
	old, err := only(l)
	if err != nil {
		return object{}, err
	}
	return next, punch(next, old, ch.Except)
}

// chainsOf are a listener's filter chains, the default one at the end.
func chainsOf(l object) []object {
	chains := l.list("filter_chains")
	if l.has("default_filter_chain") {
		chains = append(chains, l.at("default_filter_chain"))
	}
	return chains
}

// only is the chain that takes every connection of a listener: holes in a block keep to it.
func only(l object) (object, error) {
	chains := chainsOf(l)
	if len(chains) != 1 || l.has("filter_chain_matcher") || chains[0].at("filter_chain_match").size() > 0 {
		return object{}, fmt.Errorf("listener %s chooses between %d filter chains: the xds driver cannot keep a hole open there; use the kernel driver", l.text("name"), len(chains))
	}
	return chains[0], nil
}

// punch adds a chain like the one given for each hole. Envoy matches a destination's port before
// anything else, then its address by the longest prefix, and goes back from neither: where a port
// has a chain of its own, no chain without a port is looked at (Envoy, "FilterChainMatch"). So a port
// that only now gets a chain gets all of those too.
func punch(l, like object, holes []flow.Hole) error {
	if l.has("filter_chain_matcher") {
		return fmt.Errorf("listener %s chooses its filter chain by a matcher: the xds driver cannot part destinations there; use the kernel driver", l.text("name"))
	}
	old := l.list("filter_chains")
	all, ports := slices.Clone(old), []uint32{0}
	for _, h := range holes {
		ports = append(ports, uint32(h.Port))
	}
	for _, o := range old {
		ports = append(ports, portOf(o))
	}
	slices.Sort(ports)
	for _, port := range slices.Compact(ports) {
		there := slices.DeleteFunc(slices.Clone(old), func(o object) bool { return portOf(o) != port })
		if len(there) == 0 {
			there = atPort(old, port)
			all = append(all, there...)
		}
		var done []netip.Prefix
		for _, h := range holes {
			if h.Port != 0 && uint32(h.Port) != port || slices.Contains(done, h.Prefix) {
				continue
			}
			done = append(done, h.Prefix)
			for _, o := range there {
				if preferred(o.at("filter_chain_match"), h.Prefix) {
					return fmt.Errorf("listener %s has filter chain %q for a part of %s: the xds driver cannot reach past it; use the kernel driver", l.text("name"), o.text("name"), h)
				}
			}
			all = append(all, holed(like, h, port))
		}
	}
	l.put("filter_chains", all...)
	return nil
}

func portOf(chain object) uint32 { return chain.number("filter_chain_match.destination_port.value") }

// atPort are the chains without a port, for one.
func atPort(chains []object, port uint32) (out []object) {
	for _, c := range chains {
		if portOf(c) != 0 {
			continue
		}
		c = c.clone()
		c.set("filter_chain_match.destination_port.value", port)
		out = append(out, c)
	}
	return out
}

// holed is a chain for the destinations of a hole at a port; 0: at every port without a chain.
func holed(like object, h flow.Hole, port uint32) object {
	c := like.clone()
	c.set("name", "meshtop "+h.String())
	c.put("filter_chain_match")
	c.put("filter_chain_match.prefix_ranges", ranges(h.Prefix)...)
	if port != 0 {
		c.set("filter_chain_match.destination_port.value", port)
	}
	return c
}

// ranges is a prefix for Envoy. Every address is two halves: a chain with no prefix at all would be
// as good a match as one with a prefix of length 0.
func ranges(p netip.Prefix) []object {
	half := func(a netip.Addr, bits int) object {
		out := fresh(rangeType)
		out.set("address_prefix", a.String())
		out.set("prefix_len.value", uint32(bits))
		return out
	}
	switch {
	case p.Bits() > 0:
		return []object{half(p.Addr(), p.Bits())}
	case p.Addr().Is4():
		return []object{half(netip.IPv4Unspecified(), 1), half(netip.AddrFrom4([4]byte{128}), 1)}
	}
	return []object{half(netip.IPv6Unspecified(), 1), half(netip.AddrFrom16([16]byte{0x80}), 1)}
}

// preferred says whether Envoy prefers a chain of the same port to one of a prefix, for some
// destination in it. One that matches just the same is left to Envoy, which refuses it in its own
// words.
func preferred(match object, p netip.Prefix) bool {
	ranges := match.list("prefix_ranges")
	if len(ranges) == 0 {
		return false
	}
	more := match.clone()
	more.put("prefix_ranges")
	more.put("destination_port")
	return slices.ContainsFunc(ranges, func(c object) bool {
		bits := int(c.number("prefix_len.value"))
		return overlaps(c, p) && (bits > p.Bits() || bits == p.Bits() && more.size() > 0)
	})
}

func overlaps(c object, p netip.Prefix) bool {
	a, err := netip.ParseAddr(c.text("address_prefix"))
	if err != nil {
		return true // Envoy has taken it, so that it is no more than not read here
	}
	return netip.PrefixFrom(a, int(c.number("prefix_len.value"))).Overlaps(p)
}

// chain passes every connection to a cluster, and writes the access logs that the listener's own
// TCP proxy writes.
func (c *Config) chain(l object, to string) (object, error) {
	tcp := fresh(tcpProxyType)
	tcp.set("stat_prefix", to)
	tcp.set("cluster", to)
	tcp.put("access_log", logs(l)...)
	packed, err := tcp.pack()
	if err != nil {
		return object{}, fmt.Errorf("listener %s: its access log: %w", l.text("name"), err)
	}
	filter, out := fresh(filterType), fresh(chainType)
	filter.set("name", "envoy.filters.network.tcp_proxy")
	filter.put("typed_config", packed)
	out.set("name", "meshtop "+to)
	out.put("filters", filter)
	return out, nil
}

// logs are the access logs of the first of a listener's TCP proxies that has any.
func logs(l object) []object {
	for _, chain := range chainsOf(l) {
		for _, f := range chain.list("filters") {
			if in, ok := f.at("typed_config").inside(); ok && in.is(tcpProxyType) && len(in.list("access_log")) > 0 {
				return in.list("access_log")
			}
		}
	}
	return nil
}
