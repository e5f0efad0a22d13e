// Package attach judges the whole program as a person uses it: built, on a terminal, on a
// live pod with a real Envoy.
package attach

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// program is where the built program is; TestMain sets it.
var program string

// TestMain makes the program, once for all tests.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "meshtop-attach-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "meshtop")
	if out, err := exec.Command("go", "build", "-o", program, "../..").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build meshtop: %v: %s\n", err, out)
		return 1
	}
	return m.Run()
}

// seat is somebody at a terminal.
type seat struct {
	*testing.T
	person.Person
}

func sit(t *testing.T, args ...string) seat {
	t.Helper()
	p, err := screen.Start(screen.Options{W: 80, H: 24}, program, args...)
	return seat{t, person.At(t, p, err)}
}

// The demo on a terminal: the stepper with its verdict; q gives the terminal back.
func TestDemo(t *testing.T) {
	p := sit(t, "demo", "mesh")
	p.Sees("▸ Trace", "✓ DELIVERED to 10.107.42.16:80", "20 steps", "nat OUTPUT")
	p.leaves()
}

// leaves quits, and wants the terminal as it was and no process left.
func (p seat) leaves() {
	p.Helper()
	p.Types("q")
	if err := p.End(); err != nil {
		p.Error(err)
	}
	p.GivenBack()
	if left := session(p.T, p.PID()); left != nil {
		p.Errorf("processes left of it: %q", left)
	}
}

// A live pod on the screens: the overview is drawn from what was read, a pasted curl command
// is traced, and `r` reads again: with the rule gone that lets Envoy's own connections out,
// the verdict is another, and with the rule back it is the first again. Nothing else in the
// pod changes.
func TestLivePod(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	before := state(t, l)
	p := sit(t, "attach", "netns", l.Pod())
	p.Sees("▸ Overview", "envoy 1.40.0", "OUTPUT #2 ─REDIRECT─▶ :15001 virtualOutbound", "10.107.42.16_80 ▶ outbound|myngxsvc", "OUTPUT #1 ─RETURN─▶ eth0")
	p.Types("e")
	p.Sees("▸ Request")
	p.Types("\x1b[200~curl http://10.107.42.16/live\x1b[201~")
	p.Sees("/live")
	p.Types("\x12") // ctrl+r
	p.Sees("▸ Trace", "GET http://10.107.42.16/live", "✓ DELIVERED to 10.107.42.16:80", "nat OUTPUT   #2 REDIRECT :15001")

	rule := []string{"-m", "owner", "--uid-owner", strconv.Itoa(lab.EnvoyUID), "-j", "RETURN"}
	iptables(t, l, append([]string{"-D", "OUTPUT"}, rule...)...)
	p.Types("r")
	p.Sees("✗ LOOPED", "nat OUTPUT   #1 REDIRECT :15001")
	iptables(t, l, append([]string{"-I", "OUTPUT", "1"}, rule...)...)
	p.Types("r")
	p.Sees("✓ DELIVERED to 10.107.42.16:80", "nat OUTPUT   #2 REDIRECT :15001")

	p.leaves()
	if after := state(t, l); after != before {
		t.Errorf("the pod changed: it was\n%s\nand is\n%s", before, after)
	}
}

func iptables(t *testing.T, l *lab.Lab, args ...string) {
	t.Helper()
	if _, err := l.InPod("iptables-nft", append([]string{"-t", "nat"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

var counters = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// state is what a reader must leave as it is: rules, the modules' tables of iptables-legacy,
// addresses, routes, and who lives in the namespace.
func state(t *testing.T, l *lab.Lab) string {
	t.Helper()
	var b strings.Builder
	for _, argv := range [][]string{{"nft", "list", "ruleset"}, {"sh", "-c", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>&1 || true"}, {"ip", "addr"}, {"ip", "route"}, {"ip", "rule"}} {
		out, err := l.InPod(argv[0], argv[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(counters.ReplaceAllString(out, "counter"))
	}
	out, err := exec.Command("ip", "netns", "pids", l.Pod()).Output()
	if err != nil {
		t.Fatal(err)
	}
	b.Write(out)
	return b.String()
}

// session is the processes of a session, by their command lines (proc(5): the session is
// the sixth field of stat; what stands in the second is closed by the last bracket).
func session(t *testing.T, sid int) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range all {
		stat, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended since
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 3 && fields[3] == strconv.Itoa(sid) && fields[0] != "Z" {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			out = append(out, string(line))
		}
	}
	return out
}
