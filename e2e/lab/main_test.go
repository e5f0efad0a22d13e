package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// For a person: up says what to type next, what it says works, down leaves nothing.
func TestUpAndDownByHand(t *testing.T) {
	power.Root(t)
	power.Envoy(t)
	power.Tools(t, "ip", "curl", "setpriv", "iptables-legacy")
	bin := filepath.Join(t.TempDir(), "lab")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const name = "mt-by-hand"
	t.Cleanup(func() { exec.Command(bin, "down", name).Run() })
	said, err := exec.Command(bin, "up", "-backend", "legacy", "-name", name, "header-match").CombinedOutput()
	if err != nil {
		t.Fatalf("up: %v: %s", err, said)
	}
	tried := 0
	for l := range strings.Lines(string(said)) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "ip netns exec") {
			tried++
			if out, err := exec.Command("sh", "-c", l).CombinedOutput(); err != nil || !strings.Contains(string(out), "200 OK") {
				t.Errorf("%s: %v: %s", l, err, out)
			}
		}
	}
	if tried != 2 {
		t.Errorf("%d commands to type next, want 2:\n%s", tried, said)
	}
	if out, err := exec.Command(bin, "up", "-name", name, "mesh").CombinedOutput(); err == nil || !strings.Contains(string(out), "up already") {
		t.Errorf("up twice: %v: %s", err, out)
	}
	if out, err := exec.Command(bin, "list").CombinedOutput(); err != nil || !strings.Contains(string(out), "lab "+name) {
		t.Errorf("list: %v: %s", err, out)
	}
	if out, err := exec.Command(bin, "down", name).CombinedOutput(); err != nil {
		t.Errorf("down: %v: %s", err, out)
	}
	if _, err := os.Lstat("/run/netns/" + name + "-pod"); err == nil {
		t.Error("the pod is left")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"nope"}, {"up"}, {"up", "a", "b"}, {"up", "-x", "mesh"}} {
		var b strings.Builder
		if err := run(args, &b); err == nil || b.Len() > 0 {
			t.Errorf("%v: %v, printed %q", args, err, b.String())
		}
	}
}
