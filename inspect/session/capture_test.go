package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// watched is a pod whose watch shows what it is told.
type watched struct {
	inspect.Pod
	seen []flow.Observation
	loss flow.Loss
}

type shown struct {
	c    chan []flow.Observation
	loss flow.Loss
}

func (w *watched) Observe(context.Context, []flow.Leg, inspect.ObserveOptions) (inspect.Watch, error) {
	s := &shown{make(chan []flow.Observation, 1), w.loss}
	s.c <- w.seen
	close(s.c)
	return s, nil
}

func (s *shown) C() <-chan []flow.Observation { return s.c }
func (s *shown) Loss() flow.Loss              { return s.loss }
func (s *shown) Close() error                 { return nil }

// seenPacket is a packet of an outgoing connection.
func seenPacket(device, src, dst string, flags flow.TCPFlags, n int) flow.Observation {
	ap := netip.MustParseAddrPort
	return flow.Observation{Kind: flow.SeenPacket, At: time.Unix(1795400789, 0), Device: device, Flags: flags, Len: n, Raw: make([]byte, 40), Whole: 40 + n,
		Tuple: flow.Tuple{Src: ap(src), Dst: ap(dst), Proto: flow.TCP}}
}

// The losses of each device stand in the file, also of one that no packet came from; what
// was lost behind them counts for the first.
func TestCaptureStatistics(t *testing.T) {
	pod := &watched{Pod: demo(t, "mesh"), seen: []flow.Observation{seenPacket("eth0", "10.244.1.7:5000", "10.107.42.16:80", flow.SYN, 0)},
		loss: flow.Loss{Seen: 1, Dropped: 9, Devices: []flow.DeviceLoss{{Name: "lo", Dropped: 3}, {Name: "eth0", Seen: 1, Dropped: 4}}}}
	var out bytes.Buffer
	if _, err := Capture(context.Background(), pod, read(t, pod.Pod), outbound("10.107.42.16:80"), &out, CaptureOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&out, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, _, err = r.ReadPacketData()
	}
	if !errors.Is(err, io.EOF) || n != 2 || r.NInterfaces() != 2 {
		t.Fatalf("%d packets, %d devices, %v", n-1, r.NInterfaces(), err)
	}
	for i, want := range []struct {
		name          string
		seen, dropped uint64
	}{{"eth0", 5, 4}, {"lo", 5, 5}} {
		f, err := r.Interface(i)
		if err != nil || f.Name != want.name || f.Statistics.PacketsReceived != want.seen || f.Statistics.PacketsDropped != want.dropped {
			t.Errorf("device %d: %s %+v, want %+v, %v", i, f.Name, f.Statistics, want, err)
		}
	}
}

// A packet's comment is the step of the leg that it is on, whichever variant went that way.
func TestHints(t *testing.T) {
	ap := netip.MustParseAddrPort
	svc, trap, v2 := ap("10.107.42.16:80"), ap("127.0.0.1:15001"), ap("10.107.42.22:80")
	one := flow.Leg{From: flow.Conn{Dst: svc}, To: flow.Conn{Dst: trap, In: "lo"}, Steps: []flow.Step{
		{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 2"}, {Stage: flow.Listener, Subject: "out"}, {Stage: flow.Cluster, Subject: "c"}}}
	two := func(dst netip.AddrPort) flow.Leg {
		return flow.Leg{From: flow.Conn{Dst: dst}, To: flow.Conn{Dst: dst, Out: "eth0"}, Steps: []flow.Step{{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 1"}, {Stage: flow.Wire, Subject: "eth0"}}}
	}
	in := flow.Leg{From: flow.Conn{Dst: ap("10.244.1.7:80"), In: "eth0"}, To: flow.Conn{Dst: ap("10.244.1.7:15006"), In: "eth0"},
		Steps: []flow.Step{{Stage: flow.Netfilter, Subject: "ip nat PREROUTING 1"}, {Stage: flow.Listener, Subject: "in"}}}
	legs := []flow.Leg{one, two(svc)}
	h := newHints(flow.Trace{Legs: legs, Caller: flow.Symptom{Code: 200}, Variants: []flow.Variant{{Legs: legs}, {Legs: []flow.Leg{one, two(v2)}}, {Legs: []flow.Leg{in}}}})
	for _, c := range []struct {
		o    flow.Observation
		want string
	}{
		{seenPacket("lo", "10.244.1.7:5000", "127.0.0.1:15001", flow.SYN, 0), "connection 1, step 1: kernel rule ip nat OUTPUT 2"},
		{seenPacket("lo", "10.107.42.16:80", "10.244.1.7:5000", flow.SYN|flow.ACK, 0), "connection 1, step 2: listener out"},
		{seenPacket("lo", "10.244.1.7:5000", "127.0.0.1:15001", flow.PSH|flow.ACK, 9), "connection 1, step 3: cluster c"},
		{seenPacket("lo", "10.107.42.16:80", "10.244.1.7:5000", flow.PSH|flow.ACK, 9), "connection 1: the caller is to see 200"},
		{seenPacket("lo", "10.107.42.16:80", "10.244.1.7:5000", flow.FIN|flow.ACK, 0), "connection 1"},
		{seenPacket("eth0", "10.244.1.7:5001", "10.107.42.16:80", flow.SYN, 0), "connection 2, step 1: kernel rule ip nat OUTPUT 1"},
		{seenPacket("eth0", "10.107.42.16:80", "10.244.1.7:5001", flow.SYN|flow.ACK, 0), "connection 2, step 2: wire eth0"},
		{seenPacket("eth0", "10.244.1.7:5002", "10.107.42.22:80", flow.SYN, 0), "connection 2, step 1: kernel rule ip nat OUTPUT 1"},
		{seenPacket("eth0", "10.244.1.7:5003", "10.107.42.22:80", flow.PSH|flow.ACK, 9), "connection 2"}, // a pool's
		{seenPacket("eth0", "10.244.1.1:5004", "10.244.1.7:80", flow.SYN, 0), "connection 1, step 1: kernel rule ip nat PREROUTING 1"},
		{seenPacket("eth0", "10.244.1.7:80", "10.244.1.1:5004", flow.SYN|flow.ACK, 0), "connection 1, step 2: listener in"},
		{seenPacket("eth0", "10.9.9.9:1", "10.9.9.9:2", flow.SYN, 0), ""},
	} {
		if got := h.comment(c.o); got != c.want {
			t.Errorf("%s %v>%v: %q, want %q", c.o.Device, c.o.Tuple.Src, c.o.Tuple.Dst, got, c.want)
		}
	}
	for i := range maxClients + 10 {
		o := seenPacket("eth0", "10.244.1.7:5001", "10.107.42.16:80", flow.SYN, 0)
		o.Tuple.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), uint16(i>>16))
		h.comment(o)
	}
	if len(h.clients) > maxClients {
		t.Errorf("%d clients are kept", len(h.clients))
	}
}

// smallDisk is a file on a disk with little room.
type smallDisk struct {
	b    []byte
	room int
	cut  int64
}

func (d *smallDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room-len(d.b))
	d.b = append(d.b, p[:n]...)
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func (d *smallDisk) Truncate(n int64) error { d.cut = n; d.b = d.b[:n]; return nil }

// When the disk is full the file ends with its last whole block.
func TestBlocksAreWhole(t *testing.T) {
	block := func(n int) []byte { return append([]byte{6, 0, 0, 0, byte(n), 0, 0, 0}, strings.Repeat("x", n-8)...) }
	for room := range 100 {
		d := &smallDisk{room: room}
		b := &blocks{w: d}
		for _, n := range []int{20, 12, 32, 36} {
			if _, err := b.Write(block(n)); err != nil {
				t.Fatal(err)
			}
			if n == 12 && b.flush() != nil {
				break
			}
		}
		if err := b.flush(); err == nil && room > 32 {
			t.Errorf("room for %d: no error", room)
		}
		want := 0
		for _, end := range []int{20, 32, 64, 100} {
			if end <= room {
				want = end
			}
		}
		if len(d.b) != want || d.cut != int64(want) {
			t.Errorf("room for %d: the file has %d bytes (cut at %d), want %d", room, len(d.b), d.cut, want)
		}
	}
}

// Without a snaplen a file holds headers and nothing of what was said: not in the demo, whose
// captures hold it.
func TestCaptureHoldsHeadersOnly(t *testing.T) {
	for snaplen, want := range map[int]bool{0: false, 256: true} {
		pod := demo(t, "mesh")
		var out bytes.Buffer
		if _, err := Capture(context.Background(), pod, read(t, pod), outbound("10.107.42.16:80"), &out, CaptureOptions{Snaplen: snaplen}); err != nil {
			t.Fatal(err)
		}
		r, err := pcapgo.NewNgReader(bytes.NewReader(out.Bytes()), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal(err)
		}
		packets, more := 0, 0
		for ; ; packets++ {
			data, _, err := r.ReadPacketData()
			if err != nil {
				break
			}
			if len(data) > 20+60 { // an IPv4 and a TCP header at most
				more++
			}
		}
		if packets == 0 || (more > 0) != want || bytes.Contains(out.Bytes(), []byte("HTTP/1.1")) != want {
			t.Errorf("snaplen %d: %d packets, %d with payload", snaplen, packets, more)
		}
	}
}

// A capture names an address by what the cluster has there first; what a name holds is hostile.
func TestClusterNames(t *testing.T) {
	t1 := flow.Trace{Legs: []flow.Leg{{From: flow.Conn{Dst: netip.MustParseAddrPort("10.0.0.1:80")}, Steps: []flow.Step{{Facts: []flow.Reason{
		flow.Because(flow.WhyAddress, "10.0.0.1:80", "Service", "shop/web:http"), flow.Because(flow.WhyAddress, "fd00::1", "Pod", "shop/x\x1b[2J"), flow.Because(flow.WhyAddress, "bad", "Pod", "y")}}}}},
		Outcome: flow.Outcome{Listener: "virtualOutbound"}}
	got := names(t1)
	if len(got) != 3 || got[0].Name != "shop/web:http" || got[0].Addr.String() != "10.0.0.1" || got[1].Addr.String() != "fd00::1" || strings.Contains(got[1].Name, "\x1b") || got[2].Name != "virtualOutbound" {
		t.Errorf("%+v", got)
	}
}
