// Package agent judges the program that runs in a pod: what comes through it is what the pod
// itself gives, and nothing of it stays.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "meshtop-agent-*")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "meshtop-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/meshtop/meshtop/cmd/meshtop-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if os.Getenv(envClient) != "" {
		if err := beClient(); err != nil {
			fmt.Fprintln(os.Stderr, "client:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func built(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts the program in the namespace.
func start(t *testing.T, space *netns.Space, cmd *exec.Cmd) {
	t.Helper()
	if err := space.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
}

// serve starts `serve` in the namespace and dials it. ended gives its exit.
func serve(t *testing.T, space *netns.Space, args ...string) (pod *agent.Pod, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.Command(built(t), append([]string{"serve"}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, space, cmd)
	pod, err = agent.Dial(t.Context(), stream{out, in}, agent.DialOptions{Name: "the pod"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pod.Close() })
	return pod, cmd
}

type stream struct {
	io.ReadCloser
	in io.WriteCloser
}

func (s stream) Write(b []byte) (int, error) { return s.in.Write(b) }
func (s stream) Close() error                { return errors.Join(s.in.Close(), s.ReadCloser.Close()) }

// A trace through the agent is the trace of a reading in place, and what it sends and sees is
// confirmed.
func TestTraceAndConfirm(t *testing.T) {
	for _, name := range []string{"mesh", "block-all", "inbound"} {
		t.Run(name, func(t *testing.T) {
			l := lab.New(t, lab.Options{Scene: name})
			here, err := local.Named(l.Pod(), local.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer here.Close()
			there, _ := serve(t, l.PodSpace(), "--socket", filepath.Join(t.TempDir(), "none"))
			want, err := session.Read(t.Context(), here, inspect.Want{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := session.Read(t.Context(), there, inspect.Want{})
			if err != nil || len(got.Gaps) > 0 {
				t.Fatalf("%v, gaps %v", err, got.Gaps)
			}
			for part := range want.Files {
				if _, ok := got.Files[part]; !ok {
					t.Errorf("part %s did not come", part)
				}
			}
			sent := 0
			for _, c := range l.Scene.Cases {
				if a, b := text(want, c.Request), text(got, c.Request); a != b {
					t.Errorf("%s: through the agent\n%s\nin place\n%s", c.Name, b, a)
				}
				if c.Request.Dir == flow.Outbound && c.Request.Proto == flow.TCP && sent < 2 {
					sent++
					confirmed(t, there, got, c.Request)
				}
			}
			if name != "inbound" && sent == 0 {
				t.Error("no request was sent")
			}
		})
	}
}

// counters of rules rise with what the readers themselves send.
var counters = regexp.MustCompile(`\[\d+:\d+\]`)

func text(r session.Reading, req flow.Request) string {
	return counters.ReplaceAllString(string(render.JSON(rules.Trace(r.Snapshot, req), true)), "[n:n]")
}

func confirmed(t *testing.T, pod inspect.Pod, r session.Reading, req flow.Request) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, rep, err := session.Confirm(ctx, pod, r, req, session.ConfirmOptions{Send: true})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Word != confirm.Confirmed {
		t.Errorf("%s\n%s", rep.Word, render.ReportText(rep))
	}
}

// The agent ends with its client, however that ended, and so do the children of its reading.
func TestEndsWithItsClient(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	pod, cmd := serve(t, l.PodSpace(), "--socket", filepath.Join(t.TempDir(), "none"))
	w, err := pod.Observe(t.Context(), []flow.Leg{{From: flow.Conn{Proto: flow.TCP}}}, inspect.ObserveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.Close(); err != nil {
		t.Error(err)
	}
	for range w.C() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}
