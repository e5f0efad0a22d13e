package confirm

import (
	"net/netip"
	"slices"
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
	case flow.SeenAnswer:
		e.Source, e.Text = "answer", o.Fields["code"]+" tcp "+o.Fields["tcp"]
	case flow.SeenAccessLog:
		e.Source, e.Text = "access log", logText(o)
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
	st, x := c.trace.Legs[l].Steps[s], c.legs[l]
	if st.Verdict == flow.Unknown {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenUnpredicted)}
	}
	if st.Verdict == flow.Refused && l == 0 {
		switch st.Stage {
		case flow.Listener, flow.ListenerFilter, flow.FilterChain, flow.TransportSocket, flow.NetworkFilter, flow.HTTPFilter, flow.Cluster, flow.Endpoint:
			return c.refusedInside(st)
		}
	}
	switch st.Stage {
	case flow.Socket:
		return c.socketStep(l, s, st, x)
	case flow.Netfilter:
		if w := c.ruleStep(l, st, x); w.Why.Kind != flow.SeenOthersCounted || !c.leads(l, s) {
			return w
		}
		return c.step(l, s+1)
	case flow.Listener:
		return c.accepted(x)
	case flow.Wire:
		return c.wireStep(l, x)
	case flow.Endpoint:
		return c.endpointStep(l)
	case flow.Cluster:
		return c.clusterStep(l)
	case flow.Handoff:
		return c.logStep(l, "listener_name", c.trace.Outcome.Listener, "listener."+statistic(c.trace.Outcome.Listener)+".downstream_cx_total")
	case flow.FilterChain:
		return c.logStep(l, "filter_chain_name", c.trace.Outcome.FilterChain, "")
	case flow.Route:
		return c.routeStep(l, st)
	case flow.ListenerFilter:
		if st.Reason.Kind == flow.WhyTLSSeen && l == 0 {
			return c.inspected(x, st.Reason.Args[0], st.Reason.Args[1])
		}
	case flow.TransportSocket:
		return c.socketOf(l, st)
	case flow.HTTPFilter, flow.NetworkFilter:
		if l == 0 && st.Verdict == flow.Delivered {
			return c.ownAnswer(st)
		}
	case flow.RouteLookup:
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenKernel)}
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// socketStep: a connection exists, or reached the process that should get it.
func (c *check) socketStep(l, s int, st flow.Step, x *conn) Step {
	if line := c.poolLine(l); s == 0 && line != nil && (x == nil || x.first.Before(c.since())) {
		return confirmed(line, flow.SeenPooled, line.Fields["upstream_local_address"]+"->"+line.Fields["upstream_host"])
	}
	switch {
	case x == nil:
		return nothing
	case s > 0 && st.Verdict == flow.Refused:
		return c.refused(x)
	case s > 0: // delivered to a process
		return c.accepted(x)
	}
	if p := c.pooled(l); p != nil {
		return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
	}
	switch {
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
	if c.rejection(x) != nil {
		return confirmed(p, flow.SeenRefused, p.Tuple.Src.String())
	}
	if p.Flags&flow.SYN == 0 {
		return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
	}
	return confirmed(p, flow.SeenSYN, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
}

// accepted: somebody answers the SYN with a SYN-ACK.
func (c *check) accepted(x *conn) Step {
	if x == nil {
		return nothing
	}
	for _, p := range x.packets {
		switch {
		case !x.own(p.Tuple.Dst):
		case p.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK:
			return confirmed(p, flow.SeenSYNACK, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		case c.rejects(x, p):
			return contradicted(p, flow.SeenRefused, p.Tuple.Src.String())
		case p.Len > 0:
			return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
	}
	if x.replied != nil {
		return confirmed(x.replied, flow.SeenSYNACK, x.replied.State)
	}
	return nothing
}

// rejects says whether a packet is the RST that answers a SYN: nothing but the SYN came
// before. Where packets were lost an answer may have, so its numbers decide: such an RST has
// the sequence number 0 and acknowledges the SYN (RFC 9293, 3.10.7.1).
func (c *check) rejects(x *conn, p *flow.Observation) bool {
	syn := x.syn()
	if p.Flags&flow.RST == 0 || !x.own(p.Tuple.Dst) || syn == nil || x.replied != nil || x.synAck() != nil {
		return false
	}
	return !c.lossy() || p.Seq == 0 && p.Ack == syn.Seq+1
}

func (x *conn) synAck() *flow.Observation {
	for _, p := range x.packets {
		if x.own(p.Tuple.Dst) && p.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK {
			return p
		}
	}
	return nil
}

// refused: the kernel answers the SYN with RST.
func (c *check) refused(x *conn) Step {
	if p := x.synAck(); p != nil {
		return contradicted(p, flow.SeenSYNACK, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
	}
	for _, p := range x.packets {
		if c.rejects(x, p) {
			return confirmed(p, flow.SeenRefused, p.Tuple.Src.String())
		}
	}
	return nothing
}

// wireStep: the packet is on the device that the route says, to the address that the trace says.
func (c *check) wireStep(l int, x *conn) Step {
	leg := c.trace.Legs[l]
	if x == nil {
		return nothing
	}
	if p := c.pooled(l); p != nil {
		return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
	}
	for _, p := range x.packets {
		if p.Device == leg.To.Out && p.Tuple.Dst == leg.To.Dst {
			if p.Flags&flow.SYN == 0 {
				return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
			}
			return confirmed(p, flow.SeenSYN, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
		}
	}
	if x.track == nil {
		return nothing
	}
	if same(x.track.Reply.Src, leg.To.Dst) {
		return confirmed(x.track, flow.SeenNoNAT, leg.To.Dst.String())
	}
	if !hasRule(leg) { // else it is the rule that is contradicted
		return contradicted(x.track, flow.SeenNAT, x.track.Reply.Src.String(), leg.To.Dst.String())
	}
	return nothing
}

// endpointStep: the proxy's own connection goes to the endpoint; the access log names it.
func (c *check) endpointStep(l int) Step {
	want := c.trace.Outcome.Endpoint
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	if want == "" {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenUnpredicted)}
	}
	if host, line := c.logged("upstream_host"); line != nil {
		if host != want {
			return contradicted(line, flow.SeenOther, host, want)
		}
		return confirmed(line, flow.SeenLog, "upstream_host", host, want)
	}
	if len(c.legs) > 1 && c.legs[1] != nil {
		x := c.legs[1]
		if p := c.pooled(1); p != nil {
			return confirmed(p, flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
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
	return c.hostStep(want)
}

// hostStep: the endpoint's own counters tell that it was taken, if the request was the only
// one that the watch saw arrive, and the counters of another one that it was not. Where both
// grew (a retry, a probe) they tell nothing.
func (c *check) hostStep(want string) Step {
	var wanted, other *flow.Observation
	for _, n := range c.hostCounts() {
		at, _, _ := strings.Cut(strings.TrimPrefix(n.Name, hostPrefix(c.trace.Outcome.Cluster)), " ")
		switch {
		case n.After <= n.Before:
		case at == want:
			wanted = n
		default:
			other = n
		}
	}
	switch {
	case wanted == nil && other == nil:
		return nothing
	case !c.alone() || !c.legs[0].fresh() || wanted == nil && !c.between(other):
		return c.others(first(wanted, other))
	case wanted != nil && other != nil:
		return Step{Word: NotObserved, Why: flow.Because(flow.SeenBothGrew, wanted.Name, other.Name), Evidence: evidence(wanted)}
	case wanted != nil:
		return counted(wanted)
	case other.After != other.Before+1:
		return nothing
	}
	at, _, _ := strings.Cut(strings.TrimPrefix(other.Name, hostPrefix(c.trace.Outcome.Cluster)), " ")
	return contradicted(other, flow.SeenOther, at, want)
}

// hostCounts are the counters of the cluster's endpoints: of requests where there are any, since
// a connection can be opened for none.
func (c *check) hostCounts() []*flow.Observation {
	var requests, conns []*flow.Observation
	for _, n := range c.counted {
		switch {
		case !strings.HasPrefix(n.Name, hostPrefix(c.trace.Outcome.Cluster)):
		case strings.HasSuffix(n.Name, " rq_total"):
			requests = append(requests, n)
		default:
			conns = append(conns, n)
		}
	}
	if len(requests) > 0 {
		return requests
	}
	return conns
}

func first(all ...*flow.Observation) *flow.Observation {
	for _, o := range all {
		if o != nil {
			return o
		}
	}
	return nil
}

// byCount is what a counter that grew proves: that this request was counted, if there was no
// other one.
func (c *check) byCount(n *flow.Observation) Step {
	if c.alone() {
		return counted(n)
	}
	return c.others(n)
}

// others says that a counter may have grown for another request.
func (c *check) others(n *flow.Observation) Step {
	return Step{Word: NotObserved, Why: flow.Because(flow.SeenOthersCounted, n.Name, utoa(n.Before), utoa(n.After)), Evidence: evidence(n)}
}

// otherUpstream is a connection that the proxy opened to another address after the request
// began: by the owner of its socket, or because it is the only new one that the rules did
// not redirect. It counts only if nothing was lost, the request was the only one through its
// listener, the cluster did open one connection, and that address counted as an endpoint of it:
// a busy proxy dials others all the time, and what runs beside it as its user does, too.
func (c *check) otherUpstream(want string) (Step, bool) {
	n, counted := c.counters["cluster."+statistic(c.trace.Outcome.Cluster)+".upstream_cx_total"]
	if c.lossy() || !c.alone() || !counted || n.After != n.Before+1 || !c.ours() && !within(n, c.begun()) {
		return Step{}, false
	}
	var tracked []*conn
	for _, x := range c.conns {
		if x.dst.String() == want || x == c.legs[0] || x.first.Before(c.legs[0].first) || c.taken(x) || !c.ours() && !within(n, x.first) {
			continue
		}
		if uid, ok := x.uid(); ok && c.known.HasProxy && uid == c.known.ProxyUID && !c.legs[0].own(x.socket.Tuple.Dst) && c.hostGrew(x.socket.Tuple.Dst) {
			return contradicted(x.socket, flow.SeenOther, x.socket.Tuple.Dst.String(), want), true
		}
		if x.track != nil && x.track.Reply.Src == x.track.Tuple.Dst && !x.track.Tuple.Dst.Addr().IsLoopback() && c.hostGrew(x.track.Tuple.Dst) {
			tracked = append(tracked, x)
		}
	}
	if len(tracked) == 1 && c.loss.Foreign == 0 && c.trace.Legs[0].From.Dst != c.trace.Legs[0].To.Dst {
		return contradicted(tracked[0].track, flow.SeenOther, tracked[0].track.Tuple.Dst.String(), want), true
	}
	return Step{}, false
}

// hostGrew says whether an address is an endpoint of the cluster that counted something.
func (c *check) hostGrew(at netip.AddrPort) bool {
	return slices.ContainsFunc(c.counted, func(n *flow.Observation) bool {
		return n.After > n.Before && strings.HasPrefix(n.Name, hostPrefix(c.trace.Outcome.Cluster)+at.String()+" ")
	})
}

// clusterStep: the access log's raw cluster name (Istio's %UPSTREAM_CLUSTER% is another
// one), else the cluster's counters.
func (c *check) clusterStep(l int) Step {
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	want := c.trace.Outcome.Cluster
	if want == "" {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenUnpredicted)}
	}
	if got, line := c.logged("upstream_cluster_raw"); line != nil {
		if got != want {
			return contradicted(line, flow.SeenLog, "upstream_cluster_raw", got, want)
		}
		return confirmed(line, flow.SeenLog, "upstream_cluster_raw", got, want)
	}
	if by, told := c.statName(want); told {
		return by
	}
	var stays *flow.Observation
	for _, name := range []string{"upstream_rq_total", "upstream_cx_total"} {
		n, ok := c.counters["cluster."+statistic(want)+"."+name]
		if ok && n.After > n.Before {
			return c.byCount(n)
		}
		if ok && n.After == n.Before && name == "upstream_rq_total" {
			stays = n
		}
	}
	// Each request is counted, also one without HTTP: where an answer came and this cluster's
	// counter stayed, it came from elsewhere. A pooled connection is no new one, and a
	// counter that fell was set back.
	if stays != nil && c.alone() && (c.sentCode() != "" || len(c.answers()) > 0) {
		return c.uncounted(stays)
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// statName is the word of a cluster by the name that Envoy's log and statistics have for it.
// One that others may share proves only what it is not.
func (c *check) statName(cluster string) (Step, bool) {
	got, line := c.logged("upstream_cluster")
	if line == nil || c.known.StatName == nil {
		return Step{}, false
	}
	want, shared, ok := c.known.StatName(cluster)
	switch {
	case !ok || got == want && shared:
		return Step{}, false
	case got != want:
		return contradicted(line, flow.SeenLog, "upstream_cluster", got, want), true
	}
	return confirmed(line, flow.SeenLog, "upstream_cluster", got, want), true
}

// logStep: a field of the access log, else a counter.
func (c *check) logStep(l int, field, want, counter string) Step {
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	if got, line := c.logged(field); line != nil {
		if got != want {
			return contradicted(line, flow.SeenLog, field, got, want)
		}
		return confirmed(line, flow.SeenLog, field, got, want)
	}
	if n, ok := c.counters[counter]; ok && n.After > n.Before {
		return c.byCount(n)
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// routeStep: the route's name where it has one, else the answer that the route itself gives, or
// the lack of one.
func (c *check) routeStep(l int, st flow.Step) Step {
	if l > 0 {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	}
	if c.trace.Outcome.Route != "" {
		if st := c.logStep(l, "route_name", c.trace.Outcome.Route, ""); st.Word != NotObservable {
			return st
		}
	}
	if st.Verdict == flow.Refused || st.Verdict == flow.Delivered {
		return c.ownAnswer(st)
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}
