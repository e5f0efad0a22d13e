package envoy

import "github.com/meshtop/meshtop/rules/envoy/tree"

// table is one RouteConfiguration. Its virtual hosts are known by name and domains; what
// they hold is decoded when a request comes to one. Tables are kept: a pointer to one may
// key a cache.
type table struct {
	// head holds every member; virtual_hosts is missing in a table whose hosts were indexed.
	head  tree.Node
	hosts []tableHost
}

// tableHost is a virtual host as the index knows it.
type tableHost struct {
	name    string
	domains []string
	node    tree.Node
}

// host is virtual host i, decoded.
func (t *table) host(i int) tree.Node { return t.hosts[i].node }

// routeTable is the route configuration of this name that RDS brought or would bring.
func (c *Config) routeTable(name string) (*table, found) {
	if e := c.routes[name]; e != nil {
		return c.inlineTable(e.node()), present
	}
	return nil, c.has(name, dynamicRouteConfigs)
}

// inlineTable is the table of a HttpConnectionManager's route_config.
func (c *Config) inlineTable(rc tree.Node) *table {
	return memo(c, rc, func() *table {
		t := &table{head: rc}
		for _, vh := range rc.Field("virtual_hosts").List() {
			h := tableHost{name: vh.Field("name").Str(), node: vh}
			for _, d := range vh.Field("domains").List() {
				h.domains = append(h.domains, d.Str())
			}
			t.hosts = append(t.hosts, h)
		}
		return t
	})
}
