package envoy

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// zoned says whether zone-aware routing may decide among a cluster's hosts: by where the
// proxy itself is, and by the hosts of its own cluster in each zone, as they are now.
// (zone_aware_load_balancer_base.cc: earlyExitNonLocalityRouting)
func (c *Config) zoned(cl *cluster, b lbConfig, s *hostSet) bool {
	switch b.policy {
	case "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM":
	default:
		return false
	}
	if b.localities || c.boot().Path("cluster_manager", "local_cluster_name").Str() == "" {
		return false
	}
	seen, n := map[int32]bool{}, uint64(0)
	for i := range s.hosts {
		if h := &s.hosts[i]; h.priority == 0 && h.health == healthy {
			n++
			seen[h.locality] = true
		}
	}
	locality := cl.node.Field("common_lb_config")
	if cl.typed {
		locality = cl.locality
	}
	zone := locality.Field("zone_aware_lb_config")
	if c.zonesOff(zone.Field("routing_enabled")) {
		return false
	}
	_, runtime := c.value("upstream.zone_routing.min_cluster_size")
	small := !runtime && !zone.Field("force_local_zone").Exists() && n < zone.Field("min_cluster_size").Uint(6)
	return len(seen) > 1 && !small
}

// zonesOff says whether no request is routed by zones: a share of 0, where the runtime sets
// none. (upstream.zone_routing.enabled, an integer out of 100)
func (c *Config) zonesOff(share tree.Node) bool {
	v, _ := c.value("upstream.zone_routing.enabled")
	if n, err := strconv.ParseUint(v, 10, 64); err == nil {
		return n == 0
	}
	value := share.Field("value") // a dump leaves 0 out
	n, said := value.Float()
	return share.Exists() && (!value.Exists() || said && n == 0)
}

// byZone makes a choice by shares one by a condition.
func (s *hostSet) byZone(d *draws, choice flow.Choice, groups [][]int) flow.Choice {
	choice.Kind = flow.Condition
	options := make([]flow.Option, len(choice.Options))
	for i, o := range choice.Options {
		o.Weight = 0
		at := i
		if groups != nil && i < len(groups) {
			at = groups[i][0]
		}
		if o.When = "zone-aware routing finds no host"; at < len(d.list) && o.Value != "none" {
			o.When = "zone-aware routing chooses " + s.hosts[d.list[at].host].text
		}
		options[i] = o
	}
	choice.Options = options
	return choice
}
