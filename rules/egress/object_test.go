package egress

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/meshtop/meshtop/rules/flow"
)

// The objects are YAML that says what it means, and say which pods they take.
func TestObjects(t *testing.T) {
	f := with(files(t, "mesh"), "pod.json", `{"metadata":{"name":"web-1","namespace":"shop","labels":{"app":"web: \"x\"","pod-template-hash":"6f9"}},"spec":{"containers":[]}}`)
	for driver, kind := range map[flow.Driver]string{flow.Sidecar: "Sidecar", flow.NetworkPolicy: "NetworkPolicy"} {
		ask := block()
		ask.Driver = driver
		if driver == flow.NetworkPolicy {
			ask.Except = []flow.Hole{{Prefix: netip.MustParsePrefix("10.96.0.10/32"), Port: 53}}
		}
		c, err := Plan(snapshot(t, f), ask)
		if err != nil {
			t.Fatal(err)
		}
		var o struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
			Spec     struct {
				WorkloadSelector      struct{ Labels map[string]string } `yaml:"workloadSelector"`
				OutboundTrafficPolicy struct{ Mode string }              `yaml:"outboundTrafficPolicy"`
				PodSelector           struct {
					MatchLabels map[string]string `yaml:"matchLabels"`
				} `yaml:"podSelector"`
				PolicyTypes []string `yaml:"policyTypes"`
				Egress      []struct {
					Hosts []string
					To    []struct {
						IPBlock struct{ CIDR string } `yaml:"ipBlock"`
					}
					Ports []struct {
						Protocol string
						Port     int
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(strings.Join(c.Edits, "\n")), &o); err != nil {
			t.Fatalf("%s: %v\n%s", driver, err, strings.Join(c.Edits, "\n"))
		}
		labels := o.Spec.WorkloadSelector.Labels
		if driver == flow.NetworkPolicy {
			labels = o.Spec.PodSelector.MatchLabels
		}
		if o.Kind != kind || o.Metadata.Name != "meshtop-block-all-web-1" || !strings.HasSuffix(c.Undo[0], " meshtop-block-all-web-1") || o.Metadata.Namespace != "shop" || labels["app"] != `web: "x"` || len(labels) != 2 || len(o.Spec.Egress) != 1 {
			t.Errorf("%s: %+v", driver, o)
		}
		switch e := o.Spec.Egress[0]; driver {
		case flow.Sidecar: // no host of the mesh is imported, and unknown ones go nowhere
			if o.Spec.OutboundTrafficPolicy.Mode != "REGISTRY_ONLY" || !slices.Equal(e.Hosts, []string{"~/*"}) {
				t.Errorf("%+v", o)
			}
		case flow.NetworkPolicy:
			if e.To[0].IPBlock.CIDR != "10.96.0.10/32" || e.Ports[0].Port != 53 || e.Ports[1].Protocol != "UDP" || !slices.Equal(o.Spec.PolicyTypes, []string{"Egress"}) {
				t.Errorf("%+v", o)
			}
		}
		if !strings.Contains(reach(c.NotCovered), "unknown without the cluster") {
			t.Errorf("%s does not say that it does not know how many pods it takes: %s", driver, reach(c.NotCovered))
		}
		delete(f, "pod.json")
		if _, err := Plan(snapshot(t, f), ask); err == nil || !strings.Contains(err.Error(), "pod.json") {
			t.Errorf("%s without the pod's object: %v", driver, err)
		}
		f = with(f, "pod.json", `{"metadata":{"name":"web-1","namespace":"shop","labels":{"app":"web: \"x\"","pod-template-hash":"6f9"}},"spec":{"containers":[]}}`)
	}
}
