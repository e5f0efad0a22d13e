package enforce

import (
	"net/netip"
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// probes are what a change has to be proven by: both families, and of a strong block the
// proxy's own user and UDP too.
func (e *Enforcer) probes(c flow.Change) []probe {
	uid, gid := stranger(c.ProxyUIDs), stranger(c.ProxyGIDs)
	var own []netip.Addr
	_ = e.space.Do(func() (err error) { own, err = ownAddresses(); return err }) // none is known: a probe to one fails
	var out []probe
	for _, dst := range testNets {
		untried := ""
		if c.Kind == flow.AllowAll && !c.All {
			if dst, untried = opened(c, dst, own); !dst.IsValid() {
				continue
			}
		} else if covers(c.Except, dst) {
			untried = "left open by an exception"
		}
		out = append(out, probe{dst: dst, uid: uid, gid: gid, untried: untried})
		if c.Kind != flow.BlockAll || !c.Strong {
			continue
		}
		out = append(out, probe{dst: dst, uid: uid, gid: gid, udp: true, untried: untried})
		if len(c.ProxyUIDs) > 0 && len(c.ProxyGIDs) > 0 {
			out = append(out, probe{dst: dst, uid: c.ProxyUIDs[0], gid: c.ProxyGIDs[0], untried: untried})
		}
	}
	return out
}

// opened is where to try that a change opens what it names, in the family of an address that
// nobody has: that one if it is opened, else a destination that is named, which may be real. It is
// not valid where nothing of the family is opened. untried is why what is opened cannot be tried.
func opened(c flow.Change, nobody netip.AddrPort, own []netip.Addr) (dst netip.AddrPort, untried string) {
	var holes []flow.Hole
	for _, h := range c.Open {
		if h.Prefix.Addr().Is4() == nobody.Addr().Is4() {
			holes = append(holes, h)
		}
	}
	if len(holes) == 0 {
		return netip.AddrPort{}, ""
	}
	for _, h := range holes {
		if try := netip.AddrPortFrom(nobody.Addr(), portOf(h, nobody)); h.Prefix.Contains(try.Addr()) && !covers(c.Except, try) {
			return try, ""
		}
	}
	for _, h := range holes {
		for _, a := range within(h) {
			if try := netip.AddrPortFrom(a, portOf(h, nobody)); leaves(a, own) && !covers(c.Except, try) {
				return try, ""
			}
		}
	}
	return netip.AddrPortFrom(holes[0].Prefix.Addr(), portOf(holes[0], nobody)), "of what is opened nothing was found that leaves the pod"
}

// leaves says whether what is sent to an address can leave the pod: 0.0.0.0/8 is no destination
// (RFC 791), and one of a link needs its device named.
func leaves(a netip.Addr, own []netip.Addr) bool {
	return !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && (!a.Is4() || a.As4()[0] != 0) && !slices.Contains(own, a)
}

func portOf(h flow.Hole, other netip.AddrPort) uint16 {
	if h.Port == 0 {
		return other.Port()
	}
	return h.Port
}

// within are a few addresses of a hole: the first ones behind the network's own.
func within(h flow.Hole) []netip.Addr {
	a := h.Prefix.Masked().Addr()
	if h.Prefix.IsSingleIP() {
		return []netip.Addr{a}
	}
	var out []netip.Addr
	for a = a.Next(); a.IsValid() && h.Prefix.Contains(a) && len(out) < 16; a = a.Next() {
		out = append(out, a)
	}
	return out
}
