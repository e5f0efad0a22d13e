package envoy

import (
	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// versionKey is what a version is of: a listener or a cluster.
type versionKey struct {
	name  string
	stage flow.Stage
}

// update keeps a version that takes no new connection beside the one that does.
func (c *Config) update(e *entry) {
	k := versionKey{e.name, flow.Cluster}
	switch e.res {
	case dynamicListeners:
		k.stage = flow.Listener
	case dynamicActiveClusters, dynamicWarmingClusters:
	default:
		return // nobody asks for those of other resources
	}
	if c.updates == nil {
		c.updates = map[versionKey][]*entry{}
	}
	c.updates[k] = append(c.updates[k], e)
}

// versions adds to a step what it means that other versions of its object were refused,
// still warm, or drain.
func (p *pass) versions(s *flow.Step) {
	if s.Subject == "" {
		return
	}
	for _, e := range p.cfg.updates[versionKey{s.Subject, s.Stage}] {
		s.Assumed = append(s.Assumed, flow.Assumption{Reason: p.cfg.versionWhy(e)})
		s.Evidence = append(append([]flow.Evidence(nil), s.Evidence...), evidence(e.node())...)
	}
}

func (c *Config) versionWhy(e *entry) flow.Reason {
	switch e.state {
	case rejected:
		return flow.Because(flow.WhyUpdateRejected, e.node().Field("details").Str())
	case draining:
		return flow.Because(flow.WhyVersionDrains, c.loaded[e])
	}
	return flow.Because(flow.WhyUpdateWarming)
}

// idle adds to a step that finds no listener at an address those that were there, or will
// be: a version that drains or warms, which takes no connection.
func (p *pass) idle(s *flow.Step) {
	for _, e := range p.cfg.entries {
		if e.res != dynamicListeners || e.state != draining && e.state != warming {
			continue
		}
		if name := p.conn.Listener; name != "" && e.name != name || name == "" && !p.ownsAccept(e.node()) {
			continue
		}
		why := flow.Because(flow.WhyListenerWarms, e.name)
		if e.state == draining {
			why = flow.Because(flow.WhyListenerDrains, e.name, p.cfg.loaded[e])
		}
		s.Facts = append(s.Facts, why)
		s.Evidence = append(s.Evidence, evidence(e.node())...)
	}
}

// ownsAccept says whether a listener has the address that the connection arrived at, or
// its port at all addresses.
func (p *pass) ownsAccept(n tree.Node) bool {
	at := p.conn.Accept
	for _, f := range append([]tree.Node{n.Field("address")}, additional(n)...) {
		a, ok := readAddress(f)
		if ok && a.proto == p.conn.Proto && a.Port() == at.Port() && (a.Addr() == at.Addr() || a.Addr() == wildcard(at.Addr()) || a.compat && a.Addr().IsUnspecified()) {
			return true
		}
	}
	return false
}

func additional(n tree.Node) (out []tree.Node) {
	for _, a := range n.Field("additional_addresses").All() {
		out = append(out, a.Field("address"))
	}
	return out
}
