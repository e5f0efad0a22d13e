package envoy

import (
	"slices"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// DeadEnd is a route that names a cluster which can take no request.
type DeadEnd struct {
	Table, Host, Route string // names; of the route empty where it has none
	Cluster            string
	Gone               bool   // Envoy has no such cluster; false: it has no endpoints
	Origin             string // the object that the route was made from, as KIND NAMESPACE/NAME of Istio's; empty: nobody says
	Evidence           []flow.Evidence
}

// DeadEnds are the routes of tables by RDS, of static and of scoped ones whose cluster is not
// there, and those with an origin whose cluster has no endpoints, in the order of the dump; at most
// a number of them. A cluster that was not read, or of which a part of its endpoints was not, is none.
func (c *Config) DeadEnds(most int) []DeadEnd {
	if c == nil {
		return nil
	}
	var out []DeadEnd
	for _, e := range c.entries {
		if e.state != active || !slices.Contains([]resource{staticRouteConfigs, dynamicRouteConfigs, dynamicScopedRouteConfigs, inlineScopedRouteConfigs}, e.res) {
			continue
		}
		t := e.table()
		for i := range t.hosts {
			host := t.host(i)
			for _, r := range host.Field("routes").All() {
				for _, name := range named(r.Field("route")) {
					d := DeadEnd{Table: e.name, Host: t.hosts[i].name, Route: r.Field("name").Str(), Cluster: name, Origin: origin(r)}
					if d.Origin == "" {
						d.Origin = origin(host)
					}
					d.Origin = object(d.Origin)
					if c.dead(&d) {
						d.Evidence = evidence(r)
						out = append(out, d)
					}
					if len(out) == most {
						return out
					}
				}
			}
		}
	}
	return out
}

// named are the clusters that an action may lead to, those of weight 0 left out.
func named(action tree.Node) []string {
	if s := action.Field("cluster").Str(); s != "" {
		return []string{s}
	}
	var out []string
	for _, w := range action.Path("weighted_clusters", "clusters").All() {
		if s := w.Field("name").Str(); s != "" && w.Field("weight").Uint(0) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// dead says whether the cluster of a route can take no request, and which way.
func (c *Config) dead(d *DeadEnd) bool {
	cl := c.cluster(d.Cluster)
	if cl == nil {
		d.Gone = c.warming[d.Cluster] == nil && c.has(d.Cluster, staticClusters, dynamicActiveClusters) == absent
		return d.Gone
	}
	if d.Origin == "" || cl.kind != "EDS" && cl.kind != "STATIC" {
		return false
	}
	s := c.hostsOf(cl)
	return s.known == present && len(s.hosts) == 0 && len(s.names) == 0 && s.wrong.Kind == flow.NoReason
}
