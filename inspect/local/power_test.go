package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// As a user without power: the own namespace gives what needs none, and each gap names the
// power that is missing.
func TestWithoutPower(t *testing.T) {
	power.Root(t)
	power.Tools(t, "setpriv", "ip")
	out := asNobody(t, "own")
	var s struct {
		Parts []string
		Gaps  []flow.Gap
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, part := range []string{"addr.json", "route.json", "sockets", "sysctl"} {
		if !slices.Contains(s.Parts, part) {
			t.Errorf("no %s without power", part)
		}
	}
	for _, part := range []string{"iptables-save", "ip6tables-legacy-save", "nft.json", "conntrack"} {
		i := slices.IndexFunc(s.Gaps, func(g flow.Gap) bool { return g.Part == part })
		if i < 0 || !strings.Contains(s.Gaps[i].Reason, "root (CAP_NET_ADMIN)") || !strings.Contains(s.Gaps[i].Reason, "65534") {
			t.Errorf("%s: gaps %v", part, s.Gaps)
		}
	}
}

// As a user without power: another namespace cannot be opened, and the one sentence says
// which power is missing and what works without.
func TestOpenWithoutPower(t *testing.T) {
	power.Root(t)
	power.Tools(t, "setpriv")
	l := lab.New(t, lab.Options{Scene: "mesh"})
	out := asNobody(t, "open", "LAB="+l.Pod(), fmt.Sprintf("PID=%d", l.EnvoyPID()))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %q", out)
	}
	for i, needs := range []string{"root (CAP_SYS_ADMIN)", "root or CAP_SYS_PTRACE"} {
		if !strings.HasPrefix(lines[i], "true ") || !strings.Contains(lines[i], needs) || !strings.Contains(lines[i], "uid 65534") || !strings.Contains(lines[i], "--iptables") {
			t.Errorf("%q does not name %s", lines[i], needs)
		}
	}
}

// With the capabilities that an agent has in a pod: the kernel shows it the files of a process
// that has none by being that user, and so Envoy's sockets have a name and a group, and its log
// can be read. The lab's servers are in this process, which has every capability: they stay
// hidden, and that is said.
func TestAgentsPower(t *testing.T) {
	power.Root(t)
	power.Tools(t, "setpriv", "nsenter", "ip")
	l := lab.New(t, lab.Options{Scene: "mesh", FileLog: map[string]any{}})
	// nsenter needs CAP_SYS_ADMIN, so it comes first.
	enter := []string{"nsenter", "--net=/run/netns/" + l.Pod(), "setpriv", "--bounding-set", "-all,+net_admin,+net_raw,+setuid,+setgid"}
	out := withLess(t, enter, "own", "LOG="+l.LogFile())
	var s struct {
		Gaps         []flow.Gap
		Sockets, Log string
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	envoy := regexp.MustCompile(`:15001 .*users:\(\("[^"]*",pid=\d+,fd=\d+\)\) uid:1337 gid:1337 `)
	if !envoy.MatchString(s.Sockets) || !regexp.MustCompile(`0\.0\.0\.0:80 \S+ uid:101 ino`).MatchString(s.Sockets) {
		t.Errorf("the sockets are\n%s", s.Sockets)
	}
	if want := (flow.Gap{Part: "sockets", Reason: "the processes of 4 sockets are hidden from uid 0: it needs CAP_SYS_PTRACE"}); !slices.Contains(s.Gaps, want) {
		t.Errorf("gaps %v, want %v", s.Gaps, want)
	}
	if s.Log != "<nil>" {
		t.Errorf("the log: %s", s.Log)
	}
}

// TestMain is also what asNobody runs: then it does one thing as another user, and prints
// what came of it.
func TestMain(m *testing.M) {
	switch os.Getenv("MESHTOP_AS_NOBODY") {
	case "own":
		os.Exit(readOwn())
	case "open":
		for _, open := range []func() (*Pod, error){
			func() (*Pod, error) { return Named(os.Getenv("LAB"), Options{}) },
			func() (*Pod, error) {
				pid, _ := strconv.Atoi(os.Getenv("PID"))
				return OfPid(pid, Options{})
			},
		} {
			_, err := open()
			fmt.Println(errors.Is(err, inspect.ErrNoPower), err)
		}
		os.Exit(0)
	case "policy":
		os.Exit(changeAll())
	}
	os.Exit(m.Run())
}

func readOwn() int {
	p, err := Own(Options{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer p.Close()
	s, err := p.Read(context.Background(), inspect.Want{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var log error
	for _, f := range p.logFiles(context.Background(), strings.Fields(os.Getenv("LOG"))) {
		_, log = f.Open()
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"Parts": names(s), "Gaps": s.Gaps, "Sockets": string(s.Files["sockets"]), "Log": fmt.Sprint(log)})
	return 0
}

// changeAll tries all that an inspect.Enforcer does.
func changeAll() int {
	p, err := Named(os.Getenv("LAB"), Options{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer p.Close()
	_, read := p.Policy(context.Background())
	_, applied := p.Apply(context.Background(), block())
	for _, err := range []error{read, applied, p.Renew(context.Background(), time.Minute)} {
		fmt.Println(errors.Is(err, inspect.ErrNoPower), err)
	}
	return 0
}

// Without CAP_NET_ADMIN a policy is neither read nor applied nor renewed: one sentence names
// the right.
func TestPolicyWithoutPower(t *testing.T) {
	power.Root(t)
	power.Tools(t, "setpriv")
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	lines := strings.Split(strings.TrimSpace(withLess(t, []string{"--bounding-set", "-net_admin"}, "policy", "LAB="+l.Pod())), "\n")
	if len(lines) != 3 {
		t.Fatalf("%q", lines)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "true ") || !strings.Contains(line, "root (CAP_NET_ADMIN)") || !strings.Contains(line, l.Pod()) {
			t.Errorf("%q", line)
		}
	}
	if out, err := l.InPod("nft", "list", "tables"); err != nil || strings.Contains(out, "meshtop") {
		t.Errorf("%q, %v", out, err)
	}
}

// asNobody runs this binary as uid 65534, and gives what it printed.
func asNobody(t *testing.T, what string, env ...string) string {
	t.Helper()
	return withLess(t, []string{"--reuid", "65534", "--regid", "65534", "--clear-groups"}, what, env...)
}

// withLess runs this binary with less power (setpriv(1)), and gives what it printed. The
// binary is copied to where any user may read it.
func withLess(t *testing.T, power []string, what string, env ...string) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "meshtop-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := dir + "/test"
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setpriv", append(power, bin)...)
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), "MESHTOP_AS_NOBODY="+what), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
