package confirm

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

func confirmed(o *flow.Observation, kind flow.ReasonKind, args ...string) Step {
	return Step{Word: Confirmed, Why: flow.Because(kind, args...), Evidence: evidence(o)}
}

func contradicted(o *flow.Observation, kind flow.ReasonKind, args ...string) Step {
	return Step{Word: Contradicted, Why: flow.Because(kind, args...), Evidence: evidence(o)}
}

var nothing = Step{Word: NotObserved, Why: flow.Because(flow.SeenNoneOfIt)}

// evidence points at an observation and says it in the words of its own source.
func evidence(o *flow.Observation) []flow.Evidence {
	if o == nil {
		return nil
	}
	e := flow.Evidence{Ref: o.Ref}
	switch o.Kind {
	case flow.SeenConntrack:
		e.Source, e.Text = "conntrack", o.Tuple.Src.String()+"->"+o.Tuple.Dst.String()+" reply "+o.Reply.Src.String()+"->"+o.Reply.Dst.String()+" "+o.State
	case flow.SeenPacket:
		e.Source, e.Text = "capture "+o.Device, o.Tuple.Src.String()+"->"+o.Tuple.Dst.String()+" "+flagText(o.Flags)+" len "+strconv.Itoa(o.Len)
	case flow.SeenSocket:
		e.Source, e.Text = "sockets", o.Tuple.Src.String()+"->"+o.Tuple.Dst.String()+" uid "+utoa(uint64(o.UID))
	case flow.SeenCounter:
		e.Source, e.Ref, e.Text = "counter", o.Name, utoa(o.Before)+" -> "+utoa(o.After)
	case flow.SeenAccessLog:
		e.Source, e.Text = "access log", o.Fields["listener_name"]+" "+o.Fields["upstream_cluster_raw"]+" "+o.Fields["upstream_host"]+" "+o.Fields["response_flags"]
	}
	return []flow.Evidence{e}
}

func flagText(f flow.TCPFlags) string {
	out := ""
	for _, b := range []struct {
		bit  flow.TCPFlags
		name string
	}{{flow.SYN, "SYN"}, {flow.FIN, "FIN"}, {flow.RST, "RST"}, {flow.PSH, "PSH"}, {flow.ACK, "ACK"}} {
		if f&b.bit != 0 {
			out += "," + b.name
		}
	}
	return strings.TrimPrefix(out, ",")
}

// step is the word of one step.
func (c *check) step(l, s int) Step {
	leg, st, x := c.trace.Legs[l], c.trace.Legs[l].Steps[s], c.legs[l]
	if st.Verdict == flow.Unknown {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenUnpredicted)}
	}
	switch st.Stage {
	case flow.Socket:
		return c.socketStep(leg, st, x, s)
	case flow.Netfilter:
		return c.ruleStep(leg, st, x)
	case flow.Listener:
		return c.listenerStep(l, leg, st, x)
	case flow.Wire:
		return c.wireStep(leg, x)
	case flow.Endpoint:
		return c.endpointStep(l, leg)
	case flow.Cluster:
		return c.clusterStep(l, st)
	case flow.Handoff:
		return c.logStep(l, "listener_name", c.trace.Outcome.Listener, "listener."+statistic(c.trace.Outcome.Listener)+".downstream_cx_total")
	case flow.FilterChain:
		return c.logStep(l, "filter_chain_name", c.trace.Outcome.FilterChain, "")
	case flow.Route:
		return c.routeStep(l)
	case flow.HTTPFilter, flow.NetworkFilter:
		return c.filterStep(l, st)
	case flow.RouteLookup:
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenKernel)}
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// socketStep: a connection exists, or reached the process that should get it.
func (c *check) socketStep(leg flow.Leg, st flow.Step, x *conn, s int) Step {
	if x == nil {
		return nothing
	}
	if s > 0 && st.Verdict == flow.Refused {
		return c.refused(leg, x)
	}
	switch {
	case s > 0: // delivered to a process
		return c.accepted(leg, x)
	case x.socket != nil:
		return confirmed(x.socket, flow.SeenSocketOwner, x.client.String(), utoa(uint64(x.socket.UID)))
	case x.track != nil:
		return confirmed(x.track, flow.SeenSYN, x.client.String()+"->"+x.dst.String(), "conntrack")
	case len(x.packets) > 0:
		return c.firstPacket(x)
	}
	return nothing
}

func (c *check) firstPacket(x *conn) Step {
	p := x.packets[0]
	if p.Flags&flow.SYN == 0 {
		return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
	}
	return confirmed(p, flow.SeenSYN, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
}

// ruleStep: a rule that translates is proven by conntrack or, on lo, by the SYN and its
// answer; any other by its own counter, or by where the connection went.
func (c *check) ruleStep(leg flow.Leg, st flow.Step, x *conn) Step {
	if n, ok := c.counters[st.Subject]; ok {
		if n.After > n.Before {
			return confirmed(n, flow.SeenCounted, st.Subject, utoa(n.Before), utoa(n.After))
		}
		if x != nil && x.track != nil && x.track.Event == "NEW" && !c.lossy() {
			return contradicted(n, flow.SeenNotCounted, st.Subject, utoa(n.After))
		}
	}
	nat := leg.From.Dst != leg.To.Dst
	if x == nil {
		return nothing
	}
	if x.track != nil {
		return c.byConntrack(leg, x, nat)
	}
	for _, p := range x.packets {
		if p.Flags&(flow.SYN|flow.ACK) != flow.SYN {
			continue
		}
		if p.Tuple.Dst == leg.To.Dst {
			return confirmed(p, flow.SeenSYN, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
		}
		if nat && p.Tuple.Dst == leg.From.Dst && c.trace.Request.Dir == flow.Outbound {
			return contradicted(p, flow.SeenSYN, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
		}
	}
	if !c.tracked && !nat {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenNoConntrack)}
	}
	return nothing
}

func (c *check) byConntrack(leg flow.Leg, x *conn, nat bool) Step {
	reply := x.track.Reply.Src
	switch {
	case same(reply, leg.To.Dst) && nat:
		return confirmed(x.track, flow.SeenNAT, reply.String())
	case same(reply, leg.To.Dst):
		return confirmed(x.track, flow.SeenNoNAT, reply.String())
	case reply == x.track.Tuple.Dst:
		return contradicted(x.track, flow.SeenNoNAT, reply.String())
	}
	return contradicted(x.track, flow.SeenNAT, reply.String(), leg.To.Dst.String())
}

// same compares an address with one of the trace, whose address may be any.
func same(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || b.Addr().IsUnspecified())
}

// accepted: somebody answers the SYN with a SYN-ACK.
func (c *check) accepted(leg flow.Leg, x *conn) Step {
	for _, p := range x.packets {
		switch {
		case p.Tuple.Dst != x.client:
		case p.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK:
			return confirmed(p, flow.SeenSYNACK, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		case p.Flags&flow.RST != 0 && !x.synAck():
			return contradicted(p, flow.SeenRefused, p.Tuple.Src.String())
		case p.Len > 0:
			return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
	}
	if x.track != nil && x.track.State != "" && x.track.State != "SYN_SENT" && x.track.State != "CLOSE" {
		return confirmed(x.track, flow.SeenSYNACK, x.track.State)
	}
	return nothing
}

func (x *conn) synAck() bool {
	for _, p := range x.packets {
		if p.Tuple.Dst == x.client && p.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK {
			return true
		}
	}
	return false
}

// refused: the kernel answers the SYN with RST.
func (c *check) refused(leg flow.Leg, x *conn) Step {
	for _, p := range x.packets {
		if p.Tuple.Dst != x.client {
			continue
		}
		if p.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK {
			return contradicted(p, flow.SeenSYNACK, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
		if p.Flags&flow.RST != 0 {
			return confirmed(p, flow.SeenRefused, p.Tuple.Src.String())
		}
	}
	return nothing
}

// listenerStep: the listener accepts; its log line or counter names it.
func (c *check) listenerStep(l int, leg flow.Leg, st flow.Step, x *conn) Step {
	if x == nil {
		return nothing
	}
	return c.accepted(leg, x)
}

// wireStep: the packet is on the device that the route says, to the address that the trace says.
func (c *check) wireStep(leg flow.Leg, x *conn) Step {
	if x == nil {
		return nothing
	}
	for _, p := range x.packets {
		if p.Device == leg.To.Out && p.Tuple.Dst == leg.To.Dst {
			if p.Flags&flow.SYN == 0 {
				return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
			}
			return confirmed(p, flow.SeenSYN, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
		}
	}
	if x.track != nil && same(x.track.Reply.Src, leg.To.Dst) {
		return confirmed(x.track, flow.SeenNoNAT, leg.To.Dst.String())
	}
	return nothing
}

// endpointStep: the proxy's own connection goes to the endpoint; the access log names it.
func (c *check) endpointStep(l int, leg flow.Leg) Step {
	want := c.trace.Outcome.Endpoint
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	if want == "" {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenUnpredicted)}
	}
	if host, ok := c.logged("upstream_host"); ok {
		if host != want {
			return contradicted(c.logLine(), flow.SeenOther, host, want)
		}
		return confirmed(c.logLine(), flow.SeenLog, "upstream_host", host, want)
	}
	if len(c.legs) > 1 && c.legs[1] != nil {
		x := c.legs[1]
		if len(x.packets) > 0 {
			return c.firstPacket(x)
		}
		if x.track != nil {
			return confirmed(x.track, flow.SeenSYN, x.client.String()+"->"+x.dst.String(), "conntrack")
		}
	}
	if o, other := c.otherUpstream(want); other {
		return o
	}
	return nothing
}

// otherUpstream is a connection that the proxy opened to another address after the request
// began: by the owner of its socket, or because it is the only new one that the rules did
// not redirect. It counts only if the request was the only one through its listener and the
// cluster did open one connection: a busy proxy dials others all the time.
func (c *check) otherUpstream(want string) (Step, bool) {
	n, counted := c.counters["cluster."+statistic(c.trace.Outcome.Cluster)+".upstream_cx_total"]
	if !c.alone() || !counted || n.After != n.Before+1 {
		return Step{}, false
	}
	var tracked []*conn
	for _, x := range c.conns {
		if x == c.legs[0] || x.first.Before(c.legs[0].first) || c.taken(x) {
			continue
		}
		if uid, ok := x.uid(); ok && c.known.HasProxy && uid == c.known.ProxyUID && x.socket.Tuple.Dst != c.legs[0].client {
			return contradicted(x.socket, flow.SeenOther, x.socket.Tuple.Dst.String(), want), true
		}
		if x.track != nil && x.track.Reply.Src == x.track.Tuple.Dst && !x.track.Tuple.Dst.Addr().IsLoopback() {
			tracked = append(tracked, x)
		}
	}
	if len(tracked) == 1 && c.trace.Legs[0].From.Dst != c.trace.Legs[0].To.Dst {
		return contradicted(tracked[0].track, flow.SeenOther, tracked[0].track.Tuple.Dst.String(), want), true
	}
	return Step{}, false
}

// alone says whether the request's connection was the only one that the watch saw arrive
// at its listener.
func (c *check) alone() bool {
	if c.legs[0] == nil || c.lossy() {
		return false
	}
	to := c.trace.Legs[0].To.Dst
	for _, x := range c.conns {
		if x == c.legs[0] {
			continue
		}
		for _, p := range x.packets {
			if p.Tuple.Dst == to && p.Flags&(flow.SYN|flow.ACK) == flow.SYN {
				return false
			}
		}
	}
	return true
}

func (c *check) logLine() *flow.Observation {
	for _, l := range c.logs {
		if c.legs[0] != nil && l.Fields["downstream_remote_address"] == c.legs[0].client.String() {
			return l
		}
	}
	return nil
}

// clusterStep: the access log's raw cluster name (Istio's %UPSTREAM_CLUSTER% is another
// one), else the cluster's counters.
func (c *check) clusterStep(l int, st flow.Step) Step {
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	want := c.trace.Outcome.Cluster
	if want == "" {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenUnpredicted)}
	}
	if st.Verdict == flow.Refused {
		return c.refusedInside(want)
	}
	if got, ok := c.logged("upstream_cluster_raw"); ok {
		if got != want {
			return contradicted(c.logLine(), flow.SeenLog, "upstream_cluster_raw", got, want)
		}
		return confirmed(c.logLine(), flow.SeenLog, "upstream_cluster_raw", got, want)
	}
	var stays *flow.Observation
	for _, name := range []string{"upstream_rq_total", "upstream_cx_total"} {
		n, ok := c.counters["cluster."+statistic(want)+"."+name]
		if ok && n.After > n.Before {
			return confirmed(n, flow.SeenCounted, n.Name, utoa(n.Before), utoa(n.After))
		}
		if ok && stays == nil {
			stays = n
		}
	}
	// Each request and each connection is counted: where an answer came and neither counter
	// of this cluster moved, it came from elsewhere.
	if stays != nil && c.answered() {
		return contradicted(stays, flow.SeenNotCounted, stays.Name, utoa(stays.After))
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// answered says whether the caller got payload back.
func (c *check) answered() bool {
	if c.legs[0] == nil {
		return false
	}
	for _, p := range c.legs[0].packets {
		if p.Tuple.Dst == c.legs[0].client && p.Len > 0 {
			return true
		}
	}
	return false
}

// refusedInside: the proxy ends the connection itself. On the wire no host, an open
// circuit breaker, a rate limit, no chain and a refusing upstream look alike: only the
// flags of the log or a counter tell them apart.
func (c *check) refusedInside(cluster string) Step {
	flags := c.trace.Caller.Flags
	if got, ok := c.logged("response_flags"); ok && flags != "" {
		if got != flags {
			return contradicted(c.logLine(), flow.SeenLog, "response_flags", got, flags)
		}
		return confirmed(c.logLine(), flow.SeenLog, "response_flags", got, flags)
	}
	for _, name := range refusals(cluster, flags) {
		if n, ok := c.counters[name]; ok && n.After > n.Before {
			return confirmed(n, flow.SeenCounted, n.Name, utoa(n.Before), utoa(n.After))
		}
	}
	if flags == "URX" || flags == "RL" { // the filter's own stat_prefix is not in the trace
		for _, n := range c.counted {
			if strings.HasSuffix(n.Name, ".rate_limited") && n.After > n.Before {
				return confirmed(n, flow.SeenCounted, n.Name, utoa(n.Before), utoa(n.After))
			}
		}
	}
	return c.closedStep()
}

// refusals are the counters that grow when Envoy refuses with a flag (Envoy docs, "Cluster
// statistics", "Response flags").
func refusals(cluster, flags string) []string {
	prefix := "cluster." + statistic(cluster) + "."
	switch flags {
	case "UH":
		return []string{prefix + "upstream_cx_none_healthy"}
	case "UO":
		return []string{prefix + "upstream_cx_overflow", prefix + "upstream_rq_pending_overflow"}
	}
	return nil
}

// closedStep: a close without an answer is what was predicted, but fits other causes too;
// an answer contradicts it.
func (c *check) closedStep() Step {
	x := c.legs[0]
	if x == nil {
		return nothing
	}
	for _, p := range x.packets {
		if p.Tuple.Dst == x.client && p.Len > 0 && c.trace.Caller.Code == 0 {
			return contradicted(p, flow.SeenPayload, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
	}
	for _, p := range x.packets {
		if p.Tuple.Dst == x.client && p.Flags&(flow.FIN|flow.RST) != 0 {
			return Step{Word: NotObserved, Why: flow.Because(flow.SeenAmbiguous, flagText(p.Flags), "no host, overflow, a limit, no filter chain, a refusing upstream"), Evidence: evidence(p)}
		}
	}
	return nothing
}

// logStep: a field of the access log, else a counter.
func (c *check) logStep(l int, field, want, counter string) Step {
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	if got, ok := c.logged(field); ok {
		if got != want {
			return contradicted(c.logLine(), flow.SeenLog, field, got, want)
		}
		return confirmed(c.logLine(), flow.SeenLog, field, got, want)
	}
	if n, ok := c.counters[counter]; ok && n.After > n.Before {
		return confirmed(n, flow.SeenCounted, n.Name, utoa(n.Before), utoa(n.After))
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// routeStep: the route's name where it has one, else the status of the answer.
func (c *check) routeStep(l int) Step {
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	if c.trace.Outcome.Route != "" {
		if st := c.logStep(l, "route_name", c.trace.Outcome.Route, ""); st.Word != NotObservable {
			return st
		}
	}
	if c.trace.Verdict == flow.Refused || c.trace.Verdict == flow.Delivered && c.trace.Outcome.Cluster == "" {
		return c.statusStep()
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// filterStep: a filter that ends the request is proven by the answer; one that lets it
// pass by nothing.
func (c *check) filterStep(l int, st flow.Step) Step {
	if l == 0 && (st.Verdict == flow.Refused || st.Verdict == flow.Delivered) {
		if s := c.refusedInside(c.trace.Outcome.Cluster); c.trace.Caller.Code == 0 || s.Word != NotObserved {
			return s
		}
		return c.statusStep()
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// statusStep: the answer's status, from the log, from what the sender got, or from the
// first bytes of the answer.
func (c *check) statusStep() Step {
	want := strconv.Itoa(c.trace.Caller.Code)
	if c.trace.Caller.Code == 0 {
		return c.closedStep()
	}
	if got, ok := c.logged("response_code"); ok && got != "0" {
		return statusWord(c.logLine(), got, want)
	}
	if c.sent != nil && c.sent.Fields["code"] != "" && c.sent.Fields["code"] != "0" {
		return statusWord(c.sent, c.sent.Fields["code"], want)
	}
	x := c.legs[0]
	if x == nil {
		return nothing
	}
	for _, p := range x.packets {
		if h := string(p.Head); p.Tuple.Dst == x.client && strings.HasPrefix(h, "HTTP/1.") && len(h) >= 12 {
			return statusWord(p, h[9:12], want)
		}
	}
	return nothing
}

func statusWord(o *flow.Observation, got, want string) Step {
	if got == want {
		return confirmed(o, flow.SeenStatus, got, want)
	}
	return contradicted(o, flow.SeenStatus, got, want)
}
