package capture

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The load of foreign connections: TCP connections on lo, opened and closed in order beside one
// nat rule, so that conntrack tells of each.
const (
	dialRate = 5000 // a second
	dialTime = 2 * time.Second
)

// barForeign is what each connection that the filter leaves out may cost the watch itself, in
// microseconds. Conntrack tells of it seven times.
const barForeign = 20.0

// foreign measures what connections cost that the filter leaves out: conntrack's events, which
// tcpdump does not read. Making an event is the kernel's work, in the time of the process that
// opens the connection; so its whole time counts, with a watch beside it, with tcpdump, and alone.
// It takes turns, and for each the best of its turns.
func foreign(b *testing.B) {
	const turns = 5
	if out, err := exec.Command("iptables-nft", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9", "-j", "REDIRECT").CombinedOutput(); err != nil {
		b.Errorf("iptables-nft: %v %s", err, out)
		return
	}
	server := serve(b)
	defer server()
	idle, watch, own, dump, alone := time.Hour, time.Hour, time.Hour, time.Hour, time.Hour
	n := 0
	for i := range b.N * turns {
		c := startCapturer(b, capturerAsked{Device: "lo", Port: loadPort})
		time.Sleep(dialTime)
		cpu, _ := c.end(b)
		idle = min(idle, cpu)
		c = startCapturer(b, capturerAsked{Device: "lo", Port: loadPort})
		var dialled time.Duration
		n, dialled = dials(b, byte(3*i))
		cpu, said := c.end(b)
		if said.Observed != 0 || said.Dropped != 0 || said.Blind != 0 {
			b.Errorf("the watch saw %+v of what its filter leaves out", said)
		}
		if said.New < n {
			b.Errorf("%d of %d new connections were told", said.New, n)
		}
		watch, own = min(watch, cpu), min(own, cpu+dialled)
		t := startTcpdump(b, os.DevNull)
		_, dialled = dials(b, byte(3*i+1))
		dump = min(dump, t.endTcpdump(b, 0)+dialled)
		_, dialled = dials(b, byte(3*i+2))
		alone = min(alone, dialled)
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
	b.Logf("each of %d connections: %.1f us of the watch (%.1f if there are none), %.1f with both ends and the kernel, with tcpdump %.1f, alone %.1f",
		n, each(watch), each(idle), each(own), each(dump), each(alone))
	b.ReportMetric(each(watch-idle), "us/connection")
	b.ReportMetric(each(own-dump), "us-more-than-tcpdump/connection")
	b.ReportMetric(own.Seconds()/dump.Seconds(), "times-tcpdump")
	if each(watch-idle) > barForeign {
		b.Errorf("%.1f us of the watch for each connection: the bar is %.0f", each(watch-idle), barForeign)
	}
}

// serve accepts on every address of 127.0.0.0/8, and closes what the client has closed.
func serve(b *testing.B) func() {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: loadPort + 1}); err != nil {
		b.Fatal(err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, _, err := unix.Accept(fd)
			if err != nil {
				return
			}
			var one [1]byte
			_, _ = unix.Read(c, one[:])
			unix.Close(c)
		}
	}()
	return func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		<-ended
		unix.Close(fd)
	}
}

// dials opens and closes connections at a steady rate, to an address of its own: no port is in
// TIME_WAIT there. It returns how many, and what they cost the process.
func dials(b *testing.B, to byte) (int, time.Duration) {
	b.Helper()
	addr := netip.AddrFrom4([4]byte{127, 0, 1, to})
	begin, cpu := time.Now(), processCPU(b)
	sent, total := 0, int(dialRate*dialTime.Seconds())
	for sent < total {
		due := min(total, int(time.Since(begin).Seconds()*dialRate))
		for ; sent < due; sent++ {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: loadPort + 1, Addr: addr.As4()}); err != nil {
				b.Fatal(err)
			}
			unix.Close(fd)
		}
		pause := unix.Timespec{Nsec: 1e6}
		_ = unix.Nanosleep(&pause, nil)
	}
	return sent, processCPU(b) - cpu
}

func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
