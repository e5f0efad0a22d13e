package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"

	"github.com/meshtop/meshtop/rules/flow"
)

// maxEndpoints bounds a filter: the kernel takes 4096 instructions (BPF_MAXINSNS), and an
// IPv6 endpoint costs up to 26.
const maxEndpoints = 64

// Registers of the header at its start: the socket is SOCK_DGRAM, so that a packet begins
// with its IP header on every kind of device.
const (
	v4Proto, v4Frag, v4Src, v4Dst = 9, 6, 12, 16
	v6Next, v6Src, v6Dst, v6Ports = 6, 8, 24, 40
	protoTCP, protoUDP            = 6, 17
)

// A VLAN's tag where no hardware takes it: two bytes, and the kind of what follows (IEEE 802.1Q).
// A tag with priority 2 or 3 is taken for an IP header, and such a packet is left out.
const (
	tagLen, tagProto = 4, 2
	etherV4, etherV6 = 0x0800, 0x86dd
)

// Extension headers of IPv6 that can stand before a transport header (RFC 8200, 4; RFC 4302).
const (
	extHop, extRouting, extFragment, extAuth, extOptions = 0, 43, 44, 51, 60
)

// Program is the filter for the kernel: it returns the number of bytes to keep, 0 for a
// packet to leave out. Kept are also IPv6 packets with extension headers, since classic BPF
// cannot walk them, and those with a VLAN's tag in front: the decoder looks at these again.
// A later fragment of an IPv4 packet holds no ports and is left out.
func (f Filter) Program(snaplen uint32) ([]bpf.RawInstruction, error) {
	if len(f) > maxEndpoints {
		return nil, fmt.Errorf("capture filter: %d endpoints, more than %d", len(f), maxEndpoints)
	}
	var p program
	p.keep = bpf.RetConstant{Val: snaplen}
	if len(f) == 0 {
		p.add(p.keep)
		return bpf.Assemble(p.ins)
	}
	v4 := p.v4(f)
	v6 := p.v6(f)
	p.add(bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x40, SkipTrue: 11}, // to v4
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x60, SkipTrue: 9},  // to the jump to v6
		bpf.LoadAbsolute{Off: tagProto, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherV4, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherV6, SkipFalse: 4},
		bpf.LoadAbsolute{Off: tagLen, Size: 1}, // ARP has the same two bytes at the same place
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x40, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x60, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		p.keep,
		bpf.Jump{Skip: uint32(len(v4))},
	)
	p.add(v4...)
	p.add(v6...)
	return bpf.Assemble(p.ins)
}

type program struct {
	ins  []bpf.Instruction
	keep bpf.RetConstant
}

func (p *program) add(i ...bpf.Instruction) { p.ins = append(p.ins, i...) }

// v4 keeps TCP and UDP that is no later fragment and has an endpoint on one side.
func (p *program) v4(f Filter) []bpf.Instruction {
	out := []bpf.Instruction{
		bpf.LoadAbsolute{Off: v4Proto, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: v4Frag, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadMemShift{Off: 0}, // X = length of the header
	}
	for _, e := range f {
		if e.Addr.IsValid() && !e.Addr.Is4() {
			continue
		}
		for side, addr := range []uint32{v4Src, v4Dst} {
			words := words(e.Addr, func(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: addr + n, Size: 4} })
			out = append(out, p.side(words, bpf.LoadIndirect{Off: uint32(2 * side), Size: 2}, e.Port)...)
		}
	}
	return append(out, bpf.RetConstant{Val: 0})
}

// v6 is v4 for IPv6; other next headers than TCP and UDP are kept when they can be
// extension headers (RFC 8200, 4).
func (p *program) v6(f Filter) []bpf.Instruction {
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: v6Next, Size: 1}}
	for _, ext := range []uint32{extHop, extRouting, extFragment, extAuth, extOptions} {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: ext, SkipFalse: 1}, p.keep)
	}
	out = append(out,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipTrue: 1},
		bpf.RetConstant{Val: 0})
	for _, e := range f {
		if e.Addr.IsValid() && e.Addr.Is4() {
			continue
		}
		for side, addr := range []uint32{v6Src, v6Dst} {
			words := words(e.Addr, func(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: addr + n, Size: 4} })
			out = append(out, p.side(words, bpf.LoadAbsolute{Off: v6Ports + uint32(2*side), Size: 2}, e.Port)...)
		}
	}
	return append(out, bpf.RetConstant{Val: 0})
}

// word is four bytes that are loaded, and what they should be.
type word struct {
	load bpf.Instruction
	want uint32
}

// words are those of an address, loaded each from so many bytes behind its first; none: any
// address will do.
func words(a netip.Addr, load func(n uint32) bpf.Instruction) []word {
	var out []word
	for b := a.AsSlice(); len(out) < len(b)/4; {
		n := 4 * len(out)
		out = append(out, word{load(uint32(n)), binary.BigEndian.Uint32(b[n:])})
	}
	return out
}

// side tests the words of an address and then a port; all equal keeps the packet, else it
// goes on with what follows.
func (p *program) side(words []word, port bpf.Instruction, want uint16) []bpf.Instruction {
	var out []bpf.Instruction
	rest := uint8(2*len(words)) + 1
	if want != 0 {
		rest += 2
	}
	for _, w := range words {
		rest -= 2
		out = append(out, w.load, bpf.JumpIf{Cond: bpf.JumpEqual, Val: w.want, SkipFalse: rest})
	}
	if want != 0 {
		out = append(out, port, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(want), SkipFalse: 1})
	}
	return append(out, p.keep)
}

// holds says whether one side of a tuple is among the endpoints.
func (f Filter) holds(t flow.Tuple) bool {
	if len(f) == 0 {
		return true
	}
	for _, e := range f {
		for _, side := range []netip.AddrPort{t.Src, t.Dst} {
			if (!e.Addr.IsValid() || e.Addr == side.Addr()) && (e.Port == 0 || e.Port == side.Port()) {
				return true
			}
		}
	}
	return false
}
