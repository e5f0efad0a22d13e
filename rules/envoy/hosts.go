package envoy

import (
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// health is the class that load balancing sees (upstream_impl.cc, coarseHealth).
type health uint8

const (
	healthy health = iota
	degraded
	unhealthy
)

// host is one endpoint of a cluster as the snapshot knows it. There may be very many: it
// keeps no decoded text but where it stands.
type host struct {
	addr     netip.AddrPort
	internal string         // name of an internal listener, in place of an address
	orig     netip.AddrPort // original destination in its metadata. Valid iff internal is set
	name     string         // DNS name or configured hostname; empty: its address
	text     string         // as %UPSTREAM_HOST% prints it
	why      string         // what makes it unhealthy or degraded, in Envoy's words
	weight   uint64
	meta     tree.Node // its metadata; kept only where subsets ask for it
	at       place
	priority uint8
	locality int32 // number of its locality
	socket   int16 // of the cluster's transport_socket_matches; -1: none fits
	health   health
	excluded bool // draining, or not yet checked: does not count, neither as healthy nor as a host
}

// place is where a host's text stands: by its node, or in a list of the set's entry.
type place struct {
	node          tree.Node
	start, end    int
	group, number int32
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
	// weights are the locality weights by the locality's number; none: none given.
	weights map[int32]uint64
	known   found    // unread: EndpointsConfigDump and /clusters were not read
	names   []string // DNS names that stand for hosts which are not known

	// Of ClusterLoadAssignment.policy.
	over     int  // overprovisioning_factor
	weighted bool // weighted_priority_health
	drops    []dropOverload

	live limits // what counts against circuit breakers, by /clusters

	wrong   flow.Reason // why the endpoints cannot be read
	strange []string    // members of the assignment that are not modelled

	of     *cluster
	entry  *entry // that holds the hosts; nil: source does
	source tree.Node
	fields [2]string // endpoints and lb_endpoints as the entry writes them
}

// dropOverload is a share of requests that a cluster drops.
type dropOverload struct {
	category string
	num, den uint64
}

// hostsOf gathers the hosts of a cluster: those that EndpointsConfigDump or the cluster's
// own load_assignment lists, with the live health of /clusters.
func (c *Config) hostsOf(cl *cluster) *hostSet {
	return memo(c, cl.node, func() *hostSet { return c.gather(cl) })
}

// wrongHosts ends the pass at endpoints of which something is of a wrong kind.
func (p *pass) wrongHosts(cl *cluster) bool {
	why := p.cfg.hostsOf(cl).wrong
	if why.Kind != flow.NoReason {
		p.stop(flow.Endpoint, cl.name, why, cl.node)
	}
	return why.Kind != flow.NoReason
}

func (c *Config) gather(cl *cluster) *hostSet {
	s := &hostSet{weights: map[int32]uint64{}, known: present, over: 140, of: cl}
	live := tree.Node{}
	if e := c.hosts[cl.name]; e != nil {
		live = e.decode()
		judge(live.Doc(), "envoy.admin.v3.ClusterStatus")
		if what, newer := wrong(live); what != "" {
			s.wrong = wrongWhy(what, newer)
			return s
		}
		s.count(live)
	}
	assigned := cl.node.Field("load_assignment")
	old := cl.node.Field("hosts", "hidden_envoy_deprecated_hosts")
	s.readPolicy(assigned.Field("policy"))
	switch e := c.endpoints[cl.endpointsName()]; {
	case e != nil:
		s.entry = e
		n := e.decode()
		if what, newer := wrong(n); what != "" {
			s.wrong = wrongWhy(what, newer)
			return s
		}
		s.assignment(n, assigned)
	case cl.kind == "STATIC":
		s.source = assigned
		s.assignment(assigned, tree.Node{})
		s.oldHosts(old)
	case live.Exists():
		s.entry = c.hosts[cl.name]
		s.listed(live)
		return s
	case cl.kind == "STRICT_DNS" || cl.kind == "LOGICAL_DNS":
		s.source = assigned
		s.assignment(assigned, tree.Node{})
		s.oldHosts(old)
		if len(s.names) > 0 {
			s.known = c.has(cl.endpointsName(), staticEndpointConfigs, dynamicEndpointConfigs)
		}
	default:
		s.known = c.has(cl.endpointsName(), staticEndpointConfigs, dynamicEndpointConfigs)
	}
	s.overlay(live)
	return s
}

func (s *hostSet) readPolicy(n tree.Node) {
	if !n.Exists() {
		return
	}
	s.over = int(min(n.Field("overprovisioning_factor").Uint(140), 1<<20))
	// A dump of endpoints does not repeat it: what the cluster's own assignment says stays.
	s.weighted = n.Field("weighted_priority_health").Bool(s.weighted)
	s.drops = nil
	for _, d := range n.Field("drop_overloads").All() {
		num, den := fractional(d.Field("drop_percentage"))
		s.drops = append(s.drops, dropOverload{d.Field("category").Str(), num, den})
	}
}

// localities numbers the localities of all priorities.
type localities map[string]int32

func (l localities) number(priority uint8, n tree.Node) int32 {
	key := strconv.Itoa(int(priority)) + "/" + n.Field("region").Str() + "\x00" + n.Field("zone").Str() + "\x00" + n.Field("sub_zone").Str()
	i, ok := l[key]
	if !ok {
		i = int32(len(l))
		l[key] = i
	}
	return i
}

// assignment reads a ClusterLoadAssignment. Locality weights that the dump of the endpoints
// does not repeat are taken from the configuration.
func (s *hostSet) assignment(n, configured tree.Node) {
	s.readPolicy(n.Field("policy"))
	s.strange = n.Unknown(assignmentFields...)
	l := localities{}
	for gi, g := range n.Field("endpoints").All() {
		if len(s.strange) == 0 { // one is enough: a mesh may have thousands of localities
			s.strange = g.Unknown(localityFields...)
		}
		p := priorityOf(g)
		loc := l.number(p, g.Field("locality"))
		if w := g.Field("load_balancing_weight").Uint(0); w > 0 {
			s.weights[loc] = w
		}
		for i, e := range g.Field("lb_endpoints").All() {
			s.add(e, p, loc, g.Field("metadata"), place{group: int32(gi), number: int32(i)})
		}
	}
	for _, g := range configured.Field("endpoints").All() {
		if w := g.Field("load_balancing_weight").Uint(0); w > 0 {
			s.weights[l.number(priorityOf(g), g.Field("locality"))] = w
		}
	}
	s.fields = [2]string{n.FieldName("endpoints"), n.Field("endpoints").Index(0).FieldName("lb_endpoints")}
	if n.Field("endpoints").Kind() != tree.List { // hand-written: places by node
		s.entry, s.source = nil, n
	}
}

func priorityOf(n tree.Node) uint8 { return uint8(min(n.Field("priority").Uint(0), 128)) }

// add adds one LbEndpoint.
func (s *hostSet) add(e tree.Node, priority uint8, locality int32, localityMeta tree.Node, at place) {
	h := host{priority: priority, locality: locality, weight: e.Field("load_balancing_weight").Uint(1), at: at}
	h.name = e.Path("endpoint", "hostname").Str()
	if !h.address(e.Path("endpoint", "address")) {
		s.names = append(s.names, h.name)
		return
	}
	switch eds := e.Field("health_status").Enum(); eds {
	case "UNHEALTHY", "DRAINING", "TIMEOUT", "2", "3", "4":
		h.health, h.why = unhealthy, edsHealth(eds)
		h.excluded = eds == "DRAINING" || eds == "3" // excludeBasedOnHealthFlag, upstream_impl.cc
	case "DEGRADED", "5":
		h.health, h.why = degraded, edsHealth(eds)
	}
	meta := e.Field("metadata")
	if h.socket = s.of.socketOf(meta, localityMeta); s.of.subsets != nil {
		h.meta = meta
	}
	if h.internal != "" {
		h.orig, _ = netip.ParseAddrPort(meta.Field("filter_metadata").Key(originalMetadata).Field("local").Str())
	}
	if h.at.start, h.at.end = int(e.Offset()), int(e.Offset())+len(e.Raw()); s.entry == nil {
		h.at.node = e
	}
	h.text = h.printed()
	s.hosts = append(s.hosts, h)
}

// edsHealth words an EDS health status; the usual ones cost no memory.
func edsHealth(s string) string {
	switch s {
	case "UNHEALTHY":
		return "eds_health_status UNHEALTHY"
	case "DEGRADED":
		return "eds_health_status DEGRADED"
	}
	return "eds_health_status " + s
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
		h := host{weight: 1, at: place{node: n}, socket: s.of.socketOf(tree.Node{}, tree.Node{})}
		if !h.address(n) {
			s.names = append(s.names, h.name)
			continue
		}
		h.text = h.printed()
		s.hosts = append(s.hosts, h)
	}
}

// reference is where a host stands.
func (s *hostSet) reference(h *host) string {
	if s.entry == nil || h.at.node.Exists() {
		return reference(h.at.node)
	}
	ref := s.entry.reference() + "/" + s.fields[0] + "/"
	if s.fields[1] != "" {
		ref += strconv.Itoa(int(h.at.group)) + "/" + s.fields[1] + "/"
	}
	return ref + strconv.Itoa(int(h.at.number))
}

// evidence is the text of one host.
func (s *hostSet) evidence(h *host) []flow.Evidence {
	if s.entry == nil || h.at.node.Exists() {
		return evidence(h.at.node)
	}
	return []flow.Evidence{{Source: s.entry.part.name, Ref: s.reference(h), Text: shorten(s.entry.part.raw[h.at.start:h.at.end])}}
}

// all is the text that lists the hosts.
func (s *hostSet) all() []flow.Evidence {
	if s.entry == nil {
		return evidence(s.source)
	}
	return []flow.Evidence{{Source: s.entry.part.name, Ref: s.entry.reference(), Text: shorten(s.entry.part.raw[s.entry.start:s.entry.end])}}
}
