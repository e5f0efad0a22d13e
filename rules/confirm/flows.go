package confirm

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// check is the state of one Check.
type check struct {
	trace    flow.Trace
	known    Known
	loss     flow.Loss
	conns    []*conn
	counters map[string]*flow.Observation
	counted  []*flow.Observation // the same in the order in which they came
	logs     []*flow.Observation
	legs     []*conn // the connection of each leg; nil: not seen
	sent     *flow.Observation
	asked    *flow.Observation // the packet in which the request begins; nil: it is not known
	missed   flow.Reason       // why no connection is known to be the request's; zero: none was seen
	way      span              // while the request was under way
	spans    map[*conn][]span  // while others were, as far as they were looked for
	sole     flow.Answer       // there was no other request; Maybe: not looked at yet
	placed   bool              // the connection of each leg was looked for
	busy     bool              // a later leg's connection may be one of another request
}

func newCheck(t flow.Trace, seen []flow.Observation, loss flow.Loss, k Known) *check {
	c := &check{trace: t, known: k, loss: loss, counters: map[string]*flow.Observation{}}
	c.gather(seen)
	c.legs = make([]*conn, len(t.Legs))
	for i := range t.Legs {
		if i > 0 {
			c.legs[i] = c.upstream(i)
		} else if c.legs[0] = c.find(); c.legs[0] != nil {
			c.way.from = c.since()
			c.way.to = c.until()
		}
	}
	if len(c.legs) > 0 && c.legs[0] != nil && t.Legs[0].From.Proto != flow.UDP && !c.legs[0].fresh() && c.rejection(c.legs[0]) == nil {
		c.loss.Late = true // its beginning was not seen, which is what most steps show in
	}
	c.placed = true
	return c
}

// gather sorts what was seen. Packets come last: conntrack says which addresses are one
// connection's.
func (c *check) gather(seen []flow.Observation) {
	j := &joiner{by: map[netip.AddrPort][]*conn{}}
	servers := map[netip.AddrPort]bool{}
	for _, l := range c.trace.Legs {
		servers[l.From.Dst], servers[l.To.Dst] = true, true
	}
	for i := range seen {
		o := &seen[i]
		if otherProtocol(c.trace, o) {
			continue
		}
		switch o.Kind {
		case flow.SeenConntrack:
			j.track(o)
		case flow.SeenSocket:
			j.own(o)
		case flow.SeenCounter:
			c.counters[o.Name], c.counted = o, append(c.counted, o)
		case flow.SeenAccessLog:
			c.logs = append(c.logs, o)
		case flow.SeenAnswer:
			c.sent = o
		}
	}
	for i := range seen {
		if o := &seen[i]; o.Kind == flow.SeenPacket && !otherProtocol(c.trace, o) {
			j.packet(o, servers)
		}
	}
	c.conns = j.conns()
}

// otherProtocol says that what was seen is of another transport protocol than the trace: a
// port number of UDP names no connection of TCP.
func otherProtocol(t flow.Trace, o *flow.Observation) bool {
	switch o.Kind {
	case flow.SeenConntrack, flow.SeenSocket, flow.SeenPacket:
		p := o.Tuple.Proto
		return p != t.Request.Proto && (p == flow.TCP || p == flow.UDP)
	}
	return false
}

// fromClient says whether a connection can be the request's own: from its address, and
// where the owner is known not the proxy's.
func (c *check) fromClient(x *conn, leg flow.Leg) bool {
	if a := leg.From.Src.Addr(); a.IsValid() && !a.IsUnspecified() && a != x.client.Addr() {
		return false
	}
	if byPeer(leg) && x.inside() {
		return false
	}
	uid, ok := x.uid()
	return !ok || !c.known.HasProxy || leg.Owner != flow.OwnerApp || uid != c.known.ProxyUID || uid == leg.From.UID
}

// byPeer says whether a leg comes from another host.
func byPeer(leg flow.Leg) bool { return leg.From.In != "" && leg.From.In != "lo" }

// borrowed says whether a connection was opened in the pod with the address of another host: the
// proxy's to the application, which bears that of its peer.
func (x *conn) borrowed(own netip.Addr) bool {
	a := x.client.Addr()
	return a != own && !a.IsLoopback() && x.inside()
}

// inside says whether a connection was opened in the pod: the socket of its client is here, or
// what its client sent came by lo. So is the proxy's own to the application, even where it bears
// the address of the peer (original_src).
func (x *conn) inside() bool {
	return x.socket != nil || slices.ContainsFunc(x.packets, func(p *flow.Observation) bool { return p.Device == "lo" && x.own(p.Tuple.Src) })
}

// reaches says whether a connection was dialled to the leg's destination: by conntrack, or
// because packets go there or come from there. That it goes where the rules would send it is
// not enough: other destinations are sent there, too.
func (x *conn) reaches(leg flow.Leg) bool {
	if x.dst.IsValid() {
		return x.dst == leg.From.Dst
	}
	for _, p := range x.packets {
		if p.Tuple.Dst == leg.From.Dst || p.Tuple.Src == leg.From.Dst && x.own(p.Tuple.Dst) {
			return true
		}
	}
	return false
}

func (c *check) taken(x *conn) bool {
	for _, l := range c.legs {
		if l == x {
			return true
		}
	}
	return false
}

// pooled is the packet that shows that a leg went over a connection which the proxy had
// opened before the request; nil: it opened one, or none was seen. It had where nothing was lost
// and no beginning was seen: that came before the watch.
func (c *check) pooled(l int) *flow.Observation {
	if l == 0 || c.legs[l] == nil || c.legs[0] == nil {
		return nil
	}
	before := c.trace.Legs[l].From.Proto == flow.TCP && !c.legs[l].fresh() && !c.lossy()
	if !before && !c.legs[l].first.Before(c.since()) {
		return nil
	}
	return c.data(c.legs[l], c.trace.Legs[l].To.Dst)
}

// lossy says whether absence proves nothing.
func (c *check) lossy() bool { return c.loss.Dropped > 0 || c.loss.Late || len(c.loss.Blind) > 0 }

// untracked says whether conntrack does not follow the connection: it was seen to begin, and
// the events, which were read, hold nothing of it.
func (c *check) untracked(x *conn) bool {
	return x.track == nil && x.fresh() && !c.lossy()
}

// statistic is Envoy's spelling of a name within a statistic's (":" becomes "_").
func statistic(s string) string { return strings.ReplaceAll(s, ":", "_") }
