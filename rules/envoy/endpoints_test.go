package envoy

import (
	"fmt"
	"strings"
	"testing"
)

// Endpoints of clusters that list them and of EDS, in every form of an address; no more than are
// asked for, and then that is said.
func TestEndpointsByName(t *testing.T) {
	host := func(address string) string { return `{"endpoint": {"address": ` + address + `}}` }
	socket := func(a string, port int) string {
		return host(fmt.Sprintf(`{"socket_address": {"address": %q, "port_value": %d}}`, a, port))
	}
	cluster := func(name string, hosts ...string) string {
		return fmt.Sprintf(`{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": %q, "type": "STATIC", "load_assignment": {"cluster_name": %q, "endpoints": [{"lb_endpoints": [%s]}]}}}`,
			name, name, strings.Join(hosts, ","))
	}
	dump := `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [` +
		cluster("a", socket("10.0.0.1", 80), socket("fd00::1", 443)) + `,` + cluster("b", host(`{"pipe": {"path": "/run/s"}}`), host(`{"envoy_internal_address": {"server_listener_name": "inner"}}`), host(`{}`)) + `,` +
		`{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "none"}}]},` +
		`{"@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump", "dynamic_endpoint_configs": [{"endpoint_config": {"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "e", "endpoints": [{"lb_endpoints": [` +
		socket("10.0.0.2", 8080) + `]}]}}]}]}`
	c, _, err := Load(map[string][]byte{"config_dump.json": []byte(dump)})
	if err != nil {
		t.Fatal(err)
	}
	list, all := c.Endpoints(100)
	var got []string
	for _, o := range list {
		got = append(got, o.Parent+" "+o.Name)
		if raw, ok := c.Raw(o.Ref); !ok || !strings.Contains(string(raw), "endpoint") {
			t.Errorf("%s: nothing at %s: %s", o.Name, o.Ref, raw)
		}
	}
	want := "a 10.0.0.1:80, a [fd00::1]:443, b unix:/run/s, b inner, b , e 10.0.0.2:8080"
	if strings.Join(got, ", ") != want || !all {
		t.Errorf("%s (all %v), want %s", strings.Join(got, ", "), all, want)
	}
	if list, all := c.Endpoints(2); len(list) != 2 || all {
		t.Errorf("of two: %d, all %v", len(list), all)
	}
	if list, all := (*Config)(nil).Endpoints(2); len(list) != 0 || !all {
		t.Errorf("of none: %d, all %v", len(list), all)
	}
}
