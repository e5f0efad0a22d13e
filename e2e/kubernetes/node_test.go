package kubernetes

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// node: where pod security forbids a debug container, the agent works from the pod's node, for
// an account that may do no more than deploy/rbac/node.yaml says. What it put in force outlives
// it; the pod on the node outlives nobody, though its client was killed.
func (c client) node(t *testing.T) {
	kubectl := func(args ...string) string { return c.do(t, "./ctl", append([]string{"kubectl"}, args...)...) }
	kubectl("create", "namespace", "meshtop-nodes")
	kubectl("-n", "meshtop-nodes", "wait", "--for=create", "--timeout=30s", "serviceaccount/default")
	kubectl("label", "namespace", "scene-block-all", "pod-security.kubernetes.io/enforce=restricted")
	for _, r := range [][2]string{{"view", "scene-block-all"}, {"node", "meshtop-nodes"}} {
		kubectl("apply", "-f", filepath.Join("..", "..", "deploy", "rbac", r[0]+".yaml"))
		kubectl("-n", r[1], "create", "rolebinding", "noder", "--clusterrole=meshtop-"+r[0], "--user=noder")
	}
	pod := []string{"pod", "outpod-block", "-n", "scene-block-all", "--as", "noder"}
	before := c.field(t, "block-all", "pod", "outpod-block", ".spec.ephemeralContainers")
	pod = append(pod, "--via", "node", "--node-namespace")
	if out := c.meshtop(t, 3, append([]string{"doctor"}, append(pod, "scene-block-all")...)...); !strings.Contains(out, "needs the role of deploy/rbac/node.yaml in namespace scene-block-all") {
		t.Errorf("without the role:\n%s", out)
	}
	if out := c.meshtop(t, 3, "doctor", "pod", "outpod-block", "-n", "scene-block-all", "--via", "node", "--node-namespace", "scene-block-all"); !strings.Contains(out, "(restricted) admits no pod with power over its node") {
		t.Errorf("in a restricted namespace:\n%s", out)
	}
	for space, says := range map[string]string{"scene-block-all": "✗ no make a Job role node create, delete of jobs.batch in namespace scene-block-all", "meshtop-nodes": "✓ yes make a Job role node create, delete of jobs.batch in namespace meshtop-nodes"} {
		holds(t, c.meshtop(t, 1, append([]string{"can-i"}, append(pod, space)...)...), says)
	}
	pod = append(pod, "meshtop-nodes")
	to := []string{"--uid", "0", "--to", "http://10.107.42.16/"}
	// Envoy's BlockAllCluster has no endpoint: the real request is reset, too.
	if got := c.trace(t, append(pod, to...)...); got.Verdict != "refused" || got.Outcome.Cluster != "BlockAllCluster" {
		t.Errorf("%+v", got)
	}
	if out := c.meshtop(t, 0, append(append([]string{"confirm", "--send"}, pod...), to...)...); !strings.Contains(out, "CONFIRMED") {
		t.Errorf("confirm:\n%s", out)
	}
	// A name is the pod's, and not that of the pod that looks: each has itself in its hosts file.
	holds(t, c.meshtop(t, 1, append(append([]string{"trace"}, pod...), "--to", "http://outpod-block/")...), "outpod-block is "+c.field(t, "block-all", "pod", "outpod-block", ".status.podIP")+": /etc/hosts of the pod has it")
	first := kubectl("-n", "meshtop-nodes", "get", "pods", "-o", "name")
	if out := c.meshtop(t, 0, append([]string{"policy", "block-all", "--yes", "--ttl", "5m"}, pod...)...); !strings.Contains(out, "applied and proven") {
		t.Errorf("block-all:\n%s", out)
	}
	if got := kubectl("-n", "meshtop-nodes", "get", "pods", "-o", "name"); strings.Count(got, "\n") != 1 || got != first {
		t.Errorf("one pod for all, that ran already: %q, then %q", first, got)
	}
	c.killedWatching(t, append([]string{"confirm", "--watch", "60s"}, append(pod, to...)...)...)
	kubectl("-n", "meshtop-nodes", "wait", "--for=delete", "--timeout=40s", "jobs", "--all")
	if got := c.curl("block-all", "outpod-block", "http://10.107.42.16/"); !strings.Contains(got, "(7)") {
		t.Errorf("blocked by an agent that is gone, and the real answer is\n%s", got)
	}
	c.meshtop(t, 0, append([]string{"policy", "restore", "--yes"}, pod...)...)
	if got := c.curl("block-all", "outpod-block", "http://10.107.42.16/"); !strings.Contains(got, "(56)") && !strings.Contains(got, "(52)") {
		t.Errorf("restored, and the real answer is\n%s", got)
	}
	if got := c.field(t, "block-all", "pod", "outpod-block", ".spec.ephemeralContainers"); got != before {
		t.Errorf("the pod itself was changed: %s", got)
	}
}

// killedWatching runs a verb until it watches, and kills it.
func (c client) killedWatching(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(c.bin, args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watches := false
	for lines := bufio.NewScanner(said); !watches && lines.Scan(); {
		watches = strings.Contains(lines.Text(), "watching for")
	}
	if !watches {
		t.Errorf("%v: it never watched", args)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// curl is the status and the headers that a scene's app gets.
func (c *cluster) curl(scene, pod, url string) string {
	return c.exec(scene, pod, "app", "curl", "-sS", "-m", "10", "-i", url)
}

// traced is what a trace says of the way through Envoy, and of what the caller gets.
type traced struct {
	Verdict string
	Caller  struct{ Code int }
	Outcome struct{ Cluster string }
}

func (c client) trace(t *testing.T, args ...string) traced {
	t.Helper()
	cmd := exec.Command(c.bin, append([]string{"trace", "-o", "json"}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	raw, err := cmd.Output()
	var out traced
	if jerr := json.Unmarshal(raw, &out); jerr != nil {
		t.Fatalf("%v: %v: %v: %s%s", args, err, jerr, raw, said.String())
	}
	return out
}
