package envoy

import (
	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// tcpProxy chooses cluster and host for a TCP connection (tcp_proxy.cc). By default it does
// so as soon as the connection is there, before any filter has seen data: so a cluster
// without hosts is met before rbac denies.
func (n *network) tcpProxy(e extension, f tree.Node) {
	mode := e.config.Field("upstream_connect_mode").Enum()
	late := mode != "" && mode != "IMMEDIATE" && mode != "0"
	if late && !n.data() {
		return
	}
	cluster, match, ok := n.tcpCluster(e, f)
	if !ok {
		return
	}
	if n.cfg.clusters[cluster] == nil && e.config.Field("on_demand").Exists() {
		n.stop(flow.Cluster, cluster, flow.Because(flow.WhyOnDemand, cluster), e.config.Field("on_demand"))
		return
	}
	hints := lbHints{match: match, authority: n.sni, tunnel: e.config.Field("tunneling_config").Exists(), hash: e.config.Field("hash_policy").Len() > 0}
	got := n.toCluster(cluster, hints)
	if got.unknown {
		return
	}
	if !got.ok {
		n.end(flow.Refused, flow.Symptom{TCP: flow.TCPResetOrClosed, Flags: got.flags, Details: got.details})
		return
	}
	if t := e.config.Field("tunneling_config"); t.Exists() {
		n.tunnel(e, t)
	} else if n.req != nil {
		n.res.Upstream.Passed = n.said()
	}
	if !n.data() {
		return
	}
	n.end(flow.Continue, flow.Symptom{TCP: flow.TCPOK})
	n.res.Failed = flow.Symptom{Flags: "UF,URX", TCP: flow.TCPResetOrClosed}
	n.res.Broken = flow.Symptom{TCP: flow.TCPResetOrClosed}
	n.res.Retried = e.config.Field("max_connect_attempts").Uint(1) > 1
}

// tunnel is the CONNECT (or POST) request in which the bytes travel.
func (n *network) tunnel(e extension, t tree.Node) {
	host, ok := n.format(t.Field("hostname").Str())
	h := &flow.HTTP{Method: "CONNECT", Authority: host}
	if t.Field("use_post").Bool(false) {
		h.Method, h.Path = "POST", orDefault(t.Field("post_path").Str(), "/")
	}
	if ok {
		n.res.Upstream.HTTP = h
	}
	n.step(e, t, flow.Because(flow.WhyTunnel, h.Method, t.Field("hostname").Str()))
}

// tcpCluster is the name of the cluster: by weights, else what filter state says, else as
// configured. The subset criteria come with it.
func (n *network) tcpCluster(e extension, f tree.Node) (cluster string, match []tree.Node, ok bool) {
	if m := e.config.Field("metadata_match"); m.Exists() {
		match = append(match, lbMetadata(m))
	}
	if w := e.config.Path("weighted_clusters", "clusters"); w.Len() > 0 {
		cluster, m := n.weighted(e, f, w.List())
		if m.Exists() {
			match = append(match, lbMetadata(m))
		}
		return cluster, match, true
	}
	if n.unsure[tcpCluster] {
		n.stop(flow.NetworkFilter, e.name, flow.Because(flow.WhyStateUnknown, tcpCluster), f)
		return "", nil, false
	}
	if s := n.state[tcpCluster]; s != "" {
		n.step(e, f, flow.Because(flow.WhyStateCluster, s, tcpCluster))
		return s, match, true
	}
	cluster = e.config.Field("cluster").Str()
	n.step(e, f, flow.Because(flow.WhyTCPProxy, cluster))
	return cluster, match, true
}

// weighted draws one of the weighted clusters: intervals in order.
func (n *network) weighted(e extension, f tree.Node, list []tree.Node) (string, tree.Node) {
	choice := flow.Choice{Ref: n.ref("random"), Kind: flow.Chance}
	for _, c := range list {
		choice.Options = append(choice.Options, flow.Option{Value: orDefault(c.Field("name").Str(), "-"), Weight: c.Field("weight").Uint(0)})
	}
	i := 0
	if len(list) > 1 {
		i = n.ch.Take(choice)
	}
	name := list[i].Field("name").Str()
	s := flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyWeighted, name, list[i].Field("weight").Str()), Evidence: n.evidence(f), Decision: true}
	if len(list) > 1 {
		s.Assumed = []flow.Assumption{{Reason: flow.Because(flow.WhyDrawn, name), Flag: "--pick " + quoteRef(choice.Ref) + "=" + name}}
	}
	n.add(s)
	return name, list[i].Field("metadata_match")
}

// lbMetadata are the load-balancing keys of a core.v3.Metadata: namespace envoy.lb.
func lbMetadata(n tree.Node) tree.Node { return n.Field("filter_metadata").Key("envoy.lb") }
