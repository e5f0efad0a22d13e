package confirm

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// upstream is the proxy's connection of a later leg: the one that the access log names, else
// one to the leg's destination that carries the request, or that began after it or carries
// data after it, if no other request can be the cause.
func (c *check) upstream(i int) *conn {
	if c.legs[0] == nil {
		return nil
	}
	if local, _ := c.logged("upstream_local_address"); local != "" && i == 1 {
		if a, err := netip.ParseAddrPort(local); err == nil {
			for _, x := range c.conns {
				if x.client == a && x.reaches(c.trace.Legs[i]) {
					return x
				}
			}
		}
	}
	var carrier, opened, pooled *conn
	quiet, unseen := c.quiet(), c.unseen()
	for _, x := range c.conns {
		if !c.proxys(x, c.trace.Legs[i]) {
			continue
		}
		switch fits := c.relays(x); {
		case fits == flow.No:
		case fits == flow.Yes && carrier == nil:
			carrier = x
		case opened == nil && c.during(x.first):
			opened = x
		case pooled == nil && c.data(x, c.trace.Legs[i].To.Dst) != nil:
			pooled = x
		}
	}
	stays, elsewhere := false, false
	if i == 1 {
		stays, elsewhere = c.hostStays()
	}
	for _, x := range []*conn{carrier, opened, pooled} {
		switch {
		case x == nil || elsewhere || stays && x != carrier && !c.unanswered(x): // what went there was not for this request
		case x == carrier && (quiet || c.apart()), quiet && !unseen:
			return x
		default:
			c.busy = true
		}
	}
	return nil
}

// unseen says whether Envoy counted more connections or requests, at all its listeners together,
// than were seen to come to the request's: what the proxy did may be for one of those.
func (c *check) unseen() bool {
	passes := c.passes()
	seenConns, seenRequests := passes, passes
	if s := c.legs[0].heads(); !s.tls { // a handshake is an exchange, too
		seenRequests += uint64(max(1, len(s.asks), c.legs[0].exchanges()) - 1)
	}
	for _, x := range c.conns {
		spans := uint64(len(c.asking(x)))
		seenConns, seenRequests = seenConns+min(spans, 1), seenRequests+spans
	}
	conns, requests, _ := c.arrived()
	return conns > seenConns || requests > seenRequests
}

// unanswered says whether nobody took a connection: no request came as far as being counted.
func (c *check) unanswered(x *conn) bool {
	return !c.lossy() && x.syn() != nil && x.synAck() == nil && x.replied == nil
}

// hostStays says whether the expected endpoint counted nothing, and whether another one of the
// cluster counted something instead. Envoy's health checks count at none.
func (c *check) hostStays() (stays, elsewhere bool) {
	grew := false
	for _, n := range c.hostCounts() {
		at, _, _ := strings.Cut(strings.TrimPrefix(n.Name, hostPrefix(c.trace.Outcome.Cluster)), " ")
		stays = stays || at == c.trace.Outcome.Endpoint && n.After == n.Before
		grew = grew || at != c.trace.Outcome.Endpoint && n.After > n.Before
	}
	// Where a connection failed, no request came as far as being counted.
	n := c.counters["cluster."+statistic(c.trace.Outcome.Cluster)+".upstream_cx_connect_fail"]
	failed := n != nil && n.After > n.Before
	return stays && !failed && c.trace.Request.Proto != flow.UDP, stays && grew
}

// proxys says whether a connection can be the proxy's own one of a leg.
func (c *check) proxys(x *conn, leg flow.Leg) bool {
	if x == c.legs[0] || !x.reaches(leg) || c.taken(x) {
		return false
	}
	uid, ok := x.uid()
	if ok && c.known.HasProxy {
		return uid == c.known.ProxyUID
	}
	return x.track == nil || same(x.track.Reply.Src, leg.To.Dst) // where the owner is not known, one that goes elsewhere may be another's
}

// relays says whether a connection of the proxy's carries the request while that was under way.
// The proxy can write another path or host than it got, but not another method.
func (c *check) relays(x *conn) flow.Answer {
	h, s := c.trace.Request.HTTP, x.heads()
	switch {
	case slices.ContainsFunc(s.asks, ask.probes):
		return flow.No
	case h == nil:
		return flow.Maybe
	}
	out := flow.Is(!s.data || !s.whole).And(flow.Maybe)
	for _, a := range s.asks {
		switch {
		case !c.during(a.at.At) || a.method != or(h.Method, "GET"):
		case a.path == or(h.Path, "/"):
			return flow.Yes
		default:
			out = flow.Maybe
		}
	}
	return out
}

// probes says whether a request is one of Envoy's health checks, which go over connections of
// their own (Envoy docs, "Health checking").
func (a ask) probes() bool {
	return slices.ContainsFunc(a.headers, func(kv [2]string) bool { return kv[0] == "user-agent" && strings.HasPrefix(kv[1], "Envoy/HC") })
}
