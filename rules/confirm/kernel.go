package confirm

import (
	"net/netip"
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
		return c.barred(leg, x, n)
	}
	switch {
	case x == nil && grew && c.endedSo(): // what was sent ended before anything else shows it
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
	case grew && c.alone():
		return counted(n)
	case grew && way.Word == NotObserved:
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

func counted(n *flow.Observation) Step {
	return confirmed(n, flow.SeenCounted, n.Name, utoa(n.Before), utoa(n.After))
}

// translates says whether a step is a rule that gives the packet another destination.
func translates(st flow.Step) bool {
	return st.Reason.Kind == flow.WhyRedirected || st.Reason.Kind == flow.WhyDNAT
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

// barred: a rule drops or rejects the packet.
func (c *check) barred(leg flow.Leg, x *conn, n *flow.Observation) Step {
	if c.sent != nil && c.sent.Fields["tcp"] == flow.TCPOK.String() {
		return contradicted(c.sent, flow.SeenStatus, or(c.sent.Fields["code"], "0"), "0")
	}
	if x != nil {
		if p := x.synAck(); p != nil {
			return contradicted(p, flow.SeenSYNACK, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
		for _, p := range x.packets {
			// What goes out is seen after the rules; on lo it is seen coming in, before those of the way in.
			if leg.From.In == "" && p.Device != "lo" && x.own(p.Tuple.Src) && p.Flags&(flow.SYN|flow.ACK) == flow.SYN {
				return contradicted(p, flow.SeenPassed, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String(), p.Device)
			}
		}
	}
	grew := n != nil && n.After > n.Before
	if grew && (x != nil && c.alone() || x == nil && c.endedSo()) {
		return counted(n)
	}
	if x != nil && leg.From.In == "" && x.barred() {
		return confirmed(x.packets[0], flow.SeenRefused, x.packets[0].Tuple.Src.String()) // an RST that answers no SYN: no other thing looks so
	}
	if grew {
		return c.others(n)
	}
	return nothing
}

// endedSo says whether what was sent ended as it was to end, with nothing seen of it, and
// nobody else was seen to dial the same address: then a rule that counted has counted it.
func (c *check) endedSo() bool {
	if c.sent == nil || c.sent.Fields["tcp"] != c.trace.Caller.TCP.String() {
		return false
	}
	for _, x := range c.conns {
		if x.reaches(c.trace.Legs[0]) && x.fresh() {
			return false
		}
	}
	return true
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
