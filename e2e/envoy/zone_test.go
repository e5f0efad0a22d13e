package envoy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// zones is an assignment with one locality for each zone, and so many endpoints in it.
func zones(name string, first int, sizes map[string]int) M {
	var groups A
	for _, zone := range slices.Sorted(maps.Keys(sizes)) {
		var eps A
		for range sizes[zone] {
			eps = append(eps, endpoint(up(first)))
			first++
		}
		groups = append(groups, M{"locality": M{"zone": zone}, "lb_endpoints": eps, "load_balancing_weight": 1})
	}
	m := static(name)
	m["load_assignment"] = M{"cluster_name": name, "endpoints": groups}
	return m
}

// Which endpoints ever get a request of an Envoy in zone a that has a cluster of its own, with
// half of its hosts there (Envoy's documentation, "Zone aware routing"). Of 120 draws the
// rarest endpoint, one of eight, is left out once in nine million runs.
func TestZoneAware(t *testing.T) {
	if !Isolated(t) {
		return
	}
	common := func(m M) M { return M{"common_lb_config": m} }
	half := map[string]int{"a": 4, "b": 4}
	rows := []struct {
		name  string
		sizes map[string]int
		more  M
		want  string // the zones whose endpoints get requests
		zoned bool   // shares are no matter of weights alone
	}{
		{"half of the hosts are here", half, nil, "a", true},
		{"fewer are here than of us", map[string]int{"a": 2, "b": 6}, nil, "a b", true},
		{"more are here than of us", map[string]int{"a": 6, "b": 2}, nil, "a", true},
		{"too few hosts", map[string]int{"a": 2, "b": 3}, nil, "a b", false},
		{"not too few", map[string]int{"a": 2, "b": 2}, common(M{"zone_aware_lb_config": M{"min_cluster_size": 4}}), "a", true},
		{"switched off", half, common(M{"zone_aware_lb_config": M{"routing_enabled": M{"value": 0}}}), "a b", false},
		{"by the weights of localities", half, common(M{"locality_weighted_lb_config": M{}}), "a b", false},
		{"one zone", map[string]int{"b": 6}, nil, "b", false},
		{"random", half, M{"lb_policy": "RANDOM"}, "a", true},
		{"least request", half, M{"lb_policy": "LEAST_REQUEST"}, "a", true},
	}
	b := &Batch{World: World{ID: "zones", Family: "zones", Zone: "a", Local: raw(zones("self", 150, map[string]int{"a": 1, "b": 1}))}}
	zoneOf := map[string]string{}
	for i, row := range rows {
		c := zones("c", 10*i, row.sizes)
		maps.Copy(c, row.more)
		c["name"] = row.name
		b.World.Clusters = append(b.World.Clusters, raw(c))
		n := 10 * i
		for _, zone := range slices.Sorted(maps.Keys(row.sizes)) {
			for range row.sizes[zone] {
				zoneOf[up(n)] = zone
				n++
			}
		}
		b.World.Listeners = append(b.World.Listeners, raw(web(oneRoute(routeTo(row.name, everything, nil)), nil)(listener(listenerName(i), acceptAddr(i), acceptPort))))
		q := get("a.test", "/")
		q.ID, q.Accept, q.Repeat = row.name, acceptAt(i), 120
		b.Requests = append(b.Requests, q)
	}
	r := runClear(t, startOracle(t), b)
	cfg, err := loadWhole(r.Files)
	if err != nil || len(r.Refused) > 0 {
		t.Fatal(err, r.Refused)
	}
	for i, row := range rows {
		c := &r.Cases[i]
		got := map[string]bool{}
		hosts := map[string]bool{}
		for _, o := range c.Outcomes {
			got[zoneOf[o.Host]], hosts[o.Host] = true, true
		}
		size := 0
		for zone := range got {
			size += row.sizes[zone]
		}
		if zones := strings.Join(slices.Sorted(maps.Keys(got)), " "); zones != row.want || len(hosts) != size {
			t.Errorf("%s: Envoy went to zones %q, %d hosts of %d; want %q", row.name, zones, len(hosts), size, row.want)
		}
		if j := judgeCase(t, cfg, c); j.Word != Agree {
			t.Errorf("%s: %s", row.name, j.Why)
		}
		conn, req, err := c.Request.Flow()
		if err != nil {
			t.Fatal(err)
		}
		vs, _ := Variants(cfg.Accept, conn, &req)
		zoned := slices.ContainsFunc(vs[0].Made, func(m flow.Chosen) bool { return m.Choice.Kind == flow.Condition })
		if zoned != row.zoned {
			t.Errorf("%s: decided by zones: meshtop says %v", row.name, zoned)
		}
	}
}
