package capture

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/power"
)

// What the benchmark's capturing child is told by, and where it puts a CPU profile.
const (
	capturerEnv = "MESHTOP_TEST_CAPTURER"
	profileEnv  = "MESHTOP_TEST_CAPTURER_PROFILE"
)

// capturerAsked is the child's order.
type capturerAsked struct {
	Device string
	Port   uint16
	Heads  bool
	Raw    bool
}

// capturerSaid is what the child has seen when it ends.
type capturerSaid struct {
	Observed, Payload int
	New               int // connections of which conntrack told
	Seen, Dropped     uint64
	Blind             int
}

// TestMain makes the test binary the capturing process when the benchmark starts it again:
// a process of its own has CPU time of its own, with its runtime and its consumer in it and
// the load's sender not.
func TestMain(m *testing.M) {
	if order := os.Getenv(capturerEnv); order != "" {
		if err := capturer(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// capturer watches until its input ends, takes every observation, and says what it saw.
func capturer(order string) error {
	var ask capturerAsked
	if err := json.Unmarshal([]byte(order), &ask); err != nil {
		return err
	}
	if name := os.Getenv(profileEnv); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	w, err := Open(WatchOptions{Devices: []string{ask.Device}, Filter: Filter{{Port: ask.Port}}, Heads: ask.Heads, Raw: ask.Raw})
	if err != nil {
		return err
	}
	fmt.Println("listening")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		w.stop.Do(func() { close(w.quit) })
	}()
	var said capturerSaid
	for batch := range w.C() {
		for i := range batch {
			o := &batch[i]
			if o.Event == "NEW" {
				said.New++
			}
			if o.Tuple.Dst.Port() == ask.Port {
				said.Observed++
				said.Payload += o.Len
			}
		}
	}
	l := w.Loss()
	said.Seen, said.Dropped, said.Blind = l.Seen, l.Dropped, len(l.Blind)
	return json.NewEncoder(os.Stdout).Encode(said)
}

// The bars: how many times tcpdump's CPU seconds, of the same run, a watch may take.
const (
	barMatching    = 3.0
	barNotMatching = 1.2
)

// judge reports a figure beside its bar, and fails the benchmark that misses it.
func judge(b *testing.B, times, bar float64) {
	b.Helper()
	b.ReportMetric(bar, "bar-times")
	if times > bar {
		b.Errorf("%.2f times tcpdump's CPU seconds: the bar is %.1f", times, bar)
	}
}

// BenchmarkTcpdump measures the CPU seconds (user and system, whole processes from the moment
// they listen to their end) of a watch whose observations are taken, and of tcpdump with the
// same filter and snaplen that writes a file. Matching traffic is seen by both in the same
// run. Traffic that does not match never wakes either; its cost is the filter's, which the
// sender pays, so there the sender's own time counts, with one of the two beside it.
func BenchmarkTcpdump(b *testing.B) {
	power.Tools(b, "tcpdump", "ip", "iptables-nft")
	file := filepath.Join(b.TempDir(), "out.pcap")
	for _, c := range []struct {
		name string
		ask  capturerAsked
		to   string // where tcpdump writes
	}{
		{"headers", capturerAsked{}, file},
		{"payload heads", capturerAsked{Heads: true}, file},
		{"whole packets", capturerAsked{Heads: true, Raw: true}, file},
		{"headers, tcpdump keeps nothing", capturerAsked{}, os.DevNull},
		{"payload heads, tcpdump keeps nothing", capturerAsked{Heads: true}, os.DevNull},
	} {
		b.Run(c.name, func(b *testing.B) { inNamespace(b, func() { matching(b, c.ask, c.to) }) })
	}
	b.Run("not matching", func(b *testing.B) { inNamespace(b, func() { notMatching(b) }) })
	b.Run("not matching connections", func(b *testing.B) { inNamespace(b, func() { foreign(b) }) })
}

// The load of the bar: packets of 200 bytes at 100,000 a second.
const (
	loadPort = 4000
	loadRate = 100_000
	loadTime = 3 * time.Second
	loadSize = 200
)

func matching(b *testing.B, ask capturerAsked, to string) {
	ask.Device, ask.Port = "lo", loadPort
	var worst, sum float64
	slowest := float64(loadRate)
	for range b.N {
		sink := listenUDP(b, loadPort)
		own, dump := startCapturer(b, ask), startTcpdump(b, to)
		sent, took, _ := pace(b, loadPort, loadRate, loadTime)
		ownCPU, said := own.end(b)
		dumpCPU := dump.endTcpdump(b, sent)
		unix.Close(sink)
		if said.Observed != sent || said.Dropped != 0 || said.Blind != 0 {
			b.Errorf("of %d packets the watch saw %+v", sent, said)
		}
		slowest = min(slowest, float64(sent)/took.Seconds())
		ratio := ownCPU.Seconds() / dumpCPU.Seconds()
		worst, sum = max(worst, ratio), sum+ratio
		b.Logf("%d packets in %v: watch %v, tcpdump %v, %.2f times", sent, took.Round(time.Millisecond), ownCPU, dumpCPU, ratio)
	}
	b.ReportMetric(sum/float64(b.N), "times-tcpdump")
	b.ReportMetric(worst, "worst-times-tcpdump")
	b.ReportMetric(slowest, "packets/s")
	judge(b, worst, barMatching)
	if slowest < loadRate*0.95 {
		b.Errorf("%.0f packets/s were sent: the bar is for %d, and this machine is too busy to judge it", slowest, loadRate)
	}
}

// notMatching takes turns, and for each the best of its turns: what else runs on the machine
// only ever adds.
func notMatching(b *testing.B) {
	const turns = 5
	own, dump := time.Hour, time.Hour
	for range b.N * turns {
		sink := listenUDP(b, loadPort+1)
		c := startCapturer(b, capturerAsked{Device: "lo", Port: loadPort})
		_, _, sender := pace(b, loadPort+1, loadRate, loadTime/turns)
		cpu, said := c.end(b)
		if said.Observed != 0 || said.Dropped != 0 {
			b.Errorf("the watch saw %+v of what its filter leaves out", said)
		}
		own = min(own, cpu+sender)
		t := startTcpdump(b, os.DevNull)
		_, _, sender = pace(b, loadPort+1, loadRate, loadTime/turns)
		dump = min(dump, t.endTcpdump(b, 0)+sender)
		unix.Close(sink)
	}
	b.Logf("sender and capture: watch %v, tcpdump %v", own, dump)
	b.ReportMetric(own.Seconds()/dump.Seconds(), "times-tcpdump")
	judge(b, own.Seconds()/dump.Seconds(), barNotMatching)
}

// child is a capturing process.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *bufio.Reader
	before time.Duration // its CPU time when it listened
	errs   *bufio.Reader
}

func (c *child) start(b *testing.B, ready string, from func(*child) *bufio.Reader) {
	b.Helper()
	pipe := func(r io.ReadCloser, err error) *bufio.Reader {
		if err != nil {
			b.Fatal(err)
		}
		return bufio.NewReader(r)
	}
	c.out, c.errs = pipe(c.cmd.StdoutPipe()), pipe(c.cmd.StderrPipe())
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for {
		line, err := from(c).ReadString('\n')
		if err != nil {
			b.Fatalf("%v ended before it listened: %q %v", c.cmd.Args, line, err)
		}
		if strings.Contains(line, ready) {
			break
		}
	}
	c.before = cpuOf(b, c.cmd.Process.Pid)
}

// wait waits for the process and returns its CPU time since it listened.
func (c *child) wait(b *testing.B) time.Duration {
	b.Helper()
	if err := c.cmd.Wait(); err != nil {
		b.Fatalf("%v: %v", c.cmd.Args, err)
	}
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime() - c.before
}

func startCapturer(b *testing.B, ask capturerAsked) *child {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	order, err := json.Marshal(ask)
	if err != nil {
		b.Fatal(err)
	}
	c := &child{cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), capturerEnv+"="+string(order))
	c.start(b, "listening", func(c *child) *bufio.Reader { return c.out })
	return c
}

func (c *child) end(b *testing.B) (time.Duration, capturerSaid) {
	b.Helper()
	c.stdin.Close()
	var said capturerSaid
	if err := json.NewDecoder(c.out).Decode(&said); err != nil {
		b.Fatal(err)
	}
	return c.wait(b), said
}

func startTcpdump(b *testing.B, file string) *child {
	b.Helper()
	// -B: a buffer as large as the watch's ring, so that neither loses.
	c := &child{cmd: exec.Command("tcpdump", "-i", "lo", "-n", "-Z", "root", "-s", strconv.Itoa(DefaultSnaplen), "-B", "16384",
		"-w", file, "port", strconv.Itoa(loadPort))}
	c.start(b, "listening on", func(c *child) *bufio.Reader { return c.errs })
	return c
}

// endTcpdump says it if tcpdump lost packets. What is in the block that the kernel is filling
// when the signal comes it never looks at.
func (c *child) endTcpdump(b *testing.B, want int) time.Duration {
	b.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		b.Fatal(err)
	}
	text, err := io.ReadAll(c.errs)
	if err != nil {
		b.Fatal(err)
	}
	var captured int
	if _, err := fmt.Sscan(string(text), &captured); err != nil || captured < want*99/100 || !strings.Contains(string(text), "\n0 packets dropped by kernel") {
		b.Logf("of %d packets tcpdump says %q: it had less to do", want, text)
	}
	return c.wait(b)
}

// cpuOf reads the CPU-time clock of another process (clock_getcpuclockid(3): the
// complement of its pid, three bits up, and CPUCLOCK_SCHED).
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// listenUDP takes the load, so that no ICMP error answers it; what nobody reads the kernel
// drops after the taps.
func listenUDP(b *testing.B, port int) int {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	return fd
}

// pace sends datagrams at a steady rate from the calling thread, and returns how many, how
// long it took, and the thread's CPU time.
func pace(b *testing.B, port, rate int, length time.Duration) (int, time.Duration, time.Duration) {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: to.Addr().As4()}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, loadSize)
	begin, cpu := time.Now(), threadCPU(b)
	sent, total := 0, int(float64(rate)*length.Seconds())
	for sent < total {
		due := min(total, int(time.Since(begin).Seconds()*float64(rate)))
		for ; sent < due; sent++ {
			if _, err := unix.Write(fd, data); err != nil {
				b.Fatal(err)
			}
		}
		pause := unix.Timespec{Nsec: 1e6}
		_ = unix.Nanosleep(&pause, nil)
	}
	return sent, time.Since(begin), threadCPU(b) - cpu
}

func threadCPU(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
