package confirm

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// find is the request's own connection. Where several can be it, what their clients wrote
// tells them apart; where that cannot be read, none is taken.
func (c *check) find() *conn {
	leg := c.trace.Legs[0]
	var all, there []*conn
	for _, x := range c.conns {
		if !c.fromClient(x, leg) || c.known.ClientPort != 0 && x.client.Port() != c.known.ClientPort {
			continue
		}
		all = append(all, x)
		if x.reaches(leg) {
			there = append(there, x)
		}
	}
	switch {
	case c.known.ClientPort == 0:
		all = slices.DeleteFunc(there, func(x *conn) bool { return c.maybeProxys(x, leg) })
		if len(all) == 0 && len(there) > 0 {
			c.missed = flow.Because(flow.SeenWhich, strconv.Itoa(len(there)), leg.From.Dst.String())
		}
	case len(there) > 0:
		all = there
	}
	best, other := c.fitting(all)
	switch {
	case best == nil && c.sent != nil && c.known.ClientPort != 0 && len(all) > 0:
		return all[len(all)-1] // ours, whatever it looks like
	case best == nil && len(all) > 0 && other != "":
		c.missed = flow.Because(flow.SeenOthersOnly, strconv.Itoa(len(all)), leg.From.Dst.String(), other)
	case best == nil && len(all) > 0 && c.trace.Request.TLS != nil && slices.ContainsFunc(all, func(x *conn) bool { return x.heads().hello.cut && !x.heads().hello.named }):
		c.missed = flow.Because(flow.SeenNamesCut, strconv.Itoa(len(all)), leg.From.Dst.String())
	case best == nil && len(all) > 0:
		c.missed = flow.Because(flow.SeenWhich, strconv.Itoa(len(all)), leg.From.Dst.String())
	}
	return best
}

// maybeProxys says whether a connection that was dialled to the request's address can be the
// proxy's own: it goes straight on though the rules redirect what the application dials, and
// nothing tells whose it is.
func (c *check) maybeProxys(x *conn, leg flow.Leg) bool {
	if _, owned := x.uid(); owned || leg.From.Dst == leg.To.Dst || leg.Owner != flow.OwnerApp {
		return false
	}
	way := c.translation(leg, x)
	return way.Word == Contradicted && way.Why.Kind != flow.SeenNAT || slices.ContainsFunc(x.packets, func(p *flow.Observation) bool {
		return x.own(p.Tuple.Src) && p.Tuple.Dst == leg.From.Dst
	})
}

// fitting is the connection that carries the request. One that cannot be read is taken for it
// only if there is no other; with other, a request that was seen instead and is not this one.
func (c *check) fitting(all []*conn) (best *conn, other string) {
	var unread *conn
	count := 0
	for _, x := range all {
		fits, at := c.carries(x)
		switch {
		case fits == flow.Yes && (best == nil || !best.fresh() && x.fresh()):
			best, c.asked = x, at
		case fits == flow.Maybe:
			unread = x
		case fits == flow.No && other == "" && len(x.heads().asks) > 0:
			other = x.heads().asks[0].String()
		case fits == flow.No && other == "" && x.heads().hello.named:
			other = "TLS with " + x.heads().hello.String()
		}
		if fits != flow.No || x.heads().data || x.fresh() {
			count++
		}
	}
	switch {
	case best != nil:
		return best, ""
	case unread != nil && count == 1:
		return unread, ""
	case unread != nil:
		return nil, ""
	}
	return nil, or(other, "another protocol")
}

// String is a request in words.
func (a ask) String() string { return strings.TrimSpace(a.method + " " + a.host + a.path) }

// carries says whether a connection carries the request, and where it begins. Nothing was
// asked on one that was open before and on which its client wrote nothing.
func (c *check) carries(x *conn) (flow.Answer, *flow.Observation) {
	q, s := c.trace.Request, x.heads()
	unread := len(s.asks) == 0 && !s.tls && (!s.whole || c.loss.Dropped > 0)
	switch {
	case q.Proto == flow.UDP: // nothing in a datagram tells whose it is
		return flow.Maybe, nil
	case !s.data && !x.fresh() && x.socket == nil && c.rejection(x) == nil:
		return flow.No, nil
	case q.HTTP == nil && q.TLS == nil: // any bytes will do, but for those of a protocol that is known
		return flow.Is(len(s.asks) == 0 && !s.tls), nil
	case q.TLS != nil && s.data && !s.tls && !unread, q.TLS == nil && s.tls:
		return flow.No, nil
	case q.TLS != nil && s.hello.named && !strings.EqualFold(s.hello.name, q.TLS.SNI):
		return flow.No, nil
	case q.TLS == nil && q.HTTP != nil:
		if fits, at := s.fits(q.HTTP); fits == flow.Yes || fits == flow.No && s.data && s.whole && c.loss.Dropped == 0 {
			return fits, at
		}
	}
	return c.byLog(x), nil
}

// fits says whether one of the requests that can be read is this one.
func (s *said) fits(h *flow.HTTP) (flow.Answer, *flow.Observation) {
	out := flow.No
	for _, a := range s.asks {
		switch a.fits(h) {
		case flow.Yes:
			return flow.Yes, a.at
		case flow.Maybe:
			out = flow.Maybe
		}
	}
	return out, nil
}

// since is when the request began, as far as it is known.
func (c *check) since() time.Time {
	if s := c.legs[0].heads(); c.asked != nil && (!c.legs[0].fresh() || len(s.asks) > 0 && s.asks[0].at != c.asked) {
		return c.asked.At
	}
	return c.legs[0].first
}

// alone says whether the request was the only one: the watch saw no other arrive at its
// listener, and lost nothing that may have shown one, or Envoy counted none either.
func (c *check) alone() bool {
	if c.sole == flow.Maybe { // of a large Envoy there are many counters to look through
		c.sole = flow.Is(c.single() && (!c.lossy() || c.countedAlone()))
	}
	return c.sole == flow.Yes
}

// countedAlone says whether the request's own connection, which was seen to begin, is the only
// one that Envoy counted, with no more than one request, at all its listeners together. No lost
// packet changes that.
func (c *check) countedAlone() bool {
	if c.legs[0] == nil || !c.legs[0].fresh() {
		return false
	}
	conns, requests, last := c.arrived()
	return conns == 1 && requests <= 1 && c.between(last)
}

// single says whether no other request was seen to arrive: none on another connection, none
// on the same, and none that Envoy counted.
func (c *check) single() bool {
	if c.legs[0] == nil || !c.one() {
		return false
	}
	for _, x := range c.conns {
		if c.arrives(x) {
			return false
		}
	}
	conns, requests, _ := c.arrived()
	return max(conns, requests) <= c.passes()
}

// passes is how often the request comes to a listener of the proxy's: it can come to it again.
func (c *check) passes() uint64 {
	n := uint64(0)
	for _, l := range c.trace.Legs {
		for _, st := range l.Steps {
			if st.Stage == flow.Listener {
				n++
			}
		}
	}
	return max(1, n)
}

// arrived is how many connections and requests Envoy counted at all its listeners together,
// with the last counter of connections that grew.
func (c *check) arrived() (conns, requests uint64, last *flow.Observation) {
	for _, n := range c.counted {
		switch {
		case !arrivals(n.Name) || n.After <= n.Before:
		case strings.HasPrefix(n.Name, "http."):
			requests += n.After - n.Before
		default:
			conns, last = conns+n.After-n.Before, n
		}
	}
	return conns, requests, last
}

// exchanges is how often the client of a connection wrote after it had got something: each
// request of HTTP/1 but the first comes after an answer.
func (x *conn) exchanges() int {
	n, mine := 0, false
	for _, p := range x.packets {
		if p.Len == 0 {
			continue
		}
		if from := x.own(p.Tuple.Src); from && !mine {
			n, mine = n+1, true
		} else if !from {
			mine = false
		}
	}
	return n
}

// one says whether the request is the only one on its connection. Where that can neither be
// read nor counted, Envoy's count of requests tells.
func (c *check) one() bool {
	s := c.legs[0].heads()
	switch {
	case c.sent != nil || c.trace.Request.HTTP == nil:
		return true
	case s.whole || len(s.asks) > 1:
		return len(s.asks) <= 1
	case !s.more && c.trace.Request.TLS == nil && c.trace.Request.HTTP.Version != "2" && c.legs[0].exchanges() <= 1:
		return true // its bytes were not kept, but it was asked once
	}
	grew := uint64(0)
	for _, n := range c.counted {
		if arrivals(n.Name) && strings.HasPrefix(n.Name, "http.") && n.After > n.Before {
			grew = max(grew, n.After-n.Before)
		}
	}
	return grew == 1
}

// arrivals says whether a counter is of the connections or requests that come to a listener
// (Envoy docs, "Listener statistics" and "HTTP connection manager statistics"). The admin
// interface's grow with our own questions.
func arrivals(name string) bool {
	switch {
	case strings.HasPrefix(name, "listener.admin."), strings.HasPrefix(name, "http.admin."), strings.Contains(name, ".worker_"):
		return false
	}
	return strings.HasPrefix(name, "listener.") && strings.HasSuffix(name, ".downstream_cx_total") ||
		strings.HasPrefix(name, "http.") && strings.HasSuffix(name, ".downstream_rq_total")
}

// arrives says whether another connection than the request's came to the same listener, or
// carried something there, in the time of the watch.
func (c *check) arrives(x *conn) bool { return len(c.asking(x)) > 0 }

// span is a time in which something was asked of the proxy. Without an end it goes on.
type span struct{ from, to time.Time }

// asking are the times in which another connection asked something of the same listener: from
// its SYN or data on, to the last that came back before it asked again.
func (c *check) asking(x *conn) []span {
	uid, ok := x.uid()
	if c.taken(x) || ok && c.known.HasProxy && uid == c.known.ProxyUID && c.trace.Legs[0].Owner == flow.OwnerApp {
		return nil
	}
	if c.spans == nil {
		c.spans = map[*conn][]span{}
	}
	out, ok := c.spans[x]
	if !ok {
		out = x.asking(c.trace.Legs[0])
		c.spans[x] = out
	}
	return out
}

// asking are the times in which something was asked on a connection of a leg's listener.
func (x *conn) asking(leg flow.Leg) []span {
	if byPeer(leg) && x.borrowed(leg.From.Dst.Addr()) {
		return nil
	}
	var out []span
	thinned := false
	for _, p := range x.packets {
		thinned = thinned || p.Thinned && x.own(p.Tuple.Src)
		// What is seen on lo has its last address: the rules of the way in are not asked of what was
		// sent from inside (nf_nat_core.c, nf_nat_initialized), such as the proxy's own connection.
		to := same(p.Tuple.Dst, leg.To.Dst) || leg.From.In != "" && p.Tuple.Dst == leg.From.Dst && (p.Device != "lo" || leg.From.In == "lo")
		switch {
		case to && x.own(p.Tuple.Src) && (p.Len > 0 || p.Flags&(flow.SYN|flow.ACK) == flow.SYN):
			out = append(out, span{from: p.At})
		case len(out) > 0 && x.own(p.Tuple.Dst) && (p.Len > 0 || p.Flags&(flow.FIN|flow.RST) != 0):
			out[len(out)-1].to = p.At
		case len(out) > 0 && x.own(p.Tuple.Src) && p.Flags&(flow.FIN|flow.RST) != 0 && out[len(out)-1].to.IsZero():
			out[len(out)-1].to = p.At
		}
	}
	if len(out) == 0 && x.began != nil && same(x.began.Reply.Src, leg.To.Dst) {
		out = append(out, span{from: x.began.At})
		if ends(x.track.State) || x.track.Event == "DESTROY" {
			out[0].to = x.track.At
		}
	}
	// A SYN asks for nothing itself: it is one with the data that follow it.
	for i := 1; i < len(out); i++ {
		if out[i-1].to.IsZero() {
			out[i-1].to = out[i].from
		}
	}
	if thinned && len(out) > 0 { // it may have asked at any time
		out = []span{{from: out[0].from}}
	}
	return out
}

// ends says whether a TCP state of conntrack's is one in which a connection ends.
func ends(state string) bool {
	switch state {
	case "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE":
		return true
	}
	return false
}

// until is when the request was answered, or else its own connection ended, or carried another
// request; zero: none of it was seen.
func (c *check) until() time.Time {
	x := c.legs[0]
	var next *flow.Observation // what comes after it is maybe for that request
	for _, a := range x.heads().asks {
		if next == nil && c.asked != nil && a.at.At.After(c.asked.At) {
			next = a.at
		}
	}
	ended := x.track != nil && (ends(x.track.State) || x.track.Event == "DESTROY")
	out, answered := x.first, time.Time{}
	if ended {
		out = x.track.At
	}
	for _, p := range x.packets {
		if next != nil && !p.At.Before(next.At) {
			break
		}
		switch {
		case p.Len > 0 && x.own(p.Tuple.Src): // a part of it came after that answer (a handshake, 100 Continue)
			answered = time.Time{}
		case p.Len > 0 && !p.At.Before(c.way.from):
			answered = p.At
		}
		ended = ended || p.Flags&(flow.FIN|flow.RST) != 0
		if p.At.After(out) {
			out = p.At
		}
	}
	switch {
	case !answered.IsZero():
		return answered
	case next != nil:
		return next.At
	case !ended:
		return time.Time{}
	}
	return out
}

// during says whether something came while the request was under way.
func (c *check) during(at time.Time) bool {
	return !at.Before(c.way.from) && (c.way.to.IsZero() || !at.After(c.way.to))
}

// data is the first packet with payload to an address on another connection that came while the
// request was under way.
func (c *check) data(x *conn, dst netip.AddrPort) *flow.Observation {
	for _, p := range x.packets {
		if p.Len > 0 && p.Tuple.Dst == dst && c.during(p.At) {
			return p
		}
	}
	return nil
}

// quiet says whether nothing else was asked of the listener while the request was under way:
// what the proxy did in that time, it did for this one.
func (c *check) quiet() bool {
	if c.loss.Dropped > 0 && !c.countedAlone() {
		return false
	}
	for _, x := range c.conns {
		for _, s := range c.asking(x) {
			if (c.way.to.IsZero() || !s.from.After(c.way.to)) && (s.to.IsZero() || !s.to.Before(c.way.from)) {
				return false
			}
		}
	}
	return c.one() || c.asked != nil && !c.legs[0].heads().muxed
}

// apart says whether what else arrived can be read, and is of other requests.
func (c *check) apart() bool {
	if c.asked == nil || c.lossy() {
		return false
	}
	for _, x := range c.conns {
		if c.arrives(x) {
			if fits, _ := c.carries(x); fits != flow.No {
				return false
			}
		}
	}
	fits := 0
	for _, a := range c.legs[0].heads().asks {
		if a.fits(c.trace.Request.HTTP) != flow.No {
			fits++
		}
	}
	return fits == 1 && c.legs[0].heads().whole
}
