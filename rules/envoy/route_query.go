package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// queryValue is the first value of a query parameter. Envoy splits at '&' and the first
// '=', decodes nothing, and gives a parameter without '=' the empty value.
// (Utility::QueryParamsMulti::parseQueryString)
func queryValue(path, name string) (string, bool) {
	_, q := splitQuery(path)
	if q == "" {
		return "", false
	}
	q = q[1:]
	if i := strings.IndexByte(q, '#'); i >= 0 {
		q = q[:i]
	}
	for more := true; more; {
		var param string
		param, q, more = strings.Cut(q, "&")
		k, v, _ := strings.Cut(param, "=")
		if k == name && (more || param != "") {
			return v, true
		}
	}
	return "", false
}

// queryTest is a compiled config.route.v3.QueryParameterMatcher.
type queryTest struct {
	name    string
	text    stringTest
	present bool // valid iff !byText
	byText  bool
	unknown bool
}

func readQueryMatcher(n tree.Node, v Version) queryTest {
	t := queryTest{name: n.Field("name").Str(), present: n.Field("present_match").Bool(true)}
	t.unknown = len(n.Unknown("name", "string_match", "present_match", "value", "regex")) > 0
	if f := n.Field("string_match"); f.Exists() {
		t.byText, t.text = true, readStringMatcher(f, v)
	} else if f := n.Field("value"); f.Exists() { // before Envoy 1.14
		t.byText, t.text = true, stringTest{kind: stringExact, text: f.Str()}
		if n.Field("regex").Bool(false) {
			t.text = regexTest(f.Str(), v)
		}
	}
	return t
}

func (t *queryTest) match(path string) flow.Answer {
	if t.unknown {
		return flow.Maybe
	}
	v, ok := queryValue(path, t.name)
	if !t.byText {
		return flow.Is(ok == t.present)
	}
	if !ok {
		return flow.No
	}
	return t.text.match(v)
}

func (t *queryTest) String() string {
	s := "query parameter " + t.name
	switch {
	case t.unknown:
		return s + " by a matcher that is not modelled"
	case t.byText:
		return s + " " + t.text.String()
	case t.present:
		return s + " present"
	}
	return s + " absent"
}

// cookieValue is the first value of a cookie over all Cookie headers, as Envoy reads them:
// split at ';', spaces before the name skipped and nothing else, quotes around a value cut.
// (Utility::parseCookieValue; measured on 1.37 and 1.40)
func cookieValue(h *headers, name string) (value string, ok, sure bool) {
	for i := range h.list {
		e := &h.list[i]
		if e.name != "cookie" {
			continue
		}
		if e.unsure {
			return "", false, false
		}
		for rest, more := e.value, true; more; {
			var c string
			c, rest, more = strings.Cut(rest, ";")
			k, v, eq := strings.Cut(strings.TrimLeft(c, " "), "=")
			if eq && k == name {
				if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
					v = v[1 : len(v)-1]
				}
				return v, true, true
			}
		}
	}
	return "", false, true
}

// cookieTest is a compiled config.route.v3.CookieMatcher (Envoy 1.37 and later).
type cookieTest struct {
	name    string
	text    stringTest
	invert  bool
	unknown bool
}

func readCookieMatcher(n tree.Node, v Version) cookieTest {
	return cookieTest{name: n.Field("name").Str(), text: readStringMatcher(n.Field("string_match"), v),
		invert: n.Field("invert_match").Bool(false), unknown: len(n.Unknown("name", "string_match", "invert_match")) > 0}
}

func (t *cookieTest) match(h *headers) flow.Answer {
	v, ok, sure := cookieValue(h, t.name)
	a := flow.No
	switch {
	case t.unknown || !sure:
		return flow.Maybe
	case ok:
		a = t.text.match(v)
	}
	if t.invert {
		return a.Not()
	}
	return a
}

func (t *cookieTest) String() string {
	s := "cookie " + t.name + " " + t.text.String()
	if t.invert {
		s += " inverted"
	}
	if t.unknown {
		s = "cookie " + strconv.Quote(t.name) + " by a matcher that is not modelled"
	}
	return s
}
