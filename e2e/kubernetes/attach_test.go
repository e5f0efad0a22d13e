package kubernetes

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// client is the built program and the cluster that it asks.
type client struct {
	*cluster
	bin string
}

func (c *cluster) client(t *testing.T) client {
	bin := filepath.Join(c.run, "meshtop")
	if out, err := exec.Command("go", "build", "-ldflags", "-X main.image=localhost/meshtop-agent:1", "-o", bin, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("KUBECONFIG", c.config())
	return client{c, bin}
}

// meshtop runs a verb, and wants its exit status; both streams are the answer.
func (c client) meshtop(t *testing.T, status int, args ...string) string {
	t.Helper()
	out, err := exec.Command(c.bin, args...).CombinedOutput()
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

// curl is the status and the headers that a scene's app gets.
func (c *cluster) curl(scene, pod, url string) string {
	return c.exec(scene, pod, "app", "curl", "-sS", "-m", "10", "-i", url)
}

// traced is what a trace says of the way through Envoy, and of what the caller gets.
type traced struct {
	Verdict string
	Caller  struct{ Code int }
	Outcome struct{ Listener, Cluster string }
}

func (c client) trace(t *testing.T, args ...string) traced {
	t.Helper()
	cmd := exec.Command(c.bin, append([]string{"trace", "-o", "json"}, args...)...)
	raw, err := cmd.Output()
	var out traced
	if jerr := json.Unmarshal(raw, &out); jerr != nil {
		t.Fatalf("%v: %v: %v: %s", args, err, jerr, raw)
	}
	return out
}

// mesh: the traces say what real requests of the app get; the listener with the script is
// known by the header that it adds.
func (c client) mesh(t *testing.T) {
	pod := []string{"pod", "outpod-mesh", "-n", "scene-mesh"}
	back := c.field(t, "base", "pod", "myngx", ".status.podIP")
	for _, r := range []struct{ to, listener, cluster string }{
		{"10.107.42.16", "10.107.42.16_80", "outbound|myngxsvc"}, {back, "virtualOutbound", "AllowAll"},
	} {
		got := c.trace(t, append(pod, "--uid", "0", "--to", "http://"+r.to+"/")...)
		if got.Verdict != "delivered" || got.Outcome.Listener != r.listener || got.Outcome.Cluster != r.cluster {
			t.Errorf("%s: %+v, want it by %s and %s", r.to, got, r.listener, r.cluster)
		}
		real := c.curl("mesh", "outpod-mesh", "http://"+r.to+"/")
		if scripted := strings.Contains(real, "myage: 18"); !strings.Contains(real, "200 OK") || scripted != (r.cluster == "outbound|myngxsvc") {
			t.Errorf("%s: the real answer is\n%s", r.to, real)
		}
	}
}

// confirm: the first request through the pod's Envoy, sent from inside, is seen on every step.
// Later ones may go over a connection that Envoy keeps open, of which no beginning is seen.
func (c client) confirm(t *testing.T) {
	out := c.meshtop(t, 0, "confirm", "pod", "outpod-mesh", "-n", "scene-mesh", "--send", "--uid", "0", "--to", "http://10.107.42.16/")
	if !strings.Contains(out, "CONFIRMED") || !strings.Contains(out, "answered 200") {
		t.Errorf("%s", out)
	}
}

// policy: a running pod is blocked, its real requests are refused, and they are answered
// again once it is restored.
func (c client) policy(t *testing.T) {
	pod := []string{"pod/outpod-mesh", "-n", "scene-mesh"}
	out := c.meshtop(t, 0, append([]string{"policy", "block-all", "--yes", "--ttl", "5m"}, pod...)...)
	if !strings.Contains(out, "applied and proven") {
		t.Errorf("block-all:\n%s", out)
	}
	if got := c.curl("mesh", "outpod-mesh", "http://10.107.42.16/"); !strings.Contains(got, "(7)") {
		t.Errorf("blocked, and the real answer is\n%s", got)
	}
	if got := c.trace(t, append(pod, "--uid", "0", "--to", "http://10.107.42.16/")...); got.Verdict != "refused" {
		t.Errorf("blocked, and the trace says %+v", got)
	}
	c.meshtop(t, 0, append([]string{"policy", "restore", "--yes"}, pod...)...)
	if got := c.curl("mesh", "outpod-mesh", "http://10.107.42.16/"); !strings.Contains(got, "200 OK") {
		t.Errorf("restored, and the real answer is\n%s", got)
	}
}

// inbound: a real request from outside is watched for, and seen to go as it was said.
func (c client) inbound(t *testing.T) {
	ip := c.field(t, "inbound", "pod", "envoy-traffic-mock", ".status.podIP")
	args := []string{"pod", "envoy-traffic-mock.scene-inbound", "--inbound", "--to", "http://" + ip + "/"}
	if got := c.trace(t, args...); got.Verdict != "delivered" || got.Caller.Code != 200 || got.Outcome.Cluster != "shadow_cluster_config" {
		t.Errorf("%+v", got)
	}
	cmd := exec.Command(c.bin, append([]string{"confirm", "--watch", "5s"}, args...)...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if strings.Contains(lines.Text(), "watching for") {
			if got := c.do(t, "curl", "-sS", "-m", "10", "-i", "http://"+ip+"/"); !strings.Contains(got, "server: envoy") {
				t.Errorf("the real answer is\n%s", got)
			}
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "CONFIRMED") {
		t.Errorf("confirm: %v\n%s", err, out.String())
	}
	if out := c.meshtop(t, 1, "doctor", "pod", "envoy-traffic-mock", "-n", "scene-inbound"); !strings.Contains(out, "outbound ones leave past the proxy") {
		t.Errorf("doctor:\n%s", out)
	}
}

// screens: attached on a terminal; an API server that is killed is said, and once it is back
// the next look opens another stream.
func (c client) screens(t *testing.T) {
	program, err := screen.Start(screen.Options{W: 100, H: 30}, c.bin, "attach", "pod", "outpod-mesh", "-n", "scene-mesh", "--uid", "0", "--to", "http://10.107.42.16/")
	p := person.At(t, program, err)
	p.Sees("▸ Trace", "pod outpod-mes", "✓ DELIVERED to 10.107.42.16:80", "nat OUTPUT   #2 REDIRECT :15001")
	c.do(t, "./ctl", "kill", "apiserver")
	p.Types("r")
	p.Sees("the stream to the agent has ended")
	c.do(t, "./ctl", "start", "apiserver")
	c.do(t, "bash", "-c", "until [ \"$(./ctl kubectl get --raw /readyz 2>/dev/null)\" = ok ]; do sleep 0.1; done")
	p.Types("r")
	p.Sees("▸ Trace", "✓ DELIVERED to 10.107.42.16:80")
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
}

// odd: what cannot be opened, or not written to, is refused in a sentence, at once where it
// can be known at once.
func (c client) odd(t *testing.T) {
	c.do(t, "./ctl", "kubectl", "create", "namespace", "scene-odd")
	c.do(t, "./ctl", "kubectl", "-n", "scene-odd", "wait", "--for=create", "--timeout=30s", "serviceaccount/default")
	c.do(t, "./ctl", "kubectl", "-n", "scene-odd", "apply", "-f", "odd.yaml")
	c.do(t, "./ctl", "kubectl", "-n", "scene-odd", "wait", "--for=condition=Ready", "--timeout=60s", "pod/host")
	c.do(t, "./ctl", "kubectl", "-n", "scene-odd", "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", "pod/ended")
	for _, o := range []struct {
		want string
		args []string
	}{
		{"it does not run any more (Succeeded)", []string{"doctor", "pod", "ended", "-n", "scene-odd"}},
		{`pods "nobody" not found`, []string{"doctor", "pod", "nobody", "-n", "scene-odd"}},
		{`User "someone" cannot get resource "pods"`, []string{"doctor", "pod", "host", "-n", "scene-odd", "--as", "someone"}},
		{"did not start within 3s", []string{"doctor", "pod", "app-v1", "-n", "scene-base", "--image", "localhost/none:1", "--wait", "3s"}},
		{"runs in the machine's own network (hostNetwork)", []string{"policy", "block-all", "pod", "host", "-n", "scene-odd", "--yes", "--strong"}},
	} {
		if out := c.meshtop(t, 3, o.args...); !strings.Contains(out, o.want) {
			t.Errorf("%v: want %q in\n%s", o.args, o.want, out)
		}
	}
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
