package confirm

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// ruleStep: a rule that translates is proven by conntrack or, on the way out, by the SYN and
// its answer; any other by its own counter, or by where the connection went.
func (c *check) ruleStep(l int, st flow.Step, x *conn) Step {
	leg := c.trace.Legs[l]
	n, gone := c.ruleCounter(st)
	grew := n != nil && n.After > n.Before
	if st.Verdict == flow.Dropped || st.Verdict == flow.Refused {
		return c.barred(l, x, n)
	}
	switch {
	case x == nil && grew && c.endedSo(n): // what was sent ended before anything else shows it
		return counted(n)
	case x == nil && grew:
		return c.others(n)
	case x == nil:
		return nothing
	}
	if p := c.pooled(l); p != nil && x.began == nil {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenPooled, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String()), Evidence: evidence(p)}
	}
	way := c.translation(leg, x)
	stays := n != nil && n.After == n.Before && x.began != nil && !c.lossy() && c.opened(n, x) // fewer: it was set back
	switch {
	case gone && (way.Word == Contradicted || translates(st) && way.Word != Confirmed && c.untracked(x)):
		return Step{Word: Contradicted, Why: flow.Because(flow.SeenRuleGone, st.Subject), Evidence: append(way.Evidence, evidence(x.syn())...)}
	case way.Word == Contradicted && translates(st):
		return way
	case grew && l > 0 && way.Word == Confirmed: // the proxy's rules count our own questions, too
		return way
	case grew && c.alone() && (translates(st) || st.Reason.Kind == flow.WhyTProxy || c.onlyOne(x, l)):
		return counted(n)
	case grew && (way.Word == NotObserved || !ofNAT(st, n)): // where it went shows the rules of nat alone
		return c.others(n)
	case stays:
		return contradicted(n, flow.SeenNotCounted, st.Subject, utoa(n.After))
	case st.Reason.Kind == flow.WhyTProxy: // it leaves no trace in conntrack
		return nothing
	case way.Word == Contradicted && leg.From.Dst != leg.To.Dst:
		return nothing // of the rule that translates
	}
	return way
}

// leads says whether a rule jumps to the chain of the next one, which is known to have taken the
// packet: then it has come by this one, whoever else was counted here.
func (c *check) leads(l, s int) bool {
	steps := c.trace.Legs[l].Steps
	st := steps[s]
	if st.Reason.Kind != flow.WhyJump && st.Reason.Kind != flow.WhyGoto || s+1 == len(steps) || steps[s+1].Stage != flow.Netfilter {
		return false
	}
	f := strings.Fields(st.Subject) // FAMILY TABLE CHAIN NUMBER
	to := strings.Join(append(f[:max(0, len(f)-2)], st.Reason.Args[0]), " ") + " "
	return strings.HasPrefix(steps[s+1].Subject, to) && c.step(l, s+1).Word == Confirmed
}

func counted(n *flow.Observation) Step {
	return confirmed(n, flow.SeenCounted, n.Name, utoa(n.Before), utoa(n.After))
}

// translates says whether a step is a rule that gives the packet another destination.
func translates(st flow.Step) bool {
	return st.Reason.Kind == flow.WhyRedirected || st.Reason.Kind == flow.WhyDNAT
}

// ofNAT says whether a step is a rule of a table that is asked once for a connection: nat of
// iptables, or one of nft that holds no other chains (Counter.NAT).
func ofNAT(st flow.Step, n *flow.Observation) bool {
	subject := strings.TrimPrefix(st.Subject, "legacy ")
	return strings.HasPrefix(subject, "ip nat ") || strings.HasPrefix(subject, "ip6 nat ") || n.Fields["nat"] != ""
}

func hasRule(leg flow.Leg) bool {
	for _, st := range leg.Steps {
		if st.Stage == flow.Netfilter {
			return true
		}
	}
	return false
}

// ruleCounter is the counter of a step's rule, which may stand at another place by now. gone:
// the rules were read, and none of its chain is this one.
func (c *check) ruleCounter(st flow.Step) (n *flow.Observation, gone bool) {
	rule := ""
	for _, e := range st.Evidence {
		if i := strings.Index(e.Text, "-A "); e.Ref == st.Subject && i >= 0 {
			rule = strings.TrimSpace(e.Text[i:])
		}
	}
	at := c.counters[st.Subject]
	if rule == "" || at != nil && at.Fields["rule"] == rule {
		return at, false
	}
	chain := st.Subject[:strings.LastIndexByte(st.Subject, ' ')+1]
	for _, o := range c.counted {
		if o.Fields["rule"] == rule && strings.HasPrefix(o.Name, chain) && !strings.Contains(o.Name[len(chain):], " ") {
			return o, false
		}
	}
	family, _, _ := strings.Cut(strings.TrimPrefix(st.Subject, "legacy "), " ")
	if strings.HasPrefix(st.Subject, "legacy ") {
		family = "legacy " + family
	}
	return nil, c.counters[family+rulesRead] != nil
}

// barred: a rule drops or rejects the packet. Of the proxy's own connection the caller only gets
// what the proxy makes of that.
func (c *check) barred(l int, x *conn, n *flow.Observation) Step {
	leg := c.trace.Legs[l]
	switch want := strconv.Itoa(c.trace.Caller.Code); {
	case c.sent == nil:
	case l == 0 && c.sent.Fields["tcp"] == flow.TCPOK.String():
		return contradicted(c.sent, flow.SeenStatus, or(c.sent.Fields["code"], "0"), "0")
	case l > 0 && c.sentCode() != "" && c.sentCode() != want:
		return contradicted(c.sent, flow.SeenStatus, c.sentCode(), want)
	}
	if x != nil {
		if p := x.synAck(); p != nil {
			return contradicted(p, flow.SeenSYNACK, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
		if x.replied != nil {
			return contradicted(x.replied, flow.SeenSYNACK, x.replied.State)
		}
		for _, p := range x.packets {
			// What goes out is seen after the rules; on lo it is seen coming in, before those of the way in.
			if leg.From.In == "" && p.Device != "lo" && x.own(p.Tuple.Src) && p.Flags&(flow.SYN|flow.ACK) == flow.SYN {
				return contradicted(p, flow.SeenPassed, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
			}
		}
	}
	grew := n != nil && n.After > n.Before
	if grew && (x != nil && c.alone() && c.onlyOne(x, l) && n.After-n.Before <= mostTries || x == nil && c.endedSo(n)) {
		return counted(n)
	}
	if x != nil && leg.From.In == "" {
		if p := c.rejection(x); p != nil {
			return confirmed(p, flow.SeenRefused, p.Tuple.Src.String())
		}
	}
	if grew {
		return c.others(n)
	}
	return nothing
}

// mostTries is how often a kernel sends one SYN at most: once, four times more each second and
// six times more at growing distances (ip-sysctl, tcp_syn_linear_timeouts and tcp_syn_retries).
const mostTries = 11

// rejection is the RST that answers a SYN which a rule rejects on its way out: no other thing
// shows an answer on lo and no SYN anywhere, if no packet was lost. It has the sequence number 0
// and acknowledges, as what it answers acknowledges nothing (nf_reject_ipv4.c), and a packet that
// is rejected leaves no entry in conntrack.
func (c *check) rejection(x *conn) *flow.Observation {
	if c.lossy() || x.track != nil || len(x.packets) != 1 {
		return nil
	}
	p := x.packets[0]
	if p.Device != "lo" || p.Flags&(flow.RST|flow.ACK) != flow.RST|flow.ACK || p.Seq != 0 || !x.own(p.Tuple.Dst) {
		return nil
	}
	return p
}

// endedSo says whether what was sent ended as it was to end, with nothing seen of it, nobody
// else was seen to dial anything, and a rule counted no more than that: then it has counted it.
func (c *check) endedSo(n *flow.Observation) bool {
	return c.sent != nil && c.sent.Fields["tcp"] == c.trace.Caller.TCP.String() && n.After-n.Before <= mostTries && c.onlyOne(nil, 0)
}

// onlyOne says whether no connection but one was seen to begin, besides those of the legs before,
// nor counted by Envoy: the proxy's own goes through the rules, too.
func (c *check) onlyOne(x *conn, l int) bool {
	for _, y := range c.conns {
		if y != x && y.fresh() && !slices.Contains(c.legs[:l], y) {
			return false
		}
	}
	passes := uint64(0)
	if x != nil || slices.ContainsFunc(c.trace.Legs[0].Steps, func(st flow.Step) bool { return st.Stage == flow.Listener }) {
		passes = c.passes()
	}
	conns, _, _ := c.arrived()
	return conns <= passes
}

func or(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

// translation is where the connection went, compared with where the leg says.
func (c *check) translation(leg flow.Leg, x *conn) Step {
	nat := leg.From.Dst != leg.To.Dst
	if x.track != nil {
		return byConntrack(leg, x, nat)
	}
	syn := x.syn()
	switch {
	case leg.From.In != "" || syn == nil: // packets show the way in before any translation
	case syn.Tuple.Dst == leg.From.Dst && nat:
		return contradicted(syn, flow.SeenSYN, syn.Tuple.Src.String()+"->"+syn.Tuple.Dst.String(), syn.Device)
	case syn.Tuple.Dst == leg.To.Dst && (!nat || x.answeredFrom(leg.From.Dst)):
		return confirmed(syn, flow.SeenSYN, syn.Tuple.Src.String()+"->"+syn.Tuple.Dst.String(), syn.Device)
	}
	if !nat && c.untracked(x) {
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenNoConntrack)}
	}
	return nothing
}

// answeredFrom says whether answers come from an address: those of a redirected connection
// are translated back to the one that was dialled.
func (x *conn) answeredFrom(a netip.AddrPort) bool {
	for _, p := range x.packets {
		if p.Tuple.Src == a && x.own(p.Tuple.Dst) {
			return true
		}
	}
	return false
}

func byConntrack(leg flow.Leg, x *conn, nat bool) Step {
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
