package capture

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/meshtop/meshtop/rules/flow"
)

// tcp makes a whole TCP packet with flags and payload.
func tcp(src, dst string, flags byte, payload string) []byte {
	b := packet(6, src, dst)
	n := len(b) - 20 // where the TCP header begins
	binary.BigEndian.PutUint32(b[n+4:], 7)
	binary.BigEndian.PutUint32(b[n+8:], 9)
	b[n+12], b[n+13] = 0x50, flags
	b = append(b, payload...)
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	}
	return b
}

func decode(d *decoder, p Packet) (flow.Observation, bool) {
	if !d.observe(&p) {
		return flow.Observation{}, false
	}
	return d.take().seen[0], true
}

func TestDecode(t *testing.T) {
	long := tcp("10.0.0.1:1000", "10.0.0.2:80", 0x18, "GET / ")[:43]
	binary.BigEndian.PutUint16(long[2:], 1460)
	for _, c := range []struct {
		what     string
		data     []byte
		whole    int
		ok       bool
		flags    flow.TCPFlags
		len      int
		head     string
		src, dst string
	}{
		{"SYN", tcp("10.0.0.1:1000", "10.0.0.2:80", 2, ""), 0, true, flow.SYN, 0, "", "10.0.0.1:1000", "10.0.0.2:80"},
		{"data over IPv6", tcp("[fd00::1]:1000", "[fd00::2]:80", 0x18, "GET / "), 0, true, flow.PSH | flow.ACK, 6, "GET / ", "[fd00::1]:1000", "[fd00::2]:80"},
		{"cut at the snaplen", long, 1460, true, flow.PSH | flow.ACK, 1420, "GET", "10.0.0.1:1000", "10.0.0.2:80"},
		{"cut in the TCP header", tcp("10.0.0.1:1000", "10.0.0.2:80", 2, "")[:30], 40, false, 0, 0, "", "", ""},
		{"no bytes", nil, 0, false, 0, 0, "", "", ""},
		{"icmp", packet(1, "10.0.0.1:1", "10.0.0.2:2"), 0, false, 0, 0, "", "", ""},
	} {
		if c.whole == 0 {
			c.whole = len(c.data)
		}
		o, ok := decode(&decoder{heads: true}, Packet{At: time.Unix(1, 0), Device: "lo", Data: c.data, Len: c.whole})
		if ok != c.ok {
			t.Errorf("%s: ok %v", c.what, ok)
			continue
		}
		if ok && (o.Flags != c.flags || o.Len != c.len || string(o.Head) != c.head || o.Tuple.Src.String() != c.src || o.Tuple.Dst.String() != c.dst) {
			t.Errorf("%s: %+v", c.what, o)
		}
	}
}

// Without being asked for, nothing of the payload is kept.
func TestDecodeKeepsNoPayload(t *testing.T) {
	o, ok := decode(&decoder{}, Packet{Data: tcp("10.0.0.1:1000", "10.0.0.2:80", 0x18, "secret"), Len: 46})
	if !ok || o.Head != nil || o.Len != 6 {
		t.Errorf("%+v", o)
	}
}

// Where the ports stand and how long the payload is: what stands before and after them.
func TestDecodeEdges(t *testing.T) {
	v4, v6 := tcp("10.0.0.1:1000", "10.0.0.2:80", 0x18, "GET / "), tcp("[fd00::1]:1000", "[fd00::2]:80", 0x18, "GET / ")
	with := func(b []byte, change func([]byte)) []byte {
		b = append([]byte(nil), b...)
		change(b)
		return b
	}
	// ext puts extension headers behind an IPv6 header; the first byte of each is the next one's kind.
	ext := func(first byte, headers ...byte) []byte {
		b := append(append(append([]byte(nil), v6[:40]...), headers...), v6[40:]...)
		b[6] = first
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b
	}
	tag4, tag6 := append([]byte{0, 7, 0x08, 0x00}, v4...), append([]byte{0, 7, 0x86, 0xdd}, v6...)
	for _, c := range []struct {
		what  string
		data  []byte
		whole int // 0: as long as data
		len   int // -1: not observed
	}{
		{"IPv4 as it is", v4, 0, 6},
		{"padding behind the packet", append(append([]byte(nil), v4...), 1, 2, 3, 4), 0, 6},
		{"a segment of 64 KiB and more: no length in the header", with(v4, func(b []byte) { b[2], b[3] = 0, 0 }), 100_040, 100_000},
		{"the same over IPv6", with(v6, func(b []byte) { b[4], b[5] = 0, 0 }), 100_060, 100_000},
		{"a length below the headers", with(v4, func(b []byte) { b[2], b[3] = 0, 10 }), 0, 0},
		{"a first fragment", with(v4, func(b []byte) { b[6] = 0x20 }), 0, 6},
		{"a later fragment", with(v4, func(b []byte) { b[7] = 1 }), 0, -1},
		{"an IPv4 header of 16 bytes", with(v4, func(b []byte) { b[0] = 0x44 }), 0, -1},
		{"a TCP header of 16 bytes", with(v4, func(b []byte) { b[32] = 0x40 }), 0, -1},
		{"hop-by-hop options", ext(0, 6, 0, 0, 0, 0, 0, 0, 0), 0, 6},
		{"destination options of 16 bytes", ext(60, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 6},
		{"routing, then options", ext(43, 60, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0), 0, 6},
		{"authentication of 12 bytes", ext(51, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 6},
		{"a first fragment of IPv6", ext(44, 6, 0, 0, 1, 0, 0, 0, 0), 0, 6},
		{"a later fragment of IPv6", ext(44, 6, 0, 0, 8, 0, 0, 0, 0), 0, -1},
		{"encrypted", ext(50, 6, 0, 0, 0, 0, 0, 0, 0), 0, -1},
		{"options longer than the packet", ext(0, 6, 255, 0, 0, 0, 0, 0, 0), 0, -1},
		{"a VLAN's tag", tag4, 0, 6},
		{"a VLAN's tag before IPv6", tag6, 0, 6},
		{"ARP", []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2}, 0, -1},
	} {
		if c.whole == 0 {
			c.whole = len(c.data)
		}
		o, ok := decode(&decoder{heads: true}, Packet{Data: c.data, Len: c.whole})
		switch {
		case ok != (c.len >= 0):
			t.Errorf("%s: observed %v", c.what, ok)
		case ok && (o.Len != c.len || c.len == 6 && string(o.Head) != "GET / " || o.Tuple.Dst.Port() != 80 || o.Tuple.Src.Port() != 1000):
			t.Errorf("%s: %d bytes, head %q, %v", c.what, o.Len, o.Head, o.Tuple)
		}
		// What the kernel's filter would take, the decoder looks at again where it must.
		if _, ok := decode(&decoder{filter: Filter{{Port: 81}}}, Packet{Data: c.data, Len: c.whole}); ok != (c.len >= 0 && !beyondFilter(c.data)) {
			t.Errorf("%s: observed %v though not of the filter", c.what, ok)
		}
	}
}

// beyondFilter says whether the kernel's filter takes a packet without having seen its ports.
func beyondFilter(b []byte) bool {
	return b[0]>>4 == 0 || b[0]>>4 == 6 && b[6] != 6
}

// gopacket reads the same from every packet that it can read and that is whole.
func agrees(t *testing.T, b []byte, o flow.Observation) {
	t.Helper()
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
	if tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && p.ErrorLayer() == nil {
		if o.Tuple.Proto != flow.TCP || o.Tuple.Src.Port() != uint16(tcp.SrcPort) || o.Tuple.Dst.Port() != uint16(tcp.DstPort) || o.Seq != tcp.Seq || o.Ack != tcp.Ack ||
			o.Flags&flow.SYN != 0 != tcp.SYN || o.Flags&flow.FIN != 0 != tcp.FIN || o.Flags&flow.RST != 0 != tcp.RST || o.Flags&flow.ACK != 0 != tcp.ACK || !bytes.Equal(o.Head, tcp.Payload) {
			t.Errorf("%x: %+v, and gopacket reads %+v", b, o, tcp)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(tcp("10.0.0.1:1000", "10.0.0.2:80", 0x18, "GET / "))
	f.Add(tcp("[fd00::1]:1000", "[fd00::2]:80", 2, ""))
	f.Add([]byte{0x60})
	f.Add(append([]byte{0, 7, 8, 0}, tcp("10.0.0.1:1000", "10.0.0.2:80", 2, "")...))
	d := &decoder{heads: true}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, ok := decode(d, Packet{Data: b, Len: len(b)})
		if !ok {
			return
		}
		if o.Len < 0 || len(o.Head) > o.Len || !o.Tuple.Src.IsValid() {
			t.Errorf("%+v", o)
		}
		// Where the header's length is that of the packet, nothing is up to the reader.
		if b[0]>>4 == 4 && int(binary.BigEndian.Uint16(b[2:])) == len(b) || b[0]>>4 == 6 && int(binary.BigEndian.Uint16(b[4:]))+40 == len(b) && b[6] == 6 {
			agrees(t, b, o)
		}
	})
}
