package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// route is one compiled config.route.v3.Route: its conditions. What it does is read from
// its node when it was chosen.
type route struct {
	node    tree.Node
	path    pathTest
	headers []headerTest
	query   []queryTest
	more    *routeMore // nil: none of the rarer conditions
}

// routeMore are the conditions that few routes have.
type routeMore struct {
	grpc    bool
	cookies []cookieTest
	chance  *fraction // runtime_fraction
	tls     *tlsTest
	state   []stateTest
	unknown []string // members of RouteMatch that are not modelled
}

// pathTest is the path specifier of a RouteMatch.
type pathTest struct {
	kind     pathKind
	text     string
	fold     bool // case_sensitive: false
	regex    stringTest
	template *uriTemplate
}

type pathKind uint8

const (
	pathUnknown pathKind = iota
	pathPrefix
	pathExact
	pathSeparated // path_separated_prefix
	pathRegex
	pathTemplate // path_match_policy with a uri_template
	pathConnect  // connect_matcher
)

var pathKindNames = [...]string{"path specifier that is not modelled:", "prefix", "path", "path_separated_prefix", "safe_regex", "path_template", "connect_matcher"}

// tlsTest is RouteMatch.TlsContextMatchOptions: what is set must be equal.
type tlsTest struct{ presented, validated flow.Answer }

// stateTest is a dynamic_metadata or filter_state condition. At the only time when a route
// is chosen no HTTP filter has run, and the metadata of listener filters is the connection's,
// not the request's: dynamic metadata is empty. Filter state of the connection is shared.
type stateTest struct {
	text   string
	key    string // of filter_state; empty: dynamic metadata
	value  stringTest
	invert bool
	known  bool
}

var routeMatchFields = []string{"prefix", "path", "safe_regex", "regex", "hidden_envoy_deprecated_regex", "connect_matcher", "path_separated_prefix", "path_match_policy",
	"case_sensitive", "runtime_fraction", "headers", "query_parameters", "grpc", "tls_context", "dynamic_metadata", "filter_state", "cookies"}

// readRoute compiles the match of a route.
func (c *Config) readRoute(n tree.Node) route {
	m := n.Field("match")
	r := route{node: n, path: c.readPath(m)}
	single := c.version.atLeast(1, 39, 0) && c.guard("match_headers_individually", true)
	for _, h := range m.Field("headers").All() {
		r.headers = append(r.headers, readHeaderMatcher(h, c.version, single))
	}
	for _, q := range m.Field("query_parameters").All() {
		r.query = append(r.query, readQueryMatcher(q, c.version))
	}
	r.more = c.readRouteMore(m)
	return r
}

func (c *Config) readPath(m tree.Node) pathTest {
	t := pathTest{fold: !m.Field("case_sensitive").Bool(true)}
	for kind := pathPrefix; kind <= pathSeparated; kind++ {
		if f := m.Field(pathKindNames[kind]); f.Exists() {
			t.kind, t.text = kind, f.Str()
			return t
		}
	}
	switch {
	case m.Field("safe_regex").Exists():
		t.kind, t.regex = pathRegex, readRegex(m.Field("safe_regex"), c.version)
	case m.Field("regex", "hidden_envoy_deprecated_regex").Exists():
		t.kind, t.regex = pathRegex, regexTest(m.Field("regex", "hidden_envoy_deprecated_regex").Str(), c.version)
	case m.Field("connect_matcher").Exists():
		t.kind = pathConnect
	case m.Field("path_match_policy").Exists():
		typ, config := m.Path("path_match_policy", "typed_config").Any()
		t.text = typ
		if strings.HasSuffix(typ, ".uri_template.v3.UriTemplateMatchConfig") {
			t.text = config.Field("path_template").Str()
			if tm, ok := readTemplate(t.text); ok {
				t.kind, t.template = pathTemplate, tm
			}
		}
	default:
		// A prefix that a dump leaves out is the empty one.
		t.kind = pathPrefix
	}
	if t.kind == pathRegex {
		t.text = t.regex.text
	}
	return t
}

func (c *Config) readRouteMore(m tree.Node) *routeMore {
	more, any := new(routeMore), false
	if m.Field("grpc").Exists() {
		more.grpc, any = true, true
	}
	if c.version.atLeast(1, 37, 0) { // an older Envoy does not know the field
		for _, k := range m.Field("cookies").All() {
			more.cookies, any = append(more.cookies, readCookieMatcher(k, c.version)), true
		}
	}
	if f := m.Field("runtime_fraction"); f.Exists() {
		fr := c.readFraction(f, "default_value")
		more.chance, any = &fr, true
	}
	if f := m.Field("tls_context"); f.Exists() {
		more.tls, any = &tlsTest{wanted(f.Field("presented")), wanted(f.Field("validated"))}, true
	}
	for _, s := range m.Field("dynamic_metadata").All() {
		more.state, any = append(more.state, stateTest{text: "dynamic_metadata " + s.Field("filter").Str(), invert: s.Field("invert").Bool(false), known: true}), true
	}
	for _, s := range m.Field("filter_state").All() {
		t := stateTest{text: "filter_state " + s.Field("key").Str(), key: s.Field("key").Str(), known: s.Field("string_match").Exists()}
		t.value = readStringMatcher(s.Field("string_match"), c.version)
		more.state, any = append(more.state, t), true
	}
	if more.unknown = m.Unknown(routeMatchFields...); more.unknown != nil {
		any = true
	}
	if !any {
		return nil
	}
	return more
}

// wanted is the value that an optional truth value asks for; Maybe where it asks nothing.
func wanted(n tree.Node) flow.Answer {
	if !n.Exists() {
		return flow.Maybe
	}
	return flow.Is(n.Bool(false))
}

// match is the path specifier on a request.
func (t *pathTest) match(in *routeInput) flow.Answer {
	if t.kind == pathConnect {
		return flow.Is(in.connect)
	}
	if !in.hasPath {
		return flow.No // requests without :path only try connect matchers
	}
	p := in.path
	switch t.kind {
	case pathPrefix:
		if t.fold {
			return flow.Is(hasPrefixFold(p, t.text))
		}
		return flow.Is(strings.HasPrefix(p, t.text))
	case pathExact:
		if t.fold {
			return flow.Is(equalFold(p, t.text))
		}
		return flow.Is(p == t.text)
	case pathSeparated:
		if len(p) > len(t.text) && p[len(t.text)] != '/' {
			return flow.No
		}
		if t.fold {
			return flow.Is(hasPrefixFold(p, t.text))
		}
		return flow.Is(strings.HasPrefix(p, t.text))
	case pathRegex:
		return t.regex.match(p)
	case pathTemplate:
		return flow.Is(t.template.match(p))
	}
	return flow.Maybe
}

// close says that the path fails by its case or one slash only.
func (t *pathTest) close(in *routeInput) bool {
	if t.kind < pathPrefix || t.kind > pathSeparated || !in.hasPath {
		return false
	}
	p, want := strings.TrimSuffix(in.path, "/"), strings.TrimSuffix(t.text, "/")
	if t.kind == pathExact {
		return equalFold(p, want)
	}
	return hasPrefixFold(p, want)
}

func (t *pathTest) String() string {
	s := pathKindNames[t.kind]
	if t.kind != pathConnect {
		s += " " + strconv.Quote(t.text)
	}
	if t.fold {
		s += " ignoring case"
	}
	return s
}
