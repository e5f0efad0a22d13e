package confirm

import (
	"encoding/json"
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
	if got, line := c.logged("response_flags"); line != nil && flags != "" {
		if got != flags {
			return contradicted(line, flow.SeenLog, "response_flags", got, flags)
		}
		return confirmed(line, flow.SeenLog, "response_flags", got, flags)
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

// closedOrStatus is what the caller saw of a refusal, which several causes have in common.
func (c *check) closedOrStatus(st flow.Step) Step {
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
// the other. With others about nothing is decided: grew is then the counter that may be theirs.
func (c *check) byCounters(st flow.Step) (by Step, grew *flow.Observation) {
	cluster, want := c.trace.Outcome.Cluster, c.predicted(st)
	if want == causeNone {
		return nothing, nil
	}
	known := false
	for _, n := range c.counted {
		if !want.grows(n.Name, cluster) || want == causeRate && !limits(st, n.Name) {
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

// limits says whether a counter is of the limit that a step names: by the kind of filter, and
// by its stat_prefix where the step's evidence has it (Envoy docs, "Local rate limit" of
// both kinds of filter and "Connection limit filter").
func limits(st flow.Step, name string) bool {
	http := strings.Contains(name, "http_local_rate_limit.")
	if http != (st.Stage == flow.HTTPFilter) {
		return false
	}
	for _, e := range st.Evidence {
		var filter struct {
			TypedConfig struct {
				StatPrefix string `json:"stat_prefix"`
			} `json:"typed_config"`
		}
		if json.Unmarshal([]byte(e.Text), &filter) == nil && filter.TypedConfig.StatPrefix != "" {
			return strings.Contains("."+name, "."+statistic(filter.TypedConfig.StatPrefix)+".")
		}
	}
	return true
}

// closedStep: a close without an answer is what was predicted, but fits other causes too;
// an answer contradicts it.
func (c *check) closedStep() Step {
	x := c.legs[0]
	if x == nil {
		return nothing
	}
	for _, p := range c.answers() {
		return contradicted(p, flow.SeenPayload, p.Tuple.Src.String()+"->"+p.Tuple.Dst.String())
	}
	for _, p := range x.packets {
		if x.own(p.Tuple.Dst) && p.Flags&(flow.FIN|flow.RST) != 0 {
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
	if got, line := c.logged("response_code"); line != nil {
		return statusWord(line, got, want)
	}
	if c.sent != nil && c.sent.Fields["code"] != "" && c.sent.Fields["code"] != "0" {
		return statusWord(c.sent, c.sent.Fields["code"], want)
	}
	x := c.legs[0]
	if x == nil {
		return nothing
	}
	for _, p := range c.answers() {
		if h := string(p.Head); x.own(p.Tuple.Dst) && strings.HasPrefix(h, "HTTP/1.") && len(h) >= 12 {
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
