package capture

import (
	"encoding/binary"
	"testing"
	"time"

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

func FuzzDecode(f *testing.F) {
	f.Add(tcp("10.0.0.1:1000", "10.0.0.2:80", 0x18, "GET / "))
	f.Add(tcp("[fd00::1]:1000", "[fd00::2]:80", 2, ""))
	f.Add([]byte{0x60})
	d := &decoder{heads: true}
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, ok := decode(d, Packet{Data: b, Len: len(b)}); ok && (o.Len < 0 || !o.Tuple.Src.IsValid()) {
			t.Errorf("%+v", o)
		}
	})
}
