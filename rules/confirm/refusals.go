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
	causeNoRoute         // NR, of a request
	causeNoCluster       // NC
	causeDirect          // a route that answers itself, or sends elsewhere
	causeCodec           // DPE: what came is not the protocol that is spoken
	causeEnd
)

// grows says whether a counter is one of a cause's (Envoy docs, "Cluster statistics",
// "Listener statistics", "Router", "HTTP connection manager" and those of each filter). The numbers of single workers are in
// the total, too.
func (w cause) grows(name, cluster string) bool {
	of := func(suffix string) bool { return name == "cluster."+statistic(cluster)+"."+suffix }
	listener := func(suffix string) bool {
		return strings.HasPrefix(name, "listener.") && strings.HasSuffix(name, "."+suffix) && !strings.Contains(name, ".worker_")
	}
	router := func(suffix string) bool {
		return strings.HasPrefix(name, "http.") && strings.HasSuffix(name, "."+suffix)
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
		return denies(name)
	case causeNoRoute:
		return router("no_route")
	case causeNoCluster:
		return router("no_cluster")
	case causeDirect:
		return router("rq_direct_response") || router("rq_redirect")
	case causeCodec:
		return router("downstream_cx_protocol_error")
	}
	return false
}

// denies says whether a counter is of denials by RBAC or ext_authz, those of shadow rules apart.
func denies(name string) bool {
	if !strings.HasSuffix(name, "denied") || strings.HasSuffix(name, "shadow_denied") {
		return false
	}
	return strings.Contains(name, "rbac.") || strings.Contains("."+name, ".ext_authz.")
}

// predicted is the cause that a step names.
func (c *check) predicted(st flow.Step) cause {
	filter := st.Stage == flow.NetworkFilter || st.Stage == flow.HTTPFilter
	switch flags := c.trace.Caller.Flags; {
	case st.Stage == flow.Listener:
		return causeLimit
	case st.Stage == flow.FilterChain:
		return causeNoChain
	case (st.Stage == flow.Cluster || st.Stage == flow.Endpoint || st.Stage == flow.HTTPFilter) && flags == "UH":
		return causeNoHost
	case st.Stage == flow.Cluster && flags == "UO":
		return causeOverflow
	case flags == "URX" || flags == "RL":
		return causeRate
	case st.Stage == flow.NetworkFilter && flags == "DPE":
		return causeCodec
	case filter && kindOf(st) != filterOther:
		return causeDenied
	case (st.Stage == flow.HTTPFilter || st.Stage == flow.Route) && flags == "NR":
		return causeNoRoute
	case (st.Stage == flow.HTTPFilter || st.Stage == flow.Route) && flags == "NC":
		return causeNoCluster
	case (st.Stage == flow.HTTPFilter || st.Stage == flow.Route) && c.trace.Caller.Details == "direct_response":
		return causeDirect
	}
	return causeNone
}

// refusedInside: the proxy ends the request itself. On the wire no host, an open circuit
// breaker, a limit, a rate limit, no chain and a refusing upstream look alike, and a status is
// the proxy's or the endpoint's: only the log or a counter tell them apart, and without either
// they are ambiguous.
func (c *check) refusedInside(st flow.Step) Step {
	flags := c.trace.Caller.Flags
	if got, line := c.logged("response_flags"); line != nil && flags != "" {
		if got != flags {
			return contradicted(line, flow.SeenLog, "response_flags", got, flags)
		}
		return confirmed(line, flow.SeenLog, "response_flags", got, flags)
	}
	if by := c.byDetails(); by.Word != NotObserved {
		return by
	}
	by, grew := c.byCounters(st)
	if by.Word != NotObserved {
		return by
	}
	by = c.closedOrStatus(st)
	if grew != nil && by.Word == NotObserved {
		return c.others(grew)
	}
	return by
}

// byDetails decides an answer of the proxy's by the log: its details say who gave it (Envoy docs,
// "Response Code Details"), and it names a host only where it chose one. Details are spelt
// otherwise in other versions, hence no others contradict.
func (c *check) byDetails() Step {
	want := c.trace.Caller.Details
	if c.trace.Caller.Code == 0 {
		return nothing
	}
	switch got, line := c.logged("response_code_details"); {
	case line != nil && got == viaUpstream:
		return contradicted(line, flow.SeenLog, "response_code_details", got, or(want, "the proxy's own"))
	case line != nil && want != "" && got == strings.Join(strings.Fields(want), "_"):
		return confirmed(line, flow.SeenLog, "response_code_details", got, got)
	}
	return nothing
}

// viaUpstream are the details of an answer that the endpoint gave.
const viaUpstream = "via_upstream"

// closedOrStatus is what the caller saw of a refusal, which several causes have in common.
func (c *check) closedOrStatus(st flow.Step) Step {
	if c.trace.Caller.Code == 0 {
		return c.closedStep()
	}
	by := c.statusStep()
	if by.Word != Confirmed {
		return by
	}
	if st.Stage == flow.Cluster || st.Stage == flow.Endpoint {
		by.Word, by.Why = NotObserved, flow.Because(flow.SeenAmbiguous, strconv.Itoa(c.trace.Caller.Code), "no host, overflow, a refusing upstream, and an endpoint that answers so")
		return by
	}
	if up := c.fromUpstream(st); up.Word == Contradicted {
		return up
	}
	by.Word, by.Why = NotObserved, flow.Because(flow.SeenAmbiguous, strconv.Itoa(c.trace.Caller.Code), "an answer of the proxy's own, and an endpoint that answers so")
	return by
}

// fromUpstream says whether the answer is the endpoint's, though the proxy was to give its own:
// its router writes a header into those that it passes on, and its cluster counts the request.
// Clusters that filters ask count, too, and ext_authz passes on what such a one answers.
func (c *check) fromUpstream(st flow.Step) Step {
	for _, p := range c.answers() {
		if kindOf(st) != filterAuthz && hasHeader(p.head, "x-envoy-upstream-service-time") {
			return contradicted(p.Observation, flow.SeenPayload, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
		}
	}
	cluster := c.trace.Outcome.Cluster
	n := c.counters["cluster."+statistic(cluster)+".upstream_rq_total"]
	if cluster != "" && n != nil && n.After > n.Before && c.alone() {
		return contradicted(n, flow.SeenOtherCause, n.Name, utoa(n.Before), utoa(n.After))
	}
	return nothing
}

// hasHeader says whether the head of an answer in HTTP/1 holds a header.
func hasHeader(head []byte, name string) bool {
	h, _, _ := strings.Cut(string(head), "\r\n\r\n")
	return strings.HasPrefix(h, "HTTP/1.") && strings.Contains(strings.ToLower(h), "\r\n"+name+":")
}

// ownAnswer: the proxy is configured to give an answer itself.
func (c *check) ownAnswer(st flow.Step) Step {
	if c.trace.Caller.Code == 0 { // bytes, which an endpoint can send as well
		for _, p := range c.got() {
			return Step{Word: NotObserved, Why: flow.Because(flow.SeenAmbiguous, strconv.Itoa(p.Len)+" bytes", "an answer of the proxy's own, and one of an endpoint"), Evidence: evidence(p)}
		}
		return nothing
	}
	return c.refusedInside(st)
}

// byCounters decides by the counter of the cause that was predicted; if that one is known and
// stays, while another cause's grew by one for the only connection that there was, it was
// the other. With others about nothing is decided: grew is then the counter that may be theirs.
func (c *check) byCounters(st flow.Step) (by Step, grew *flow.Observation) {
	cluster, want := c.trace.Outcome.Cluster, c.predicted(st)
	if want == causeNone {
		return nothing, nil
	}
	known := false
	for _, n := range c.counted {
		if !want.grows(n.Name, cluster) || want == causeRate && !limits(st, n.Name) || want == causeDenied && !denied(st, n.Name) {
			continue
		}
		if n.After > n.Before {
			if by := c.byCount(n); by.Word == Confirmed {
				return by, nil
			}
			return nothing, n
		}
		known = true
	}
	if !known || !c.alone() || !c.legs[0].fresh() {
		return nothing, nil
	}
	for w := causeNone + 1; w < causeEnd; w++ {
		for _, n := range c.counted {
			if w != want && n.After == n.Before+1 && w.grows(n.Name, cluster) && c.between(n) {
				return contradicted(n, flow.SeenOtherCause, n.Name, utoa(n.Before), utoa(n.After)), nil
			}
		}
	}
	return nothing, nil
}

// closedStep: a close without an answer is what was predicted, but fits other causes too;
// an answer contradicts it.
func (c *check) closedStep() Step {
	x := c.legs[0]
	if x == nil {
		return nothing
	}
	if code := c.sentCode(); code != "" {
		return contradicted(c.sent, flow.SeenStatus, code, "0")
	}
	for _, p := range c.answers() {
		return contradicted(p.Observation, flow.SeenPayload, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
	}
	for _, p := range x.packets {
		if x.own(p.Tuple.Dst) && p.Flags&(flow.FIN|flow.RST) != 0 {
			return Step{Word: NotObserved, Why: flow.Because(flow.SeenAmbiguous, flagText(p.Flags), "no host, overflow, a limit, a rate limit, no filter chain, a refusing upstream"), Evidence: evidence(p)}
		}
	}
	if got := c.got(); len(got) > 0 && c.secret() {
		return Step{Word: NotObserved, Why: flow.Because(flow.SeenAmbiguous, strconv.Itoa(got[0].Len)+" bytes of TLS", "a handshake, and an answer"), Evidence: evidence(got[0])}
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
	if got, line := c.logged("response_code"); line != nil {
		return statusWord(line, got, want)
	}
	if code := c.sentCode(); code != "" {
		return statusWord(c.sent, code, want)
	}
	for _, p := range c.answers() {
		if h := string(p.head); strings.HasPrefix(h, "HTTP/1.") && len(h) >= 12 {
			return statusWord(p.Observation, h[9:12], want)
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
