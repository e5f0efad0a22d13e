package kubernetes

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// deliver: the agent and its tools are sent into an image that the pod already uses, which has a
// shell and none of the tools; what it says and does is the same, and it is sent once.
func (c client) deliver(t *testing.T) {
	agent := filepath.Join(filepath.Dir(power.EnvoyPath()), "kubernetes", "images", "meshtop-agent.tar")
	const scene, name = "inbound", "envoy-traffic-mock"
	ours := func() []string {
		return strings.Fields(c.field(t, scene, "pod", name, ".spec.ephemeralContainers[*].image"))
	}
	before := ours()
	pod := []string{"pod", name, "-n", "scene-" + scene, "--deliver", agent}
	args := append(pod, "--inbound", "--to", "http://"+c.field(t, scene, "pod", name, ".status.podIP")+"/")
	for range 2 {
		if got := c.trace(t, args...); got.Verdict != "delivered" || got.Caller.Code != 200 || got.Outcome.Cluster != "shadow_cluster_config" {
			t.Errorf("%+v", got)
		}
	}
	if out := c.meshtop(t, 0, append([]string{"policy", "block-all", "--yes", "--ttl", "5m"}, pod...)...); !strings.Contains(out, "applied and proven") {
		t.Errorf("block-all:\n%s", out)
	}
	if got := c.curl(scene, name, "http://10.107.42.16/"); !strings.Contains(got, "(7)") {
		t.Errorf("blocked, and the real answer is\n%s", got)
	}
	c.meshtop(t, 0, append([]string{"policy", "restore", "--yes"}, pod...)...)
	if got := c.curl(scene, name, "http://10.107.42.16/"); !strings.Contains(got, "200 OK") {
		t.Errorf("restored, and the real answer is\n%s", got)
	}
	after := strings.Join(ours(), " ")
	for _, b := range before {
		after = strings.Replace(after, b, "", 1)
	}
	if strings.TrimSpace(after) != "localhost/app:1" {
		t.Errorf("beside the containers %q there are now %q", before, after)
	}
	if out := c.meshtop(t, 3, "doctor", "pod", "outpod-mesh", "-n", "scene-mesh", "--deliver", filepath.Join("..", "..", "README.md")); !strings.Contains(out, "neither a program nor an image's archive") {
		t.Errorf("a text is sent:\n%s", out)
	}
}
