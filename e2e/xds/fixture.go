// Package xds judges the control plane: the built program beside a real Envoy in a pod's network
// namespace, and clients that try to get past what it calls applied.
package xds

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/xds"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// built is the program, made once.
var built string

// long is far more than any wait takes: it only ends a test that hangs.
const long = time.Minute

// plane is a control plane that runs in a pod.
type plane struct {
	t      *testing.T
	lab    *lab.Lab
	file   string // what it serves
	write  string // the bootstrap that it writes
	socket string
	cmd    *exec.Cmd

	mu    sync.Mutex
	lines []string
	grown chan struct{}
	ended chan struct{}
}

// in brings a scene up whose Envoy is served by a control plane.
func in(t *testing.T, scene string, backend lab.Backend) *plane {
	t.Helper()
	p := bare(t, scene, backend)
	p.start()
	p.envoy()
	return p
}

// bare is a scene with neither Envoy nor control plane running.
func bare(t *testing.T, scene string, backend lab.Backend) *plane {
	t.Helper()
	l := lab.New(t, lab.Options{Scene: scene, Backend: backend, NoEnvoy: true})
	dir, err := os.MkdirTemp("", "mt-xds-") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &plane{t: t, lab: l, file: filepath.Join(dir, "envoy.yaml"), write: filepath.Join(dir, "ads.yaml"), socket: filepath.Join(dir, "sock")}
	if err := os.WriteFile(p.file, l.Scene.Envoy, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs the control plane inside the pod, and waits until it serves.
func (p *plane) start() {
	p.t.Helper()
	p.cmd = exec.Command("ip", "netns", "exec", p.lab.Pod(), built, "controlplane",
		"--bootstrap", p.file, "--write", p.write, "--socket", p.socket)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.grown, p.ended, p.lines = make(chan struct{}), make(chan struct{}), nil
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go p.listen(bufio.NewScanner(said))
	p.t.Cleanup(func() { p.kill() })
	p.says("meshtop: serving ")
}

func (p *plane) listen(sc *bufio.Scanner) {
	for sc.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, sc.Text())
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
	}
	p.cmd.Wait()
	close(p.ended)
}

// says waits until the control plane has said something, and gives that line.
func (p *plane) says(text string) string {
	p.t.Helper()
	deadline := time.After(long)
	for {
		p.mu.Lock()
		lines, grown := p.lines, p.grown
		p.mu.Unlock()
		for _, l := range lines {
			if strings.Contains(l, text) {
				return l
			}
		}
		select {
		case <-grown:
		case <-p.ended:
			p.t.Fatalf("the control plane ended, and never said %q:\n%s", text, strings.Join(p.lines, "\n"))
		case <-deadline:
			p.t.Fatalf("the control plane never said %q:\n%s", text, strings.Join(lines, "\n"))
		}
	}
}

// forget forgets what was said, so that the next says waits for something new.
func (p *plane) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = nil
}

// kill ends the control plane without giving it a chance.
func (p *plane) kill() { p.signal(syscall.SIGKILL) }

// signal sends a signal that ends it, waits, and gives its exit status.
func (p *plane) signal(s syscall.Signal) int {
	p.cmd.Process.Signal(s)
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// envoy starts Envoy with the bootstrap that the control plane wrote.
func (p *plane) envoy() {
	p.t.Helper()
	conf, err := os.ReadFile(p.write)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.lab.StartEnvoy(conf); err != nil {
		p.t.Fatal(err)
	}
}

// ask dials the control plane.
func (p *plane) ask() *xds.Client {
	p.t.Helper()
	c, err := xds.Dial(context.Background(), p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// change is a policy for ten minutes.
func change(kind flow.PolicyKind) flow.Change {
	return flow.Change{Kind: kind, Driver: flow.XDS, TTL: 10 * time.Minute, By: "test", Reason: "a test", All: kind == flow.AllowAll}
}

// worded adds the text of a change to the scenes' only capturing listener.
func worded(ch flow.Change) flow.Change {
	ch.Edits, ch.Undo = edits.Served(ch, []string{"virtualOutbound"})
	return ch
}

// applied applies a change that must come into force.
func (p *plane) applied(c *xds.Client, ch flow.Change) flow.Policy {
	p.t.Helper()
	got, err := c.Apply(context.Background(), worded(ch))
	want := flow.StateApplied
	if ch.Kind == flow.Restore {
		want = flow.StateNone
	}
	if err != nil || got.State != want {
		p.t.Fatalf("%s: state %s, %s, error %v\n%+v", ch.Kind, got.State, got.Why, err, got.Proof)
	}
	return got
}

// way is what a request of the app gets: "200 SERVER", "200 SERVER mesh" where the mesh listener's
// script saw it, or its end.
func (p *plane) way(dst string) string {
	p.t.Helper()
	r := flow.Request{Dst: netip.MustParseAddrPort(dst), UID: appUID, GID: appUID, HTTP: &flow.HTTP{Authority: dst}}
	a, err := p.lab.Send(context.Background(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return said(a)
}

func said(a lab.Answer) string {
	server := a.Header.Get("x-server")
	switch {
	case server != "" && a.Header.Get("myage") != "":
		return fmt.Sprintf("%d %s mesh", a.Code, server)
	case server != "":
		return fmt.Sprintf("%d %s", a.Code, server)
	case a.TCP == flow.TCPReset || a.TCP == flow.TCPClosed:
		return "cut"
	}
	return a.TCP.String()
}
