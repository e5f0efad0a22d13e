package capture

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/rules/flow"
)

// inNamespace runs f in a network namespace of its own with lo up, which ends with it.
func inNamespace(t testing.TB, f func()) {
	t.Helper()
	power.Root(t)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its namespace die with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Errorf("ip link set lo up: %s", out)
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// blast sends n datagrams of size bytes to addr, in the calling thread's namespace.
func blast(t testing.TB, addr string, n, size int) { blastFrom(t, "127.0.0.1:0", addr, n, size) }

func blastFrom(t testing.TB, from, addr string, n, size int) {
	t.Helper()
	texts := make([]string, n)
	for i := range texts {
		texts[i] = string(make([]byte, size))
	}
	blastText(t, from, addr, texts...)
}

func blastText(t testing.TB, from, addr string, texts ...string) {
	t.Helper()
	// Not connected: a connected socket would report the ICMP error of the datagram before
	// instead of sending.
	c, err := net.ListenPacket("udp", from)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))
	for _, text := range texts {
		if _, err := c.WriteTo([]byte(text), to); err != nil {
			t.Error(err)
			return
		}
	}
}

// readAll reads what has come, whole.
func readAll(r *Ring) ([]flow.Observation, error) {
	if err := r.Wake(); err != nil {
		return nil, err
	}
	d := &decoder{heads: true, raw: true}
	var out []flow.Observation
	for {
		got, err := r.fill(d)
		out = append(out, got.seen...)
		if errors.Is(err, ErrWoken) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// Each packet on lo comes once, cut at the snaplen, and what the filter leaves out does not.
func TestRingOnLoopback(t *testing.T) {
	inNamespace(t, func() {
		r, err := OpenRing("lo", Filter{{Addr: netip.MustParseAddr("127.0.0.1"), Port: 4000}}, RingOptions{Snaplen: 64})
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		blast(t, "127.0.0.1:4001", 5, 10)
		blast(t, "127.0.0.1:4000", 3, 500)
		got, err := readAll(r)
		if err != nil || len(got) != 3 {
			t.Errorf("%d packets, %v", len(got), err)
		}
		for i, o := range got {
			if len(o.Raw) != 64 || o.Whole != 528 || o.Len != 500 || o.Device != "lo" || time.Since(o.At) > time.Minute {
				t.Errorf("packet %d: %d of %d bytes on %s at %v", i, len(o.Raw), o.Whole, o.Device, o.At)
			}
		}
		if l := r.Stats(); l.Dropped != 0 || l.Frozen != 0 {
			t.Errorf("%+v", l)
		}
		for range 2 { // closing twice is allowed
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A ring that is too small says what it lost, and every block is read in order.
func TestRingLoss(t *testing.T) {
	inNamespace(t, func() {
		r, err := OpenRing("lo", nil, RingOptions{Snaplen: 128, BlockSize: 4096, Blocks: 2})
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		const sent = 2000
		blast(t, "127.0.0.1:4000", sent, 100)
		got, err := readAll(r)
		if err != nil {
			t.Error(err)
		}
		l := r.Stats()
		if l.Dropped == 0 || l.Frozen == 0 || len(got) == 0 {
			t.Errorf("seen %d, %+v: want some of each", len(got), l)
		}
		// Each datagram is answered by an ICMP error: twice as many packets, of which the
		// kernel may limit the second half.
		if total := uint64(len(got)) + l.Dropped; total < sent || total > 2*sent {
			t.Errorf("seen and dropped are %d of %d to %d", total, sent, 2*sent)
		}
	})
}

func TestRingErrors(t *testing.T) {
	inNamespace(t, func() {
		if _, err := OpenRing("nosuch0", nil, RingOptions{}); err == nil {
			t.Error("a device that is not there")
		}
		if _, err := OpenRing("lo", make(Filter, maxEndpoints+1), RingOptions{}); err == nil {
			t.Error("a filter that is too long")
		}
	})
}

// A ring that was closed asks the kernel nothing: its number may be another socket's, whose
// counters would begin anew with the question.
func TestClosedRingAsksNothing(t *testing.T) {
	inNamespace(t, func() {
		old, err := OpenRing("lo", Filter{{Port: 4000}}, RingOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		fd := old.fd
		if err := old.Close(); err != nil {
			t.Error(err)
		}
		r, err := OpenRing("lo", Filter{{Port: 4000}}, RingOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		if r.fd != fd { // the lowest number that is free
			if err := unix.Dup3(r.fd, fd, unix.O_CLOEXEC); err != nil {
				t.Error(err)
				return
			}
			defer unix.Close(fd)
		}
		blast(t, "127.0.0.1:4000", 7, 100)
		old.Stats()
		if err := r.count(); err != nil || r.came != 7 {
			t.Errorf("%d packets came after the closed ring was asked, want 7, %v", r.came, err)
		}
	})
}
