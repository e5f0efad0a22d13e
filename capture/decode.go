package capture

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// batch is what is handed over together: the observations, and the memory that their heads and
// packets stand in.
type batch struct {
	seen []flow.Observation
	kept []byte
}

// decoder turns packets into observations, many at a time: it numbers them, and copies what
// is kept of them, since their memory is the ring's. It is for one goroutine.
type decoder struct {
	heads  bool // the beginnings of payloads are kept
	raw    bool // packets are kept as they are: whole with heads, else their headers
	filter Filter

	n    uint64 // packets so far
	room batch  // what was seen, and what is kept of it
	refs []byte // the names of those that were seen, one after the other
	ends []int

	opened bool // a connection began
}

// keptRoom is how much room is made at a time for what is kept of packets.
const keptRoom = 128 << 10

// observe decodes a packet into one more observation; false for one that holds no TCP or UDP
// header, or is not of the filter though the kernel could not see it.
func (d *decoder) observe(p *Packet) bool {
	d.n++
	tagged := untag(p)
	h, ok := readHeaders(p.Data, p.Len)
	if !ok {
		return false
	}
	t := flow.Tuple{Src: netip.AddrPortFrom(h.src, h.srcPort), Dst: netip.AddrPortFrom(h.dst, h.dstPort), Proto: h.proto}
	if (h.extended || tagged) && !d.filter.holds(t) {
		return false
	}
	d.opened = d.opened || h.flags&flow.SYN != 0
	d.room.seen = append(d.room.seen, flow.Observation{})
	o := &d.room.seen[len(d.room.seen)-1] // filled in where it stays: it is large
	o.Kind, o.At, o.Device, o.Tuple = flow.SeenPacket, p.At, p.Device, t
	o.Flags, o.Seq, o.Ack = h.flags, h.seq, h.ack
	o.Len, o.Whole = h.end-h.payload, p.Len
	head := p.Data[min(h.payload, len(p.Data)):min(h.end, len(p.Data))]
	from := min(h.payload, len(p.Data))
	switch {
	case d.raw && !d.heads:
		o.Raw, o.Headers = d.keep(p.Data[:from]), from
	case d.raw:
		o.Raw, o.Headers = d.keep(p.Data), from
		if len(head) > 0 {
			o.Head = o.Raw[from : from+len(head) : from+len(head)]
		}
	case d.heads && len(head) > 0:
		o.Head = d.keep(head)
	}
	d.refs = strconv.AppendUint(append(d.refs, "packet "...), d.n, 10)
	d.ends = append(d.ends, len(d.refs))
	return true
}

// keep copies b out of the ring.
func (d *decoder) keep(b []byte) []byte {
	if k := d.room.kept; cap(k)-len(k) < len(b) {
		d.room.kept = make([]byte, 0, max(len(b), keptRoom)) // what is in the old one stays
	}
	n := len(d.room.kept)
	d.room.kept = append(d.room.kept, b...)
	return d.room.kept[n:len(d.room.kept):len(d.room.kept)]
}

// take returns the observations so far, named, and begins anew without room.
func (d *decoder) take() batch {
	out, from := d.room, 0
	names := string(d.refs) // one string for all
	for i, end := range d.ends {
		out.seen[i].Ref, from = names[from:end], end
	}
	d.refs, d.ends, d.room = d.refs[:0], d.ends[:0], batch{}
	return out
}

// untag takes a VLAN's tag off that stands before the IP header.
func untag(p *Packet) bool {
	b := p.Data
	if len(b) < tagLen || b[0]>>4 == 4 || b[0]>>4 == 6 {
		return false
	}
	if kind := binary.BigEndian.Uint16(b[tagProto:]); kind != etherV4 && kind != etherV6 {
		return false
	}
	p.Data, p.Len = b[tagLen:], p.Len-tagLen
	return true
}

// headers are what the IP header and the one above it say of a packet.
type headers struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	proto            flow.Proto
	flags            flow.TCPFlags
	seq, ack         uint32
	payload, end     int  // where the payload begins and ends; of the packet on the wire, of which less may be at hand
	extended         bool // extension headers stand before the ports, where the kernel's filter does not look
}

// readHeaders reads the headers of a packet that was wire bytes long, of which b was kept;
// false if they hold no ports: another protocol, a later fragment, cut short.
func readHeaders(b []byte, wire int) (h headers, ok bool) {
	if len(b) == 0 {
		return h, false
	}
	var next uint8
	var at, total int
	switch b[0] >> 4 {
	case 4:
		next, at, total, ok = h.v4(b)
	case 6:
		next, at, total, ok = h.v6(b)
	}
	if !ok {
		return h, false
	}
	// A packet can be shorter than what carried it (Ethernet pads to 60 bytes), and its length
	// is 0 where 16 bits do not hold it (segments still to be cut, RFC 2675 and IPv4 alike).
	h.end = max(wire, len(b))
	if total != 0 {
		h.end = min(h.end, total)
	}
	if len(b) < at+8 {
		return h, false
	}
	h.srcPort, h.dstPort = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	h.proto = flow.Proto(next)
	switch {
	case h.proto == flow.UDP:
		h.payload = at + 8
	case h.proto == flow.TCP && len(b) >= at+20:
		h.seq, h.ack = binary.BigEndian.Uint32(b[at+4:]), binary.BigEndian.Uint32(b[at+8:])
		h.flags = flow.TCPFlags(b[at+13]) & (flow.FIN | flow.SYN | flow.RST | flow.PSH | flow.ACK)
		size := int(b[at+12]>>4) * 4
		if size < 20 {
			return h, false
		}
		h.payload = at + size
	default:
		return h, false
	}
	h.payload = min(h.payload, h.end)
	return h, true
}

// v4 reads an IPv4 header (RFC 791, 3.1).
func (h *headers) v4(b []byte) (next uint8, at, total int, ok bool) {
	if len(b) < 20 || b[0]&0xf < 5 || binary.BigEndian.Uint16(b[v4Frag:])&0x1fff != 0 {
		return 0, 0, 0, false
	}
	h.src, h.dst = netip.AddrFrom4([4]byte(b[v4Src:])), netip.AddrFrom4([4]byte(b[v4Dst:]))
	return b[v4Proto], int(b[0]&0xf) * 4, int(binary.BigEndian.Uint16(b[2:])), true
}

// v6 reads an IPv6 header and its extensions (RFC 8200, 3 and 4; RFC 4302, 2.2).
func (h *headers) v6(b []byte) (next uint8, at, total int, ok bool) {
	if len(b) < 40 {
		return 0, 0, 0, false
	}
	h.src, h.dst = netip.AddrFrom16([16]byte(b[v6Src:])), netip.AddrFrom16([16]byte(b[v6Dst:]))
	if total = int(binary.BigEndian.Uint16(b[4:])); total != 0 {
		total += 40
	}
	for next, at = b[v6Next], 40; ; {
		size := 0
		switch next {
		case extHop, extRouting, extOptions, extFragment, extAuth:
			if len(b) < at+8 {
				return 0, 0, 0, false
			}
			h.extended = true
			size = (int(b[at+1]) + 1) * 8
		default:
			return next, at, total, true
		}
		switch next {
		case extFragment:
			if binary.BigEndian.Uint16(b[at+2:])&^7 != 0 {
				return 0, 0, 0, false // a later one
			}
			size = 8
		case extAuth:
			size = (int(b[at+1]) + 2) * 4
		}
		next, at = b[at], at+size
	}
}
