package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// client is the built program and the cluster that it asks.
type client struct {
	*cluster
	bin string
	as  string // the kubeconfig; empty: the administrator's
}

func (c *cluster) client(t *testing.T) client {
	bin := filepath.Join(c.run, "meshtop")
	if out, err := exec.Command("go", "build", "-ldflags", "-X main.image=localhost/meshtop-agent:1", "-o", bin, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("KUBECONFIG", c.config())
	return client{cluster: c, bin: bin}
}

// meshtop runs a verb, and wants its exit status; both streams are the answer.
func (c client) meshtop(t *testing.T, status int, args ...string) string {
	t.Helper()
	cmd := exec.Command(c.bin, args...)
	if c.as != "" {
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.as)
	}
	out, err := cmd.CombinedOutput()
	got := 0
	if err != nil {
		ended, ok := err.(*exec.ExitError)
		if !ok {
			t.Fatal(err)
		}
		got = ended.ExitCode()
	}
	if got != status {
		t.Errorf("meshtop %s: exit status %d, want %d:\n%s", strings.Join(args, " "), got, status, out)
	}
	return string(out)
}

// doctor finds what a pod's rules leave out.
func (c client) doctor(t *testing.T) {
	if out := c.meshtop(t, 1, "doctor", "pod", "envoy-traffic-mock", "-n", "scene-inbound"); !strings.Contains(out, "outbound ones leave past the proxy") {
		t.Errorf("doctor:\n%s", out)
	}
}

// screens: attached on a terminal.
func (c client) screens(t *testing.T) {
	p := c.sit(t, "pod", "outpod-mesh", "-n", "scene-mesh", "--uid", "0", "--to", "http://10.107.42.16/")
	p.Sees("▸ Trace", "pod outpod-mes", "✓ DELIVERED to 10.107.42.16:80", "nat OUTPUT   #2 REDIRECT :15001")
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
}

// once: one container of ours is in a pod, however often it was attached to, and it left
// nothing on the node: exec's streams go to no log.
func (c client) once(t *testing.T) {
	names := strings.Fields(c.field(t, "mesh", "pod", "outpod-mesh", ".spec.ephemeralContainers[*].name"))
	if len(names) != 1 {
		t.Fatalf("the pod has %q", names)
	}
	logs, err := filepath.Glob(filepath.Join(c.run, "pod-logs", "scene-mesh_outpod-mesh_*", names[0], "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log of %s: %v", names[0], err)
	}
	for _, l := range logs {
		if b, err := os.ReadFile(l); err != nil || len(b) > 0 {
			t.Errorf("%s holds %q (%v)", l, b, err)
		}
	}
}
