package envoy

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// stringTest is a compiled type.matcher.v3.StringMatcher, or one of the deprecated forms
// of a HeaderMatcher.
type stringTest struct {
	kind stringKind
	text string
	fold bool // ignore_case
	re   *regexp.Regexp
	wide bool // the regexp reads bytes as Latin-1
}

type stringKind uint8

const (
	stringUnknown stringKind = iota // not modelled: Maybe
	stringExact
	stringPrefix
	stringSuffix
	stringContains
	stringRegex
	stringAny // everything matches
)

var stringKindNames = [...]string{"unmodelled", "exact", "prefix", "suffix", "contains", "safe_regex", "any"}

// readStringMatcher compiles a StringMatcher, of envoy.type.matcher.v3 or xds.type.matcher.v3.
func readStringMatcher(n tree.Node, v Version) stringTest {
	fold := n.Field("ignore_case").Bool(false)
	for kind := stringExact; kind <= stringContains; kind++ {
		if f := n.Field(stringKindNames[kind]); f.Exists() {
			t := stringTest{kind: kind, text: f.Str(), fold: fold}
			if fold {
				t.text = lower(t.text)
			}
			return t
		}
	}
	if f := n.Field("safe_regex"); f.Exists() {
		return readRegex(f, v)
	}
	if f := n.Field("regex"); f.Exists() { // before Envoy 1.20
		return regexTest(f.Str(), v)
	}
	return stringTest{}
}

// readRegex compiles a RegexMatcher.
func readRegex(n tree.Node, v Version) stringTest { return regexTest(regexText(n), v) }

// regexText is the pattern of a RegexMatcher.
func regexText(n tree.Node) string {
	if n.Kind() == tree.String {
		return n.Str()
	}
	return n.Field("regex").Str()
}

// regexTest is RE2 full match. A pattern that Go's regexp does not take (RE2 takes little
// that it does not, such as \C) is unmodelled.
func regexTest(pattern string, v Version) stringTest {
	if pattern == ".*" {
		// By far the most frequent one; RE2's dot excludes the newline, which no header or path holds.
		return stringTest{kind: stringAny, text: pattern}
	}
	t := stringTest{kind: stringRegex, text: pattern, wide: v.atLeast(1, 40, 0)}
	src := pattern
	if t.wide {
		src = latin1(src)
	}
	re, err := regexp.Compile(`\A(?:` + src + `)\z`)
	if err != nil {
		return stringTest{text: pattern}
	}
	t.re = re
	return t
}

// latin1 reads each byte as one character: Envoy 1.40 runs RE2 in Latin-1 mode.
func latin1(s string) string {
	if ascii(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// match says whether the whole value passes.
func (t *stringTest) match(s string) flow.Answer {
	switch t.kind {
	case stringExact:
		if t.fold {
			return flow.Is(equalFold(s, t.text))
		}
		return flow.Is(s == t.text)
	case stringPrefix:
		if t.fold {
			return flow.Is(hasPrefixFold(s, t.text))
		}
		return flow.Is(strings.HasPrefix(s, t.text))
	case stringSuffix:
		if t.fold {
			return flow.Is(hasSuffixFold(s, t.text))
		}
		return flow.Is(strings.HasSuffix(s, t.text))
	case stringContains:
		if t.fold {
			return flow.Is(strings.Contains(lower(s), t.text))
		}
		return flow.Is(strings.Contains(s, t.text))
	case stringRegex:
		return t.regex(s)
	case stringAny:
		return flow.Is(!strings.Contains(s, "\n"))
	}
	return flow.Maybe
}

func (t *stringTest) regex(s string) flow.Answer {
	if !ascii(s) {
		if !t.wide {
			return flow.Maybe // UTF-8 mode: RE2 and Go differ on what is not UTF-8
		}
		s = latin1(s)
	}
	return flow.Is(t.re.MatchString(s))
}

// String is the test as a person reads it.
func (t *stringTest) String() string {
	s := stringKindNames[t.kind] + " " + strconv.Quote(t.text)
	if t.kind == stringAny {
		s = "safe_regex " + strconv.Quote(t.text)
	}
	if t.fold {
		s += " ignoring case"
	}
	return s
}

// headerTest is a compiled config.route.v3.HeaderMatcher.
type headerTest struct {
	name    string // as Envoy keeps it
	kind    headerKind
	text    stringTest
	from    int64 // range_match: [from, to)
	to      int64
	invert  bool
	empty   bool // treat_missing_header_as_empty
	present bool // valid iff kind is headerPresent
	// single: each value is tested for itself (1.39 and later), else all joined.
	single bool
}

type headerKind uint8

const (
	headerUnknown headerKind = iota
	headerPresent
	headerString
	headerRange
)

// headerFields are the members of HeaderMatcher that are modelled.
var headerFields = []string{"name", "exact_match", "safe_regex_match", "regex_match", "range_match", "present_match", "prefix_match",
	"suffix_match", "contains_match", "string_match", "invert_match", "treat_missing_header_as_empty"}

// readHeaderMatcher compiles a HeaderMatcher; individually says that values are matched one
// by one (guard match_headers_individually, 1.39; of RBAC 1.38).
func readHeaderMatcher(n tree.Node, v Version, individually bool) headerTest {
	t := headerTest{name: lowerHeader(n.Field("name").Str()), invert: n.Field("invert_match").Bool(false),
		empty: n.Field("treat_missing_header_as_empty").Bool(false), single: individually, kind: headerString}
	if len(n.Unknown(headerFields...)) > 0 {
		t.kind = headerUnknown
		return t
	}
	var f tree.Node
	has := func(name string) bool { f = n.Field(name); return f.Exists() }
	switch {
	case has("exact_match"):
		// The deprecated form takes every value where nothing is expected.
		if t.text = (stringTest{kind: stringExact, text: f.Str()}); t.text.text == "" {
			t.text.kind = stringAny
		}
	case has("safe_regex_match"):
		t.text = readRegex(f, v)
	case has("regex_match"):
		t.text = regexTest(f.Str(), v)
	case has("range_match"):
		t.kind, t.from, t.to = headerRange, f.Field("start").Int(0), f.Field("end").Int(0)
	case has("prefix_match"):
		t.text = stringTest{kind: stringPrefix, text: f.Str()}
	case has("suffix_match"):
		t.text = stringTest{kind: stringSuffix, text: f.Str()}
	case has("contains_match"):
		t.text = stringTest{kind: stringContains, text: f.Str()}
	case has("string_match"):
		t.text = readStringMatcher(f, v)
	default:
		t.kind, t.present = headerPresent, n.Field("present_match").Bool(true)
	}
	return t
}

// match is the test on the request's headers.
func (t *headerTest) match(h *headers) flow.Answer {
	if t.kind == headerUnknown {
		return flow.Maybe
	}
	there, unsure, any := false, false, flow.No
	for i := range h.list {
		e := &h.list[i]
		if e.name != t.name {
			continue
		}
		there = true
		if e.unsure {
			unsure = true
		} else if t.single && t.kind != headerPresent {
			any = any.Or(t.value(e.value))
		}
	}
	switch {
	case t.kind == headerPresent:
		if unsure {
			return flow.Maybe
		}
		return flow.Is((there || t.empty) == t.present != t.invert)
	case !there && !t.empty:
		return flow.No // even inverted
	case !there:
		any = t.value("")
	case unsure:
		any = any.Or(flow.Maybe)
	case !t.single:
		v, _, _ := h.joined(t.name)
		any = t.value(v)
	}
	if t.invert {
		return any.Not()
	}
	return any
}

// value is the test on one value, before inversion.
func (t *headerTest) value(s string) flow.Answer {
	if t.kind == headerRange {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		return flow.Is(err == nil && n >= t.from && n < t.to)
	}
	return t.text.match(s)
}

// String is the test as a person reads it.
func (t *headerTest) String() string {
	s := "header " + t.name
	switch t.kind {
	case headerUnknown:
		return s + " by a matcher that is not modelled"
	case headerPresent:
		if t.present != t.invert {
			return s + " present"
		}
		return s + " absent"
	case headerRange:
		s += " in [" + strconv.FormatInt(t.from, 10) + ", " + strconv.FormatInt(t.to, 10) + ")"
	default:
		s += " " + t.text.String()
	}
	if t.invert {
		s += " inverted"
	}
	return s
}
