package envoy

import (
	"math"
	"strconv"
)

// candidates are the hosts among which a cluster's load balancer chooses, with the share
// of each: what spec 7.5 calls steps 2 and 3.
type candidate struct {
	host  int // index in the hostSet
	share float64
}

// level is one priority of a cluster, as the load balancer sees it.
type level struct {
	hosts                               []int // all, those that are excluded too
	total, good, half                   int   // their weights, or their number; without the excluded ones
	count, healthy, degraded            int   // their number; without the excluded ones
	healthyLoad, degradedLoad           int   // percent of the traffic that goes to its healthy, degraded hosts
	healthyAvailable, degradedAvailable int
	panic                               bool
}

// balance distributes the load over the priorities (load_balancer_impl.cc,
// LoadBalancerBase); over is the overprovisioning factor in percent, threshold that of panic.
func balance(levels []level, over, threshold int) {
	sum := 0
	for i := range levels {
		l := &levels[i]
		if l.total > 0 {
			l.healthyAvailable = min(100, over*l.good/l.total)
			l.degradedAvailable = min(100, over*l.half/l.total)
		}
		sum += l.healthyAvailable + l.degradedAvailable
	}
	sum = min(100, sum)
	if len(levels) == 0 {
		return
	}
	if sum == 0 {
		levels[0].healthyLoad = 100
	} else {
		share(levels, sum)
	}
	if threshold == 0 && sum == 0 {
		levels[0].healthyLoad = 100
		return
	}
	all := true
	for i := range levels {
		levels[i].panic = sum != 100 && levels[i].inPanic(threshold)
		all = all && levels[i].panic
	}
	if all {
		totalPanic(levels)
	}
}

// share hands the load out from priority 0 on, healthy hosts first, then degraded ones.
func share(levels []level, sum int) {
	left, first, firstDegraded := 100, -1, -1
	for i := range levels {
		l := &levels[i]
		if first < 0 && l.healthyAvailable > 0 {
			first = i
		}
		l.healthyLoad = min(left, l.healthyAvailable*100/sum)
		left -= l.healthyLoad
	}
	for i := range levels {
		l := &levels[i]
		if firstDegraded < 0 && l.degradedAvailable > 0 {
			firstDegraded = i
		}
		l.degradedLoad = min(left, l.degradedAvailable*100/sum)
		left -= l.degradedLoad
	}
	// What rounding leaves over goes to the first one that has anything.
	switch {
	case first >= 0:
		levels[first].healthyLoad += left
	case firstDegraded >= 0:
		levels[firstDegraded].degradedLoad += left
	}
}

func (l *level) inPanic(threshold int) bool {
	percent := 0.0
	if l.count > 0 {
		percent = 100*float64(l.healthy)/float64(l.count) + 100*float64(l.degraded)/float64(l.count)
	}
	return percent < float64(threshold)
}

// totalPanic distributes by the number of hosts when every priority is in panic.
func totalPanic(levels []level) {
	hosts := 0
	for i := range levels {
		hosts += len(levels[i].hosts)
	}
	if hosts == 0 {
		levels[0].healthyLoad = 100
		return
	}
	left, first := 100, -1
	for i := range levels {
		l := &levels[i]
		if first < 0 && len(l.hosts) > 0 {
			first = i
		}
		l.healthyLoad, l.degradedLoad = 100*len(l.hosts)/hosts, 0
		left -= l.healthyLoad
	}
	levels[first].healthyLoad += left
}

// lbConfig is what a cluster says of its load balancing.
type lbConfig struct {
	policy     string // ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV, CLUSTER_PROVIDED; another: not modelled
	over       int
	threshold  int
	failPanic  bool // fail_traffic_on_panic
	localities bool // locality_weighted_lb_config
	scale      bool // locality weights go down with the hosts that a subset leaves out
	weighted   bool // weighted_priority_health
}

func (c *Config) lbConfig(cl *cluster, policy string, s *hostSet) lbConfig {
	common := cl.node.Field("common_lb_config")
	b := lbConfig{policy: policy, over: s.over, threshold: 50, weighted: s.weighted}
	if t := common.Field("healthy_panic_threshold"); t.Exists() {
		v, _ := t.Field("value").Float()
		b.threshold = int(v)
	}
	if v, ok := c.value("upstream.healthy_panic_threshold"); ok {
		if n, err := strconv.Atoi(v); err == nil {
			b.threshold = n
		}
	}
	b.threshold = min(100, max(0, b.threshold))
	locality := common
	if cl.typed {
		locality = cl.locality
	}
	b.localities = cl.weighted || locality.Field("locality_weighted_lb_config").Exists()
	b.failPanic = locality.Path("zone_aware_lb_config", "fail_traffic_on_panic").Bool(false)
	return b
}

// levels sorts the hosts of a set by priority; only is nil for all of them.
func (b lbConfig) levels(s *hostSet, only func(*host) bool) []level {
	n := 0
	for i := range s.hosts {
		n = max(n, int(s.hosts[i].priority)+1)
	}
	levels := make([]level, max(n, 1))
	for i := range s.hosts {
		h := &s.hosts[i]
		if only != nil && !only(h) {
			continue
		}
		l := &levels[h.priority]
		l.hosts = append(l.hosts, i)
		if h.excluded {
			continue
		}
		w := 1
		if b.weighted {
			w = int(h.weight)
		}
		l.total += w
		l.count++
		switch h.health {
		case healthy:
			l.good += w
			l.healthy++
		case degraded:
			l.half += w
			l.degraded++
		}
	}
	return levels
}

// choose lists the hosts that can be chosen, with their shares. none says that part of the
// traffic, or all of it, finds no host.
func (b lbConfig) choose(s *hostSet, only func(*host) bool) (out []candidate, none float64) {
	levels := b.levels(s, only)
	balance(levels, b.over, b.threshold)
	for i := range levels {
		l := &levels[i]
		for _, class := range []health{healthy, degraded} {
			load := l.healthyLoad
			if class == degraded {
				load = l.degradedLoad
			}
			if load == 0 {
				continue
			}
			got := b.source(s, l, class, float64(load)/100)
			if got == nil {
				none += float64(load) / 100
			}
			out = append(out, got...)
		}
	}
	return out, none
}

// source is the host list that a draw within one priority is made from.
func (b lbConfig) source(s *hostSet, l *level, class health, load float64) []candidate {
	if l.panic {
		if b.failPanic {
			return nil
		}
		return b.spread(s, l.hosts, load)
	}
	var of []int
	for _, i := range l.hosts {
		if h := &s.hosts[i]; h.health == class && !h.excluded {
			of = append(of, i)
		}
	}
	if b.localities {
		if got := b.byLocality(s, l, of, load); got != nil {
			return got
		}
	}
	return b.spread(s, of, load)
}

// spread shares load among hosts by weight; RANDOM does not look at weights.
func (b lbConfig) spread(s *hostSet, hosts []int, load float64) []candidate {
	sum := 0.0
	weight := func(i int) float64 {
		if b.policy == "RANDOM" {
			return 1
		}
		return float64(s.hosts[i].weight)
	}
	for _, i := range hosts {
		sum += weight(i)
	}
	var out []candidate
	for _, i := range hosts {
		out = append(out, candidate{i, load * weight(i) / sum})
	}
	return out
}

// byLocality chooses a locality first, by weight times availability; nil: none of them has
// a weight, and all hosts are used together.
func (b lbConfig) byLocality(s *hostSet, l *level, of []int, load float64) []candidate {
	total, eligible := map[int32]int{}, map[int32][]int{}
	var order []int32
	for _, i := range l.hosts {
		h := &s.hosts[i]
		if _, seen := total[h.locality]; !seen {
			order = append(order, h.locality)
		}
		if !h.excluded {
			total[h.locality]++
		} else {
			total[h.locality] += 0
		}
	}
	for _, i := range of {
		eligible[s.hosts[i].locality] = append(eligible[s.hosts[i].locality], i)
	}
	sum := 0.0
	effective := map[int32]float64{}
	for _, loc := range order {
		if total[loc] == 0 {
			continue
		}
		ratio := min(1, float64(b.over)/100*float64(len(eligible[loc]))/float64(total[loc]))
		effective[loc] = b.weight(s, l, loc) * ratio
		sum += effective[loc]
	}
	if sum == 0 {
		return nil
	}
	var out []candidate
	for _, loc := range order {
		if effective[loc] > 0 {
			out = append(out, b.spread(s, eligible[loc], load*effective[loc]/sum)...)
		}
	}
	return out
}

// weight is a locality's; scaled by how many of its hosts the subset holds.
// (HostSubsetImpl::determineLocalityWeights)
func (b lbConfig) weight(s *hostSet, l *level, locality int32) float64 {
	w := float64(s.weights[locality])
	if !b.scale {
		return w
	}
	in, all := 0, 0
	for _, i := range l.hosts {
		if s.hosts[i].locality == locality {
			in++
		}
	}
	for i := range s.hosts {
		if s.hosts[i].locality == locality {
			all++
		}
	}
	return math.Round(w * float64(in) / float64(max(all, 1)))
}
