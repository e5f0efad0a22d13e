package egress

import (
	"slices"
	"strconv"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
)

// pod is a snapshot with what becomes of its destinations as things are.
type pod struct {
	s        *rules.Snapshot
	dests    []traced
	untraced int
	captured bool     // something takes connections that leave
	capture  []uint16 // the local ports that they are redirected to
}

// traced is a destination with the trace of each of its requests.
type traced struct {
	dest
	traces []flow.Trace
	fate   fate
}

// fate is what becomes of a destination.
type fate uint8

const (
	mixed   fate = iota // it depends, is not known, or differs between requests
	passes              // every request is delivered
	blocked             // every request ends in a block of the proxy
)

func look(s *rules.Snapshot) *pod {
	p := &pod{s: s}
	dests, n := destinations(s)
	p.untraced = n
	for _, d := range dests {
		t := traced{dest: d}
		for _, r := range d.requests {
			tr := rules.Trace(s, r)
			p.met(tr)
			t.traces = append(t.traces, tr)
		}
		t.fate = fateOf(t.traces, t.sure)
		p.dests = append(p.dests, t)
	}
	slices.Sort(p.capture)
	return p
}

// met notes where a connection is redirected to.
func (p *pod) met(t flow.Trace) {
	if len(t.Legs) == 0 {
		return
	}
	leg := t.Legs[0]
	if leg.From.Dst == leg.To.Dst || leg.To.Out != "" {
		return
	}
	p.captured = true
	if port := leg.To.Dst.Port(); !slices.Contains(p.capture, port) {
		p.capture = append(p.capture, port)
	}
}

// redirected says whether a trace's connection goes to the proxy.
func redirected(t flow.Trace) bool {
	return len(t.Legs) > 0 && t.Legs[0].From.Dst != t.Legs[0].To.Dst && t.Legs[0].To.Out == ""
}

func fateOf(traces []flow.Trace, sure bool) fate {
	all := func(is func(flow.Trace) bool) bool {
		return len(traces) > 0 && !slices.ContainsFunc(traces, func(t flow.Trace) bool { return !is(t) })
	}
	switch {
	case sure && all(isBlock):
		return blocked
	case all(func(t flow.Trace) bool { return t.Verdict == flow.Delivered && !answersError(t) }):
		return passes
	}
	return mixed
}

// blocks are the reasons for which the proxy lets a connection go nowhere by its
// configuration: no cluster, an empty one, no chain or route, a limit of 0. A host that is
// down, a rate limit, or a filter that denies is another thing.
var blocks = []flow.ReasonKind{flow.WhyNoHosts, flow.WhyNoCluster, flow.WhyNoChain, flow.WhyNoFilters, flow.WhyListenerLimit, flow.WhyOverflow,
	flow.WhyNoListener, flow.WhyNoTable, flow.WhyNoDomain, flow.WhyNoRouteMatches, flow.WhyRouterNotFound, flow.WhyRouterNoCluster}

// isBlock says whether a trace ends in a block of the proxy.
func isBlock(t flow.Trace) bool {
	if answersError(t) {
		return true
	}
	if t.Verdict != flow.Refused || len(t.Variants) > 0 || len(t.Legs) != 1 {
		return false
	}
	steps := t.Legs[0].Steps
	return slices.ContainsFunc(steps, func(s flow.Step) bool { return s.Verdict == flow.Refused && slices.Contains(blocks, s.Reason.Kind) })
}

// answersError says whether a route answers every request with an error of its own: Istio's
// virtual host block_all answers 502.
func answersError(t flow.Trace) bool {
	if t.Verdict != flow.Delivered || len(t.Variants) > 0 || t.Caller.Code < 500 {
		return false
	}
	for _, leg := range t.Legs {
		for _, s := range leg.Steps {
			if s.Reason.Kind == flow.WhyRouterAnswers {
				return true
			}
		}
	}
	return false
}

// verdict is that of a trace as the policy sees it: an answer that is an error is a refusal.
func verdict(t flow.Trace) flow.Verdict {
	if answersError(t) {
		return flow.Refused
	}
	return t.Verdict
}

// effects are what becomes of every request, given what a policy changes of one.
func (p *pod) effects(change func(flow.Trace, *flow.Effect)) []flow.Effect {
	var out []flow.Effect
	for _, d := range p.dests {
		for _, t := range d.traces {
			e := flow.Effect{Dst: d.dst, Proto: d.proto, UID: d.uid, Live: d.live, Else: d.elsewhere, Port: d.port, Host: hostOf(t.Request), Before: verdict(t), After: verdict(t)}
			change(t, &e)
			out = append(out, e)
		}
	}
	return out
}

func hostOf(r flow.Request) string {
	switch {
	case r.HTTP != nil:
		return r.HTTP.Authority
	case r.TLS != nil:
		return r.TLS.SNI
	}
	return ""
}

// decide is what the table's rules do to a connection's first packet that leaves by another
// device than lo: the rules themselves are asked in their order.
func decide(list []edits.Rule, r flow.Request) edits.Action {
	for _, rule := range list {
		if ruleTakes(rule, r) && (rule.Do != edits.Refuse && rule.Do != edits.Direct || r.Proto == flow.TCP) && (rule.Do != edits.Prohibit || r.Proto == flow.UDP) {
			return rule.Do
		}
	}
	return edits.Return
}

func ruleTakes(rule edits.Rule, r flow.Request) bool {
	six := r.Dst.Addr().Is6()
	switch {
	case rule.Loopback,
		rule.Owner == edits.ByUID && rule.ID != r.UID,
		rule.Owner == edits.ByGID && rule.ID != r.GID,
		rule.V4 && six, rule.V6 && !six,
		rule.Dst.Prefix.IsValid() && !rule.Dst.Prefix.Contains(r.Dst.Addr()),
		rule.Dst.Port != 0 && (rule.Dst.Port != r.Dst.Port() || rule.Proto != 0 && rule.Proto != r.Proto):
		return false
	}
	return true
}

// kept are the open TCP connections that the change would treat otherwise if they were new:
// they go on as they are.
func (p *pod) kept(c *flow.Change) []flow.Kept {
	var out []flow.Kept
	for _, x := range outgoing(p.s) {
		if x.Proto != flow.TCP || inHole(c.Except, x.Dst) {
			continue
		}
		k := flow.Kept{Conn: flow.Conn{Src: x.Src, Dst: x.Dst, Proto: x.Proto, UID: x.UID, GID: x.GID}, Known: x.Known, Process: x.Process, Proxied: p.proxied(x)}
		around := c.Driver == flow.Kernel || c.Driver == flow.NetworkPolicy // what the proxy does not carry is reached too
		if c.Kind == flow.BlockAll && (around || k.Proxied) || c.Kind == flow.AllowAll && k.Proxied && (c.All || inHole(c.Open, x.Dst)) {
			out = append(out, k)
		}
	}
	return out
}

// proxied says whether a connection goes through the proxy: conntrack knows, else a trace.
func (p *pod) proxied(x live.Conn) bool {
	if x.To.IsValid() {
		return x.NAT() && slices.Contains(p.capture, x.To.Port())
	}
	return redirected(rules.Trace(p.s, x.Request()))
}

// around are the effects of a change that go around a protection of the proxy.
func around(c flow.Change) []flow.Effect {
	var out []flow.Effect
	for _, e := range c.Effects {
		if len(e.Around) > 0 {
			out = append(out, e)
		}
	}
	return out
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
