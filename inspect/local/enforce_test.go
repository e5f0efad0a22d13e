package local

import (
	"context"
	"errors"
	"net"
	"net/netip"
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

// An address of the pod proves whose namespace it is; nobody else's does, no loopback, and
// none at all where process 1 is the machine's.
func TestOfPod(t *testing.T) {
	seen := []net.Addr{cidr("127.0.0.1/8"), cidr("10.244.0.5/24"), cidr("fd00::5/64"), &net.UnixAddr{Name: "x"}}
	for _, c := range []struct {
		machine bool
		pod     []string
		want    string
	}{
		{false, []string{"10.244.0.5"}, ""}, {false, []string{"10.244.0.6", "fd00::5"}, ""},
		{true, []string{"10.244.0.5"}, "the machine's own"}, {false, nil, "the machine's own"},
		{false, []string{"10.244.0.6"}, "none of the pod's addresses"}, {false, []string{"10.244.0.0"}, "none of the pod's addresses"},
		{false, []string{"127.0.0.1"}, "none of the pod's addresses"},
	} {
		var told []netip.Addr
		for _, a := range c.pod {
			told = append(told, netip.MustParseAddr(a))
		}
		err := ofPod(c.machine, told, seen)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func cidr(s string) net.Addr {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
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
