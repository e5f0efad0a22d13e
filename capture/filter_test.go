package capture

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/meshtop/meshtop/rules/flow"
)

// packet makes the headers of a TCP or UDP packet, from the IP header on.
func packet(proto byte, src, dst string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	var b []byte
	if s.Addr().Is4() {
		b = make([]byte, 20)
		b[0], b[9] = 0x45, proto
		copy(b[12:], s.Addr().AsSlice())
		copy(b[16:], d.Addr().AsSlice())
	} else {
		b = make([]byte, 40)
		b[0], b[6] = 0x60, proto
		copy(b[8:], s.Addr().AsSlice())
		copy(b[24:], d.Addr().AsSlice())
	}
	b = binary.BigEndian.AppendUint16(b, s.Port())
	b = binary.BigEndian.AppendUint16(b, d.Port())
	return append(b, make([]byte, 16)...)
}

func TestFilter(t *testing.T) {
	ep := func(a string, port uint16) Endpoint {
		e := Endpoint{Port: port}
		if a != "" {
			e.Addr = netip.MustParseAddr(a)
		}
		return e
	}
	options := packet(6, "10.0.0.1:1000", "10.0.0.2:80")
	options[0] = 0x46 // one word of options before the ports
	options = append(options[:20:20], append([]byte{1, 1, 1, 1}, options[20:]...)...)
	fragment := packet(6, "10.0.0.1:1000", "10.0.0.2:80")
	fragment[7] = 1
	extension := packet(0, "[fd00::1]:1", "[fd00::2]:2")
	f := Filter{ep("10.0.0.2", 80), ep("", 15001), ep("fd00::2", 80), ep("10.0.0.9", 0)}
	for _, c := range []struct {
		what string
		pkt  []byte
		keep bool
	}{
		{"to the endpoint", packet(6, "10.0.0.1:1000", "10.0.0.2:80"), true},
		{"from the endpoint", packet(6, "10.0.0.2:80", "10.0.0.1:1000"), true},
		{"udp too", packet(17, "10.0.0.1:1000", "10.0.0.2:80"), true},
		{"the port below", packet(6, "10.0.0.1:1000", "10.0.0.2:79"), false},
		{"the port above", packet(6, "10.0.0.1:1000", "10.0.0.2:81"), false},
		{"address of one side, port of the other", packet(6, "10.0.0.1:80", "10.0.0.2:1000"), false},
		{"the next address", packet(6, "10.0.0.1:1000", "10.0.0.3:80"), false},
		{"any address with the port", packet(6, "10.0.0.1:1000", "127.0.0.1:15001"), true},
		{"any IPv6 address with the port", packet(6, "[::1]:1000", "[::1]:15001"), true},
		{"IPv6 endpoint", packet(6, "[fd00::1]:1000", "[fd00::2]:80"), true},
		{"IPv6 next address", packet(6, "[fd00::1]:1000", "[fd00::3]:80"), false},
		{"any port of an address", packet(17, "10.0.0.9:53", "10.0.0.1:4000"), true},
		{"icmp", packet(1, "10.0.0.1:1000", "10.0.0.2:80"), false},
		{"options before the ports", options, true},
		{"a later fragment", fragment, false},
		{"IPv6 extension header", extension, true},
		{"IPv6 authentication", packet(extAuth, "[fd00::1]:1", "[fd00::2]:2"), true},
		{"a VLAN's tag", append([]byte{0, 7, 0x08, 0x00}, packet(6, "10.0.0.3:1000", "10.0.0.4:80")...), true},
		{"a VLAN's tag before IPv6", append([]byte{0, 7, 0x86, 0xdd}, packet(6, "[fd00::1]:1", "[fd00::2]:2")...), true},
		{"ARP", []byte{0, 1, 8, 0, 6, 4, 0, 1}, false},
		{"a tag before something else", append([]byte{0, 7, 0x88, 0xcc}, packet(6, "10.0.0.1:1000", "10.0.0.2:80")...), false},
		{"neither IPv4 nor IPv6", []byte{0x10, 0, 0, 0}, false},
	} {
		ins, err := f.Program(256)
		if err != nil {
			t.Fatal(err)
		}
		vm := machine(t, ins)
		n, err := vm.Run(c.pkt)
		if err != nil {
			t.Fatal(err)
		}
		if (n > 0) != c.keep {
			t.Errorf("%s: kept %d bytes, want kept %v", c.what, n, c.keep)
		}
	}
}

func machine(t *testing.T, raw []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	ins, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program cannot be read back")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// A filter at its bound still fits the kernel, and one above it is refused.
func TestFilterBound(t *testing.T) {
	f := make(Filter, maxEndpoints)
	for i := range f {
		f[i] = Endpoint{Addr: netip.MustParseAddr("fd00::1"), Port: uint16(i + 1)}
	}
	ins, err := f.Program(256)
	if err != nil || len(ins) > 4096 {
		t.Errorf("%d instructions, %v", len(ins), err)
	}
	if _, err := append(f, Endpoint{}).Program(256); err == nil {
		t.Error("one more was taken")
	}
}

func TestFilterOf(t *testing.T) {
	ap := netip.MustParseAddrPort
	f := FilterOf([]flow.Leg{
		{From: flow.Conn{Dst: ap("10.0.0.2:80")}, To: flow.Conn{Dst: ap("127.0.0.1:15001")}},
		{From: flow.Conn{Dst: ap("10.0.0.2:80")}, To: flow.Conn{Dst: ap("10.0.0.2:80")}},
	})
	if len(f) != 2 || f[0].Port != 80 || f[1].Port != 15001 {
		t.Errorf("filter %v", f)
	}
}
