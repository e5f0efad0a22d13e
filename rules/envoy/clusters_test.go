package envoy

import "testing"

// Clusters that were asked for one by one are as good as all at once.
func TestClustersByName(t *testing.T) {
	one := func(name, addr string) []byte {
		return []byte(`{"cluster_statuses":[{"name":"` + name + `","host_statuses":[{"address":{"socket_address":{"address":"` + addr + `","port_value":80}}}]}]}`)
	}
	c, gaps, err := Load(map[string][]byte{
		"config_dump/static_clusters/a.json": []byte("{}"),
		"clusters/a.json":                    one("a", "10.0.0.1"), "clusters/b%7Cc.json": one("b|c", "10.0.0.2"),
	})
	if err != nil || len(gaps) > 0 {
		t.Fatalf("%v, gaps %v", err, gaps)
	}
	for _, name := range []string{"a", "b|c"} {
		if c.hosts[name] == nil {
			t.Errorf("the hosts of %s are not there", name)
		}
	}
	if _, gaps, _ := Load(map[string][]byte{"clusters/a.json": []byte("no JSON")}); len(gaps) != 1 || gaps[0].Part != "clusters/a.json" {
		t.Errorf("gaps %v", gaps)
	}
}
