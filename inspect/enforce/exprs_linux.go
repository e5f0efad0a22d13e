package enforce

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// mark is a key of the set of comments.
func mark(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }

// expressions is a rule in the kernel's words, as nft would write its text.
func expressions(r edits.Rule, lease uint32) []expr.Any {
	var out []expr.Any
	if r.Loopback {
		dev := make([]byte, unix.IFNAMSIZ)
		copy(dev, "lo")
		out = append(out, meta(expr.MetaKeyOIFNAME), equal(dev))
	}
	switch r.Owner {
	case edits.ByUID:
		out = append(out, meta(expr.MetaKeySKUID), equal(binaryutil.NativeEndian.PutUint32(r.ID)))
	case edits.ByGID:
		out = append(out, meta(expr.MetaKeySKGID), equal(binaryutil.NativeEndian.PutUint32(r.ID)))
	}
	out = append(out, destination(r)...)
	if r.Dst.Port != 0 {
		out = append(out, meta(expr.MetaKeyL4PROTO), equal([]byte{uint8(r.Proto)}),
			// The destination port has the same place in TCP's and UDP's header.
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			equal(binary.BigEndian.AppendUint16(nil, r.Dst.Port)))
	}
	held := []expr.Any{meta(expr.MetaKeyL4PROTO), &expr.Lookup{SourceRegister: 1, SetName: edits.Lease, SetID: lease}}
	switch r.Do {
	case edits.Return:
		out = append(out, &expr.Verdict{Kind: expr.VerdictReturn})
	case edits.Refuse:
		out = append(append(out, held...), meta(expr.MetaKeyL4PROTO), equal([]byte{uint8(flow.TCP)}),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{fin | syn | rst | ack}, Xor: []byte{0}}, equal([]byte{syn}),
			&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	case edits.Prohibit:
		out = append(append(append(out, meta(expr.MetaKeyL4PROTO), equal([]byte{uint8(flow.UDP)})), held...),
			&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED})
	case edits.Direct:
		family, offset, n := addressField(r.V6)
		out = append(append(out, held...), &expr.Counter{},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family), RegAddrMin: 1})
	}
	return out
}

// Flags of TCP's header (RFC 9293).
const (
	fin = 1 << iota
	syn
	rst
	_
	ack
)

// destination tests family and address.
func destination(r edits.Rule) []expr.Any {
	if !r.V4 && !r.V6 {
		return nil
	}
	family, offset, n := addressField(r.V6)
	out := []expr.Any{meta(expr.MetaKeyNFPROTO), equal([]byte{family})}
	p := r.Dst.Prefix
	if !p.IsValid() || p.Bits() == 0 {
		return out
	}
	out = append(out, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n})
	if !p.IsSingleIP() {
		out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: n, Mask: netmask(p), Xor: make([]byte, n)})
	}
	return append(out, equal(p.Addr().AsSlice()))
}

// addressField is the family, and where its header has the destination.
func addressField(v6 bool) (family uint8, offset, n uint32) {
	if v6 {
		return unix.NFPROTO_IPV6, 24, 16
	}
	return unix.NFPROTO_IPV4, 16, 4
}

func netmask(p netip.Prefix) []byte {
	out := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		out[i/8] |= 0x80 >> (i % 8)
	}
	return out
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

// same says whether a rule of the kernel's is the one that was written: counters, numbers
// and what the kernel fills in aside.
func same(wrote, read []expr.Any) bool {
	if len(wrote) != len(read) {
		return false
	}
	for i := range wrote {
		a, errA := expr.Marshal(uint8(nftables.TableFamilyINet), bare(wrote[i]))
		b, errB := expr.Marshal(uint8(nftables.TableFamilyINet), bare(read[i]))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			return false
		}
	}
	return true
}

// bare is an expression without what differs from listing to listing.
func bare(e expr.Any) expr.Any {
	switch e := e.(type) {
	case *expr.Counter:
		return &expr.Counter{}
	case *expr.Lookup:
		return &expr.Lookup{SourceRegister: e.SourceRegister, SetName: e.SetName, Invert: e.Invert, IsDestRegSet: e.IsDestRegSet, DestRegister: e.DestRegister}
	case *expr.NAT:
		// The kernel gives one address as a range of it, and a flag of its own (NF_NAT_RANGE_MAP_IPS).
		n := *e
		if n.RegAddrMax == n.RegAddrMin {
			n.RegAddrMax = 0
		}
		return &n
	}
	return e
}
