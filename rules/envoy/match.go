package envoy

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// pattern is a safe_regex, which must match the whole input. The zero pattern is one that
// does not compile: Maybe.
type pattern struct {
	re    *regexp.Regexp
	latin bool // bytes are characters, not UTF-8 (Envoy 1.40 and later)
}

// regex compiles the RegexMatcher n (type.matcher.v3.RegexMatcher). RE2 and Go's regexp
// share syntax and meaning.
func (c *Config) regex(n tree.Node) pattern {
	return memo(c, n, func() pattern {
		p := pattern{latin: c.version.atLeast(1, 40, 0)}
		s := n.Field("regex").Str()
		if n.Kind() == tree.String { // hidden_envoy_deprecated_regex and the like
			s = n.Str()
		}
		if p.latin {
			s = latin1(s)
		}
		p.re, _ = regexp.Compile(`\A(?:` + s + `)\z`)
		return p
	})
}

func (p pattern) match(s string) flow.Answer {
	if p.re == nil {
		return flow.Maybe
	}
	if p.latin {
		s = latin1(s)
	}
	return flow.Is(p.re.MatchString(s))
}

// latin1 makes each byte of s a character of its own.
func latin1(s string) string {
	i := 0
	for i < len(s) && s[i] < 0x80 {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// stringMatch is a StringMatcher (type.matcher.v3 and xds.type.matcher.v3). ignore_case
// means nothing to a regex.
func (c *Config) stringMatch(n tree.Node, s string) flow.Answer {
	if r := n.Field("safe_regex", "regex", "hidden_envoy_deprecated_regex"); r.Exists() {
		return c.regex(r).match(s)
	}
	fold := n.Field("ignore_case").Bool(false)
	test := func(name string, f func(s, want string) bool) (flow.Answer, bool) {
		w := n.Field(name)
		if !w.Exists() {
			return flow.Maybe, false
		}
		want := w.Str()
		if fold {
			return flow.Is(f(lowerASCII(s), lowerASCII(want))), true
		}
		return flow.Is(f(s, want)), true
	}
	for _, kind := range []struct {
		name string
		f    func(s, want string) bool
	}{{"exact", func(s, want string) bool { return s == want }}, {"prefix", strings.HasPrefix}, {"suffix", strings.HasSuffix}, {"contains", strings.Contains}} {
		if a, ok := test(kind.name, kind.f); ok {
			return a
		}
	}
	return flow.Maybe // custom, or a kind of a later version
}

// lowerASCII is absl::AsciiStrToLower.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// inRanges says whether the address is in one of the CidrRanges; Maybe where one is none.
func inRanges(list tree.Node, a netip.Addr) flow.Answer {
	ans := flow.No
	a = a.WithZone("").Unmap()
	for _, n := range list.All() {
		p, ok := readCIDR(n)
		if !ok {
			ans = ans.Or(flow.Maybe)
			continue
		}
		ans = ans.Or(flow.Is(a.IsValid() && p.Contains(a)))
	}
	return ans
}
