package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// With a local cluster and hosts in several zones the draw is no matter of shares.
func TestZoneAware(t *testing.T) {
	zones := func(n int) string {
		var a, b []string
		for i := range n {
			a, b = append(a, ep("1.0.0."+string(rune('1'+i)))), append(b, ep("1.0.1."+string(rune('1'+i))))
		}
		return group(0, `'locality': {'zone': 'a'}`, a...) + "," + group(0, `'locality': {'zone': 'b'}`, b...)
	}
	cl := func(name, eps, more string) string {
		return `{'name': '` + name + `', 'load_assignment': {'endpoints': [` + eps + `]}` + more + `}`
	}
	dump := cl("two", zones(4), "") + cl("small", zones(2), "") + cl("forced", zones(2), `, 'common_lb_config': {'zone_aware_lb_config': {'force_local_zone': {}}}`) +
		cl("weighted", zones(4), `, 'common_lb_config': {'locality_weighted_lb_config': {}}`) + cl("ring", zones(4), `, 'lb_policy': 'RING_HASH'`) +
		cl("off", zones(4), `, 'common_lb_config': {'zone_aware_lb_config': {'routing_enabled': {'value': 0}}}`) +
		cl("zero", zones(4), `, 'common_lb_config': {'zone_aware_lb_config': {'routing_enabled': {}}}`) + cl("half", zones(4), `, 'common_lb_config': {'zone_aware_lb_config': {'routing_enabled': {'value': 0.5}}}`) +
		cl("one", group(0, `'locality': {'zone': 'a'}`, ep("1.0.0.1"), ep("1.0.0.2"), ep("1.0.0.3"), ep("1.0.0.4"), ep("1.0.0.5"), ep("1.0.0.6")), "")
	// What the runtime says goes before routing_enabled, said or not.
	for share, on := range map[string]string{"0": "", "7": "two half off zero", "often": "two half"} {
		c := mesh{bootstrap: `'cluster_manager': {'local_cluster_name': 'me'}, 'layered_runtime': {'layers': [{'static_layer': {'upstream.zone_routing.enabled': '` + share + `'}}]}`, clusters: dump}.load(t)
		for _, name := range []string{"two", "half", "off", "zero"} {
			if got, want := zonedIn(c, name), strings.Contains(on, name); got != want {
				t.Errorf("%s, a share of %s in the runtime: %v", name, share, got)
			}
		}
	}
	for _, local := range []bool{true, false} {
		m := mesh{clusters: dump}
		if local {
			m.bootstrap = `'cluster_manager': {'local_cluster_name': 'me'}`
		}
		c := m.load(t)
		for name, zoned := range map[string]bool{"two": true, "small": false, "forced": true, "weighted": false, "ring": false, "off": false, "zero": false, "half": true, "one": false} {
			if got := zonedIn(c, name); got != (zoned && local) {
				t.Errorf("%s, local cluster %v: %v", name, local, got)
			}
		}
	}
}

// zonedIn says whether the draw of a cluster's host is by zones.
func zonedIn(c *Config, cluster string) bool {
	ch := new(flow.Choices)
	(&pass{cfg: c, ch: ch, req: raw()}).toCluster(cluster, lbHints{})
	made := ch.Made()[0]
	return made.Choice.Kind == flow.Condition && made.Option().Weight == 0 && strings.Contains(made.Option().When, "1.0.0.1")
}
