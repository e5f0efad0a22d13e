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
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/tui"
	"github.com/meshtop/meshtop/tui/plain"
)

// run runs meshtop with a command line on a terminal of its own, in this process, so that
// what it leaves behind can be counted. It ends with the status that code holds then.
func run(t *testing.T, code *int, args ...string) person.Person {
	t.Helper()
	return person.Inside(t, 140, 40, func(ctx context.Context, tty screen.TTY) error {
		app := plain.App{
			Stdin: tty, Stdout: tty, Stderr: io.Discard, Terminal: true, Version: "test", Getenv: tty.Getenv,
			Screens: func(ctx context.Context, opt tui.Options) error {
				opt.Input, opt.Output, opt.Environment = tty.File, tty.File, tty.Env
				return tui.Run(ctx, opt)
			},
			Netns: func(_ context.Context, name string, admin netip.AddrPort) (inspect.Pod, error) {
				return local.Named(name, local.Options{Admin: admin})
			},
		}
		*code = plain.Run(ctx, app, args)
		return nil
	})
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
	code := -1
	tm := run(t, &code, "attach", "netns", r.lab.Pod(), "--to", c.Request.Dst.String(), "--authority", c.Request.HTTP.Authority, "--uid", fmt.Sprint(lab.AppUID), "--gid", fmt.Sprint(lab.AppUID))
	tm.Sees("DELIVERED")
	tm.Types("w")
	tm.Sees("what to watch")
	if n := packetSockets(t, r); n != 0 {
		t.Errorf("%d packet sockets before anything is watched", n)
	}
	tm.Types("s")
	tm.Sees("This sends one real request")
	tm.Sees("uid 101, gid 101")
	if lines := len(r.lab.Lines()); lines != 0 {
		t.Errorf("Envoy logged %d requests before y", lines)
	}
	tm.Types("y")
	tm.Sees("as predicted")
	tm.Sees("ended")
	for _, want := range []string{"●  1 confirmed      app socket", "●  3 confirmed      nat OUTPUT", "●  5 confirmed      listener", "confirmed      cluster", "confirmed      endpoint",
		"! 0 contradicted", "GET /", "200 OK", "0 dropped",
		"before → after", "cluster outbound|myngxsvc upstream_rq_total", " 0 → 1 "} {
		tm.Sees(want) // a frame comes in pieces
	}
	tm.Types("w")
	tm.Sees("listening:")
	if n := len(sockets(t, r)); n <= had {
		t.Errorf("%d sockets while it watches, %d before: the test counts none", n, had)
	}
	if n := packetSockets(t, r); n < 2 {
		t.Errorf("%d packet sockets while it watches: want one a device", n)
	}
	tm.Types("\x1b")
	tm.Sees("ended ·")
	if n := packetSockets(t, r); n != 0 {
		t.Errorf("%d packet sockets after esc", n)
	}
	tm.Types("w")
	tm.Sees("listening:")
	tm.Types("q")
	if err := tm.End(); err != nil || code != plain.ExitOK {
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
