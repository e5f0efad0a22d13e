package doctor

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules"
)

// istioRoutes is a table as Istio makes it of a VirtualService, twice: each port has one.
func istioRoutes() string {
	route := func(name, action, origin string) string {
		meta := ""
		if origin != "" {
			meta = `, "metadata": {"filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/shop/` + origin + `"}}}`
		}
		return fmt.Sprintf(`{"name": %q, "match": {"prefix": "/"}, "route": %s%s}`, name, action, meta)
	}
	to := func(cluster string) string { return `{"cluster": "` + cluster + `"}` }
	shares := `{"weighted_clusters": {"clusters": [{"name": "full", "weight": 90}, {"name": "gone2", "weight": 10}, {"name": "gone3", "weight": 0}]}}`
	table := func(name string) string {
		return `{"route_config": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "` + name + `", "virtual_hosts": [
 {"name": "cart:80", "domains": ["cart"], "routes": [` + strings.Join([]string{route("ghost", to("gone"), "virtual-service/cart"), route("none", to("empty"), "virtual-service/cart"),
			route("canary", shares, "virtual-service/cart"), route("good", to("full"), "virtual-service/cart"), route("passed", to("original"), "virtual-service/cart")}, ",") + `]},
 {"name": "idle:80", "domains": ["idle"], "routes": [` + route("default", to("empty"), "") + `]},
 {"name": "old:80", "domains": ["old"], "routes": [` + route("", to("gone4"), "") + `]}]}}`
	}
	return table("80") + "," + table("8080")
}

// dumped is a configuration with those routes and some clusters; more is a section that says more.
func dumped(more string) map[string][]byte {
	cluster := func(name, kind string) string {
		return `{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "` + name + `", "type": "` + kind + `", "lb_policy": "ROUND_ROBIN"}}`
	}
	const section = `{"@type": "type.googleapis.com/envoy.admin.v3.`
	endpoints := `{"endpoint_config": {"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "empty"}},
{"endpoint_config": {"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "full", "endpoints": [{"lb_endpoints": [
  {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}]}]}}`
	dump := `{"configs": [` + section + `ClustersConfigDump", "static_clusters": [` + cluster("original", "ORIGINAL_DST") + `], "dynamic_active_clusters": [` + cluster("empty", "EDS") + "," + cluster("full", "EDS") + `]},
` + section + `RoutesConfigDump", "dynamic_route_configs": [` + istioRoutes() + `]},
` + section + `EndpointsConfigDump", "dynamic_endpoint_configs": [` + endpoints + `]}` + more + `]}`
	return map[string][]byte{"config_dump.json": []byte(dump)}
}

// A route that leads nowhere names the object to change, once for all tables that hold it. A share
// of nothing leads nowhere by intent, a Service without pods and without a VirtualService is nobody's
// mistake, and a cluster that was not read may be there.
func TestDeadRoutes(t *testing.T) {
	find := func(files map[string][]byte) []string {
		s, err := rules.ParseSnapshot(files, nil)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(said(Examine(s)), func(s string) bool { return strings.Contains(s, "not-read") })
	}
	want := []string{
		"problem no-cluster ghost | gone | VirtualService shop/cart", "problem no-cluster canary | gone2 | VirtualService shop/cart",
		"problem no-cluster of host old:80 | gone4", "warning no-endpoints none | empty | VirtualService shop/cart",
	}
	if got := find(dumped("")); !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	warming := dumped(`, {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "dynamic_warming_clusters": [{"cluster": {
 "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "gone", "type": "EDS"}}]}`)
	if got := find(warming); !slices.Equal(got, want[1:]) {
		t.Errorf("one that warms: found\n%s", strings.Join(got, "\n"))
	}
	// Very many are counted.
	many := dumped("")
	for i := range 20 {
		r := `{"name": "more", "match": {"prefix": "/"}, "route": {"cluster": "lost` + fmt.Sprint(i) + `"}}`
		many["config_dump.json"] = bytes.Replace(many["config_dump.json"], []byte(`"routes": [`), []byte(`"routes": [`+r+","), 1)
	}
	if got := find(many); len(got) != maxTold+2 || got[maxTold] != "problem no-cluster 15" {
		t.Errorf("many: found\n%s", strings.Join(got, "\n"))
	}
	// Routes alone: nothing is known of the clusters.
	raw := string(dumped("")["config_dump.json"])
	from, to := strings.Index(raw, `{"@type": "type.googleapis.com/envoy.admin.v3.Clusters`), strings.Index(raw, `{"@type": "type.googleapis.com/envoy.admin.v3.Routes`)
	if got := find(map[string][]byte{"config_dump.json": []byte(raw[:from] + raw[to:])}); len(got) > 0 {
		t.Errorf("clusters were not read: found %s", got)
	}
}
