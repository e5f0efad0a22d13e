package confirm

import (
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// within says whether something came between the two readings of a counter: while one of them
// goes on nobody knows whether it was counted already. Where it is not known when they were,
// nothing is known to lie between them.
func within(n *flow.Observation, at time.Time) bool {
	r := n.Readings
	return r != nil && at.After(r.Before.End) && at.Before(r.After.Begin)
}

// begun is when the request began, by a packet: what tells of conntrack's events and of sockets
// comes later than they do. Zero: no packet shows it.
func (c *check) begun() time.Time {
	switch syn := c.legs[0].syn(); {
	case syn != nil:
		return syn.At
	case c.asked != nil:
		return c.asked.At
	}
	return time.Time{}
}

// ours says whether meshtop made the request itself, which it does between the two readings.
func (c *check) ours() bool { return c.sent != nil && c.known.ClientPort != 0 }

// between says whether the request was made and answered between the two readings of a counter.
// Only then has one that stayed not counted it, and one that grew by one counted no other.
func (c *check) between(n *flow.Observation) bool {
	if c.ours() {
		return true
	}
	var ended time.Time
	for _, p := range c.legs[0].packets {
		if c.legs[0].own(p.Tuple.Dst) && (p.Len > 0 || p.Flags&(flow.FIN|flow.RST) != 0) && c.during(p.At) && p.At.After(ended) {
			ended = p.At
		}
	}
	return within(n, c.begun()) && within(n, ended)
}

// opened says whether the connection of a leg was opened between the two readings of a counter.
func (c *check) opened(n *flow.Observation, x *conn) bool {
	if x == c.legs[0] && c.ours() {
		return true
	}
	syn := x.syn()
	return syn != nil && within(n, syn.At)
}

// uncounted is what a counter that stayed says of a request that was answered.
func (c *check) uncounted(n *flow.Observation) Step {
	if c.between(n) {
		return contradicted(n, flow.SeenNotCounted, n.Name, utoa(n.After))
	}
	return Step{Word: NotObserved, Why: flow.Because(flow.SeenNotBetween, n.Name, utoa(n.Before)), Evidence: evidence(n)}
}
