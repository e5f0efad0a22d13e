package capture

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// A packet with a VLAN's tag is seen where it goes out and where it comes in, which the
// kernel shows to a socket in different ways.
func TestWatchVLAN(t *testing.T) {
	inNamespace(t, func() {
		veth(t)
		w, err := Open(WatchOptions{Devices: []string{"v0", "v1"}, Filter: Filter{{Port: 80}}, Heads: true, Duration: time.Minute, Packets: 2})
		if err != nil {
			t.Error(err)
			return
		}
		defer w.Close()
		for _, port := range []string{"81", "80"} { // the first is not of the filter
			frame := append(make([]byte, 12), 0x81, 0, 0, 7, 8, 0)
			sendFrame(t, "v0", append(frame, tcp("10.8.0.1:1000", "10.8.0.2:"+port, 0x18, "GET / ")...))
		}
		on := map[string]int{}
		for o := range each(w) {
			if o.Kind == flow.SeenPacket {
				on[o.Device]++
				if o.Len != 6 || string(o.Head) != "GET / " || o.Tuple.Dst.String() != "10.8.0.2:80" || o.Whole != 46 {
					t.Errorf("%+v", o)
				}
			}
		}
		if on["v0"] != 1 || on["v1"] != 1 {
			t.Errorf("seen %v, loss %+v", on, w.Loss())
		}
	})
}

// sendFrame sends an Ethernet frame as it is.
func sendFrame(t *testing.T, device string, frame []byte) {
	t.Helper()
	i, err := net.InterfaceByName(device)
	if err != nil {
		t.Error(err)
		return
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
		t.Error(err)
	}
}

// Segments that are cut only later are larger than the snaplen and than any frame; their
// whole length counts, and the beginning is kept.
func TestWatchLargeSegments(t *testing.T) {
	inNamespace(t, func() {
		l, err := net.Listen("tcp4", "127.0.0.1:4000")
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		w, err := Open(WatchOptions{Devices: []string{"lo"}, Filter: Filter{{Port: 4000}}, Heads: true, Ring: RingOptions{Snaplen: 128}})
		if err != nil {
			t.Error(err)
			return
		}
		const size = 1 << 20
		got := make(chan int64, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				got <- 0
				return
			}
			defer c.Close()
			n, _ := io.Copy(io.Discard, c)
			got <- n
		}()
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := io.Copy(c, strings.NewReader(strings.Repeat("x", size))); err != nil {
			t.Error(err)
		}
		c.Close()
		if n := <-got; n != size {
			t.Errorf("%d bytes arrived", n)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		total, longest := 0, 0
		for o := range each(w) {
			if o.Kind == flow.SeenPacket && o.Tuple.Dst.Port() == 4000 {
				total, longest = total+o.Len, max(longest, o.Len)
				if len(o.Head) > 128-40 || len(o.Head) != min(o.Len, 128-o.Whole+o.Len) {
					t.Errorf("%d bytes kept of %+v", len(o.Head), o)
				}
			}
		}
		// More only if something was sent again.
		if total < size || longest < 2000 {
			t.Errorf("payload of %d bytes seen, the longest %d", total, longest)
		}
	})
}
