package envoy

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// cluster is one Cluster, compiled as far as its choice of a host needs.
type cluster struct {
	name    string
	node    tree.Node
	kind    string // STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST, or a cluster_type's kind
	config  tree.Node
	policy  string // of the load balancer
	subsets *subsets
	odd     string   // what of its load balancing is not modelled
	strange []string // its members that are not modelled
	// typed says that load_balancing_policy takes the place of the old fields; locality is
	// then its locality_lb_config, and weighted that it chooses a locality first.
	typed, weighted bool
	locality        tree.Node
	limits          [2]limits
	maintenance     string         // value of runtime upstream.maintenance_mode
	bind            [2]netip.Addr  // source address for IPv4 and IPv6 hosts
	socket          upstreamSocket // without a match
	matches         []upstreamSocket
	options         tree.Node // HttpProtocolOptions
}

func (c *Config) cluster(name string) *cluster {
	e := c.clusters[name]
	if e == nil {
		return nil
	}
	n := e.node()
	return memo(c, n, func() *cluster { return c.newCluster(name, n) })
}

func (cfg *Config) newCluster(name string, n tree.Node) *cluster {
	c := &cluster{name: name, node: n, kind: orDefault(n.Field("type").Enum(), "STATIC"), policy: orDefault(n.Field("lb_policy").Enum(), "ROUND_ROBIN")}
	if t := n.Field("cluster_type"); t.Exists() {
		_, c.config = t.Field("typed_config").Any()
		c.kind = clusterKind(t)
	}
	if s := n.Field("lb_subset_config"); s.Field("subset_selectors").Len() > 0 {
		c.subsets = newSubsets(s)
	}
	if p := n.Path("load_balancing_policy", "policies").Index(0); p.Exists() && c.kind != "ORIGINAL_DST" {
		c.typedPolicy(p.Field("typed_extension_config"))
	}
	if strings.HasPrefix(c.policy, "LOAD_BALANCING_POLICY") {
		c.policy = "ROUND_ROBIN"
	}
	_, c.options = n.Field("typed_extension_protocol_options").Key("envoy.extensions.upstreams.http.v3.HttpProtocolOptions").Any()
	c.maintenance, _ = cfg.value("upstream.maintenance_mode." + name)
	c.breakers(cfg)
	c.binds(cfg)
	c.sockets(cfg)
	c.strange = oddCluster(n)
	return c
}

// clusterKind is what a cluster_type stands for.
func clusterKind(t tree.Node) string {
	kind, config := kindOf(t)
	name := t.Field("name").Str()
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "static":
		return "STATIC"
	case "eds":
		return "EDS"
	case "original_dst":
		return "ORIGINAL_DST"
	case "strict_dns":
		return "STRICT_DNS"
	case "logical_dns":
		return "LOGICAL_DNS"
	}
	switch kind {
	case "DnsCluster":
		if config.Field("all_addresses_in_single_endpoint").Bool(false) {
			return "LOGICAL_DNS"
		}
		return "STRICT_DNS"
	case "ClusterConfig":
		return name // dynamic_forward_proxy, aggregate: by name
	}
	return name
}

// typedPolicy reads the first load_balancing_policy, which replaces the old fields.
func (c *cluster) typedPolicy(p tree.Node) {
	kind, config := kindOf(p)
	c.typed, c.locality = true, config.Field("locality_lb_config")
	switch kind {
	case "RoundRobin":
		c.policy = "ROUND_ROBIN"
	case "LeastRequest":
		c.policy = "LEAST_REQUEST"
	case "Random":
		c.policy = "RANDOM"
	case "RingHash":
		c.policy = "RING_HASH"
	case "Maglev":
		c.policy = "MAGLEV"
	case "ClusterProvided":
		c.policy = "CLUSTER_PROVIDED"
	case "ClientSideWeightedRoundRobin":
		c.policy = "ROUND_ROBIN"
	case "Subset":
		c.subsets = newSubsets(config)
		c.typedPolicy(config.Path("subset_lb_policy", "policies").Index(0).Field("typed_extension_config"))
	case "WrrLocality":
		c.weighted = true
		c.typedPolicy(config.Path("endpoint_picking_policy", "policies").Index(0).Field("typed_extension_config"))
	default:
		c.odd = kind
	}
}

// endpointsName is the name under which its endpoints come.
func (c *cluster) endpointsName() string {
	return orDefault(c.node.Path("eds_cluster_config", "service_name").Str(), c.name)
}

// toCluster looks the cluster up, chooses a host, and adds the steps of both. The callers
// are tcp_proxy and the HTTP router.
func (p *pass) toCluster(name string, h lbHints) fate {
	c := p.cfg.cluster(name)
	if c == nil {
		return p.noCluster(name)
	}
	p.res.Outcome.Cluster = name
	if p.wrong(flow.Cluster, name, c.node) {
		return fate{unknown: true}
	}
	s := flow.Step{Stage: flow.Cluster, Subject: name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyCluster, c.kind), Evidence: p.evidence(c.node), Origin: p.cfg.clusterOrigin(c.node)}
	p.versions(&s)
	if !p.odd(flow.Cluster, name, c.node, c.strange) {
		return fate{unknown: true}
	}
	if over, f := p.overflow(c, h, &s); over {
		p.add(s)
		return f
	}
	p.add(s)
	if f, ok := p.drops(c, h); !ok {
		return f
	}
	if f, full := p.full(c, h); full {
		return f
	}
	var f fate
	switch c.kind {
	case "ORIGINAL_DST":
		f = p.toOriginal(c, h)
	case "STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS":
		f = p.toHost(c, h)
	case "envoy.clusters.aggregate":
		f = p.toAggregate(c, h)
	case forwardCluster:
		f = p.toForward(c, h)
	default:
		p.stop(flow.Endpoint, name, flow.Because(flow.WhyNotModelled, "cluster type "+c.kind), c.node)
		return fate{unknown: true}
	}
	return p.noRequests(c, h, f)
}

// noCluster is a name that no active cluster has.
func (p *pass) noCluster(name string) fate {
	if w := p.cfg.warming[name]; w != nil {
		p.add(flow.Step{Stage: flow.Cluster, Subject: name, Verdict: flow.Refused, Reason: flow.Because(flow.WhyClusterWarming), Evidence: p.evidence(w.node())})
		return fate{flags: "NC"}
	}
	if p.cfg.has(name, staticClusters, dynamicActiveClusters) == unread {
		p.need(flow.Cluster, partCluster, name)
		return fate{unknown: true}
	}
	s := flow.Step{Stage: flow.Cluster, Subject: name, Verdict: flow.Refused, Reason: flow.Because(flow.WhyNoCluster)}
	w := &clusterWhy{c: p.cfg, names: p.cfg.alike(name)}
	for i := range w.names {
		s.Passed = append(s.Passed, flow.Miss{Index: int32(i), Near: true})
	}
	if s.PassedTotal = len(s.Passed); s.PassedTotal > 0 {
		s.Explain = w
	}
	p.add(s)
	return fate{flags: "NC"}
}

// clusterWhy words the clusters whose name is nearly the one that does not exist.
type clusterWhy struct {
	c     *Config
	names []string
}

// Explain words one of them.
func (w *clusterWhy) Explain(m flow.Miss) flow.Explained {
	if m.Index < 0 || int(m.Index) >= len(w.names) {
		return flow.Explained{}
	}
	name := w.names[m.Index]
	return flow.Explained{Ref: w.c.clusters[name].reference(), Kind: flow.Cluster, Name: name, Text: name, Reason: flow.Because(flow.WhyClusterAlike, name)}
}

// alike are the clusters whose names differ from this one in case, or in exactly one of the
// parts between | (Istio's direction|port|subset|host); sorted, at most 16.
func (c *Config) alike(name string) []string {
	parts := strings.Split(name, "|")
	var out []string
	for other := range c.clusters {
		if strings.EqualFold(other, name) || len(parts) > 1 && oneDiffers(parts, other) {
			out = append(out, other)
		}
	}
	sort.Strings(out)
	return out[:min(len(out), 16)]
}

func oneDiffers(parts []string, other string) bool {
	if strings.Count(other, "|") != len(parts)-1 {
		return false
	}
	n := 0
	for _, p := range parts {
		got, rest, _ := strings.Cut(other, "|")
		if got != p {
			n++
		}
		other = rest
	}
	return n == 1
}

// drops meets what a cluster drops by chance: maintenance mode and drop_overloads (7.2).
func (p *pass) drops(c *cluster, h lbHints) (fate, bool) {
	if !h.http {
		return fate{}, true
	}
	if v := c.maintenance; v != "" {
		n, _ := strconv.ParseUint(v, 10, 64)
		if p.dropped(c, "maintenance", min(n, 100), 100, flow.Because(flow.WhyMaintenance, v)) {
			return fate{flags: "UO", code: 503, details: "maintenance_mode"}, false
		}
	}
	for _, d := range p.cfg.hostsOf(c).drops {
		if p.dropped(c, "drop "+d.category, d.num, d.den, flow.Because(flow.WhyDropOverload, d.category)) {
			if d.num >= d.den {
				return fate{flags: "UDO", code: 503, details: "unconditional_drop_overload"}, false
			}
			return fate{flags: "DO", code: 503, details: "drop_overload"}, false
		}
	}
	return fate{}, true
}

func (p *pass) dropped(c *cluster, what string, num, den uint64, why flow.Reason) bool {
	if num == 0 {
		return false
	}
	if num < den {
		choice := flow.Choice{Ref: p.ref(what + " " + c.name), Kind: flow.Chance, Options: []flow.Option{{Value: "pass", Weight: den - num}, {Value: "drop", Weight: num}}}
		if p.ch.Take(choice) == 0 {
			return false
		}
	}
	p.add(flow.Step{Stage: flow.Cluster, Subject: c.name, Verdict: flow.Refused, Reason: why, Evidence: p.evidence(c.node)})
	return true
}

// fractional is a type.v3.FractionalPercent.
func fractional(n tree.Node) (num, den uint64) {
	den = 100
	switch n.Field("denominator").Enum() {
	case "TEN_THOUSAND", "1":
		den = 10000
	case "MILLION", "2":
		den = 1000000
	}
	return min(n.Field("numerator").Uint(0), den), den
}

// dial sets the upstream connection and adds the steps of host and transport socket.
func (p *pass) dial(c *cluster, h *host, hints lbHints, s flow.Step) fate {
	s.Stage, s.Subject, s.Verdict = flow.Endpoint, h.text, flow.Continue
	p.res.Outcome.Endpoint = h.text
	if h.internal != "" && p.cfg.listeners.byName[h.internal] == nil && p.cfg.has(h.internal, staticListeners, dynamicListeners) == absent {
		s.Verdict, s.Reason = flow.Refused, flow.Because(flow.WhyNoInternal, h.internal)
		p.add(s)
		return unmade(hints, "immediate_connect_error:_Invalid_argument|remote_address:"+h.text)
	}
	p.add(s)
	p.res.Upstream = p.connection(c, h)
	return p.speak(c, h, hints)
}

// unmade is a connection that Envoy itself cannot make.
func unmade(hints lbHints, why string) fate {
	if hints.http {
		return fate{flags: "UF", code: 503, details: "upstream_reset_before_response_started{remote_connection_failure|" + why + "}"}
	}
	return fate{flags: "UF,URX"}
}

// connection is the connection to a host, without what is spoken on it.
func (p *pass) connection(c *cluster, h *host) Upstream {
	u := Upstream{Addr: h.addr, Internal: h.internal, OriginalSrc: p.originalSrc, Mark: p.mark, Bind: c.bind[0]}
	if h.addr.Addr().Is6() {
		u.Bind = c.bind[1]
	}
	return u
}

// binds finds the source address of upstream connections: the cluster's, else the cluster
// manager's upstream_bind_config; zero where the kernel chooses.
func (c *cluster) binds(cfg *Config) {
	b := c.node.Field("upstream_bind_config")
	if !b.Exists() {
		b = cfg.boot().Path("cluster_manager", "upstream_bind_config")
	}
	pick := func(n tree.Node) netip.Addr {
		a, err := netip.ParseAddr(n.Field("address").Str())
		if err != nil || a.IsUnspecified() {
			return netip.Addr{}
		}
		return a
	}
	first := pick(b.Field("source_address"))
	for i := range c.bind {
		c.bind[i] = first
		if !first.IsValid() || first.Is6() == (i == 1) {
			continue
		}
		for _, e := range b.Field("extra_source_addresses").All() {
			if a := pick(e.Field("address")); a.IsValid() && a.Is6() == (i == 1) {
				c.bind[i] = a
				break
			}
		}
	}
}
