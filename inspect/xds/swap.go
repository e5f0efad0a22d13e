package xds

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshtop/meshtop/rules/flow"
)

// swapped is a configuration's listeners under a policy, and what the policy does not reach.
type swapped struct {
	listeners  []*listener.Listener
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
		case captures(l) && l.TrafficDirection != core.TrafficDirection_INBOUND:
			next, err := c.egress(l, ch)
			if err != nil {
				return swapped{}, err
			}
			out.listeners = append(out.listeners, next)
			out.capturing = append(out.capturing, l.Name)
		case !c.handedTo(l):
			out.listeners = append(out.listeners, l)
		case bound(l):
			out.listeners = append(out.listeners, l)
			out.notCovered = append(out.notCovered, flow.Reach{What: "handoff", Whose: l.Name})
		default:
			keep, err := keeps(l, ch)
			if err != nil {
				return swapped{}, err
			}
			if keep {
				out.listeners = append(out.listeners, l)
				out.notCovered = append(out.notCovered, flow.Reach{What: "handoff", Whose: l.Name})
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
		case l.TrafficDirection == core.TrafficDirection_INBOUND && hands(l):
			in = l.Name
		case l.TrafficDirection != core.TrafficDirection_INBOUND:
			out = l.Name
		}
	}
	if out == "" {
		return fmt.Errorf("%s: no listener captures what the pod sends (use_original_dst, not INBOUND): the xds driver has nothing to swap", c.file)
	}
	for _, l := range c.listeners {
		if in != "" && !bound(l) && l.TrafficDirection == core.TrafficDirection_UNSPECIFIED {
			return fmt.Errorf("%s: listener %s has no traffic_direction, and both %s and %s hand connections over: it is not known whose it is",
				c.file, l.Name, in, out)
		}
	}
	return nil
}

// handedTo says whether connections that leave the pod can be handed to a listener.
func (c *Config) handedTo(l *listener.Listener) bool {
	if l.TrafficDirection == core.TrafficDirection_INBOUND || bound(l) && l.TrafficDirection != core.TrafficDirection_OUTBOUND {
		return false
	}
	return slices.ContainsFunc(c.listeners, func(from *listener.Listener) bool {
		return from != l && hands(from) && from.TrafficDirection != core.TrafficDirection_INBOUND
	})
}

// keeps says whether a listener that is not bound stays: it does where the change asks for all of
// them, or where the policy does not concern its address.
func keeps(l *listener.Listener, ch flow.Change) (bool, error) {
	if ch.KeepHandoff {
		return true, nil
	}
	a := l.GetAddress().GetSocketAddress()
	ip, err := netip.ParseAddr(a.GetAddress())
	if err != nil {
		return false, fmt.Errorf("listener %s: its address is not one of IP: it is not known whether the policy is about it", l.Name)
	}
	holes, inside := ch.Except, true // block: what is in a hole stays
	if ch.Kind == flow.AllowAll {
		if ch.All {
			return false, nil
		}
		holes, inside = ch.Open, false
	}
	at := netip.AddrPortFrom(ip.Unmap(), uint16(a.GetPortValue()))
	for _, h := range holes {
		if ip.IsUnspecified() && (h.Port == 0 || h.Port == at.Port()) {
			return false, fmt.Errorf("listener %s takes every address, and %s is only one: the xds driver cannot part them; --keep-handoff keeps all of them", l.Name, h)
		}
		if h.Prefix.Contains(at.Addr()) && (h.Port == 0 || h.Port == at.Port()) {
			return inside, nil
		}
	}
	return !inside, nil
}

// egress is a capturing listener under the change. Only its filter chains differ, so that Envoy
// puts the new ones in place without a new listener (Envoy, "Listener discovery service").
func (c *Config) egress(l *listener.Listener, ch flow.Change) (*listener.Listener, error) {
	next := proto.CloneOf(l)
	if ch.Kind == flow.AllowAll {
		chain, err := c.chain(l, c.open)
		if err != nil {
			return nil, err
		}
		if ch.All {
			next.FilterChains, next.DefaultFilterChain, next.FilterChainMatcher = []*listener.FilterChain{chain}, nil, nil
			return next, nil
		}
		return next, punch(next, chain, ch.Open)
	}
	chain, err := c.chain(l, c.block)
	if err != nil {
		return nil, err
	}
	next.FilterChains, next.DefaultFilterChain, next.FilterChainMatcher = []*listener.FilterChain{chain}, nil, nil
	if len(ch.Except) == 0 {
		return next, nil
	}
	old, err := only(l)
	if err != nil {
		return nil, err
	}
	return next, punch(next, old, ch.Except)
}

// only is the chain that takes every connection of a listener: holes in a block keep to it.
func only(l *listener.Listener) (*listener.FilterChain, error) {
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(slices.Clone(chains), l.DefaultFilterChain)
	}
	if len(chains) != 1 || l.FilterChainMatcher != nil || proto.Size(chains[0].FilterChainMatch) > 0 {
		return nil, fmt.Errorf("listener %s chooses between %d filter chains: the xds driver cannot keep a hole open there; use the kernel driver", l.Name, len(chains))
	}
	return chains[0], nil
}

// punch adds a chain like the one given for each hole. Envoy matches a destination's port before
// anything else, then its address by the longest prefix, and goes back from neither: where a port
// has a chain of its own, no chain without a port is looked at (Envoy, "FilterChainMatch"). So a port
// that only now gets a chain gets all of those too.
func punch(l *listener.Listener, like *listener.FilterChain, holes []flow.Hole) error {
	if l.FilterChainMatcher != nil {
		return fmt.Errorf("listener %s chooses its filter chain by a matcher: the xds driver cannot part destinations there; use the kernel driver", l.Name)
	}
	old := l.FilterChains
	ports := []uint32{0}
	for _, h := range holes {
		ports = append(ports, uint32(h.Port))
	}
	for _, o := range old {
		ports = append(ports, portOf(o))
	}
	slices.Sort(ports)
	for _, port := range slices.Compact(ports) {
		there := slices.DeleteFunc(slices.Clone(old), func(o *listener.FilterChain) bool { return portOf(o) != port })
		if len(there) == 0 {
			there = atPort(old, port)
			l.FilterChains = append(l.FilterChains, there...)
		}
		var done []netip.Prefix
		for _, h := range holes {
			if h.Port != 0 && uint32(h.Port) != port || slices.Contains(done, h.Prefix) {
				continue
			}
			done = append(done, h.Prefix)
			for _, o := range there {
				if preferred(o.FilterChainMatch, h.Prefix) {
					return fmt.Errorf("listener %s has filter chain %q for a part of %s: the xds driver cannot reach past it; use the kernel driver", l.Name, o.Name, h)
				}
			}
			l.FilterChains = append(l.FilterChains, holed(like, h, port))
		}
	}
	return nil
}

func portOf(c *listener.FilterChain) uint32 {
	return c.FilterChainMatch.GetDestinationPort().GetValue()
}

// atPort are the chains without a port, for one.
func atPort(chains []*listener.FilterChain, port uint32) (out []*listener.FilterChain) {
	for _, c := range chains {
		if portOf(c) != 0 {
			continue
		}
		c = proto.CloneOf(c)
		if c.FilterChainMatch == nil {
			c.FilterChainMatch = &listener.FilterChainMatch{}
		}
		c.FilterChainMatch.DestinationPort = wrapperspb.UInt32(port)
		out = append(out, c)
	}
	return out
}

// holed is a chain for the destinations of a hole at a port; 0: at every port without a chain.
func holed(like *listener.FilterChain, h flow.Hole, port uint32) *listener.FilterChain {
	c := proto.CloneOf(like)
	c.Name = "meshtop " + h.String()
	c.FilterChainMatch = &listener.FilterChainMatch{PrefixRanges: ranges(h.Prefix)}
	if port != 0 {
		c.FilterChainMatch.DestinationPort = wrapperspb.UInt32(port)
	}
	return c
}

// ranges is a prefix for Envoy. Every address is two halves: a chain with no prefix at all would be
// as good a match as one with a prefix of length 0.
func ranges(p netip.Prefix) []*core.CidrRange {
	half := func(a netip.Addr, bits int) *core.CidrRange {
		return &core.CidrRange{AddressPrefix: a.String(), PrefixLen: wrapperspb.UInt32(uint32(bits))}
	}
	switch {
	case p.Bits() > 0:
		return []*core.CidrRange{half(p.Addr(), p.Bits())}
	case p.Addr().Is4():
		return []*core.CidrRange{half(netip.IPv4Unspecified(), 1), half(netip.AddrFrom4([4]byte{128}), 1)}
	}
	return []*core.CidrRange{half(netip.IPv6Unspecified(), 1), half(netip.AddrFrom16([16]byte{0x80}), 1)}
}

// preferred says whether Envoy prefers a chain of the same port to one of a prefix, for some
// destination in it. One that matches just the same is left to Envoy, which refuses it in its own
// words.
func preferred(m *listener.FilterChainMatch, p netip.Prefix) bool {
	if m == nil {
		return false
	}
	more := proto.CloneOf(m)
	more.PrefixRanges, more.DestinationPort = nil, nil
	return slices.ContainsFunc(m.PrefixRanges, func(c *core.CidrRange) bool {
		bits := int(c.GetPrefixLen().GetValue())
		return overlaps(c, p) && (bits > p.Bits() || bits == p.Bits() && proto.Size(more) > 0)
	})
}

func overlaps(c *core.CidrRange, p netip.Prefix) bool {
	a, err := netip.ParseAddr(c.AddressPrefix)
	if err != nil {
		return true // Envoy has taken it, so that it is no more than not read here
	}
	return netip.PrefixFrom(a, int(c.GetPrefixLen().GetValue())).Overlaps(p)
}

// chain passes every connection to a cluster, and writes the access logs that the listener's own
// TCP proxy writes.
func (c *Config) chain(l *listener.Listener, to string) (*listener.FilterChain, error) {
	tcp := &tcpproxy.TcpProxy{StatPrefix: to, ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: to}, AccessLog: logs(l)}
	packed := &anypb.Any{}
	if err := anypb.MarshalFrom(packed, tcp, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("listener %s: its access log: %w", l.Name, err)
	}
	return &listener.FilterChain{Name: "meshtop " + to, Filters: []*listener.Filter{{
		Name: "envoy.filters.network.tcp_proxy", ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed}}}}, nil
}

// logs are the access logs of the first of a listener's TCP proxies that has any.
func logs(l *listener.Listener) []*accesslog.AccessLog {
	for _, chain := range append(slices.Clone(l.FilterChains), l.DefaultFilterChain) {
		for _, f := range chain.GetFilters() {
			tcp := &tcpproxy.TcpProxy{}
			if f.GetTypedConfig().UnmarshalTo(tcp) == nil && len(tcp.AccessLog) > 0 {
				return tcp.AccessLog
			}
		}
	}
	return nil
}
