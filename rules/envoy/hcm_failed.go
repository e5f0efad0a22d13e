package envoy

import (
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// What of retry_on retries a connection that is not made, and one that breaks after.
// (source/common/router/retry_state_impl.cc: wouldRetryFromReset)
var (
	retriesFailed = []string{"5xx", "gateway-error", "connect-failure", "reset", "reset-before-request"}
	retriesBroken = []string{"5xx", "gateway-error", "reset"}
)

// failures says what the caller sees where the endpoint that was chosen does not answer.
func (s *stream) failures(c *cluster) {
	s.p.res.Failed = s.failure("UF", retriesFailed, c)
	s.p.res.Broken = s.failure("UC", retriesBroken, c)
	s.p.res.Retried = s.plan.n > 0 && s.plan.retries(retriesFailed)
}

// failure is the local reply for an upstream that is lost, after all tries.
func (s *stream) failure(flag string, on []string, cl *cluster) flow.Symptom {
	c := flow.Symptom{Code: 503, Flags: s.flags(flag), TCP: flow.TCPOK}
	if s.plan.retries(on) {
		c.Flags = s.flags("URX," + flag)
	}
	code, known := s.mappedCode(c)
	if s.plan.vague || s.plan.retries(on) && cl.noRetries() {
		// With a mapper the code may depend on the flags, too.
		known = known && s.m.node.Path("local_reply_config", "mappers").Len() == 0
		c.Flags = ""
	}
	switch c.Code = code; {
	case !known || s.replaced():
		c.Code = 0
	case s.grpc:
		c.Code = 200
	}
	return c
}

// retries says whether one of the conditions is retried on. A limit of 0 tries counts: it
// is exceeded at once.
func (p retryPlan) retries(on []string) bool {
	return slices.ContainsFunc(on, func(w string) bool { return slices.Contains(p.on, w) })
}

// noRetries says whether a circuit breaker may forbid retries altogether.
func (c *cluster) noRetries() bool {
	for _, t := range c.node.Path("circuit_breakers", "thresholds").All() {
		if t.Field("max_retries").Uint(3) == 0 || t.Field("retry_budget").Exists() {
			return true
		}
	}
	return false
}

// replaced says whether a custom_response filter may put another answer in the place of a
// local reply.
func (s *stream) replaced() bool {
	levels := s.levels()
	for i := range s.m.filters {
		f := &s.m.filters[i]
		if off, _ := f.off(perRoute(levels, f.name)); f.kind == "custom_response" && !off {
			return true
		}
	}
	return false
}
