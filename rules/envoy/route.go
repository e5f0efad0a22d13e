package envoy

import (
	"strconv"
	"strings"
	"sync"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// route is one compiled config.route.v3.Route: its conditions. What it does is read from
// its node when it was chosen. It is small, because a virtual host may have 100,000.
type route struct {
	node  tree.Node
	head  pathHead // a path whose beginning differs cannot match
	path  pathTest
	conds *conditions // nil: the path is the only one
}

// conditions are what a route asks for beside the path.
type conditions struct {
	headers []headerTest
	query   []queryTest
	grpc    bool
	cookies []cookieTest
	chance  *fraction // runtime_fraction
	tls     *tlsTest
	state   []stateTest
	unknown []string // members of RouteMatch that are not modelled
}

// pathHead is the beginning of a text, up to eight bytes in lower case: one comparison
// passes over most routes, without a look at their text.
type pathHead struct{ bits, mask uint64 }

// headOf is the head that a path must have to begin with this text.
func headOf(text string) (h pathHead) {
	for i := 0; i < len(text) && i < 8; i++ {
		h.bits |= uint64(lowerByte(text[i])) << (8 * i)
		h.mask |= 0xff << (8 * i)
	}
	return h
}

// differs says that a path with head bits cannot begin with the text.
func (h pathHead) differs(bits uint64) bool { return (bits^h.bits)&h.mask != 0 }

// pathTest is the path specifier of a RouteMatch.
type pathTest struct {
	kind  pathKind
	fold  bool // case_sensitive: false
	text  string
	extra *pathExtra
}

// pathExtra is what some kinds need. A regex is compiled when a request first comes as far.
type pathExtra struct {
	once     sync.Once
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
	r := route{node: n, path: c.readPath(m), conds: c.readConditions(m)}
	r.head = headOf(r.path.beginning())
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
		t.kind, t.text, t.extra = pathRegex, regexText(m.Field("safe_regex")), new(pathExtra)
	case m.Field("regex", "hidden_envoy_deprecated_regex").Exists():
		t.kind, t.text, t.extra = pathRegex, m.Field("regex", "hidden_envoy_deprecated_regex").Str(), new(pathExtra)
	case m.Field("connect_matcher").Exists():
		t.kind = pathConnect
	case m.Field("path_match_policy").Exists():
		typ, config := m.Path("path_match_policy", "typed_config").Any()
		t.text = typ
		if strings.HasSuffix(typ, ".uri_template.v3.UriTemplateMatchConfig") {
			t.text = config.Field("path_template").Str()
			if tm, ok := readTemplate(t.text); ok {
				t.kind, t.extra = pathTemplate, &pathExtra{template: tm}
			}
		}
	default:
		// A prefix that a dump leaves out is the empty one.
		t.kind = pathPrefix
	}
	return t
}

// regex is the compiled safe_regex.
func (t *pathTest) regex(v Version) *stringTest {
	t.extra.once.Do(func() { t.extra.regex = regexTest(t.text, v) })
	return &t.extra.regex
}

// template is the compiled uri_template; nil for other kinds.
func (t *pathTest) template() *uriTemplate {
	if t.extra == nil {
		return nil
	}
	return t.extra.template
}

// beginning is text that every path begins with that matches, or that comes close.
func (t *pathTest) beginning() string {
	switch t.kind {
	case pathPrefix, pathExact, pathSeparated:
		return strings.TrimSuffix(t.text, "/")
	case pathRegex:
		return literalPrefix(t.text)
	case pathTemplate:
		if i := strings.IndexAny(t.text, "{*;"); i >= 0 {
			return t.text[:i]
		}
	}
	return ""
}

// literalPrefix is text that every match of a pattern begins with: as much of it as a look
// at the pattern tells, without parsing it.
func literalPrefix(pattern string) string {
	if strings.Contains(pattern, "|") {
		return ""
	}
	var b []byte
	for i := len(pattern) - len(strings.TrimPrefix(pattern, "^")); i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '*' || c == '?' || c == '{':
			return string(b[:max(len(b)-1, 0)]) // what stands before may be missing
		case c == '\\' && i+1 < len(pattern) && strings.IndexByte(`./-_+*?()[]{}^$`, pattern[i+1]) >= 0:
			i++
			c = pattern[i]
		case c >= 0x80 || strings.IndexByte(`\.+()[]^$`, c) >= 0:
			return string(b)
		}
		b = append(b, c)
	}
	return string(b)
}

// readConditions compiles what a RouteMatch asks for beside the path; nil: nothing.
func (c *Config) readConditions(m tree.Node) *conditions {
	k, any := conditions{grpc: m.Field("grpc").Exists()}, false
	single := c.version.atLeast(1, 39, 0) && c.guard("match_headers_individually", true)
	for _, h := range m.Field("headers").All() {
		k.headers = append(k.headers, readHeaderMatcher(h, c.version, single))
	}
	for _, q := range m.Field("query_parameters").All() {
		k.query = append(k.query, readQueryMatcher(q, c.version))
	}
	if c.version.atLeast(1, 37, 0) { // an older Envoy does not know the field
		for _, n := range m.Field("cookies").All() {
			k.cookies = append(k.cookies, readCookieMatcher(n, c.version))
		}
	}
	if f := m.Field("runtime_fraction"); f.Exists() {
		fr := c.readFraction(f, "default_value")
		k.chance, any = &fr, true
	}
	if f := m.Field("tls_context"); f.Exists() {
		k.tls, any = &tlsTest{wanted(f.Field("presented")), wanted(f.Field("validated"))}, true
	}
	for _, s := range m.Field("dynamic_metadata").All() {
		k.state = append(k.state, stateTest{text: "dynamic_metadata " + s.Field("filter").Str(), invert: s.Field("invert").Bool(false), known: true})
	}
	for _, s := range m.Field("filter_state").All() {
		t := stateTest{text: "filter_state " + s.Field("key").Str(), key: s.Field("key").Str(), known: s.Field("string_match").Exists()}
		t.value = readStringMatcher(s.Field("string_match"), c.version)
		k.state = append(k.state, t)
	}
	k.unknown = m.Unknown(routeMatchFields...)
	if !any && !k.grpc && len(k.headers)+len(k.query)+len(k.cookies)+len(k.state)+len(k.unknown) == 0 {
		return nil
	}
	return &k
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
		return t.regex(in.version).match(p)
	case pathTemplate:
		return flow.Is(t.extra.template.match(withoutQuery(in.full))) // with its parameters, in any case
	}
	return flow.Maybe
}

// close says that the path fails by its case or one slash at its end only.
func (t *pathTest) close(in *routeInput) bool {
	p := in.path
	switch {
	case !in.hasPath:
		return false
	case t.kind == pathExact:
		return equalFold(strings.TrimSuffix(p, "/"), strings.TrimSuffix(t.text, "/"))
	case t.kind == pathPrefix:
		return hasPrefixFold(p, t.text) || strings.HasSuffix(t.text, "/") && equalFold(p, t.text[:len(t.text)-1])
	case t.kind == pathSeparated:
		return hasPrefixFold(p, t.text) && (len(p) == len(t.text) || p[len(t.text)] == '/')
	}
	return false
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
