package kube

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
)

// A Service's name has a namespace, and svc behind that: any other name is somebody else's.
func TestServiceOf(t *testing.T) {
	for name, want := range map[string]string{
		"web": "own/web", "web.shop": "shop/web", "web.shop.svc": "shop/web", "web.shop.svc.cluster.local": "shop/web", "web.shop.svc.corp": "shop/web",
		"www.example.org": "", "web.shop.pod.cluster.local": "", "web..svc": "", "": "",
	} {
		got := ""
		if s, n, ok := serviceOf(name, "own"); ok {
			got = n + "/" + s
		}
		if got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

// What the pod's object itself says needs no question, and a pod that does not ask the cluster's
// name server has no Services by name.
func TestDeclared(t *testing.T) {
	o := pod(func(p *v1.Pod) {
		p.Spec.HostAliases = []v1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"legacy.corp"}}, {IP: "bad", Hostnames: []string{"legacy.corp"}}, {IP: "fd00::1", Hostnames: []string{"other", "legacy.corp"}}}
	})
	n, err := nobody().declared(t.Context(), o, "Legacy.corp.")
	if err != nil || n.By != flow.NamedService || n.Where != "hostAliases of the pod" || len(n.Addrs) != 2 || n.Addrs[1].String() != "fd00::1" {
		t.Errorf("%+v, %v", n, err)
	}
	for policy, want := range map[v1.DNSPolicy]string{v1.DNSNone: "its dnsPolicy is None", v1.DNSDefault: "its dnsPolicy is Default", v1.DNSClusterFirst: "its dnsPolicy is Default"} {
		o.Spec.DNSPolicy, o.Spec.HostNetwork = policy, true
		if _, err := nobody().declared(t.Context(), o, "web"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", policy, err, want)
		}
	}
	if got := firstWords("10.0.0.1 STREAM web\n10.0.0.1 DGRAM\n::ffff:10.0.0.2 x\n\nbad y\n"); len(got) != 2 || got[1].String() != "10.0.0.2" {
		t.Errorf("%v", got)
	}
}
