package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// routeInput is what the conditions of routes look at. It does not change once built.
type routeInput struct {
	h       *headers
	path    string // without query and, where configured so, without path parameters
	full    string // :path
	head    uint64 // of path, see pathHead
	version Version
	hasPath bool
	connect bool // CONNECT, or extended CONNECT of UDP
	grpc    bool
	// presented, validated: the client's certificate on the connection.
	presented, validated flow.Answer
	// state is filter state of the connection, unsure the keys whose value is not known.
	state  map[string]string
	unsure map[string]bool
}

// Criteria of a route that was passed over: the kind of condition, and its index in the
// low byte.
const (
	failPath flow.Criterion = iota << 8
	failHeader
	failQuery
	failCookie
	failGRPC
	failTLS
	failState
	failChance
	failUnknown
	failPlugin // it matches, but its cluster specifier plugin yields no route
)

// fit is how a request fits a route.
type fit struct {
	answer flow.Answer // of all conditions but a chance that is still open
	failed flow.Criterion
	fails  int  // tests that said No, counted up to two
	more   bool // there was another test than the path's
	far    bool // the path differs from its beginning on
}

// check tries all conditions but the runtime fraction, the path first. It stops at the
// second one that fails: then the route is no near miss.
func (r *route) check(in *routeInput) fit {
	f := fit{answer: flow.Yes, more: r.conds != nil}
	if r.head.differs(in.head) {
		f.far = true
		f.note(flow.No, failPath)
	} else {
		f.note(r.path.match(in), failPath)
	}
	if r.conds != nil {
		r.conds.check(in, &f)
	}
	return f
}

// note takes one test's answer in.
func (f *fit) note(a flow.Answer, c flow.Criterion) {
	f.answer = f.answer.And(a)
	if a == flow.No {
		if f.fails++; f.fails == 1 {
			f.failed = c
		}
	}
}

func (k *conditions) check(in *routeInput, f *fit) {
	for i := range k.headers {
		if f.note(k.headers[i].match(in.h), failHeader+flow.Criterion(min(i, 255))); f.fails > 1 {
			return
		}
	}
	for i := range k.query {
		if f.note(k.query[i].match(in.full), failQuery+flow.Criterion(min(i, 255))); f.fails > 1 {
			return
		}
	}
	for i := range k.cookies {
		f.note(k.cookies[i].match(in.h), failCookie+flow.Criterion(min(i, 255)))
	}
	if k.grpc {
		f.note(flow.Is(in.grpc && in.hasPath), failGRPC)
	}
	if k.tls != nil {
		f.note(k.tls.match(in), failTLS)
	}
	for i := range k.state {
		f.note(k.state[i].match(in), failState+flow.Criterion(min(i, 255)))
	}
	if k.chance != nil && k.chance.never() {
		f.note(flow.No, failChance)
	}
	if k.unknown != nil {
		f.note(flow.Maybe, failUnknown)
	}
}

func (t *tlsTest) match(in *routeInput) flow.Answer {
	a := flow.Yes
	if t.presented != flow.Maybe {
		a = a.And(equal(t.presented, in.presented))
	}
	if t.validated != flow.Maybe {
		a = a.And(equal(t.validated, in.validated))
	}
	return a
}

// equal is Yes where both are known and the same.
func equal(a, b flow.Answer) flow.Answer {
	if a == flow.Maybe || b == flow.Maybe {
		return flow.Maybe
	}
	return flow.Is(a == b)
}

func (t *stateTest) match(in *routeInput) flow.Answer {
	if t.key == "" {
		return flow.Is(t.invert)
	}
	v, ok := in.state[t.key]
	switch {
	case in.unsure[t.key]:
		return flow.Maybe
	case !ok:
		return flow.No
	case !t.known:
		return flow.Maybe
	}
	return t.value.match(v)
}

// near says whether a loser is worth showing: it failed in exactly one test and either
// passed another one, or failed by its case or a slash only.
func (r *route) near(f fit, in *routeInput) bool {
	if f.fails != 1 {
		return false
	}
	return f.more || !f.far && r.path.close(in)
}

// sharedSegments is the number of leading path segments that the route's path text and the
// request have in common: how well a route of a missed request fits.
func (r *route) sharedSegments(in *routeInput) int {
	a, b, n := r.path.text, in.path, 0
	if r.path.kind == pathRegex || r.path.kind == pathConnect || !in.hasPath {
		return 0
	}
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == '/' && i > 0 || i+1 == len(a) && len(a) > 1 {
			n++
		}
	}
	return n
}

// slip says that the path differs from the route's by one letter, in as many segments as
// the route looks at.
func (r *route) slip(in *routeInput) bool {
	text, path := strings.TrimSuffix(r.path.text, "/"), strings.TrimSuffix(in.path, "/")
	switch r.path.kind {
	case pathExact:
	case pathPrefix, pathSeparated:
		for n, i := strings.Count(text, "/"), 0; i < len(path); i++ {
			if path[i] == '/' {
				if n--; n < 0 {
					path = path[:i]
				}
			}
		}
	default:
		return false
	}
	return in.hasPath && oneSlip(text, path)
}

// tests are all conditions of the route with their answers, for the winner and for a
// loser that somebody looks at.
func (r *route) tests(in *routeInput) []flow.Test {
	out := []flow.Test{{Text: r.path.String(), Answer: r.path.match(in), Reason: in.reasonPath()}}
	if r.conds != nil {
		out = append(out, r.conds.tests(in)...)
	}
	return out
}

func (k *conditions) tests(in *routeInput) (out []flow.Test) {
	for i := range k.headers {
		h := &k.headers[i]
		out = append(out, flow.Test{Text: h.String(), Answer: h.match(in.h), Reason: in.reasonHeader(h.name)})
	}
	for i := range k.query {
		q := &k.query[i]
		out = append(out, flow.Test{Text: q.String(), Answer: q.match(in.full), Reason: in.reasonQuery(q.name)})
	}
	for i := range k.cookies {
		out = append(out, flow.Test{Text: k.cookies[i].String(), Answer: k.cookies[i].match(in.h), Reason: in.reasonCookie(k.cookies[i].name)})
	}
	if k.grpc {
		out = append(out, flow.Test{Text: "grpc", Answer: flow.Is(in.grpc && in.hasPath), Reason: in.reasonHeader("content-type")})
	}
	if k.tls != nil {
		out = append(out, flow.Test{Text: "tls_context", Answer: k.tls.match(in), Reason: flow.Because(flow.WhyClientCertificate, in.presented.String(), in.validated.String())})
	}
	for i := range k.state {
		out = append(out, flow.Test{Text: k.state[i].text, Answer: k.state[i].match(in), Reason: in.reasonState(k.state[i].key)})
	}
	if k.chance != nil {
		out = append(out, flow.Test{Text: "runtime_fraction " + k.chance.String(), Answer: k.chance.answer(), Reason: flow.Because(flow.WhyFraction, k.chance.String())})
	}
	for _, name := range k.unknown {
		out = append(out, flow.Test{Text: name, Answer: flow.Maybe, Reason: flow.Because(flow.WhyNotModelled, name)})
	}
	return out
}

func (in *routeInput) reasonPath() flow.Reason {
	if !in.hasPath {
		return flow.Because(flow.WhyNoPath)
	}
	return flow.Because(flow.WhyPathIs, in.path)
}

func (in *routeInput) reasonHeader(name string) flow.Reason {
	v, ok, sure := in.h.joined(name)
	switch {
	case !sure:
		return flow.Because(flow.WhyHeaderNotKnown, name)
	case !ok:
		return flow.Because(flow.WhyNoHeader, name)
	}
	return flow.Because(flow.WhyHeaderIs, name, v)
}

func (in *routeInput) reasonQuery(name string) flow.Reason {
	if v, ok := queryValue(in.full, name); ok {
		return flow.Because(flow.WhyQueryIs, name, v)
	}
	return flow.Because(flow.WhyNoQuery, name)
}

func (in *routeInput) reasonCookie(name string) flow.Reason {
	v, ok, sure := cookieValue(in.h, name)
	switch {
	case !sure:
		return flow.Because(flow.WhyHeaderNotKnown, "cookie")
	case !ok:
		return flow.Because(flow.WhyNoCookie, name)
	}
	return flow.Because(flow.WhyCookieIs, name, v)
}

func (in *routeInput) reasonState(key string) flow.Reason {
	if v, ok := in.state[key]; ok {
		return flow.Because(flow.WhyStateIs, key, v)
	}
	return flow.Because(flow.WhyNoState, key)
}

// routeMisses words the routes that were passed over, when somebody looks.
type routeMisses struct {
	routes []route
	host   string // the virtual host's name
	base   string // reference of the list of routes; empty: each route tells its own
	in     routeInput
}

// Explain words one of them.
func (m *routeMisses) Explain(miss flow.Miss) flow.Explained {
	if miss.Index < 0 || int(miss.Index) >= len(m.routes) {
		return flow.Explained{}
	}
	r := &m.routes[miss.Index]
	e := flow.Explained{Ref: routeRef(m.base, r, int(miss.Index)), Kind: flow.Route, Name: r.label(int(miss.Index)), Of: m.host,
		Text: clip(r.node.Raw()), Tests: r.tests(&m.in)}
	if miss.Failed&^0xff == failPlugin {
		e.Reason = flow.Because(flow.WhyPluginNoRoute)
		return e
	}
	e.Reason = flow.Because(flow.WhyNotTaken)
	for _, t := range e.Tests {
		if t.Answer == flow.No {
			e.Reason, e.Wanted = t.Reason, t.Text
			break
		}
	}
	return e
}

// routeRef is the reference of a route: the list's and its number. To ask the node for its
// own pointer takes a walk over all routes before it.
func routeRef(base string, r *route, i int) string {
	if base == "" {
		return reference(r.node)
	}
	return base + "/" + strconv.Itoa(i)
}

// label is the route's name, or its number where it has none.
func (r *route) label(i int) string {
	if name := r.node.Field("name").Str(); name != "" {
		return name
	}
	return "#" + strconv.Itoa(i)
}

// clip is a text of bounded length.
func clip(raw []byte) string {
	if len(raw) > evidenceBytes {
		return strings.ToValidUTF8(string(raw[:evidenceBytes]), "") + "…"
	}
	return string(raw)
}
