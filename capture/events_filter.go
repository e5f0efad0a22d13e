package capture

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
)

// Where the program of events keeps what it found: the place of a tuple, and its ports.
const (
	keptTuple = iota
	keptSrcPort
	keptDstPort
)

// eventProgram is the filter for conntrack's events, as the kernel runs it on netlink messages:
// it keeps each new flow, and what becomes of those with one side among the endpoints in one of
// the two tuples. What it keeps is looked at again; what is no event of conntrack's is left out.
func (f Filter) eventProgram() ([]bpf.RawInstruction, error) {
	if len(f) > maxEndpoints {
		return nil, fmt.Errorf("filter of conntrack events: %d endpoints, more than %d", len(f), maxEndpoints)
	}
	p := program{keep: bpf.RetConstant{Val: 1 << 18}}
	if len(f) == 0 {
		p.add(p.keep)
		return bpf.Assemble(p.ins)
	}
	p.add(bpf.LoadAbsolute{Off: 6, Size: 2}, // netlink's flags, in the byte order of the machine
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: uint32(swapped(nlCreate | nlExcl)), SkipFalse: 1}, p.keep)
	for _, tuple := range []uint32{ctaOrig, ctaReply} {
		p.add(p.tuple(f, tuple)...)
	}
	p.add(bpf.RetConstant{Val: 0})
	return bpf.Assemble(p.ins)
}

// swapped is a number of the machine's byte order as a load of network byte order reads it.
func swapped(n uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return binary.BigEndian.Uint16(b[:])
}

// tuple keeps a message one of whose tuples has an endpoint on one side, or has none of that kind;
// else it goes on with what follows.
func (p *program) tuple(f Filter, kind uint32) []bpf.Instruction {
	out := []bpf.Instruction{
		bpf.LoadConstant{Dst: bpf.RegA, Val: nlHeader + nfHeader},
		bpf.LoadConstant{Dst: bpf.RegX, Val: kind},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttr}, // 0: there is none
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: 1},
		p.keep,
		bpf.StoreScratch{Src: bpf.RegA, N: keptTuple},
	}
	for side, port := range []uint32{ctaSrcPort, ctaDstPort} {
		out = append(out, nested(ctaProto, port)...)
		out = append(out, bpf.TAX{}, bpf.LoadIndirect{Off: nlAlign, Size: 2}, bpf.StoreScratch{Src: bpf.RegA, N: keptSrcPort + side})
	}
	v4, v6 := p.ends(f, true), p.ends(f, false)
	out = append(out, nested(ctaIP, ctaV4Src)...)
	out = append(out, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(v4) + 1)})
	out = append(append(out, v4...), bpf.Jump{Skip: uint32(len(v6))})
	return append(out, v6...)
}

// ends tests the two sides of a tuple of one family.
func (p *program) ends(f Filter, v4 bool) []bpf.Instruction {
	kinds := [2]uint32{ctaV6Src, ctaV6Dst}
	if v4 {
		kinds = [2]uint32{ctaV4Src, ctaV4Dst}
	}
	var out []bpf.Instruction
	for side, kind := range kinds {
		out = append(append(out, nested(ctaIP, kind)...), bpf.TAX{})
		for _, e := range f {
			if e.Addr.IsValid() && e.Addr.Is4() != v4 {
				continue
			}
			words := words(e.Addr, func(n uint32) bpf.Instruction { return bpf.LoadIndirect{Off: nlAlign + n, Size: 4} })
			out = append(out, p.side(words, bpf.LoadScratch{Dst: bpf.RegA, N: keptSrcPort + side}, e.Port)...)
		}
	}
	return out
}

// nested finds an attribute of one of the tuple's; 0: there is none. What is loaded from there is
// then something else, and what is kept for it is left out when it is looked at again.
func nested(outer, kind uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadScratch{Dst: bpf.RegA, N: keptTuple},
		bpf.LoadConstant{Dst: bpf.RegX, Val: outer}, bpf.LoadExtension{Num: bpf.ExtNetlinkAttrNested},
		bpf.LoadConstant{Dst: bpf.RegX, Val: kind}, bpf.LoadExtension{Num: bpf.ExtNetlinkAttrNested},
	}
}
