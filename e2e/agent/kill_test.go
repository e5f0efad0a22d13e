package agent

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/prober"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

const (
	lease  = 600 * time.Millisecond
	margin = 50 * time.Millisecond
	app    = 1000 // the prober's uid
)

var service = netip.MustParseAddrPort("10.107.42.16:80")

// victims are killed with SIGKILL, at each point of a change's life.
var victims = []string{"hold", "serve", "client", "serve and client", "all"}

// points come before, between, in and after the transactions.
var points = []string{"before", "in apply", "applied", "in renew", "renewed", "in restore"}

// Whoever is killed and whenever: the block ends with its lease, as the kernel counts it, and
// not before; what is left lets itself be cleaned away.
func TestKilled(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	before := ruleset(t, l)
	if !strings.Contains(before, "redirect") && !strings.Contains(before, "REDIRECT") {
		t.Fatalf("the scene has no rules to compare:\n%s", before)
	}
	for _, v := range victims {
		for _, p := range points {
			t.Run(v+"/"+p, func(t *testing.T) {
				killed(t, l, v, p)
				cleaned(t, l)
				if after := ruleset(t, l); after != before {
					t.Errorf("rules before\n%s\nafter\n%s", before, after)
				}
				gone(t)
			})
		}
	}
}

// scene is what runs for one case.
type scene struct {
	socket string
	hold   *exec.Cmd
	client *client
}

func raise(t *testing.T, l *lab.Lab) *scene {
	t.Helper()
	s := &scene{socket: filepath.Join(t.TempDir(), "hold")}
	s.hold = exec.Command(built(t), "hold", "--socket", s.socket, "--idle", "0")
	s.hold.Stderr = os.Stderr
	start(t, l.PodSpace(), s.hold)
	until(t, "hold listens", func() bool { _, err := os.Stat(s.socket); return err == nil })
	s.client = startClient(t, l, s.socket)
	return s
}

func (s *scene) kill(t *testing.T, victim string) {
	t.Helper()
	for who, pid := range map[string]int{"hold": s.hold.Process.Pid, "serve": s.client.serve, "client": s.client.cmd.Process.Pid} {
		if victim == "all" || strings.Contains(victim, who) {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Errorf("kill %s: %v", who, err)
			}
		}
	}
}

// end ends those that are still there, as they end when nobody kills them.
func (s *scene) end(t *testing.T) {
	t.Helper()
	_ = s.client.in.Close() // of one that was killed it is closed
	_ = s.client.cmd.Wait()
	_ = s.hold.Process.Signal(unix.SIGTERM)
	_ = s.hold.Wait()
}

func killed(t *testing.T, l *lab.Lab, victim, point string) {
	s := raise(t, l)
	defer s.end(t)
	probes := prober.Start(l.PodSpace(), app, service, time.Millisecond)
	applied := time.Time{}
	switch point {
	case "in apply":
		s.client.tell(t, order{Do: "apply", TTL: lease})
		until(t, "the table is there", func() bool { return strings.Contains(ruleset(t, l), "table inet meshtop") })
	case "applied", "in renew", "renewed", "in restore":
		s.client.ask(t, order{Do: "apply", TTL: lease})
		applied = time.Now()
	}
	switch point {
	case "in renew":
		s.client.tell(t, order{Do: "renew", TTL: 2 * lease})
	case "renewed":
		s.client.ask(t, order{Do: "renew", TTL: 2 * lease})
	case "in restore":
		s.client.tell(t, order{Do: "restore"})
	}
	s.kill(t, victim)
	change := time.Now() // a change that was told may still be going on
	end, inForce := settled(t, l)
	if inForce && applied.IsZero() {
		applied = change
	}
	seen := time.Now()
	if !inForce {
		end = seen
	}
	if point == "applied" && !inForce {
		t.Errorf("the change ended when somebody was killed, before its time:\n%s", ruleset(t, l))
	}
	time.Sleep(time.Until(end.Add(5 * margin)))
	shots, err := probes.Stop()
	if err != nil {
		t.Fatal(err)
	}
	// What began while a transaction went on that outlived the killing could meet either side of it:
	// it is left out, up to the reading that found the rules still.
	if strings.HasPrefix(point, "in ") {
		applied = seen
	}
	judge(t, shots, applied, end, inForce)
}

// settled reads the lease's end until it is the same for a while, or nothing is in force for as
// long: who was not killed may still carry out what was told.
func settled(t *testing.T, l *lab.Lab) (end time.Time, inForce bool) {
	t.Helper()
	const still = 2 * margin
	end, inForce = leaseEnd(t, l)
	since := time.Now()
	for time.Since(since) < still {
		time.Sleep(margin / 10)
		// Each reading has the kernel's time that is left, which counts in milliseconds.
		e, in := leaseEnd(t, l)
		if moved := e.Sub(end).Abs(); in != inForce || in && moved > margin/2 {
			end, inForce, since = e, in, time.Now()
		}
	}
	return end, inForce
}

// judge looks at every probe: passed before, refused while the lease lived, passed after.
func judge(t *testing.T, shots []prober.Shot, applied, end time.Time, inForce bool) {
	t.Helper()
	early, during, after, wrong := 0, 0, 0, 0
	for _, s := range shots {
		refused := s.Refused()
		if s.Err != nil && !refused {
			t.Fatalf("a probe failed: %v", s.Err)
		}
		switch {
		case s.Begun.After(end.Add(margin)):
			after++
			if refused {
				wrong++
				first(t, wrong, "refused %v after the end", s.Begun.Sub(end))
			}
		case inForce && s.Begun.After(applied) && s.Begun.Before(end.Add(-margin)):
			during++
			if !refused {
				wrong++
				first(t, wrong, "went through %v before the end", end.Sub(s.Begun))
			}
		default:
			early++
		}
	}
	if wrong > 0 {
		t.Errorf("%d probes of %d are wrong", wrong, len(shots))
	}
	if after == 0 || (inForce && during == 0) {
		t.Errorf("probes: %d before, %d during, %d after: nothing is proven", early, during, after)
	}
}

// first tells of the first few.
func first(t *testing.T, n int, format string, args ...any) {
	if n <= 3 {
		t.Logf(format, args...)
	}
}

// leaseEnd is when the kernel ends what is in force.
func leaseEnd(t *testing.T, l *lab.Lab) (time.Time, bool) {
	t.Helper()
	pod, err := local.Named(l.Pod(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	p, err := pod.Policy(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p.Expires, p.State != flow.StateNone && p.State != flow.StateExpired
}

// cleaned starts anew, as after a crash, and restores what is found.
func cleaned(t *testing.T, l *lab.Lab) {
	t.Helper()
	until(t, "the lease has ended", func() bool { _, still := leaseEnd(t, l); return !still })
	s := raise(t, l)
	s.client.ask(t, order{Do: "restore"})
	if err := s.client.in.Close(); err != nil {
		t.Error(err)
	}
	if err := s.client.cmd.Wait(); err != nil {
		t.Errorf("the client: %v", err)
	}
	if err := s.hold.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := s.hold.Wait(); err != nil {
		t.Errorf("hold: %v", err)
	}
	if _, err := os.Stat(s.socket); err == nil {
		t.Error("hold leaves its socket")
	}
}

// A change that holds while somebody watches ends with the client or its stream, long before
// its time.
func TestHoldEnds(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	for _, v := range []string{"serve", "client", "serve and client"} {
		t.Run(v, func(t *testing.T) {
			s := raise(t, l)
			s.client.ask(t, order{Do: "apply", TTL: time.Hour, Hold: true})
			if _, on := leaseEnd(t, l); !on {
				t.Fatal("it is not in force")
			}
			s.kill(t, v)
			until(t, "it has ended", func() bool { return !strings.Contains(ruleset(t, l), "table inet meshtop") })
			if err := unix.Kill(s.hold.Process.Pid, unix.SIGTERM); err != nil {
				t.Error(err)
			}
			_ = s.hold.Wait()
			gone(t)
		})
	}
}

// hold takes away the inert table that the kernel's lease leaves, while nobody is there, and
// ends when nobody was for its time.
func TestHoldCleansUpAndEnds(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	s := &scene{socket: filepath.Join(t.TempDir(), "hold")}
	s.hold = exec.Command(built(t), "hold", "--socket", s.socket, "--idle", "300ms")
	s.hold.Stderr = os.Stderr
	start(t, l.PodSpace(), s.hold)
	until(t, "hold listens", func() bool { _, err := os.Stat(s.socket); return err == nil })
	s.client = startClient(t, l, s.socket)
	s.client.ask(t, order{Do: "apply", TTL: lease})
	if err := s.client.in.Close(); err != nil {
		t.Error(err)
	}
	if err := s.client.cmd.Wait(); err != nil {
		t.Errorf("the client: %v", err)
	}
	if err := s.hold.Wait(); err != nil {
		t.Errorf("hold: %v", err)
	}
	if now := ruleset(t, l); strings.Contains(now, "table inet meshtop") {
		t.Errorf("hold ended and left\n%s", now)
	}
	gone(t)
}

// ruleset is every rule, without what counts.
func ruleset(t *testing.T, l *lab.Lab) string {
	t.Helper()
	out, err := l.InPod("nft", "--stateless", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// gone waits until no process of the agent's program is there any more.
func gone(t *testing.T) {
	t.Helper()
	self := built(t)
	until(t, "no agent is left", func() bool {
		exes, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, e := range exes {
			if to, err := os.Readlink(e); err == nil && to == self {
				stat, _ := os.ReadFile(filepath.Dir(e) + "/stat")
				if !bytes.Contains(stat, []byte(") Z ")) {
					return false
				}
			}
		}
		return true
	})
}

// until waits for a condition that comes by itself.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(fmt.Sprint("waited in vain: ", what))
		}
	}
}
