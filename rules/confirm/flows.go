package confirm

import (
	"net/netip"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// conn is everything that was seen of one connection: the client's address and port name
// it, since they stay the same through destination NAT.
type conn struct {
	client  netip.AddrPort
	dst     netip.AddrPort // as its client dialled it, if that was seen
	first   time.Time
	track   *flow.Observation // the last of its conntrack entry; nil: none was seen
	began   *flow.Observation // conntrack's NEW
	replied *flow.Observation // an entry in a state that only an answer brings about
	packets []*flow.Observation
	socket  *flow.Observation // the client's end
}

// syn is the packet that opens the connection; nil: it was not seen.
func (x *conn) syn() *flow.Observation {
	for _, p := range x.packets {
		if p.Tuple.Src == x.client && p.Flags&(flow.SYN|flow.ACK) == flow.SYN {
			return p
		}
	}
	return nil
}

// fresh says whether the connection was seen to begin.
func (x *conn) fresh() bool { return x.began != nil || x.syn() != nil }

// answers says whether a TCP state of conntrack's says that the server answered
// (net/netfilter/nf_conntrack_proto_tcp.c).
func answers(state string) bool {
	switch state {
	case "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT":
		return true
	}
	return false
}

// uid is the owner of the client's socket.
func (c *conn) uid() (uint32, bool) {
	if c.socket == nil {
		return 0, false
	}
	return c.socket.UID, true
}

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
}

func newCheck(t flow.Trace, seen []flow.Observation, loss flow.Loss, k Known) *check {
	c := &check{trace: t, known: k, loss: loss, counters: map[string]*flow.Observation{}}
	by := map[netip.AddrPort]*conn{}
	at := func(client netip.AddrPort, when time.Time) *conn {
		x := by[client]
		if x == nil {
			x = &conn{client: client, first: when}
			by[client] = x
			c.conns = append(c.conns, x)
		}
		if when.Before(x.first) {
			x.first = when
		}
		return x
	}
	for i := range seen {
		o := &seen[i]
		if otherProtocol(t, o) {
			continue
		}
		switch o.Kind {
		case flow.SeenConntrack:
			x := at(o.Tuple.Src, o.At)
			x.track, x.dst = o, o.Tuple.Dst
			if o.Event == "NEW" {
				x.began = o
			}
			if answers(o.State) {
				x.replied = o
			}
		case flow.SeenSocket:
			if x := at(o.Tuple.Src, o.At); x.socket == nil {
				x.socket = o
			}
		case flow.SeenCounter:
			c.counters[o.Name], c.counted = o, append(c.counted, o)
		case flow.SeenAccessLog:
			c.logs = append(c.logs, o)
		case flow.SeenAnswer:
			c.sent = o
		}
	}
	c.addPackets(seen, by, at)
	c.legs = make([]*conn, len(t.Legs))
	for i := range t.Legs {
		c.legs[i] = c.find(i)
	}
	if len(c.legs) > 0 && c.legs[0] != nil && t.Legs[0].From.Proto != flow.UDP && !c.legs[0].fresh() {
		c.loss.Late = true // its beginning was not seen, which is what most steps show in
	}
	return c
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

// addPackets gives each packet to its connection: to the one whose client sent or gets it.
// A SYN names the client; a packet of a connection whose SYN was not seen (a pool) goes to
// the side that the trace does not name as a server.
func (c *check) addPackets(seen []flow.Observation, by map[netip.AddrPort]*conn, at func(netip.AddrPort, time.Time) *conn) {
	servers := map[netip.AddrPort]bool{}
	for _, l := range c.trace.Legs {
		servers[l.From.Dst], servers[l.To.Dst] = true, true
	}
	for i := range seen {
		o := &seen[i]
		if o.Kind != flow.SeenPacket || otherProtocol(c.trace, o) {
			continue
		}
		src, dst := o.Tuple.Src, o.Tuple.Dst
		var x *conn
		switch {
		case o.Flags&(flow.SYN|flow.ACK) == flow.SYN:
			x = at(src, o.At)
		case o.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK:
			x = at(dst, o.At)
		case by[src] != nil && !servers[src]:
			x = by[src]
		case by[dst] != nil && !servers[dst]:
			x = by[dst]
		case servers[dst]:
			x = at(src, o.At)
		case servers[src]:
			x = at(dst, o.At)
		default:
			continue
		}
		x.packets = append(x.packets, o)
	}
}

// find is the connection of a leg.
func (c *check) find(i int) *conn {
	leg := c.trace.Legs[i]
	if i > 0 {
		return c.upstream(i)
	}
	var best *conn
	for _, x := range c.conns {
		switch {
		case c.known.ClientPort != 0:
			if x.client.Port() == c.known.ClientPort && c.fromClient(x, leg) {
				return x
			}
		case best == nil && c.fromClient(x, leg) && x.reaches(leg):
			best = x
		}
	}
	return best
}

// fromClient says whether a connection can be the request's own: from its address, and
// where the owner is known not the proxy's.
func (c *check) fromClient(x *conn, leg flow.Leg) bool {
	if a := leg.From.Src.Addr(); a.IsValid() && !a.IsUnspecified() && a != x.client.Addr() {
		return false
	}
	uid, ok := x.uid()
	return !ok || !c.known.HasProxy || leg.Owner != flow.OwnerApp || uid != c.known.ProxyUID || uid == leg.From.UID
}

// reaches says whether a connection was dialled to the leg's destination: by conntrack, or
// because packets go there or come from there. That it goes where the rules would send it is
// not enough: other destinations are sent there, too.
func (x *conn) reaches(leg flow.Leg) bool {
	if x.dst.IsValid() {
		return x.dst == leg.From.Dst
	}
	for _, p := range x.packets {
		if p.Tuple.Dst == leg.From.Dst || p.Tuple.Src == leg.From.Dst && p.Tuple.Dst == x.client {
			return true
		}
	}
	return false
}

// upstream is the proxy's connection of a later leg: the one that the access log names,
// else one to the leg's destination that began after the request's or carries data after it.
func (c *check) upstream(i int) *conn {
	leg, down := c.trace.Legs[i], c.legs[0]
	if local, ok := c.logged("upstream_local_address"); ok && i == 1 {
		if a, err := netip.ParseAddrPort(local); err == nil {
			for _, x := range c.conns {
				if x.client == a {
					return x
				}
			}
		}
	}
	var pooled *conn
	for _, x := range c.conns {
		if x == down || !x.reaches(leg) || c.taken(x) {
			continue
		}
		uid, ok := x.uid()
		own := ok && c.known.HasProxy && uid == c.known.ProxyUID
		if ok && c.known.HasProxy && !own || !own && x.track != nil && !same(x.track.Reply.Src, leg.To.Dst) {
			continue // another's; where the owner is not known, one that goes elsewhere may be
		}
		if down == nil || !x.first.Before(down.first) {
			return x
		}
		if pooled == nil && x.data(leg.To.Dst, down.first) != nil {
			pooled = x
		}
	}
	return pooled
}

func (c *check) taken(x *conn) bool {
	for _, l := range c.legs {
		if l == x {
			return true
		}
	}
	return false
}

// data is the first packet with payload to an address that did not come before a time.
func (x *conn) data(dst netip.AddrPort, since time.Time) *flow.Observation {
	for _, p := range x.packets {
		if p.Len > 0 && p.Tuple.Dst == dst && !p.At.Before(since) {
			return p
		}
	}
	return nil
}

// pooled is the packet that shows that a leg went over a connection which the proxy had
// opened before the request; nil: it opened one, or none was seen.
func (c *check) pooled(l int) *flow.Observation {
	if l == 0 || c.legs[l] == nil || c.legs[0] == nil || !c.legs[l].first.Before(c.legs[0].first) {
		return nil
	}
	return c.legs[l].data(c.trace.Legs[l].To.Dst, c.legs[0].first)
}

// logged is a field of the proxy's access log for the request: of the line of the client's
// port. A line of the listener alone leaves the fields of the inner filters empty.
func (c *check) logged(field string) (string, bool) {
	if len(c.legs) == 0 || c.legs[0] == nil {
		return "", false
	}
	found, ok := "", false
	for _, l := range c.logs {
		if l.Fields["downstream_remote_address"] != c.legs[0].client.String() && l.Fields["downstream_direct_remote_address"] != c.legs[0].client.String() {
			continue
		}
		if v, has := l.Fields[field]; has && v != "" && v != "-" {
			found, ok = v, true
		}
	}
	return found, ok
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
