package kubernetes

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kubectl asks as the cluster's administrator, in a scene.
func (c *cluster) kubectl(t *testing.T, scene string, args ...string) string {
	t.Helper()
	return c.do(t, "./ctl", append([]string{"kubectl", "-n", "scene-" + scene}, args...)...)
}

// record: a policy stands in a Lease and an Event, where those read it who may not enter the pod,
// and its end does too. Who may write neither still has the policy, and is told.
func (c client) record(t *testing.T) {
	pod := []string{"pod/outpod-mesh", "-n", "scene-mesh"}
	policy := func(status int, args ...string) string {
		t.Helper()
		return c.meshtop(t, status, append([]string{"policy"}, append(args, pod...)...)...)
	}
	contains := func(what, text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: want %q in\n%s", what, want, text)
			}
		}
	}
	out := policy(0, "block-all", "--yes", "--ttl", "5m", "--reason", "INC-4711")
	contains("block-all", out, "record", "Lease scene-mesh/meshtop-egress-outpod-mesh")
	lease := c.kubectl(t, "mesh", "get", "lease", "meshtop-egress-outpod-mesh", "-o", "yaml")
	contains("the Lease", lease, "meshtop.github.io/policy: block-all", "meshtop.github.io/reason: INC-4711", "holderIdentity: kubernetes-admin", "kind: Pod", "leaseDurationSeconds: ")
	contains("the Event", c.kubectl(t, "mesh", "get", "events", "--field-selector", "reason=EgressBlocked"), "pod/outpod-mesh", "block-all", "INC-4711")
	contains("show", policy(0, "show"), "Lease scene-mesh/meshtop-egress-outpod-mesh, by kubernetes-admin", "EgressBlocked: meshtop put block-all into force by the kernel driver")
	policy(0, "restore", "--yes")
	contains("the end", c.kubectl(t, "mesh", "get", "events", "--field-selector", "reason=EgressRestored"), "pod/outpod-mesh", "took the egress policy back")
	if out := c.kubectl(t, "mesh", "get", "leases", "-o", "name"); out != "" {
		t.Errorf("a Lease is left: %s", out)
	}

	c.do(t, "./ctl", "kubectl", "apply", "-f", "../../deploy/rbac/capture.yaml")
	c.kubectl(t, "mesh", "create", "rolebinding", "capture", "--clusterrole=meshtop-capture", "--user=keeper")
	out = policy(0, "block-all", "--yes", "--ttl", "5m", "--as", "keeper")
	contains("without the right", out, "applied and proven", "the Lease:", "cannot patch", "the Event:", `User "keeper" cannot create`)
	policy(0, "restore", "--yes", "--as", "keeper")

	// A record that is not so is said to be.
	policy(0, "block-all", "--yes", "--ttl", "5m")
	told := again(t, c.kubectl(t, "mesh", "get", "lease", "meshtop-egress-outpod-mesh", "-o", "json"))
	policy(0, "restore", "--yes")
	c.kubectl(t, "mesh", "create", "-f", told)
	contains("an old record", policy(0, "show"), "nothing of that is in force in the pod")
	policy(0, "restore", "--yes")
	c.kubectl(t, "mesh", "delete", "lease", "--all")
}

// again is a file from which an object that was there can be made anew.
func again(t *testing.T, object string) string {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(object), &o); err != nil {
		t.Fatal(err)
	}
	was := o["metadata"].(map[string]any)
	o["metadata"] = map[string]any{"name": was["name"], "namespace": was["namespace"], "annotations": was["annotations"], "ownerReferences": was["ownerReferences"]}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "object.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// objects: a NetworkPolicy is made, told of, held by whoever made it, and taken away when its time
// is over. Istio's object has no place in a cluster without Istio.
func (c client) objects(t *testing.T) {
	args := func(verb string, more ...string) []string {
		return append([]string{"policy", verb, "pod/outpod-mesh", "-n", "scene-mesh", "--driver", "networkpolicy"}, more...)
	}
	name := "meshtop-block-all-outpod-mesh"
	if out := c.meshtop(t, 0, args("block-all", "--dry-run")...); !strings.Contains(out, "1 selected by these labels: outpod-mesh") {
		t.Errorf("dry-run:\n%s", out)
	}
	if out := c.kubectl(t, "mesh", "get", "networkpolicy", "-o", "name"); out != "" {
		t.Errorf("a dry run made %s", out)
	}
	holding := exec.Command(c.bin, args("block-all", "--yes", "--ttl", "5m", "--except", "10.0.0.0/8")...)
	var said strings.Builder
	holding.Stdout, holding.Stderr = &said, &said
	if err := holding.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := c.try("./ctl", "kubectl", "-n", "scene-mesh", "wait", "--for=create", "--timeout=60s", "lease/meshtop-egress-outpod-mesh") // made last
	if err == nil {
		if got := c.field(t, "mesh", "networkpolicy", name, ".spec"); !strings.Contains(got, `"cidr":"10.0.0.0/8"`) || !strings.Contains(got, `"policyTypes":["Egress"]`) {
			t.Errorf("the object: %s", got)
		}
		if out := c.meshtop(t, 0, args("show")...); !strings.Contains(out, "accepted by the API server") {
			t.Errorf("show:\n%s", out)
		}
		if out := c.meshtop(t, 3, args("block-all", "--yes")...); !strings.Contains(out, "is in force since") || !strings.Contains(out, "policy restore pod outpod-mesh --driver networkpolicy") {
			t.Errorf("a second one:\n%s", out)
		}
	}
	_ = holding.Process.Kill()
	_ = holding.Wait()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, said.String())
	}
	c.orphan(t, name)
	if out := c.meshtop(t, 1, args("block-all", "--yes", "--ttl", "2s")...); !strings.Contains(out, "restored: nothing of it is left") {
		t.Errorf("held:\n%s", out) // 1: accepted is not proven
	}
	if out := c.kubectl(t, "mesh", "get", "networkpolicy,lease", "-o", "name"); out != "" {
		t.Errorf("left: %s", out)
	}
	c.kubectl(t, "mesh", "create", "-f", "testdata/foreign.yaml")
	if out := c.meshtop(t, 3, args("block-all", "--yes")...); !strings.Contains(out, "not meshtop's") {
		t.Errorf("somebody else's object:\n%s", out)
	}
	c.kubectl(t, "mesh", "delete", "-f", "testdata/foreign.yaml")
	if out := c.meshtop(t, 3, "policy", "block-all", "pod/outpod-mesh", "-n", "scene-mesh", "--driver", "sidecar", "--yes"); !strings.Contains(out, "no Istio") {
		t.Errorf("without Istio:\n%s", out)
	}
}

// orphan is what stays of an object whose client was killed: it is told of at the pod, whose end it
// does not outlive, and taken away by its own driver alone.
func (c client) orphan(t *testing.T, name string) {
	pod := []string{"pod/outpod-mesh", "-n", "scene-mesh"}
	if got := c.field(t, "mesh", "networkpolicy", name, ".metadata.ownerReferences"); !strings.Contains(got, `"kind":"Pod"`) || !strings.Contains(got, `"name":"outpod-mesh"`) {
		t.Errorf("it belongs to %s", got)
	}
	for _, verb := range []string{"show", "restore"} { // of the kernel's rules, where nothing is in force
		c.meshtop(t, 0, append([]string{"policy", verb, "--yes"}, pod...)...)
		if out := strings.Join(strings.Fields(c.meshtop(t, 0, append([]string{"policy", "show"}, pod...)...)), " "); !strings.Contains(out, "by the networkpolicy driver: the NetworkPolicy scene-mesh/"+name+" is there, which restore with --driver networkpolicy deletes") {
			t.Errorf("after %s:\n%s", verb, out)
		}
	}
	c.meshtop(t, 0, append([]string{"policy", "restore", "--yes", "--driver", "networkpolicy"}, pod...)...)
	if out := c.kubectl(t, "mesh", "get", "networkpolicy,lease", "-o", "name"); out != "" {
		t.Errorf("left of a killed client: %s", out)
	}
}
