package capture

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/rules/flow"
)

// traces are what a watch can leave behind: open files, packet and netlink sockets of the
// namespace, and goroutines of this package.
func traces(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"packet", "netlink"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			t.Error(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			f := strings.Fields(line)
			switch {
			case name == "packet" && len(f) > 2 && f[0] != "sk":
				out = append(out, "packet socket of protocol "+f[3])
			case name == "netlink" && len(f) > 3 && (f[1] == "12" || f[1] == "4") && f[2] != "0": // NETLINK_NETFILTER, NETLINK_SOCK_DIAG; 0 is the kernel's own
				out = append(out, "netlink socket of protocol "+f[1])
			}
		}
	}
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Error(err)
	}
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil && !strings.Contains(to, "/fd") && !strings.HasPrefix(to, "/proc/") {
			out = append(out, "file "+to)
		}
	}
	stacks := make([]byte, 1<<20)
	for _, g := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(g, "capture.(*Watch).") || strings.Contains(g, "capture.(*Ring).") || strings.Contains(g, "capture.(*tracker).") {
			out = append(out, "goroutine "+g)
		}
	}
	slices.Sort(out)
	return out
}

// still is what there is once no goroutine of a watch before is on its way out any more.
func still(t *testing.T) []string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		out := traces(t)
		if !slices.ContainsFunc(out, func(s string) bool { return strings.HasPrefix(s, "goroutine") }) {
			return out
		}
		if time.Now().After(end) {
			t.Errorf("goroutines of an earlier watch: %v", out)
			return out
		}
	}
}

// leavesNothing compares what there is with what there was. A goroutine that has told its
// end may still be on its way out: for those it waits.
func leavesNothing(t *testing.T, what string, before []string) {
	t.Helper()
	var after []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if after = traces(t); slices.Equal(before, after) {
			return
		}
	}
	t.Errorf("%s: before\n%s\nafter\n%s", what, strings.Join(before, "\n"), strings.Join(after, "\n"))
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Errorf("ip %v: %v %s", args, err, out)
	}
}

// veth makes a device v0 with 10.9.0.1 and a neighbour 10.9.0.2 that takes everything, without
// the traffic that IPv6 makes by itself.
func veth(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil {
		t.Error(err)
	}
	ip(t, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	ip(t, "link", "set", "v1", "up")
	ip(t, "link", "set", "v0", "up")
	ip(t, "addr", "add", "10.9.0.1/24", "dev", "v0")
	neighbour(t)
}

// neighbour is forgotten each time that the device goes down.
func neighbour(t *testing.T) {
	t.Helper()
	ip(t, "neigh", "replace", "10.9.0.2", "lladdr", "02:00:00:00:00:01", "dev", "v0", "nud", "permanent")
}

// However a watch ends, it leaves no socket, no file and no goroutine, and it wrote no rule
// that could stay: it has only sockets.
func TestStopLeavesNothing(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	write(t, log, "a line\n")
	inNamespace(t, func() {
		drain := func(w *Watch) {
			for range w.C() {
			}
		}
		// The first one starts what the runtime and the libraries keep for good.
		if w, err := Open(WatchOptions{Devices: []string{"lo"}}); err != nil {
			t.Error(err)
		} else if err := w.Close(); err != nil {
			t.Error(err)
		}
		for _, c := range []struct {
			what string
			opt  WatchOptions
			end  func(*Watch)
		}{
			{"closed", WatchOptions{}, func(w *Watch) { _ = w.Close() }},
			{"closed while it reads a log", WatchOptions{Logs: []LogFile{logAt(log)}}, func(w *Watch) { _ = w.Close() }},
			{"closed twice at once", WatchOptions{}, func(w *Watch) {
				other := make(chan error)
				go func() { other <- w.Close() }()
				_, _ = w.Close(), <-other
			}},
			{"closed with more than its reader took", WatchOptions{}, func(w *Watch) {
				blast(t, "127.0.0.1:4000", 5000, 10)
				<-w.C()
				_ = w.Close()
			}},
			{"read to its end in time", WatchOptions{Duration: time.Millisecond}, drain},
			{"ended in time, and nobody read", WatchOptions{Duration: time.Millisecond}, func(w *Watch) { <-w.ended }},
			{"read to its bound", WatchOptions{Packets: 2}, func(w *Watch) { blast(t, "127.0.0.1:4000", 50, 10); drain(w) }},
			{"its context is cancelled", WatchOptions{}, func(w *Watch) {
				ctx, cancel := context.WithCancel(context.Background())
				context.AfterFunc(ctx, func() { _ = w.Close() })
				cancel()
				drain(w)
			}},
			{"its only device goes away", WatchOptions{Devices: []string{"gone0"}}, func(w *Watch) { ip(t, "link", "del", "gone0"); drain(w) }},
		} {
			if c.opt.Devices == nil {
				c.opt.Devices = []string{"lo"}
			} else {
				ip(t, "link", "add", "gone0", "type", "veth", "peer", "name", "peer0")
				ip(t, "link", "set", "gone0", "up")
			}
			before := still(t)
			w, err := Open(c.opt)
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				continue
			}
			if slices.Equal(before, traces(t)) {
				t.Errorf("%s: the watch cannot be seen, so neither can what it leaves", c.what)
			}
			c.end(w)
			leavesNothing(t, c.what, before)
		}
		before := still(t)
		for _, opt := range []WatchOptions{{Devices: []string{"nosuch0"}}, {Devices: []string{"lo"}, Filter: make(Filter, maxEndpoints+1)},
			{Devices: []string{"lo"}, Ring: RingOptions{BlockSize: 1000}}} {
			if _, err := Open(opt); err == nil {
				t.Errorf("%+v was opened", opt)
			}
		}
		leavesNothing(t, "what could not be opened", before)
	})
}

// A device that goes down is told in one sentence however often it does. While another one
// is up the watch goes on, and sees the first again when it is back; the last ends it.
func TestWatchDeviceGoesDown(t *testing.T) {
	power.Tools(t, "ip")
	inNamespace(t, func() {
		veth(t)
		w, err := Open(WatchOptions{Devices: []string{"v0", "lo"}, Filter: Filter{{Port: 4000}}})
		if err != nil {
			t.Error(err)
			return
		}
		defer w.Close()
		seen := func(device string) {
			t.Helper()
			for o := range each(w) {
				if o.Kind == flow.SeenPacket && o.Device == device {
					return
				}
			}
			t.Errorf("the watch ended before a packet on %s: %+v", device, w.Loss())
		}
		for range 2 {
			ip(t, "link", "set", "v0", "down")
			blast(t, "127.0.0.1:4000", 1, 10)
			seen("lo")
			ip(t, "link", "set", "v0", "up")
			neighbour(t)
			blastFrom(t, "10.9.0.1:0", "10.9.0.2:4000", 1, 10)
			seen("v0")
		}
		ip(t, "link", "del", "v0")
		ip(t, "link", "set", "lo", "down")
		for range w.C() {
		}
		told := map[string]int{}
		for _, g := range w.Loss().Blind {
			if !strings.HasSuffix(g.Reason, ": the device went down") {
				t.Errorf("%s: %s", g.Part, g.Reason)
			}
			told[g.Part]++
		}
		if len(told) != 2 || told["packets on v0"] != 1 || told["packets on lo"] != 1 {
			t.Errorf("told %v", told)
		}
	})
}

// A watch of a device that is down says so and ends.
func TestWatchDeviceIsDown(t *testing.T) {
	inNamespace(t, func() {
		ip(t, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
		w, err := Open(WatchOptions{Devices: []string{"v0"}})
		if err != nil {
			t.Error(err)
			return
		}
		for range w.C() {
		}
		if l := w.Loss(); len(l.Blind) != 1 || !strings.Contains(l.Blind[0].Reason, "v0") {
			t.Errorf("%+v", l)
		}
	})
}

// Each device says what it lost itself: the one whose traffic a tiny ring cannot hold, and
// the other nothing.
func TestWatchLossOfEachDevice(t *testing.T) {
	inNamespace(t, func() {
		veth(t)
		w, err := Open(WatchOptions{Devices: []string{"lo", "v0"}, Filter: Filter{{Port: 4000}}, Ring: RingOptions{BlockSize: 4096, Blocks: 1}})
		if err != nil {
			t.Error(err)
			return
		}
		const sent = 20_000
		blast(t, "127.0.0.1:4000", sent, 1000) // nobody reads
		blastFrom(t, "10.9.0.1:0", "10.9.0.2:4000", 1, 10)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		packets := map[string]uint64{}
		for o := range each(w) {
			if o.Kind == flow.SeenPacket {
				packets[o.Device]++
			}
		}
		l := w.Loss()
		for i := range l.Devices {
			if d := &l.Devices[i]; d.Dropped > 0 && d.Frozen == 0 {
				t.Errorf("%+v: a ring loses only while it is full", *d)
			}
			l.Devices[i].Frozen = 0
		}
		want := []flow.DeviceLoss{{Name: "lo", Seen: packets["lo"], Dropped: sent - packets["lo"]}, {Name: "v0", Seen: 1}}
		if packets["lo"] == sent || packets["v0"] != 1 || !slices.Equal(l.Devices, want) || l.Seen != packets["lo"]+1 || l.Dropped != sent-packets["lo"] {
			t.Errorf("read %v, loss %+v, want %+v", packets, l, want)
		}
	})
}

// Nothing of a payload is kept beyond the snaplen, in no form; without heads asked for,
// nothing at all: packets end with their headers.
func TestWatchKeepsNothingBeyondSnaplen(t *testing.T) {
	const snaplen = 64 // 28 of them are headers
	secret := strings.Repeat("a", snaplen-28) + "SECRET"
	for _, c := range []struct {
		heads, raw bool
		ring       uint32
	}{{false, false, snaplen}, {true, false, snaplen}, {true, true, snaplen}, {false, false, 0}, {false, true, 0}} {
		inNamespace(t, func() {
			w, err := Open(WatchOptions{Devices: []string{"lo"}, Filter: Filter{{Port: 4000}}, Heads: c.heads, Raw: c.raw, Packets: 1, Ring: RingOptions{Snaplen: c.ring}})
			if err != nil {
				t.Error(err)
				return
			}
			blastText(t, "127.0.0.1:0", "127.0.0.1:4000", secret)
			n := 0
			for o := range each(w) {
				if o.Kind != flow.SeenPacket {
					continue
				}
				n++
				head, raw := 0, 0
				if c.heads {
					head = snaplen - 28
				}
				switch {
				case c.raw && c.heads:
					raw = snaplen
				case c.raw:
					raw = 28
				}
				// What is lent has a capacity, and behind the length nothing may stand either.
				if len(o.Head) != head || cap(o.Head) != head || len(o.Raw) != raw || cap(o.Raw) != raw || c.raw && o.Headers != 28 || o.Len != len(secret) || o.Whole != len(secret)+28 {
					t.Errorf("%+v: head of %d (%d), packet of %d (%d), %d of %d bytes", c, len(o.Head), cap(o.Head), len(o.Raw), cap(o.Raw), o.Len, o.Whole)
				}
			}
			if n != 1 {
				t.Errorf("%+v: %d packets", c, n)
			}
		})
	}
}
