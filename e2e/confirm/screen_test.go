package confirm

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/tui"
	"github.com/meshtop/meshtop/tui/plain"
)

// terminal is a pty with an emulator behind it, on which the whole program runs in this
// process, so that what it leaves behind can be counted.
type terminal struct {
	t    *testing.T
	em   *vt.SafeEmulator
	ptm  *os.File
	pts  *os.File
	mu   sync.Mutex
	raw  strings.Builder
	more chan struct{}
	work sync.WaitGroup
	code chan int
}

// Write gets what the program writes.
func (tm *terminal) Write(b []byte) (int, error) {
	tm.mu.Lock()
	tm.raw.Write(b)
	n, err := tm.em.Write(b)
	tm.mu.Unlock()
	select {
	case tm.more <- struct{}{}:
	default:
	}
	return n, err
}

func (tm *terminal) screen() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.em.String()
}

// wait waits until the screen shows a text.
func (tm *terminal) wait(s string) {
	tm.t.Helper()
	limit := time.After(60 * time.Second)
	for !strings.Contains(tm.screen(), s) {
		select {
		case <-tm.more:
		case <-limit:
			tm.t.Fatalf("%q never came:\n%s", s, tm.screen())
		}
	}
}

func (tm *terminal) keys(s string) {
	tm.t.Helper()
	if _, err := io.WriteString(tm.ptm, s); err != nil {
		tm.t.Fatal(err)
	}
}

// run runs meshtop with a command line on a terminal of its own.
func run(t *testing.T, args ...string) *terminal {
	t.Helper()
	ptm, pts, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(pts, &pty.Winsize{Rows: 40, Cols: 140}); err != nil {
		t.Fatal(err)
	}
	tm := &terminal{t: t, em: vt.NewSafeEmulator(140, 40), ptm: ptm, pts: pts, more: make(chan struct{}, 1), code: make(chan int, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	env := []string{"TERM=xterm-256color", "LANG=C.UTF-8"}
	app := plain.App{
		Stdin: pts, Stdout: pts, Stderr: io.Discard, Terminal: true, Version: "test",
		Getenv: func(name string) string {
			if name == "LANG" {
				return "C.UTF-8"
			}
			return ""
		},
		Screens: func(ctx context.Context, opt tui.Options) error {
			opt.Input, opt.Output, opt.Environment = pts, pts, env
			return tui.Run(ctx, opt)
		},
		Netns: func(_ context.Context, name string, admin netip.AddrPort) (inspect.Pod, error) {
			return local.Named(name, local.Options{Admin: admin})
		},
	}
	tm.work.Go(func() { _, _ = io.Copy(tm, ptm) })
	tm.work.Go(func() { _, _ = io.Copy(ptm, tm.em) })
	go func() { tm.code <- plain.Run(ctx, app, args) }()
	t.Cleanup(func() { cancel(); tm.close() })
	return tm
}

// ended is the exit status.
func (tm *terminal) ended() int {
	tm.t.Helper()
	select {
	case code := <-tm.code:
		return code
	case <-time.After(60 * time.Second):
		tm.t.Fatalf("it did not end:\n%s", tm.screen())
		return -1
	}
}

// close takes the terminal away and waits for its copiers.
func (tm *terminal) close() {
	tm.pts.Close()
	tm.ptm.Close()
	if c, ok := tm.em.InputPipe().(io.Closer); ok {
		c.Close()
	}
	tm.work.Wait()
}

// sockets are the packet and netlink sockets that this process has in the pod.
func sockets(t *testing.T, r *rig) []string {
	t.Helper()
	table, err := r.lab.InPod("cat", "/proc/net/packet", "/proc/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{} // inodes, the last column of both
	for _, line := range strings.Split(table, "\n") {
		if f := strings.Fields(line); len(f) > 0 {
			there["socket:["+f[len(f)-1]+"]"] = true
		}
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range open {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", f.Name())); err == nil && there[to] {
			out = append(out, to)
		}
	}
	return out
}

// stacks are the goroutines that run code of meshtop.
func stacks() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		for _, room := range []string{"/capture.", "/inspect/local.", "/inspect/session.", "/tui."} {
			if strings.Contains(g, "github.com/meshtop/meshtop"+room) {
				out = append(out, g)
				break
			}
		}
	}
	return out
}

// children are the processes that this one started and did not wait for.
func children(t *testing.T) string {
	t.Helper()
	var out []string
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tasks {
		b, _ := os.ReadFile(f) // a thread may end meanwhile
		out = append(out, strings.Fields(string(b))...)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// packetSockets are those of the pod's namespace.
func packetSockets(t *testing.T, r *rig) int {
	t.Helper()
	out, err := r.lab.InPod("cat", "/proc/net/packet")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(strings.TrimSpace(out), "\n")
}

// A person confirms a trace on the screens of the whole program: w leads to the question,
// s and y send one real request, and every observable step is confirmed. A watch that waits
// has its sockets in the pod until esc; after q nothing is left.
func TestConfirmOnScreens(t *testing.T) {
	r := raise(t, lab.Options{Scene: "mesh"}, local.Options{})
	c := caseOf(t, r, "svc")
	_ = stacks()
	had, kids := len(sockets(t, r)), children(t)
	tm := run(t, "attach", "netns", r.lab.Pod(), "--to", c.Request.Dst.String(), "--authority", c.Request.HTTP.Authority, "--uid", fmt.Sprint(lab.AppUID), "--gid", fmt.Sprint(lab.AppUID))
	tm.wait("DELIVERED")
	tm.keys("w")
	tm.wait("what to watch")
	if n := packetSockets(t, r); n != 0 {
		t.Errorf("%d packet sockets before anything is watched", n)
	}
	tm.keys("s")
	tm.wait("This sends one real request")
	tm.wait("uid 101, gid 101")
	if lines := len(r.lab.Lines()); lines != 0 {
		t.Errorf("Envoy logged %d requests before y", lines)
	}
	tm.keys("y")
	tm.wait("as predicted")
	tm.wait("ended")
	for _, want := range []string{"●  1 confirmed      app socket", "●  3 confirmed      nat OUTPUT", "●  5 confirmed      listener", "confirmed      cluster", "confirmed      endpoint",
		"! 0 contradicted", "GET /", "200 OK", "0 dropped"} {
		if !strings.Contains(tm.screen(), want) {
			t.Errorf("%q is not on the screen:\n%s", want, tm.screen())
		}
	}
	tm.keys("w")
	tm.wait("listening:")
	if n := len(sockets(t, r)); n <= had {
		t.Errorf("%d sockets while it watches, %d before: the test counts none", n, had)
	}
	if n := packetSockets(t, r); n < 2 {
		t.Errorf("%d packet sockets while it watches: want one a device", n)
	}
	tm.keys("\x1b")
	tm.wait("ended")
	if n := packetSockets(t, r); n != 0 {
		t.Errorf("%d packet sockets after esc", n)
	}
	tm.keys("w")
	tm.wait("listening:")
	tm.keys("q")
	if code := tm.ended(); code != plain.ExitOK {
		t.Errorf("status %d", code)
	}
	if n := packetSockets(t, r); n != 0 {
		t.Errorf("%d packet sockets after q", n)
	}
	if now := sockets(t, r); len(now) > had {
		t.Errorf("%d sockets are open, %d before: %q", len(now), had, now)
	}
	if now := children(t); now != kids {
		t.Errorf("processes %q, before %q", now, kids)
	}
	for _, g := range stacks() {
		if !strings.Contains(g, "TestConfirmOnScreens") {
			t.Errorf("a goroutine is left:\n%s", g)
		}
	}
}
