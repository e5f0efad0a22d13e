package confirm

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
)

// counts are those of a chain's policy.
var counts = regexp.MustCompile(`\[\d+:\d+\]`)

// left is what a watch could leave in the pod: packet and netlink sockets, sockets that
// listen, rules, processes. What its rules counted and connections that end are the traffic's.
func left(t *testing.T, l *lab.Lab) string {
	t.Helper()
	var out strings.Builder
	for what, words := range map[string][]string{"packet": {"cat", "/proc/net/packet"}, "netlink": {"cat", "/proc/net/netlink"}, "listens": {"ss", "-Htuwlnp"},
		"nft": {"nft", "-s", "list", "ruleset"}, "legacy": {"iptables-legacy-save"}, "legacy6": {"ip6tables-legacy-save"}} {
		text, err := l.InPod(words[0], words[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); f[0] == "sk" || f[0] == "#" || what == "netlink" && f[2] == "0" {
				continue // a title, a time, the kernel's own
			}
			out.WriteString(what + " " + counts.ReplaceAllString(line, ""))
		}
	}
	pids, err := exec.Command("ip", "netns", "pids", l.Pod()).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := append(strings.Split(out.String(), "\n"), strings.Fields(string(pids))...)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// A confirm that is ended while it watches, even by what no program can hear, leaves the pod
// as it was: no socket, no rule, no process, no file.
func TestKilledMidWatch(t *testing.T) {
	bin := program(t)
	for _, b := range []lab.Backend{lab.NFT, lab.Legacy} {
		l := lab.New(t, lab.Options{Scene: "mesh", Backend: b})
		svc := caseOf(t, &rig{lab: l}, "svc").Request
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
			t.Run(string(b)+" "+sig.String(), func(t *testing.T) {
				before, files := left(t, l), t.TempDir()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, bin, append([]string{"confirm", "netns", l.Pod()}, strings.Fields(service)...)...)
				cmd.Env = append(os.Environ(), "TMPDIR="+files)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				var report strings.Builder
				cmd.Stdout = &report
				pipe, err := cmd.StderrPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				said := bufio.NewReader(pipe)
				if line, err := said.ReadString('\n'); err != nil || !strings.Contains(line, "watching for 30s") {
					t.Fatalf("it says %q, %v", line, err)
				}
				if a, err := l.Send(ctx, svc); err != nil || a.Code != 200 {
					t.Fatalf("%+v, %v", a, err)
				}
				if during := left(t, l); !strings.Contains(during, "\npacket ") || !strings.Contains(during, "\nnetlink ") {
					t.Errorf("it watches with no socket, or the test sees none:\n%s", during)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, said); err != nil {
					t.Fatal(err)
				}
				var exit *exec.ExitError
				err = cmd.Wait()
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				if sig == syscall.SIGINT && (err != nil || !strings.Contains(report.String(), "CONFIRMED: ")) {
					t.Errorf("interrupted: %v\n%s", err, report.String())
				}
				if err := syscall.Kill(-cmd.Process.Pid, 0); err != syscall.ESRCH {
					t.Errorf("a process of it is left: %v", err)
				}
				if after := left(t, l); after != before {
					t.Errorf("before\n%s\nafter\n%s", before, after)
				}
				if names, err := os.ReadDir(files); err != nil || len(names) > 0 {
					t.Errorf("files are left: %v, %v", names, err)
				}
			})
		}
	}
}
