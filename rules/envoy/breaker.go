package envoy

import (
	"math"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// breakers finds the thresholds (7.7).
func (c *cluster) breakers(cfg *Config) {
	for i, priority := range []string{"default", "high"} {
		var t tree.Node
		for _, n := range c.node.Path("circuit_breakers", "thresholds").All() {
			if strings.EqualFold(orDefault(n.Field("priority").Enum(), "DEFAULT"), priority) {
				t = n
				break
			}
		}
		limit := func(field string, dflt uint64) uint64 {
			n := t.Field(field).Uint(dflt)
			if v, ok := cfg.value("circuit_breakers." + c.name + "." + priority + "." + field); ok {
				if r, err := strconv.ParseUint(v, 10, 64); err == nil {
					n = r
				}
			}
			return n
		}
		c.limits[i] = limits{limit("max_connections", 1024), limit("max_pending_requests", 1024), limit("max_requests", 1024), limit("max_connection_pools", math.MaxUint64)}
	}
}

// limits are circuit breaker thresholds, or what counts against them.
type limits struct{ connections, pending, requests, pools uint64 }

// full asks whether a circuit breaker that was full in the snapshot still is.
func (p *pass) full(c *cluster, h lbHints) (fate, bool) {
	now, max := p.cfg.hostsOf(c).live, c.limit(h)
	field, limit, open := "", uint64(0), uint64(0)
	switch {
	case !h.http && now.connections >= max.connections:
		field, limit, open = "max_connections", max.connections, now.connections
	case h.http && max.requests > 0 && now.requests >= max.requests: // for 0 see noRequests
		field, limit, open = "max_requests", max.requests, now.requests
	case h.http && now.pending >= max.pending:
		field, limit, open = "max_pending_requests", max.pending, now.pending
	default:
		return fate{}, false
	}
	args := [3]string{field, strconv.FormatUint(limit, 10), strconv.FormatUint(open, 10)}
	choice := flow.Choice{Ref: p.ref("breaker " + c.name), Kind: flow.Condition, Options: []flow.Option{{Value: "full", When: "circuit breaker full"}, {Value: "free", When: "circuit breaker has room"}}}
	if p.ch.Take(choice) == 1 {
		p.last().Assumed = append(p.last().Assumed, flow.Assumption{Reason: flow.Because(flow.WhyBreakerFree, args[:]...), Flag: "--pick " + quoteRef(choice.Ref) + "=free"})
		return fate{}, false
	}
	p.add(flow.Step{Stage: flow.Cluster, Subject: c.name, Verdict: flow.Refused, Reason: flow.Because(flow.WhyBreakerFull, args[:]...), Evidence: p.evidence(c.node)})
	f := fate{flags: "UO"}
	if h.http {
		f.code, f.details = 503, "upstream_reset_before_response_started{overflow}"
	}
	return f, true
}

// limit are the thresholds of the request's priority; tcp_proxy asks for the default one.
func (c *cluster) limit(h lbHints) limits {
	if h.high {
		return c.limits[1]
	}
	return c.limits[0]
}

// overflow says whether a circuit breaker of 0 lets nothing through. The router needs a
// connection pool, without which there is no host for it, then a place to wait in; a first
// connection is made whatever max_connections says. tcp_proxy asks for a connection, then
// waits in the pool, too. (cluster_manager_impl.cc, conn_pool_base.cc, tcp_proxy.cc)
func (p *pass) overflow(c *cluster, h lbHints, s *flow.Step) (bool, fate) {
	field, f := "", fate{flags: "UO"}
	switch max := c.limit(h); {
	case h.http && max.pools == 0:
		field, f = "max_connection_pools", fate{flags: "UH", code: 503, details: "no_healthy_upstream"}
	case h.http && max.pending == 0:
		field, f = "max_pending_requests", overflown()
	case !h.http && max.connections == 0:
		field = "max_connections"
	case !h.http && max.pending == 0:
		field, f = "max_pending_requests", fate{flags: "URX"}
	default:
		return false, fate{}
	}
	s.Verdict, s.Reason = flow.Refused, flow.Because(flow.WhyOverflow, field)
	return true, f
}

func overflown() fate {
	return fate{flags: "UO", code: 503, details: "upstream_reset_before_response_started{overflow}"}
}

// noRequests is max_requests of 0, which is asked when the connection to the host stands.
func (p *pass) noRequests(c *cluster, h lbHints, f fate) fate {
	if !f.ok || !h.http || c.limit(h).requests > 0 {
		return f
	}
	p.add(flow.Step{Stage: flow.Cluster, Subject: c.name, Verdict: flow.Refused, Reason: flow.Because(flow.WhyOverflow, "max_requests"), Evidence: p.evidence(c.node.Field("circuit_breakers"))})
	return overflown()
}
