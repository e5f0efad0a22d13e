package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// attrs splits netlink attributes (linux/netlink.h, struct nlattr); the last of a type wins.
func attrs(b []byte) map[uint16][]byte {
	out := map[uint16][]byte{}
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			break
		}
		out[binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)] = b[4:n]
		b = b[min((n+3)&^3, len(b)):]
	}
	return out
}

// attr makes one attribute, padded.
func attr(kind uint16, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// be32 is a number in network order; 0 where it is missing.
func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// text is a string with its closing zero taken off.
func text(b []byte) string {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return string(b)
}

// header reads addresses of an IP header, and ports of what follows it.
func header(nh, th []byte) (src, dst netip.AddrPort) {
	var s, d netip.Addr
	switch {
	case len(nh) >= 20 && nh[0]>>4 == 4:
		s, d = netip.AddrFrom4([4]byte(nh[12:16])), netip.AddrFrom4([4]byte(nh[16:20]))
	case len(nh) >= 40 && nh[0]>>4 == 6:
		s, d = netip.AddrFrom16([16]byte(nh[8:24])), netip.AddrFrom16([16]byte(nh[24:40]))
	}
	if len(th) < 4 {
		return netip.AddrPortFrom(s, 0), netip.AddrPortFrom(d, 0)
	}
	return netip.AddrPortFrom(s, binary.BigEndian.Uint16(th)), netip.AddrPortFrom(d, binary.BigEndian.Uint16(th[2:]))
}
