package confirm

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// cause is why Envoy ends a connection or answers itself, and the counters that tell it.
type cause uint8

const (
	causeNone      cause = iota
	causeNoHost          // UH
	causeOverflow        // UO
	causeLimit           // a listener's limit of connections
	causeRate            // a rate limit, or a filter's limit of connections
	causeNoChain         // NR
	causeUnreached       // UF
	causeDenied          // RBAC, ext_authz
	causeEnd
)

// grows says whether a counter is one of a cause's (Envoy docs, "Cluster statistics",
// "Listener statistics", and those of each filter). The numbers of single workers are in
// the total, too.
func (w cause) grows(name, cluster string) bool {
	of := func(suffix string) bool { return name == "cluster."+statistic(cluster)+"."+suffix }
	listener := func(suffix string) bool {
		return strings.HasPrefix(name, "listener.") && strings.HasSuffix(name, "."+suffix) && !strings.Contains(name, ".worker_")
	}
	switch w {
	case causeNoHost:
		return of("upstream_cx_none_healthy")
	case causeOverflow:
		return of("upstream_cx_overflow") || of("upstream_rq_pending_overflow") || of("upstream_cx_pool_overflow")
	case causeLimit:
		return listener("downstream_cx_overflow") || listener("downstream_global_cx_overflow")
	case causeRate:
		return strings.HasSuffix(name, ".rate_limited") || strings.HasSuffix(name, ".limited_connections")
	case causeNoChain:
		return listener("no_filter_chain_match")
	case causeUnreached:
		return of("upstream_cx_connect_fail")
	case causeDenied:
		return strings.HasSuffix(name, "rbac.denied") || strings.HasPrefix(name, "ext_authz.") && strings.HasSuffix(name, ".denied")
	}
	return false
}

// predicted is the cause that a step names.
func (c *check) predicted(st flow.Step) cause {
	switch flags := c.trace.Caller.Flags; {
	case st.Stage == flow.Listener:
		return causeLimit
	case st.Stage == flow.FilterChain:
		return causeNoChain
	case (st.Stage == flow.Cluster || st.Stage == flow.Endpoint) && flags == "UH":
		return causeNoHost
	case st.Stage == flow.Cluster && flags == "UO":
		return causeOverflow
	case flags == "URX" || flags == "RL":
		return causeRate
	}
	return causeNone
}

// refusedInside: the proxy ends the request itself. On the wire no host, an open circuit
// breaker, a limit, a rate limit, no chain and a refusing upstream look alike: only the
// flags of the log or a counter tell them apart, and without either they are ambiguous.
func (c *check) refusedInside(st flow.Step) Step {
	flags := c.trace.Caller.Flags
	if got, ok := c.logged("response_flags"); ok && flags != "" {
		if got != flags {
			return contradicted(c.logLine(), flow.SeenLog, "response_flags", got, flags)
		}
		return confirmed(c.logLine(), flow.SeenLog, "response_flags", got, flags)
	}
	if by, told := c.byCounters(c.predicted(st)); told {
		return by
	}
	if c.trace.Caller.Code == 0 {
		return c.closedStep()
	}
	by := c.statusStep()
	if by.Word == Confirmed && (st.Stage == flow.Cluster || st.Stage == flow.Endpoint) {
		by.Word, by.Why = NotObserved, flow.Because(flow.SeenAmbiguous, strconv.Itoa(c.trace.Caller.Code), "no host, overflow, a refusing upstream, and an endpoint that answers so")
	}
	return by
}

// byCounters decides by the counter of the cause that was predicted; if that one is known and
// stays, while another cause's grew by one for the only connection that there was, it was
// the other.
func (c *check) byCounters(want cause) (Step, bool) {
	cluster := c.trace.Outcome.Cluster
	if want == causeNone {
		return Step{}, false
	}
	known := false
	for _, n := range c.counted {
		if !want.grows(n.Name, cluster) {
			continue
		}
		if n.After > n.Before {
			return confirmed(n, flow.SeenCounted, n.Name, utoa(n.Before), utoa(n.After)), true
		}
		known = true
	}
	if !known || !c.alone() || !c.legs[0].fresh() {
		return Step{}, false
	}
	for w := causeNone + 1; w < causeEnd; w++ {
		for _, n := range c.counted {
			if w != want && n.After == n.Before+1 && w.grows(n.Name, cluster) {
				return contradicted(n, flow.SeenOtherCause, n.Name, utoa(n.Before), utoa(n.After)), true
			}
		}
	}
	return Step{}, false
}

// closedStep: a close without an answer is what was predicted, but fits other causes too;
// an answer contradicts it.
func (c *check) closedStep() Step {
	x := c.legs[0]
	if x == nil {
		return nothing
	}
	if x.fresh() { // else the answer may be one to what was asked before
		for _, p := range x.packets {
			if p.Tuple.Dst == x.client && p.Len > 0 {
				return contradicted(p, flow.SeenPayload, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
			}
		}
	}
	for _, p := range x.packets {
		if p.Tuple.Dst == x.client && p.Flags&(flow.FIN|flow.RST) != 0 {
			return Step{Word: NotObserved, Why: flow.Because(flow.SeenAmbiguous, flagText(p.Flags), "no host, overflow, a limit, a rate limit, no filter chain, a refusing upstream"), Evidence: evidence(p)}
		}
	}
	return nothing
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
		if h := string(p.Head); x.fresh() && p.Tuple.Dst == x.client && strings.HasPrefix(h, "HTTP/1.") && len(h) >= 12 {
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
