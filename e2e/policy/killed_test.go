package policy

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/prober"
	"github.com/meshtop/meshtop/inspect/enforce"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

// The victim is this test's binary once more: it applies a block, and dies by SIGKILL at the
// point that it is told.
const (
	victimEnv = "MESHTOP_POLICY_VICTIM" // the namespace
	pointEnv  = "MESHTOP_POLICY_POINT"
)

// points are where a process that applies and renews can be when it is killed.
var points = []string{
	"before anything", string(enforce.Checking), string(enforce.Writing), string(enforce.Reading), string(enforce.Proving), string(enforce.Ending),
	"applied", "between renewals", "renewed",
}

// lease is how long the victim's block holds.
const lease = 600 * time.Millisecond

func victim() {
	at := os.Getenv(pointEnv)
	die := func(where string) {
		fmt.Println(where)
		if where == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	p, err := local.Named(os.Getenv(victimEnv), local.Options{Step: func(s enforce.Step) { die(string(s)) }})
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fail(err)
	die("before anything")
	_, err = p.Apply(context.Background(), change(flow.BlockAll, func(c *flow.Change) { c.TTL, c.By = lease, "victim@lab" }))
	fail(err)
	die("applied")
	fail(p.Renew(context.Background(), lease))
	die("between renewals")
	fail(p.Renew(context.Background(), lease))
	die("renewed")
	os.Exit(1)
}

// Whoever applied a block may be killed at any point: before the transaction nothing is
// blocked, and after it the kernel ends the block. Each connection that began 50 ms before
// the lease's end or earlier was refused, each that began 50 ms after it goes through, and the
// next one who starts finds the rest, whose it was, and clears it.
func TestKilled(t *testing.T) {
	for i, point := range points {
		b := []lab.Backend{lab.NFT, lab.Legacy}[i%2]
		t.Run(point, func(t *testing.T) {
			l := lab.New(t, lab.Options{Scene: "mesh", Backend: b})
			p := pod(t, l, local.Options{})
			before, inside := rules(t, l), processes(t, l)
			c := shoot(t, l, echo, pace)
			c.await(t, 20)
			kill(t, l, point)
			died := time.Now()
			rest, err := p.Policy(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			written := point != points[0] && point != points[1] && point != points[2]
			if written != (rest.State != flow.StateNone) || written && rest.Change.By != "victim@lab" {
				t.Fatalf("after the kill it is %+v", rest)
			}
			ends := rest.Expires // as the kernel counts it
			if written {
				for end := time.Now().Add(10 * time.Second); rest.State != flow.StateExpired; time.Sleep(5 * time.Millisecond) {
					if rest, err = p.Policy(context.Background()); err != nil || time.Now().After(end) {
						t.Fatalf("%+v, %v", rest, err)
					}
				}
			}
			c.await(t, 100)
			judge(t, c.end(t), written, died, ends)
			apply(t, p, flow.StateApplied, change(flow.BlockAll, func(c *flow.Change) { c.By = "next@lab" }))
			apply(t, p, flow.StateNone, change(flow.Restore))
			if after := rules(t, l); after != before {
				t.Errorf("the rules were\n%s\nand are\n%s", before, after)
			}
			if after := processes(t, l); after != inside {
				t.Errorf("the processes in the pod were %s and are %s", inside, after)
			}
		})
	}
}

// kill runs the victim until it is dead.
func kill(t *testing.T, l *lab.Lab, point string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), victimEnv+"="+l.Pod(), pointEnv+"="+point)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for sc := bufio.NewScanner(out); sc.Scan(); {
		last = sc.Text()
	}
	_ = cmd.Wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGKILL || last != point {
		t.Fatalf("the victim ended with %v, its last words were %q", cmd.ProcessState, last)
	}
}

// judge compares every connection with when the lease ended.
func judge(t *testing.T, all []prober.Shot, written bool, died, end time.Time) {
	t.Helper()
	const slack = 50 * time.Millisecond
	blocked, after := 0, 0
	for _, s := range all {
		switch {
		case !written:
			if s.Err != nil {
				t.Errorf("nothing was written, and a connection got %v", s.Err)
			}
		case s.Begun.After(end.Add(slack)):
			after++
			if s.Err != nil {
				t.Errorf("a connection that began %s after the lease's end: %v", s.Begun.Sub(end), s.Err)
			}
		case s.Refused():
			blocked++
		case blocked > 0 && s.Begun.Before(end.Add(-slack)):
			t.Errorf("a connection that began %s before the lease's end, once it was blocked: %v", end.Sub(s.Begun), s.Err)
		case s.Begun.After(died) && s.Begun.Before(end.Add(-slack)):
			t.Errorf("a connection that began %s after the kill: %v", s.Begun.Sub(died), s.Err)
		}
	}
	if written && (blocked < 20 || after < 20) {
		t.Errorf("%d connections were refused and %d went through afterwards: too few to judge by", blocked, after)
	}
}

// processes are the processes of the pod.
func processes(t *testing.T, l *lab.Lab) string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "pids", l.Pod()).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}
