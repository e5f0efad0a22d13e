package envoy

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// bound is a time limit with who says so.
type bound struct {
	d     time.Duration // 0: none
	by    string        // the header or field; empty: the route's own timeout or its default
	vague bool          // by is a header whose value cannot be known
}

func (b bound) String() string {
	text := b.d.String()
	switch {
	case b.vague:
		text = "unknown"
	case b.d <= 0:
		text = "none"
	}
	if b.by != "" {
		text += " (" + b.by + ")"
	}
	return text
}

// defaultTimeout is that of RouteAction.timeout.
const defaultTimeout = 15 * time.Second

// Headers by which a request chooses its own limits. Envoy drops those of others than
// internal clients, and keeps them to itself.
const (
	headerTimeout    = "x-envoy-upstream-rq-timeout-ms"
	headerTryTimeout = "x-envoy-upstream-rq-per-try-timeout-ms"
	headerExpected   = "x-envoy-expected-rq-timeout-ms"
	headerGRPC       = "grpc-timeout"
	headerMaxRetries = "x-envoy-max-retries"
	headerRetryOn    = "x-envoy-retry-on"
	headerRetryGRPC  = "x-envoy-retry-grpc-on"
)

// millis is a duration as Envoy keeps it: what is less than a millisecond is nothing.
func millis(n tree.Node) (time.Duration, bool) {
	d, ok := n.Duration()
	return d.Truncate(time.Millisecond), ok
}

// headerMillis sets the limit to a header's value, where that is a number.
func (s *stream) headerMillis(b *bound, name string) {
	v, ok, sure := s.h.first(name)
	if !ok {
		return
	}
	if !sure {
		*b = bound{by: name, vague: true}
		return
	}
	if n, ok := number(v); ok {
		*b = bound{d: time.Duration(min(n, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond, by: name}
	}
}

// number reads a number as absl::SimpleAtoi does.
func number(s string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(s), "+"), 10, 64)
	return n, err == nil
}

// timeout is the limit of a request with all its tries.
// (source/common/router/router.cc: FilterUtility::finalTimeout)
func (s *stream) timeout(r tree.Node) bound {
	b := bound{d: defaultTimeout}
	switch limit := r.Field("max_grpc_timeout"); {
	case r.Field("max_stream_duration").Exists(): // the limit of the stream takes its place, even where it sets none
		b = bound{by: "max_stream_duration"}
	case limit.Exists() && s.h.isGRPC():
		b = s.grpcTimeout(r, limit)
	default:
		if d, ok := millis(r.Field("timeout")); ok {
			b.d = d
		}
	}
	if s.routerConfig().Field("respect_expected_rq_timeout").Bool(false) && s.h.has(headerExpected) {
		s.headerMillis(&b, headerExpected)
	} else {
		s.headerMillis(&b, headerTimeout)
	}
	return b
}

// grpcTimeout is what max_grpc_timeout makes of a gRPC request's own limit.
func (s *stream) grpcTimeout(r, limit tree.Node) bound {
	b := bound{by: "max_grpc_timeout"}
	most, _ := millis(limit)
	own, ok, sure := s.grpcHeader()
	if !sure {
		return bound{by: headerGRPC, vague: true}
	}
	if ok {
		b = bound{d: own, by: headerGRPC}
	}
	if offset, ok := millis(r.Field("grpc_timeout_offset")); ok && offset < b.d {
		b.d, b.by = b.d-offset, b.by+" less grpc_timeout_offset"
	}
	if most > 0 && (b.d == 0 || b.d > most) {
		b = bound{d: most, by: "max_grpc_timeout"}
	}
	return b
}

// grpcHeader is the grpc-timeout of a request. (Grpc::Common::getGrpcTimeout)
func (s *stream) grpcHeader() (d time.Duration, ok, sure bool) {
	v, has, sure := s.h.first(headerGRPC)
	if !has || !sure || v == "" {
		return 0, false, sure
	}
	n, ok := number(v[:len(v)-1])
	if !ok || n > maxGRPCTimeout {
		return 0, false, true
	}
	unit, ok := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}[v[len(v)-1]]
	if !ok {
		return 0, false, true
	}
	if most := uint64(math.MaxInt64 / unit); n > most {
		n = most
	}
	d = time.Duration(n) * unit
	if rest := d % time.Millisecond; rest > 0 {
		d += time.Millisecond - rest
	}
	return d, true, true
}

// maxGRPCTimeout is the largest number that a grpc-timeout may hold: eight digits.
const maxGRPCTimeout = 99_999_999

// tryTimeout is the limit of one try; one that is not below the whole request's is none.
func (s *stream) tryTimeout(r tree.Node) bound {
	var b bound
	if d, ok := millis(s.retryPolicy(r).Field("per_try_timeout")); ok {
		b = bound{d: d, by: "per_try_timeout"}
	}
	s.headerMillis(&b, headerTryTimeout)
	if all := s.timeout(r); !b.vague && !all.vague && all.d > 0 && b.d >= all.d {
		return bound{}
	}
	return b
}

// streamLimit is the limit of a request from its first byte to the answer's last, by which
// Envoy ends it whatever happens. set is false where there is none.
// (source/common/http/conn_manager_impl.cc: refreshDurationTimeout)
func (s *stream) streamLimit(r tree.Node) (b bound, set bool) {
	own := r.Field("max_stream_duration")
	if most := own.Field("grpc_timeout_header_max"); most.Exists() {
		d, ok, sure := s.grpcHeader()
		if !sure {
			return bound{by: headerGRPC, vague: true}, true
		}
		if ok {
			return grpcLimit(d, own), true
		}
	}
	if d, ok := millis(own.Field("max_stream_duration")); ok {
		return bound{d: d, by: "max_stream_duration"}, d > 0
	}
	d, _ := millis(s.m.node.Path("common_http_protocol_options", "max_stream_duration"))
	return bound{d: d, by: "max_stream_duration of the connection manager"}, d > 0
}

// grpcLimit is a stream's own limit, bounded by grpc_timeout_header_max and shortened by
// the offset. One of nothing ends the stream at once.
func grpcLimit(d time.Duration, own tree.Node) bound {
	b := bound{d: d, by: headerGRPC}
	if most, _ := millis(own.Field("grpc_timeout_header_max")); most > 0 && d > most {
		b = bound{d: most, by: "grpc_timeout_header_max"}
	}
	if offset, ok := millis(own.Field("grpc_timeout_header_offset")); ok && b.d > 0 {
		b.d, b.by = max(b.d-offset, 0), b.by+" less grpc_timeout_header_offset"
	}
	return b
}

// retryPolicy is the route's, else the virtual host's.
func (s *stream) retryPolicy(r tree.Node) tree.Node {
	if p := r.Field("retry_policy"); p.Exists() || s.vhost == nil {
		return p
	}
	return s.vhost.node.Field("retry_policy")
}

// The conditions of retry_on that Envoy knows; others are nothing.
// (source/common/router/retry_state_impl.cc: parseRetryOn, parseRetryGrpcOn)
var (
	retryWords = []string{"5xx", "gateway-error", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream", "retriable-status-codes",
		"retriable-headers", "reset", "reset-before-request", "http3-post-connect-failure"}
	retryGRPCWords = []string{"cancelled", "deadline-exceeded", "resource-exhausted", "unavailable", "internal"}
)

// retryPlan is how often a request that fails is tried again, and on what.
type retryPlan struct {
	on    []string
	n     uint64
	text  string // in words
	vague bool
}

// retries says it in words.
func (s *stream) retries(r tree.Node) string { return s.retryPlan(r).text }

func (s *stream) retryPlan(r tree.Node) retryPlan {
	p := s.retryPolicy(r)
	if ext := r.Field("retry_policy_typed_config"); ext.Exists() && !r.Field("retry_policy").Exists() {
		kind, _ := kindOf(ext)
		return retryPlan{text: "by " + kind + ", which is not modelled", vague: true}
	}
	on, vague := knownWords(nil, p.Field("retry_on").Str(), append(slices.Clip(retryWords), retryGRPCWords...)), false
	for header, words := range map[string][]string{headerRetryOn: retryWords, headerRetryGRPC: retryGRPCWords} {
		v, ok, sure := s.h.first(header)
		on, vague = knownWords(on, v, words), vague || ok && !sure
	}
	slices.Sort(on)
	if vague {
		return retryPlan{text: "unknown (request headers)", vague: true}
	}
	if len(on) == 0 || s.p.cfg.number("upstream.use_retry", 100) == 0 {
		return retryPlan{text: "none"}
	}
	limited := s.retriable(p)
	if limited == flow.No {
		return retryPlan{text: "none (retriable_request_headers)"}
	}
	n, by := p.Field("num_retries").Uint(1), ""
	if v, ok, sure := s.h.first(headerMaxRetries); ok && sure {
		if own, ok := number(v); ok {
			n, by = own, " ("+headerMaxRetries+")"
		}
	} else if ok {
		return retryPlan{text: "unknown (" + headerMaxRetries + ")", vague: true}
	}
	plan := retryPlan{on: on, n: n, text: "none" + by, vague: limited == flow.Maybe}
	if n == 0 {
		return plan
	}
	if limited == flow.Maybe {
		by += ", if retriable_request_headers fit"
	}
	plan.text = strconv.FormatUint(n, 10) + by + " on " + strings.Join(on, ",")
	return plan
}

// knownWords adds the words of a list that are known, each once.
func knownWords(to []string, list string, known []string) []string {
	for _, w := range strings.Split(list, ",") {
		if w = strings.TrimSpace(w); slices.Contains(known, w) && !slices.Contains(to, w) {
			to = append(to, w)
		}
	}
	return to
}

// retriable says whether the request has one of the headers that a policy wants.
func (s *stream) retriable(policy tree.Node) flow.Answer {
	want := policy.Field("retriable_request_headers")
	if want.Len() == 0 {
		return flow.Yes
	}
	a := flow.No
	for _, h := range want.All() {
		a = a.Or(s.headerTest(h).match(s.h))
	}
	return a
}

// noteBounds adds the limits of a request that is forwarded to its route's step, as far as
// the step's own reason does not tell them.
func (s *stream) noteBounds(r tree.Node) {
	step := s.p.last()
	s.said = [2]string{s.timeout(r).String(), s.retries(r)}
	if step.Reason.Kind != flow.WhyRouteCluster {
		step.Facts = append(step.Facts, flow.Because(flow.WhyRouteLimits, s.said[0], s.said[1]))
	}
	if b := s.tryTimeout(r); b.d > 0 || b.vague {
		step.Facts = append(step.Facts, flow.Because(flow.WhyTryTimeout, b.String()))
	}
	if b, ok := s.streamLimit(r); ok && b.d == 0 && !b.vague {
		step.Facts = append(step.Facts, flow.Because(flow.WhyStreamOver, b.by))
	} else if ok {
		step.Facts = append(step.Facts, flow.Because(flow.WhyStreamLimit, b.String()))
	}
}

// routerConfig is the configuration of the router filter.
func (s *stream) routerConfig() tree.Node {
	for i := range s.m.filters {
		if s.m.filters[i].kind == "router" {
			return s.m.filters[i].config
		}
	}
	return tree.Node{}
}

// suppresses says whether the router adds no headers of Envoy's own.
func (s *stream) suppresses() bool {
	return s.routerConfig().Field("suppress_envoy_headers").Bool(false)
}

// boundTime leaves the limits to the endpoint as Envoy's router does, and takes away the
// headers by which the request asked for them.
func (s *stream) boundTime(r tree.Node) {
	all, try, grpc := s.timeout(r), s.tryTimeout(r), s.h.isGRPC()
	newWay := r.Field("max_stream_duration").Exists()
	if b, ok := s.streamLimit(r); ok && newWay && grpc {
		s.setMillis(headerGRPC, b, grpcText)
	}
	if !s.routerConfig().Field("respect_expected_rq_timeout").Bool(false) || !s.h.has(headerExpected) {
		s.h.remove(headerTimeout)
	}
	s.h.remove(headerTryTimeout)
	expected := all
	if (try.d > 0 || try.vague) && !s.hedges(r) {
		expected = try
	}
	if expected.d > 0 || expected.vague {
		if !s.suppresses() {
			s.setMillis(headerExpected, expected, func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) })
		}
		if grpc && !newWay && r.Field("max_grpc_timeout").Exists() {
			s.setMillis(headerGRPC, expected, grpcText)
		}
	}
	s.h.remove("x-envoy-hedge-on-per-try-timeout")
	s.h.remove("x-envoy-upstream-stream-duration-ms")
	s.h.remove("x-envoy-upstream-rq-timeout-alt-response")
	s.h.remove("x-envoy-upstream-alt-stat-name")
}

func (s *stream) setMillis(name string, b bound, text func(time.Duration) string) {
	if b.vague {
		s.h.setUnsure(name)
		return
	}
	s.h.set(name, text(b.d))
}

// grpcText is a limit as a grpc-timeout. (Grpc::Common::toGrpcTimeout)
func grpcText(d time.Duration) string {
	n, unit := d.Milliseconds(), "m"
	for _, next := range []struct {
		div  int64
		unit string
	}{{1000, "S"}, {60, "M"}, {60, "H"}} {
		if n <= maxGRPCTimeout {
			break
		}
		n, unit = n/next.div, next.unit
	}
	return strconv.FormatInt(n, 10) + unit
}

// hedges says whether a try that takes too long is left running beside the next one: the
// endpoint may then use all of the time.
func (s *stream) hedges(r tree.Node) bool {
	p := r.Field("hedge_policy")
	if !p.Exists() {
		p = s.vhost.node.Field("hedge_policy")
	}
	switch v, _, _ := s.h.first("x-envoy-hedge-on-per-try-timeout"); v {
	case "true":
		return true
	case "false":
		return false
	}
	return p.Field("hedge_on_per_try_timeout").Bool(false)
}

// boundTries takes away the headers by which a request asks for retries, and says where
// filters or the route's own header changes have made other limits of them.
func (s *stream) boundTries(r tree.Node, timeout bound) {
	s.plan = s.retryPlan(r)
	now := [2]string{timeout.String(), s.plan.text}
	if now != s.said {
		s.p.add(flow.Step{Stage: flow.HTTPFilter, Subject: s.last.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyLimitsChanged, now[0], now[1])})
	}
	for _, name := range []string{headerRetryOn, headerRetryGRPC, headerMaxRetries, "x-envoy-retriable-header-names", "x-envoy-retriable-status-codes"} {
		s.h.remove(name)
	}
}
