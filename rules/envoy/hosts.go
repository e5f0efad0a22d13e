package envoy

import (
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// health is the class that load balancing sees (upstream_impl.cc, coarseHealth).
type health uint8

const (
	healthy health = iota
	degraded
	unhealthy
)

// host is one endpoint of a cluster as the snapshot knows it.
type host struct {
	addr     netip.AddrPort
	internal string // name of an internal listener, in place of an address
	name     string // DNS name or configured hostname; empty: its address
	text     string // as %UPSTREAM_HOST% prints it
	priority int
	locality int // number of its locality within the priority
	weight   uint64
	health   health
	why      string // what makes it unhealthy or degraded, in Envoy's words
	excluded bool   // does not count, neither as healthy nor as a host
	meta, localityMeta,
	node tree.Node
}

func (h *host) printed() string {
	switch {
	case h.internal != "":
		return "envoy://" + h.internal + "/"
	case !h.addr.IsValid():
		return h.name
	}
	return h.addr.String()
}

// hostSet are a cluster's hosts.
type hostSet struct {
	hosts []host
	// weights are the locality weights by priority and locality number; 0: none given.
	weights map[[2]int]uint64
	policy  tree.Node // ClusterLoadAssignment.policy
	known   found     // unread: EndpointsConfigDump and /clusters were not read
	names   []string  // DNS names that stand for hosts which are not known
	source  tree.Node
}

// readClusters reads /clusters?format=json: the hosts of each cluster with their live
// health. There is one of all clusters, clusters.json, or one for each that was asked for by
// name, clusters/NAME.json. As with the dump, only names and places are kept.
func (c *Config) readClusters(name string, raw []byte) error {
	if err := notJSON(raw); err != nil {
		return err
	}
	p := &part{name: name, raw: raw}
	s := tree.Scanner{Raw: raw}
	found := map[string]*entry{}
	end, err := s.Object(s.Space(0), func(key []byte, at int) (int, error) {
		if !tree.Named(key, "cluster_statuses") {
			return s.Skip(at)
		}
		base := "/" + string(key)
		return s.List(at, func(n, at int) (int, error) {
			e := &entry{part: p, start: at, base: &base, n: int32(n)}
			end, err := s.Object(at, func(key []byte, at int) (int, error) {
				if string(key) == "name" {
					var err error
					e.name, at, err = s.String(at)
					return at, err
				}
				return s.Skip(at)
			})
			e.end = end
			found[e.name] = e
			return end, err
		})
	})
	if err != nil {
		return err
	}
	if end = s.Space(end); end != len(raw) {
		return &tree.SyntaxError{At: int64(end), Msg: "more text after the value"}
	}
	c.parts = append(c.parts, p)
	if c.hosts == nil {
		c.hosts = found
		return nil
	}
	for name, e := range found {
		c.hosts[name] = e
	}
	return nil
}

// liveHosts is what /clusters says of a cluster.
func (c *Config) liveHosts(name string) tree.Node { return c.hosts[name].node() }

// hostsOf gathers the hosts of a cluster: those that EndpointsConfigDump or the cluster's
// own load_assignment lists, with the live health of /clusters.
func (c *Config) hostsOf(cl *cluster) *hostSet {
	return memo(c, cl.node, func() *hostSet {
		s := &hostSet{weights: map[[2]int]uint64{}, known: present}
		live := c.liveHosts(cl.name)
		assigned := cl.node.Field("load_assignment")
		switch e := c.endpoints[cl.endpointsName()]; {
		case e != nil:
			s.assignment(e.node())
			s.localityWeights(assigned)
		case cl.kind == "STATIC":
			s.assignment(assigned)
			s.oldHosts(cl.node.Field("hosts", "hidden_envoy_deprecated_hosts"))
		case live.Exists():
			s.live(live)
			s.policy = assigned.Field("policy")
			return s
		case cl.kind == "STRICT_DNS" || cl.kind == "LOGICAL_DNS":
			s.assignment(assigned)
			s.oldHosts(cl.node.Field("hosts", "hidden_envoy_deprecated_hosts"))
			if s.known = present; len(s.names) > 0 {
				s.known = c.has(cl.endpointsName(), staticEndpointConfigs, dynamicEndpointConfigs)
			}
		default:
			s.known = c.has(cl.endpointsName(), staticEndpointConfigs, dynamicEndpointConfigs)
		}
		s.overlay(live)
		return s
	})
}

// assignment reads a ClusterLoadAssignment.
func (s *hostSet) assignment(n tree.Node) {
	s.policy, s.source = n.Field("policy"), n
	localities := map[string]int{}
	for _, g := range n.Field("endpoints").All() {
		p := int(min(g.Field("priority").Uint(0), 128))
		l := s.localityNumber(localities, p, g.Field("locality"))
		if w := g.Field("load_balancing_weight").Uint(0); w > 0 {
			s.weights[[2]int{p, l}] = w
		}
		for _, e := range g.Field("lb_endpoints").All() {
			s.add(e, p, l, g.Field("metadata"))
		}
	}
}

// localityNumber numbers the localities of a priority in order.
func (s *hostSet) localityNumber(seen map[string]int, p int, l tree.Node) int {
	key := strconv.Itoa(p) + "/" + localityKey(l)
	n, ok := seen[key]
	if !ok {
		n = len(seen)
		seen[key] = n
	}
	return n
}

func localityKey(l tree.Node) string {
	return l.Field("region").Str() + "\x00" + l.Field("zone").Str() + "\x00" + l.Field("sub_zone").Str()
}

// localityWeights takes the weights from the configuration where the dump of the endpoints
// does not repeat them.
func (s *hostSet) localityWeights(configured tree.Node) {
	if !configured.Exists() {
		return
	}
	numbers := map[string]int{}
	for _, g := range s.source.Field("endpoints").All() {
		s.localityNumber(numbers, int(min(g.Field("priority").Uint(0), 128)), g.Field("locality"))
	}
	for _, g := range configured.Field("endpoints").All() {
		p := int(min(g.Field("priority").Uint(0), 128))
		n, ok := numbers[strconv.Itoa(p)+"/"+localityKey(g.Field("locality"))]
		if w := g.Field("load_balancing_weight").Uint(0); ok && w > 0 {
			s.weights[[2]int{p, n}] = w
		}
	}
	if !s.policy.Exists() {
		s.policy = configured.Field("policy")
	}
}

// add adds one LbEndpoint.
func (s *hostSet) add(e tree.Node, priority, locality int, localityMeta tree.Node) {
	h := host{priority: priority, locality: locality, weight: e.Field("load_balancing_weight").Uint(1), meta: e.Field("metadata"), localityMeta: localityMeta, node: e}
	h.name = e.Path("endpoint", "hostname").Str()
	if !h.address(e.Path("endpoint", "address")) {
		s.names = append(s.names, h.name)
		return
	}
	switch e.Field("health_status").Enum() {
	case "UNHEALTHY", "DRAINING", "TIMEOUT", "2", "3", "4":
		h.health, h.why = unhealthy, "eds_health_status "+e.Field("health_status").Enum()
	case "DEGRADED", "5":
		h.health, h.why = degraded, "eds_health_status DEGRADED"
	}
	h.text = h.printed()
	s.hosts = append(s.hosts, h)
}

// address reads a core.v3.Address; false: it is a DNS name.
func (h *host) address(n tree.Node) bool {
	if a, ok := readAddress(n); ok {
		h.addr = a.AddrPort
		return true
	}
	if i := n.Field("envoy_internal_address"); i.Exists() {
		h.internal = i.Field("server_listener_name").Str()
		return true
	}
	if p := n.Path("pipe", "path"); p.Exists() {
		h.name = p.Str()
		return true
	}
	h.name = n.Path("socket_address", "address").Str()
	return false
}

// oldHosts reads Cluster.hosts of v2.
func (s *hostSet) oldHosts(list tree.Node) {
	for _, n := range list.All() {
		h := host{weight: 1, node: n}
		if !h.address(n) {
			s.names = append(s.names, h.name)
			continue
		}
		h.text = h.printed()
		s.hosts = append(s.hosts, h)
	}
}

// live reads the hosts as /clusters lists them, where nothing else does.
func (s *hostSet) live(n tree.Node) {
	s.source = n
	localities := map[string]int{}
	for _, e := range n.Field("host_statuses").All() {
		h := host{priority: int(min(e.Field("priority").Uint(0), 128)), weight: e.Field("weight").Uint(1), name: e.Field("hostname").Str(), node: e}
		h.locality = s.localityNumber(localities, h.priority, e.Field("locality"))
		h.address(e.Field("address"))
		h.status(e.Field("health_status"))
		h.text = h.printed()
		s.hosts = append(s.hosts, h)
	}
}

// overlay takes the health from /clusters, which knows why.
func (s *hostSet) overlay(n tree.Node) {
	if !n.Exists() {
		return
	}
	at := map[netip.AddrPort]tree.Node{}
	for _, e := range n.Field("host_statuses").All() {
		if a, ok := readAddress(e.Field("address")); ok {
			at[a.AddrPort] = e
		}
	}
	for i := range s.hosts {
		if e, ok := at[s.hosts[i].addr]; ok {
			s.hosts[i].status(e.Field("health_status"))
		}
	}
}

// status reads a HostHealthStatus (envoy/admin/v3/clusters.proto).
func (h *host) status(n tree.Node) {
	h.health, h.why = healthy, ""
	for _, f := range []string{"failed_active_degraded_check"} {
		if n.Field(f).Bool(false) {
			h.health, h.why = degraded, f
		}
	}
	switch eds := n.Field("eds_health_status").Enum(); eds {
	case "DEGRADED":
		h.health, h.why = degraded, "eds_health_status "+eds
	case "UNHEALTHY", "DRAINING", "TIMEOUT":
		h.health, h.why = unhealthy, "eds_health_status "+eds
	}
	for _, f := range []string{"failed_active_health_check", "failed_outlier_check"} {
		if n.Field(f).Bool(false) {
			h.health, h.why = unhealthy, f
		}
	}
	h.excluded = n.Field("excluded_via_immediate_hc_fail").Bool(false)
}
