// Package policy judges the changes of a pod's egress on a real kernel and a real Envoy.
package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/rules/flow"
)

// patience is far more than any wait takes: it only ends a test that hangs.
const patience = 2 * time.Minute

// verb is the built program on the pod of a lab.
type verb struct {
	*testing.T
	bin string
	lab *lab.Lab
	ctx context.Context
}

func newVerb(t *testing.T, l *lab.Lab) verb {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "meshtop")
	if out, err := exec.Command("go", "build", "-o", bin, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return verb{t, bin, l, ctx}
}

// answer is what of meshtop.policy/v1 the tests read.
type answer struct {
	Schema, State, Policy, By, Reason string
	Expires                           *time.Time
	NotCovered                        []string `json:"not_covered"`
	Proof                             []struct {
		Result string
		Holds  bool
	}
	Open struct{ Before, Closed, Left int }
}

// args is the command line of an action on the pod.
func (v verb) args(action string, more ...string) []string {
	return append([]string{"policy", action, "netns", v.lab.Pod(), "-o", "json"}, more...)
}

// does runs an action and wants an exit status.
func (v verb) does(want int, action string, more ...string) (answer, string) {
	v.Helper()
	cmd := exec.CommandContext(v.ctx, v.bin, v.args(action, more...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		v.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		v.Fatalf("%s: exit status %d, want %d: %s%s", action, got, want, out.String(), errs.String())
	}
	var a answer
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &a); err != nil || a.Schema != "meshtop.policy/v1" {
			v.Fatalf("%s: %v: %s", action, err, out.String())
		}
	}
	return a, errs.String()
}

// gets sends one request of the application and says how it ends.
func (v verb) gets() flow.Symptom {
	v.Helper()
	a, err := v.lab.Send(v.ctx, v.lab.Scene.Cases[0].Request)
	if err != nil {
		v.Fatal(err)
	}
	return a.Symptom
}

// until waits until the application's request ends so.
func (v verb) until(what string, ok func(flow.Symptom) bool) {
	v.Helper()
	for !ok(v.gets()) {
		if v.ctx.Err() != nil {
			v.Fatalf("never: %s", what)
		}
	}
}

func refused(s flow.Symptom) bool { return s.TCP == flow.TCPRefused }
func served(s flow.Symptom) bool  { return s.Code == 200 }

func (v verb) unchanged(before string) {
	v.Helper()
	if after := rules(v.T, v.lab); after != before {
		v.Errorf("the rules were\n%s\nand are\n%s", before, after)
	}
}

// The verb on one pod, with iptables of either back end: each part leaves the rules as they
// were.
func TestVerb(t *testing.T) {
	for _, backend := range []lab.Backend{lab.NFT, lab.Legacy} {
		t.Run(string(backend), func(t *testing.T) {
			v := newVerb(t, lab.New(t, lab.Options{Scene: "mesh", Backend: backend}))
			before := rules(v.T, v.lab)
			parts := map[string]func(verb){"blocks": verb.blocks, "ends": verb.ends}
			if backend == lab.NFT { // what does not touch the rules is the same with both
				parts = map[string]func(verb){"blocks": verb.blocks, "ends": verb.ends, "hold, killed": verb.holdKilled, "hold, interrupted": verb.holdInterrupted,
					"except": verb.except, "asks": verb.asks}
			}
			for name, part := range parts {
				t.Run(name, func(t *testing.T) {
					v := v
					v.T = t
					part(v)
					v.unchanged(before)
				})
			}
		})
	}
}

// blocks: a block is proven, shown, held against another, and taken back.
func (v verb) blocks() {
	if got := v.gets(); !served(got) {
		v.Fatalf("before: %+v", got)
	}
	a, errs := v.does(0, "block-all", "--ttl", "10m", "--yes", "--reason", "INC-4711")
	if a.State != "applied" || a.Policy != "block-all" || a.Expires == nil || len(a.Proof) == 0 || errs != "" {
		v.Errorf("%+v %s", a, errs)
	}
	if got := v.gets(); !refused(got) {
		v.Errorf("blocked: %+v", got)
	}
	if not := strings.Join(a.NotCovered, ","); !strings.Contains(not, fmt.Sprintf("proxy uid %d", lab.EnvoyUID)) || !strings.Contains(not, "udp") {
		v.Errorf("not covered: %s", not)
	}
	if a, _ := v.does(0, "show"); a.State != "applied" || a.Reason != "INC-4711" {
		v.Errorf("show: %+v", a)
	}
	if _, errs := v.does(3, "allow-all", "--all", "--yes"); !strings.Contains(errs, "INC-4711") || strings.Count(errs, "\n") != 1 {
		v.Errorf("a second one: %s", errs)
	}
	// A trace says what the kernel does now.
	out, err := exec.CommandContext(v.ctx, v.bin, "trace", "netns", v.lab.Pod(), "--to", "10.107.42.16:80", "--uid", "1000", "-o", "short").Output()
	if !strings.HasPrefix(string(out), "refused ") {
		v.Errorf("trace: %v %s", err, out)
	}
	if a, _ := v.does(0, "restore", "--yes"); a.State != "none" {
		v.Errorf("restore: %+v", a)
	}
	if got := v.gets(); !served(got) {
		v.Errorf("restored: %+v", got)
	}
}

// ends: the block ends by itself, its rest is shown as one, and is no obstacle.
func (v verb) ends() {
	v.does(0, "block-all", "--ttl", "2s", "--yes")
	v.until("the lease ends", served)
	if a, _ := v.does(0, "show"); a.State != "expired" {
		v.Errorf("show: %+v", a)
	}
	v.does(0, "block-all", "--ttl", "10m", "--yes") // in the place of the rest
	if got := v.gets(); !refused(got) {
		v.Errorf("blocked again: %+v", got)
	}
	v.does(0, "restore", "--yes")
}

// holding is the verb with --hold, once it holds.
func (v verb) holding(ttl string) *exec.Cmd {
	v.Helper()
	cmd := exec.CommandContext(v.ctx, v.bin, v.args("block-all", "--ttl", ttl, "--hold", "--yes")...)
	if err := cmd.Start(); err != nil {
		v.Fatal(err)
	}
	first := v.shown("the policy is there", func(a answer) bool { return a.State == "applied" })
	v.shown("the lease is renewed", func(a answer) bool { return a.Expires != nil && a.Expires.After(*first.Expires) })
	return cmd
}

// shown waits until the policy is shown so.
func (v verb) shown(what string, ok func(answer) bool) answer {
	v.Helper()
	for {
		out, _ := exec.CommandContext(v.ctx, v.bin, v.args("show")...).Output()
		var a answer
		if json.Unmarshal(out, &a) == nil && ok(a) {
			return a
		}
		if v.ctx.Err() != nil {
			v.Fatalf("never: %s: %s", what, out)
		}
	}
}

// holdKilled: whoever holds a block may be killed, and the kernel ends it.
func (v verb) holdKilled() {
	cmd := v.holding("3s")
	if got := v.gets(); !refused(got) {
		v.Errorf("held: %+v", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		v.Fatal(err)
	}
	_ = cmd.Wait()
	v.until("the lease ends", served)
	if a, _ := v.does(0, "show"); a.State != "expired" {
		v.Errorf("show: %+v", a)
	}
	v.does(0, "restore", "--yes")
}

// holdInterrupted: whoever is interrupted, or loses the terminal, takes it back, also where
// somebody is impatient meanwhile.
func (v verb) holdInterrupted() {
	for _, signals := range [][]syscall.Signal{{syscall.SIGINT}, {syscall.SIGHUP}, {syscall.SIGINT, syscall.SIGINT, syscall.SIGTERM}} {
		cmd := v.holding("3s")
		for _, s := range signals {
			if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				v.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			v.Errorf("%v: %v", signals, err)
		}
		if got := v.gets(); !served(got) {
			v.Errorf("after %v: %+v", signals, got)
		}
	}
}

// What the proxy blocks is reached around it, and then blocked again.
func TestVerbAllows(t *testing.T) {
	v := newVerb(t, lab.New(t, lab.Options{Scene: "block-all"}))
	before := rules(v.T, v.lab)
	if got := v.gets(); served(got) {
		t.Fatalf("before: %+v", got)
	}
	if a, _ := v.does(0, "allow-all", "--ttl", "10m", "--yes"); a.State != "applied" {
		t.Errorf("%+v", a)
	}
	if got := v.gets(); !served(got) {
		t.Errorf("opened: %+v", got)
	}
	v.does(0, "restore", "--yes")
	if got := v.gets(); served(got) {
		t.Errorf("restored: %+v", got)
	}
	v.unchanged(before)
}

// except: a hole stays open.
func (v verb) except() {
	if a, _ := v.does(0, "block-all", "--yes", "--except", "10.107.42.16:80", "--close-open"); a.State != "applied" || a.Open.Left != 0 {
		v.Errorf("%+v", a)
	}
	if got := v.gets(); !served(got) {
		v.Errorf("the hole: %+v", got)
	}
	v.does(0, "restore", "--yes")
}

// asks: on a terminal the pod's name is asked for, below the plan.
func (v verb) asks() {
	before := rules(v.T, v.lab)
	for _, typed := range []string{"yes", v.lab.Pod()} {
		p, err := screen.Start(screen.Options{W: 110, H: 50}, v.bin, "policy", "block-all", "netns", v.lab.Pod(), "--ttl", "10m")
		if err != nil {
			v.Fatal(err)
		}
		defer p.Close()
		if err := p.Wait(v.ctx, "3 of 3 destinations would be refused", "Type "+v.lab.Pod()+" to apply it:"); err != nil {
			v.Fatal(err)
		}
		if err := p.Keys(typed + "\r"); err != nil {
			v.Fatal(err)
		}
		want := "applied and proven"
		if typed == "yes" {
			want = "nothing was changed"
		}
		if err := p.Wait(v.ctx, want); err != nil {
			v.Fatal(err)
		}
		err = p.Ended(v.ctx)
		if typed == "yes" {
			v.unchanged(before)
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) && typed == "yes" && exit.ExitCode() == 3 {
			err = nil
		}
		if err != nil {
			v.Errorf("%s: %v", typed, err)
		}
	}
	if got := v.gets(); !refused(got) {
		v.Errorf("blocked: %+v", got)
	}
	v.does(0, "restore", "--yes")
}

// Nothing ends Envoy's limits by itself: the verb stays and takes them back, at the end of the
// time and when it is interrupted. If it is killed, whoever restores takes them back.
func TestVerbRuntime(t *testing.T) {
	v := newVerb(t, layered(t, "mesh"))
	before := envoyRuntime(t, v.lab)
	for _, end := range []string{"time", "interrupt", "kill"} {
		ttl := "1h"
		if end == "time" {
			ttl = "2s"
		}
		cmd := exec.CommandContext(v.ctx, v.bin, v.args("block-all", "--driver", "runtime", "--ttl", ttl, "--yes")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		v.until(end+": the limits hold", func(s flow.Symptom) bool { return !served(s) })
		switch end {
		case "interrupt":
			cmd.Process.Signal(syscall.SIGINT)
		case "kill":
			cmd.Process.Kill()
		}
		if err := cmd.Wait(); (err == nil) == (end == "kill") {
			t.Errorf("%s: it ends with %v", end, err)
		}
		if end == "kill" {
			if a, _ := v.does(0, "restore", "--yes"); a.State != "none" {
				t.Errorf("restore: %+v", a)
			}
		}
		if got := v.gets(); !served(got) {
			t.Errorf("%s: after it: %+v", end, got)
		}
		if after := envoyRuntime(t, v.lab); !reflect.DeepEqual(after, before) {
			t.Errorf("%s: the runtime was %v and is %v", end, before, after)
		}
	}
}
