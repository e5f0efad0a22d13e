package kube

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// role is a role of deploy/rbac.
func role(t *testing.T, name string) rbac.ClusterRole {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "deploy", "rbac", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r rbac.ClusterRole
	docs := yaml.NewYAMLOrJSONDecoder(f, 4096)
	if err := docs.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if err := docs.Decode(&rbac.ClusterRole{}); !errors.Is(err, io.EOF) {
		t.Errorf("%s: more than one object (%v)", name, err)
	}
	if r.Kind != "ClusterRole" || r.Name != "meshtop-"+name {
		t.Errorf("%s: it is a %s named %s", name, r.Kind, r.Name)
	}
	return r
}

func grants(r rbac.ClusterRole, group, object, verb string) bool {
	return slices.ContainsFunc(r.Rules, func(p rbac.PolicyRule) bool {
		return slices.Contains(p.APIGroups, group) && slices.Contains(p.Resources, object) && slices.Contains(p.Verbs, verb)
	})
}

// Each right that can be asked for is in the role that it names, and view, capture and operate
// hold what the ones before them do.
func TestRoles(t *testing.T) {
	holds := map[string][]string{"view": {"view"}, "capture": {"view", "capture"}, "operate": {"view", "capture", "operate"}}
	for _, n := range []string{"view", "capture", "operate", "sidecar", "networkpolicy", "node"} {
		r, of := role(t, n), holds[n]
		if of == nil {
			of = []string{n}
		}
		for _, w := range needed() {
			for _, v := range w.Verbs {
				has, want := grants(r, w.Group, w.Object, v.Name), slices.Contains(of, w.Role)
				if want && !has {
					t.Errorf("%s lacks %s of %s", n, v.Name, w.Object)
				}
				if has && !want && (n == "view" || n == "capture" || n == "operate") {
					t.Errorf("%s holds %s of %s, which is %s's", n, v.Name, w.Object, w.Role)
				}
			}
		}
	}
	for _, w := range neededOnNode("nodes") {
		for _, v := range w.Verbs {
			if w.Role != "node" || w.Namespace != "nodes" || !grants(role(t, "node"), w.Group, w.Object, v.Name) {
				t.Errorf("%s of %s: asked of role %s in namespace %q, and node may not", v.Name, w.Object, w.Role, w.Namespace)
			}
		}
	}
	for _, n := range []string{"view", "capture", "operate"} {
		for _, v := range []string{"create", "update", "patch", "delete"} {
			for _, o := range []string{"pods", "configmaps"} {
				if grants(role(t, n), "", o, v) {
					t.Errorf("%s may %s %s", n, v, o)
				}
			}
		}
	}
}
