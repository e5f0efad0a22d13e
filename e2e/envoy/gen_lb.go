package envoy

import (
	"fmt"
	"strings"
)

const lbClusters = 25

// lb makes a world of clusters and endpoints: subsets, priorities, health, localities,
// panic. Each request is sent often; the endpoints seen are the result.
func (d *dice) lb(b *Batch) {
	var routes A
	hosts := 0
	for i := range lbClusters {
		name := fmt.Sprintf("k%d", i)
		subsets := d.chance(0.4)
		b.World.Clusters = append(b.World.Clusters, raw(d.lbCluster(name, subsets, &hosts)))
		for k := range 2 {
			action := M{"cluster": name}
			if !subsets && k == 1 {
				break
			}
			if md := d.wantedSubset(); subsets && md != nil {
				if d.chance(0.2) { // heeded only with a metadata_fallback_policy
					md["fallback_list"] = pick(d, A{M{"v": "9"}, M{"v": "1"}}, A{M{"env": "q"}}, A{}, A{M{"v": "3"}, M{"v": "2", "env": "q"}, M{}})
				}
				action["metadata_match"] = M{"filter_metadata": M{"envoy.lb": md}}
			}
			path, host := fmt.Sprintf("/%s/%d", name, k), "a"
			routes = append(routes, M{"name": path, "match": M{"path": path}, "route": action})
			b.Requests = append(b.Requests, Request{ID: strings.ReplaceAll(path[1:], "/", "-"), Accept: acceptAt(0), Repeat: 24,
				HTTP: &HTTP{Method: "GET", Target: path, Host: &host}})
		}
	}
	name := listenerName(0)
	l := listener(name, acceptAddr(0), acceptPort)
	rc := M{"name": "rc", "virtual_hosts": A{M{"name": "v", "domains": A{"*"}, "routes": routes}}}
	l["filter_chains"] = A{M{"name": "f", "filters": A{manager(name, rc, nil)}}}
	b.World.Listeners = append(b.World.Listeners, raw(l))
}

// wantedSubset is the metadata_match of a route; nil: none.
func (d *dice) wantedSubset() M {
	return pick(d, M{"v": "1"}, M{"v": "2"}, M{"v": "1", "env": "p"}, M{"env": "q"}, M{"v": "3"}, M{"env": "p", "v": "2"},
		M{"v": "1", "x": "y"}, M{"env": "z", "v": "1"}, M{"v": A{"1", "2"}}, M{"v": 1}, nil)
}

func (d *dice) lbCluster(name string, subsets bool, hosts *int) M {
	c := M{"name": name, "type": "STATIC", "connect_timeout": "1s", "lb_policy": pick(d, "ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "ROUND_ROBIN")}
	var localities A
	for priority := range pick(d, 1, 1, 2, 3) {
		for zone := range pick(d, 1, 1, 2) {
			g := M{"priority": priority, "locality": M{"zone": fmt.Sprintf("z%d", zone)}, "lb_endpoints": d.endpoints(subsets, hosts)}
			if d.chance(0.8) {
				g["load_balancing_weight"] = 1 + d.IntN(3)
			}
			localities = append(localities, g)
		}
	}
	load := M{"cluster_name": name, "endpoints": localities}
	if d.chance(0.1) {
		load["policy"] = M{"overprovisioning_factor": pick(d, 100, 200)}
	}
	if d.chance(0.1) {
		load["policy"] = M{"weighted_priority_health": true}
	}
	c["load_assignment"] = load
	common := M{}
	if d.chance(0.3) {
		common["healthy_panic_threshold"] = M{"value": pick(d, 0, 0, 20, 100)}
	}
	if d.chance(0.25) {
		common["locality_weighted_lb_config"] = M{}
	}
	if subsets {
		sub := d.subsetConfig()
		c["lb_subset_config"] = sub
		if sub["locality_weight_aware"] == true { // refused without
			common["locality_weighted_lb_config"] = M{}
		}
	}
	if len(common) > 0 {
		c["common_lb_config"] = common
	}
	return c
}

func (d *dice) endpoints(subsets bool, hosts *int) A {
	out := A{}
	for range d.IntN(4) {
		e := endpoint(up(*hosts))
		*hosts++
		if d.chance(0.45) {
			e["health_status"] = pick(d, "HEALTHY", "UNHEALTHY", "UNHEALTHY", "DEGRADED", "DRAINING", "TIMEOUT", "UNKNOWN")
		}
		if d.chance(0.15) {
			e["load_balancing_weight"] = 1 + d.IntN(3)
		}
		if subsets {
			md := M{"v": pick(d, "1", "2"), "env": pick(d, "p", "q")}
			if d.chance(0.2) {
				delete(md, "env")
			}
			if d.chance(0.1) { // one value of a list_as_any, or a value of its own
				md["v"] = pick[any](d, A{"1", "2"}, A{"1"}, A{}, 1)
			}
			e["metadata"] = M{"filter_metadata": M{"envoy.lb": md}}
		}
		out = append(out, e)
	}
	return out
}

func (d *dice) subsetConfig() M {
	fallback := func() string { return pick(d, "NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET") }
	selector := func(keys ...any) M {
		m := M{"keys": A(keys)}
		if d.chance(0.35) {
			m["fallback_policy"] = fallback()
		}
		if len(keys) > 1 && d.chance(0.35) {
			m["fallback_policy"], m["fallback_keys_subset"] = "KEYS_SUBSET", A{pick(d, keys...)}
		}
		if d.chance(0.1) {
			m["single_host_per_subset"] = true
		}
		return m
	}
	selectors := A{selector("v")}
	if d.chance(0.5) {
		selectors = append(selectors, selector("v", "env"))
	}
	if d.chance(0.3) {
		selectors = append(selectors, selector("env"))
	}
	d.Shuffle(len(selectors), func(i, j int) { selectors[i], selectors[j] = selectors[j], selectors[i] })
	m := M{"subset_selectors": selectors, "fallback_policy": fallback(), "default_subset": M{"env": pick(d, "p", "p", "z")}}
	for _, k := range []string{"allow_redundant_keys", "panic_mode_any", "list_as_any", "locality_weight_aware"} {
		if d.chance(0.2) {
			m[k] = true
		}
	}
	if m["locality_weight_aware"] == true && d.chance(0.5) {
		m["scale_locality_weight"] = true
	}
	if d.chance(0.2) {
		m["metadata_fallback_policy"] = "FALLBACK_LIST"
	}
	return m
}
