package netfilter

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// ip is an address of either family as a number: IPv4 stands in the low 32 bits of lo.
// Which family it is, its place knows; masks and ranges then work alike for both.
type ip struct{ hi, lo uint64 }

func toIP(a netip.Addr) ip {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return ip{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	if !a.Is6() {
		return ip{}
	}
	b := a.As16()
	return ip{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr is the address of the family that v6 says.
func (a ip) addr(v6 bool) netip.Addr {
	if !v6 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(a.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b)
}

func (a ip) and(b ip) ip { return ip{a.hi & b.hi, a.lo & b.lo} }
func (a ip) or(b ip) ip  { return ip{a.hi | b.hi, a.lo | b.lo} }
func (a ip) xor(b ip) ip { return ip{a.hi ^ b.hi, a.lo ^ b.lo} }
func (a ip) not() ip     { return ip{^a.hi, ^a.lo} }
func (a ip) zero() bool  { return a == ip{} }

// less orders addresses as numbers.
func (a ip) less(b ip) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// within says whether a lies in the closed range.
func (a ip) within(from, to ip) bool { return !a.less(from) && !to.less(a) }

// maskOf is the netmask of a prefix length.
func maskOf(bits int, v6 bool) ip {
	if !v6 {
		if bits <= 0 {
			return ip{}
		}
		return ip{0, uint64(^uint32(0) << (32 - min(bits, 32)))}
	}
	switch {
	case bits <= 0:
		return ip{}
	case bits <= 64:
		return ip{^uint64(0) << (64 - bits), 0}
	}
	return ip{^uint64(0), ^uint64(0) << (128 - min(bits, 128))}
}

// allOnes is the mask of one address.
func allOnes(v6 bool) ip { return maskOf(128, v6) }

// parseAddr reads an address of the family that v6 says.
func parseAddr(s string, v6 bool) (ip, bool) {
	if !v6 {
		if n, ok := parseV4(s); ok {
			return ip{0, uint64(n)}, true
		}
		return ip{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return ip{}, false
	}
	b := a.As16()
	return ip{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}, true
}

// parseV4 reads a dotted quad. netip would do it too; this costs a third (a save of a
// large node has a million addresses).
func parseV4(s string) (uint32, bool) {
	var n uint32
	part, digits, dots := uint32(0), 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9' && digits < 3:
			part = part*10 + uint32(c-'0')
			digits++
		case c == '.' && digits > 0 && part <= 255 && dots < 3:
			n, part, digits, dots = n<<8|part, 0, 0, dots+1
		default:
			return 0, false
		}
	}
	if dots != 3 || digits == 0 || part > 255 {
		return 0, false
	}
	return n<<8 | part, true
}

// parseNet reads ADDR, ADDR/BITS or ADDR/MASK as iptables prints them. The address is
// masked, as iptables does (xtables.c, xtables_ipparse_multiple).
func parseNet(s string, v6 bool) (net, mask ip, ok bool) {
	a, m, has := strings.Cut(s, "/")
	if net, ok = parseAddr(a, v6); !ok {
		return ip{}, ip{}, false
	}
	mask = allOnes(v6)
	if has {
		if bits, err := strconv.ParseUint(m, 10, 8); err == nil {
			if bits > 128 || !v6 && bits > 32 {
				return ip{}, ip{}, false
			}
			mask = maskOf(int(bits), v6)
		} else if mask, ok = parseAddr(m, v6); !ok {
			return ip{}, ip{}, false
		}
	}
	return net.and(mask), mask, true
}
