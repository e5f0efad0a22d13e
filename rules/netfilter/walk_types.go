package netfilter

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/flow"
)

// Packet is the first packet of one connection or flow, as its sender makes it.
type Packet struct {
	Dir      flow.Direction // Outbound enters at OUTPUT, Inbound at PREROUTING from In
	Src, Dst netip.AddrPort // Src address zero or unspecified: chosen by the kernel; port 0: ephemeral
	Borrowed bool           // Outbound: Src is bound and may be another host's; unspecified: it is not known
	Proto    flow.Proto
	UID, GID uint32
	NoSocket bool   // the kernel's own packet: owner matches see no process
	Mark     uint32 // SO_MARK
	In       string // Inbound: device; empty: the one the routes say
	// Ref prefixes the references of this walk's choices ("" for the first leg,
	// "leg 2 " for the second), so that each leg can be pinned on its own.
	Ref string
}

// Fate is where a walk ends.
type Fate uint8

const (
	FateUnknown  Fate = iota
	FateLocal         // delivered to a local socket at Result.To.Dst
	FateWire          // leaves by Result.To.Out
	FateForward       // enters by one device and leaves by another
	FateDropped       // silence
	FateRejected      // RST or ICMP error to the sender
)

// Result is what the kernel does with one packet.
type Result struct {
	From, To flow.Conn // as sent (source chosen), and at the end
	Steps    []flow.Step
	Fate     Fate
	// OrigDst is what SO_ORIGINAL_DST answers on the accepted socket; zero when it
	// fails (no conntrack entry). Valid iff Fate is FateLocal.
	OrigDst netip.AddrPort
	// Transparent: the socket was found by TPROXY; its local address is the original destination.
	Transparent bool
	// Listener is where that socket listens. Valid iff Transparent.
	Listener netip.AddrPort
	// Tracked says whether conntrack is on for this packet: Maybe when it cannot be told.
	Tracked flow.Answer
}
