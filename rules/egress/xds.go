package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// xds plans another configuration of the proxy, which our control plane serves: the
// listener that captures leads to a cluster without endpoints, or to where each connection
// was going. Listeners that connections are handed over to go, but for those that are kept.
func (p *pod) xds(c *flow.Change) error {
	if p.s.Envoy == nil {
		return errors.New("the configuration of Envoy was not read, and it is what --driver xds changes: say where its admin interface is (--admin)")
	}
	capturing := p.capturing()
	if len(capturing) == 0 {
		return errors.New("no connection of this pod is redirected to a listener of Envoy's, so that no configuration blocks or opens one: use --driver kernel")
	}
	if c.Kind == flow.AllowAll && !c.All {
		if err := p.openByXDS(c); err != nil {
			return err
		}
	}
	var names []string
	for _, l := range capturing {
		names = append(names, l.Name)
	}
	c.Edits, c.Undo = edits.Served(*c, names)
	c.Kept, c.Untraced = p.kept(c), p.untraced
	c.Effects = p.effects(func(t flow.Trace, e *flow.Effect) { p.swapped(c, t, e) })
	p.reachOfProxy(c)
	p.handoffs(c)
	return nil
}

// openByXDS opens what is blocked. Where that is all that the proxy does not name, the
// listeners that it hands over to stay as they are.
func (p *pod) openByXDS(c *flow.Change) error {
	var narrow flow.Change
	p.narrow(&narrow)
	if len(narrow.Open) == 0 {
		return ErrNothing
	}
	c.Open = narrow.Open
	for _, h := range narrow.Except {
		if !p.handsOver(h) {
			return fmt.Errorf("allow-all: %s is to stay as it is, and --driver xds cannot leave it out of what it opens: use --driver kernel", h)
		}
		c.KeepHandoff = true
	}
	return nil
}

// handsOver says whether a hole is what a listener stands for that is handed over to.
func (p *pod) handsOver(h flow.Hole) bool {
	for _, l := range p.s.Envoy.Places() {
		for _, a := range l.Addrs {
			if !l.Binds && a.Port() == h.Port && (a.Addr() == h.Prefix.Addr() || a.Addr().IsUnspecified()) {
				return true
			}
		}
	}
	return false
}

// swapped is what the new configuration does to a request, and what of the old one it lacks.
func (p *pod) swapped(c *flow.Change, t flow.Trace, e *flow.Effect) {
	in := func(holes []flow.Hole) bool { return inHole(holes, t.Request.Dst) }
	switch {
	case !redirected(t), c.KeepHandoff && handedOver(t), c.Kind == flow.BlockAll && in(c.Except), c.Kind == flow.AllowAll && !c.All && !in(c.Open):
	case c.Kind == flow.BlockAll:
		e.After = flow.Refused
	default:
		e.After, e.Around = flow.Delivered, p.protections(t)
	}
}

// handedOver says whether a trace's connection came to a second listener.
func handedOver(t flow.Trace) bool {
	return slices.ContainsFunc(t.Legs[0].Steps, func(s flow.Step) bool {
		return s.Stage == flow.Handoff && s.Reason.Kind != flow.WhyNoHandoff && s.Verdict == flow.Continue
	})
}

// inHole says whether one of the holes holds a destination.
func inHole(holes []flow.Hole, dst netip.AddrPort) bool {
	return slices.ContainsFunc(holes, func(h flow.Hole) bool {
		return h.Prefix.Contains(dst.Addr()) && (h.Port == 0 || h.Port == dst.Port())
	})
}

// handoffs adds whether connections that are handed over are covered.
func (p *pod) handoffs(c *flow.Change) {
	if !c.KeepHandoff && p.handsOff() {
		c.Covers = append(c.Covers, flow.Reach{What: "handoff"})
	}
	if !c.KeepHandoff {
		return
	}
	for _, l := range p.s.Envoy.Places() {
		if !l.Binds && (!l.Directed || l.Direction == flow.Outbound) {
			c.NotCovered = append(c.NotCovered, flow.Reach{What: "handoff", Whose: l.Name})
		}
	}
}
