package kubernetes

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// account is a client that is a ServiceAccount which holds one role in the scene mesh, by its
// token.
func (c client) account(t *testing.T, role string) client {
	t.Helper()
	name := "tier-" + role
	c.kubectl(t, "mesh", "create", "serviceaccount", name)
	c.kubectl(t, "mesh", "create", "rolebinding", name, "--clusterrole=meshtop-"+role, "--serviceaccount=scene-mesh:"+name)
	token := strings.TrimSpace(c.kubectl(t, "mesh", "create", "token", name))
	raw := c.do(t, "./ctl", "kubectl", "config", "view", "--raw", "-o", "json")
	var config map[string]any
	if err := json.Unmarshal([]byte(raw), &config); err != nil {
		t.Fatal(err)
	}
	cluster := config["clusters"].([]any)[0].(map[string]any)["name"]
	config["users"] = []any{map[string]any{"name": name, "user": map[string]any{"token": token}}}
	config["contexts"] = []any{map[string]any{"name": name, "context": map[string]any{"cluster": cluster, "user": name}}}
	config["current-context"] = name
	out, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	c.as = filepath.Join(c.run, name+".kubeconfig")
	if err := os.WriteFile(c.as, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	meshPod = []string{"pod", "outpod-mesh", "-n", "scene-mesh"}
	toMesh  = []string{"--uid", "0", "--to", "http://10.107.42.16/"}
)

func words(lists ...[]string) []string { return slices.Concat(lists...) }

// may wants an exit status of a verb, and words that it says on either stream.
func (c client) may(t *testing.T, status int, args []string, wants ...string) {
	t.Helper()
	holds(t, c.meshtop(t, status, args...), wants...)
}

// mayYet is may for what names addresses: a trace does not wait for those of a busy API server.
func (c client) mayYet(t *testing.T, status int, args []string, wants ...string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		out := c.meshtop(t, status, args...)
		if !strings.Contains(out, "not all had come within") {
			holds(t, out, wants...)
			return
		}
	}
	t.Errorf("%q: no names within 30 s", args)
}

// seesItsRights: who may not put an agent beside a pod sees so on the screens, and opens it in
// another way by a digit.
func (c client) seesItsRights(t *testing.T) {
	p := c.sit(t, words(meshPod, []string{"--via", "agent", "--kubeconfig", c.as})...)
	p.Sees("your account may not start a process in the pod, or add an ephemeral container", "✗ add an ephemeral container", "✓ forward a port", "1  Envoy's half by a port-forward", "NOT OPENED")
	p.Types("1")
	p.Sees("pod outpod-mesh.scene-mesh (by port-forward)", "✗ rules", "✓ Envoy", "PARTIAL")
	p.Types("\r")
	p.Sees("interception", "(not read)")
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
}

// tiers: each role of deploy/rbac, and less, does what it is for and nothing above. It comes before
// there is an agent in the pod, and sends nothing through its Envoy.
func (c client) tiers(t *testing.T) {
	c.do(t, "./ctl", "kubectl", "apply", "-f", "../../deploy/rbac", "-f", "testdata/tiers.yaml")
	canI, trace := words([]string{"can-i"}, meshPod), words([]string{"trace"}, meshPod, toMesh)
	block := words([]string{"policy", "block-all", "--yes", "--ttl", "5m"}, meshPod)
	const way = "DELIVERED to 10.107.42.16:80 by cluster outbound|myngxsvc"
	only := "only the agent can watch, send from and change a pod; meshtop can-i pod outpod-mesh -n scene-mesh says which role to ask for"

	no := c.account(t, "nothing")
	no.may(t, 3, trace, `User "system:serviceaccount:scene-mesh:tier-nothing" cannot get resource "pods"`)
	no.may(t, 1, canI, "So: the pod cannot be seen", "ask for the role capture", "--clusterrole=meshtop-capture --serviceaccount=scene-mesh:tier-nothing -n scene-mesh")

	see := c.account(t, "see")
	see.mayYet(t, 3, trace, "pods/ephemeralcontainers and pods/exec of it is forbidden to this account; going on by intent", way+", by intent", "REDIRECT to 127.0.0.1:15001", "names of addresses: this account may list no services and no pods")
	see.may(t, 3, block, only)
	see.may(t, 1, canI, "So: a path can be traced only as it was meant (--via intent).")

	view := c.account(t, "view")
	view.may(t, 0, trace, "going on by port-forward", way+", if intercepted", "a port-forward brings none of the kernel's half", "this account may list services and pods of namespace scene-mesh alone")
	view.may(t, 3, words(trace, []string{"--via", "agent"}), `cannot patch resource "pods/ephemeralcontainers"`, "ways on:", "1 --via forward: ", "2 --via intent: ", "3 meshtop can-i pod outpod-mesh -n scene-mesh")
	view.may(t, 3, words([]string{"confirm", "--send"}, meshPod, toMesh), only)
	view.may(t, 3, block, only)
	view.may(t, 3, []string{"trace", "pod", "myngx", "-n", "scene-base", "--to", "127.0.0.1:80"}, `cannot get resource "pods" in API group "" in the namespace "scene-base"`)
	view.may(t, 1, canI, "✓ yes forward a port", "✗ no start a process in the pod", "✗ no add an ephemeral container")

	view.seesItsRights(t)

	in := c.account(t, "exec")
	in.may(t, 0, trace, "going on by exec", way+", if intercepted", "container envoyproxy: no shell in its image; container app runs as uid 0")
	in.may(t, 3, block, only)
	if got := c.field(t, "mesh", "pod", "outpod-mesh", ".spec.ephemeralContainers[*].name"); got != "" {
		t.Errorf("who may add no container has: %s", got)
	}

	capture := c.account(t, "capture")
	capture.may(t, 0, trace, way+" caller", "connection 2 of the proxy")
	capture.may(t, 0, canI, "So: all of it can be read", "✗ no record a policy as a lease")
	operate := c.account(t, "operate")
	operate.may(t, 0, block, "applied and proven", "Lease scene-mesh/meshtop-egress-outpod-mesh")
	if got := c.asks("mesh", "outpod-mesh"); !strings.Contains(got, "(7)") {
		t.Errorf("blocked, and the real answer is\n%s", got)
	}
	show := words([]string{"policy", "show"}, meshPod)
	view.may(t, 3, show, "block-all", "its Lease alone tells of this", "tier-operate (uid ", "EgressBlocked: ")
	operate.may(t, 0, words([]string{"policy", "restore", "--yes"}, meshPod))
	view.may(t, 3, show, "no Lease tells of a policy, which who puts one into force need not write")
	operate.may(t, 0, trace, way+" caller")
	t.Run("meant", func(t *testing.T) { meant(t, see, capture) })
	t.Run("held", func(t *testing.T) { held(t, in, capture) })
	t.Run("plugin", view.plugin)
}

// part is one part of a snapshot that is taken by a way.
func (c client) part(t *testing.T, name string, flags ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "s")
	c.meshtop(t, 0, words([]string{"snapshot", "-w", dir}, meshPod, flags)...)
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// meant: the rules as they were meant are those that the kernel holds.
func meant(t *testing.T, see, capture client) {
	rules := func(text string) (out []string) {
		for line := range strings.Lines(text) {
			if i := strings.Index(line, "-A "); i >= 0 {
				out = append(out, strings.TrimSpace(line[i:]))
			}
		}
		return out
	}
	got, want := rules(see.part(t, "iptables-save")), rules(capture.part(t, "iptables-save"))
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("meant:\n%s\nheld:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// held: the sockets that listen, as a container's /proc/net has them, are those that the kernel
// tells the agent.
func held(t *testing.T, in, capture client) {
	listen := func(text string) (out []string) {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 5 && f[1] == "LISTEN" {
				out = append(out, f[4]+" "+line[strings.Index(line, "uid:"):][:len("uid:1")])
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	got, want := listen(in.part(t, "sockets")), listen(capture.part(t, "sockets"))
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("by exec:\n%s\nby the agent:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// plugin: the real kubectl finds the program, and it calls itself as the user does.
func (c client) plugin(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(c.bin, filepath.Join(dir, "kubectl-meshtop")); err != nil {
		t.Fatal(err)
	}
	kubectl := func(args ...string) (string, error) {
		cmd := exec.Command(kubeall(), append([]string{"kubectl", "meshtop"}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "KUBECONFIG="+c.as)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, target := range [][]string{{"pod/outpod-mesh"}, {"outpod-mesh"}, {"pod", "outpod-mesh"}} {
		if out, err := kubectl(words([]string{"attach"}, target, []string{"-n", "scene-mesh", "--plain"})...); err != nil || !strings.Contains(out, "pod outpod-mesh.scene-mesh (by port-forward)") || !strings.Contains(out, "kubectl meshtop can-i pod outpod-mesh") {
			t.Errorf("kubectl meshtop attach %v: %v\n%s", target, err, out)
		}
	}
	if out, err := kubectl("attach", "--help"); err != nil || !strings.Contains(out, "kubectl meshtop attach TARGET") {
		t.Errorf("kubectl meshtop attach --help: %v\n%s", err, out)
	}
}
