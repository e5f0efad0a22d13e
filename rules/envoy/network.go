package envoy

import (
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// tcpCluster is the filter state that overrides tcp_proxy's cluster (tcp_proxy.h).
const tcpCluster = "envoy.tcp_proxy.cluster"

// network is the pass through the network filters of a chain. Each filter's
// onNewConnection runs first; what waits for data runs after that, in order.
type network struct {
	*pass
	waiting []func() bool // filters that decide on the first data; false: the pass has ended
}

// serve runs transport socket and network filters of the chosen chain.
func (p *pass) serve() {
	if !p.downstreamSocket() {
		return
	}
	n := &network{pass: p}
	filters := p.chain.Field("filters").List()
	if len(filters) == 0 {
		p.refuse(flow.Step{Stage: flow.NetworkFilter, Subject: p.res.Outcome.FilterChain, Reason: flow.Because(flow.WhyNoFilters), Evidence: n.evidence(p.chain)}, "", "")
		return
	}
	for _, f := range filters {
		if n.filter(f); p.over {
			return
		}
	}
	if !n.data() {
		return
	}
	p.stop(flow.NetworkFilter, p.res.Outcome.FilterChain, flow.Because(flow.WhyNoTerminal), p.chain)
}

// data lets the first bytes through the filters that waited for them.
func (n *network) data() bool {
	if !n.sends() {
		return true // the client waits: nothing to decide on
	}
	for _, f := range n.waiting {
		if !f() {
			return false
		}
	}
	n.waiting = nil
	return true
}

func (n *network) step(e extension, f tree.Node, why flow.Reason) {
	n.add(flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Verdict: flow.Continue, Reason: why, Evidence: n.evidence(f)})
}

// filter meets one network filter.
func (n *network) filter(f tree.Node) {
	e := n.extension(f)
	if n.unusable(flow.NetworkFilter, &e) {
		return
	}
	if e.missing {
		n.refuse(flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Reason: flow.Because(flow.WhyFilterConfigMissing), Evidence: n.evidence(f)}, "", "")
		return
	}
	if n.wrong(flow.NetworkFilter, e.name, f, e.config.Field("route_config")) {
		return
	}
	if known := networkFields(e.kind); known != nil && !n.odd(flow.NetworkFilter, e.name, e.config, e.config.Unknown(known...)) {
		return
	}
	if n.terminal(e, f) || n.limits(e, f) {
		return
	}
	switch e.kind {
	case "rbac":
		n.waiting = append(n.waiting, func() bool { return n.rbac(e, f) })
	case "sni_cluster":
		if n.sni != "" {
			n.setState(tcpCluster, n.sni)
		}
		n.step(e, f, flow.Because(flow.WhySNICluster, n.sni))
	case "set_filter_state":
		n.setFilterState(e, f)
	case "ext_authz", "ext_proc":
		n.waiting = append(n.waiting, func() bool {
			return n.opaque(flow.NetworkFilter, e.name, flow.Because(flow.WhyService, e.kind), f)
		})
	case "ratelimit":
		n.opaque(flow.NetworkFilter, e.name, flow.Because(flow.WhyService, e.kind), f)
	default:
		if countsOnly(e.kind) {
			n.step(e, f, flow.Because(flow.WhyPasses, e.kind))
			return
		}
		n.opaque(flow.NetworkFilter, e.name, flow.Because(flow.WhyOpaque, e.kind), f)
	}
}

// countsOnly says that a network filter of this kind neither ends a connection nor sends it
// another way. Istio's own are here under the types of their configurations.
func countsOnly(kind string) bool {
	switch kind {
	case "sni_dynamic_forward_proxy", "geoip", "mongo_proxy", "mysql_proxy", "postgres_proxy", "kafka_broker", "zookeeper_proxy", "metadata_exchange",
		"envoy.tcp.metadataexchange.config.MetadataExchange", "stats.PluginConfig", "io.istio.network.authn.Config", "istio_authn", "peer_metadata":
		return true
	}
	return false
}

// limits meets the filters that count connections.
func (n *network) limits(e extension, f tree.Node) bool {
	if e.kind != "local_ratelimit" && e.kind != "connection_limit" {
		return false
	}
	if key, off := n.cfg.off(e.config, "runtime_enabled"); off {
		n.step(e, f, flow.Because(flow.WhyRuntimeOff, key))
		return true
	}
	switch e.kind {
	case "local_ratelimit":
		n.bucket(flow.NetworkFilter, e.name, f, e.config, "URX", "")
	case "connection_limit":
		limit := e.config.Field("max_connections").Str()
		n.add(flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyConnectionLimit, limit), Evidence: n.evidence(f),
			Assumed: []flow.Assumption{{Reason: flow.Because(flow.WhyBelowLimit, "max_connections", limit)}}})
	}
	return true
}

// terminal meets the filters that end a chain.
func (n *network) terminal(e extension, f tree.Node) bool {
	switch e.kind {
	case "tcp_proxy":
		n.tcpProxy(e, f)
	case "http_connection_manager", "envoy.http_connection_manager":
		if n.data() {
			n.hcm(e, f)
		}
	case "direct_response":
		n.add(flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Verdict: flow.Delivered, Reason: flow.Because(flow.WhyDirectBytes), Evidence: n.evidence(f)})
		n.end(flow.Delivered, flow.Symptom{TCP: flow.TCPOK, Details: "direct_response"})
	case "echo":
		if n.data() {
			n.add(flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Verdict: flow.Delivered, Reason: flow.Because(flow.WhyEcho), Evidence: n.evidence(f)})
			n.end(flow.Delivered, flow.Symptom{TCP: flow.TCPOK})
		}
	case "redis_proxy", "thrift_proxy", "dubbo_proxy", "generic_proxy", "sip_proxy", "rocketmq_proxy", "reverse_tunnel":
		if n.data() {
			n.stop(flow.NetworkFilter, e.name, flow.Because(flow.WhyNotModelled, e.kind), f)
		}
	default:
		return false
	}
	return true
}

// hcm hands over to the HTTP connection manager. TLS that nobody terminated is no HTTP.
func (n *network) hcm(e extension, f tree.Node) {
	if n.downTLS == nil && n.hello() != nil {
		s := flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Reason: flow.Because(flow.WhyTLSToPlainHTTP), Evidence: n.evidence(f)}
		if e.config.Field("codec_type").Enum() == "HTTP2" {
			n.refuse(s, "DPE", "")
			return
		}
		n.refuse(s, "DPE", "http1.codec_error")
		n.res.Caller.Code = 400
		return
	}
	n.http(e.config)
}

// flag is a core.v3.RuntimeFeatureFlag.
func (c *Config) flag(n tree.Node) bool {
	switch v, _ := c.value(n.Field("runtime_key").Str()); v {
	case "true", "1":
		return true
	case "false", "0":
		return false
	}
	return n.Field("default_value").Bool(false)
}

// off says whether a filter's RuntimeFeatureFlag switches it off, and by which key; a flag
// that is not there does not.
func (c *Config) off(config tree.Node, flag string) (key string, off bool) {
	n := config.Field(flag)
	return n.Field("runtime_key").Str(), n.Exists() && !c.flag(n)
}

func (p *pass) setState(key, value string) {
	if p.state == nil {
		p.state = map[string]string{}
	}
	p.state[key] = value
	delete(p.unsure, key)
}

// setFilterState is the network filter of this name: literal texts and a few operators.
func (n *network) setFilterState(e extension, f tree.Node) {
	n.step(e, f, flow.Because(flow.WhySetState))
	for _, s := range e.config.Field("on_new_connection").All() {
		key := s.Field("object_key").Str()
		text := s.Path("format_string", "text_format_source").Field("inline_string")
		if !text.Exists() {
			text = s.Path("format_string", "text_format")
		}
		v, ok := n.format(text.Str())
		if !ok || !text.Exists() {
			if n.unsure == nil {
				n.unsure = map[string]bool{}
			}
			n.unsure[key] = true
			continue
		}
		if v == "" && s.Field("skip_if_empty").Bool(false) {
			continue
		}
		n.setState(key, v)
	}
}

// format fills a substitution format (config/observability/access_log) that holds only
// operators known here.
func (p *pass) format(s string) (string, bool) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "%")
		b.WriteString(before)
		if !ok {
			return b.String(), true
		}
		op, after, ok := strings.Cut(rest, "%")
		v := ""
		switch op {
		case "":
			v = "%"
		case "REQUESTED_SERVER_NAME":
			v = orDefault(p.sni, "-")
		case "FILTER_CHAIN_NAME":
			v = orDefault(p.res.Outcome.FilterChain, "-")
		case "DOWNSTREAM_LOCAL_ADDRESS":
			v = p.local.String()
		case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
			v = p.local.Addr().String()
		case "DOWNSTREAM_LOCAL_PORT":
			v, _ = port(p.local)
		case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
			v = p.remote.Addr().String()
		default:
			return "", false
		}
		if !ok {
			return "", false
		}
		b.WriteString(v)
		s = after
	}
}
