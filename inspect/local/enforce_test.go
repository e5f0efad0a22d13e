package local

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

func block() flow.Change {
	c := flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, TTL: time.Minute, By: "dev@corp", ProxyUIDs: []uint32{lab.EnvoyUID}, ProxyGIDs: []uint32{lab.EnvoyUID}}
	c.Edits, c.Undo = edits.Of(c)
	return c
}

// The machine's own namespace is refused, by whatever name it is opened.
func TestRefusesTheMachine(t *testing.T) {
	power.Root(t)
	for what, open := range map[string]func() (*Pod, error){
		"own": func() (*Pod, error) { return Own(Options{}) },
		"pid": func() (*Pod, error) { return OfPid(os.Getpid(), Options{}) },
	} {
		p, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if _, err := p.Apply(context.Background(), block()); err == nil || !strings.Contains(err.Error(), "the machine's own network namespace") {
			t.Errorf("%s: %v", what, err)
		}
		if err := p.Renew(context.Background(), time.Minute); err == nil || !strings.Contains(err.Error(), "the machine's own network namespace") {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := p.Policy(context.Background()); err != nil || got.State != flow.StateNone {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
}

// A policy of a live pod is applied, shown, renewed and restored, by its name and by a
// process of it; no thread stays behind in the pod's namespace.
func TestPolicyOfAPod(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	byName := live(t, l)
	byPid, err := OfPid(l.EnvoyPID(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer byPid.Close()
	ctx := context.Background()
	var e inspect.Enforcer = byName
	if p, err := e.Apply(ctx, block()); err != nil || p.State != flow.StateApplied {
		t.Fatalf("%+v, %v", p, err)
	}
	var held *inspect.Held
	if _, err := byPid.Apply(ctx, block()); !errors.As(err, &held) || held.Policy.Change.By != "dev@corp" {
		t.Errorf("a second writer: %v", err)
	}
	if err := byPid.Renew(ctx, time.Hour); err != nil {
		t.Error(err)
	}
	if p, err := byPid.Policy(ctx); err != nil || p.State != flow.StateApplied || time.Until(p.Expires) < 59*time.Minute {
		t.Errorf("%+v, %v", p, err)
	}
	c := flow.Change{Kind: flow.Restore, Driver: flow.Kernel}
	c.Edits, c.Undo = edits.Of(c)
	if p, err := byPid.Apply(ctx, c); err != nil || p.State != flow.StateNone {
		t.Errorf("%+v, %v", p, err)
	}
	noThreadIn(t, byName.space.ID())
}

// noThreadIn fails if a thread of this process is in a namespace.
func noThreadIn(t *testing.T, id uint64) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		var st unix.Stat_t
		if unix.Stat("/proc/self/task/"+task.Name()+"/ns/net", &st) == nil && st.Ino == id {
			t.Errorf("thread %s is still in the pod's network namespace", task.Name())
		}
	}
}
