package envoy

import (
	"regexp"
	"strings"
)

// uriTemplate is a compiled path template of the extension
// envoy.path.match.uri_template (source/extensions/path/uri_template_lib).
type uriTemplate struct {
	re    *regexp.Regexp
	names []string // variable of each capture group
}

// templateChars are what one segment may hold: RFC 3986 pchar (measured on 1.40 with every
// byte).
const templateChars = `a-zA-Z0-9\-._~%!$&'()*+,;:@=`

// readTemplate compiles a template: literal text, * (one segment), ** (the rest), {name},
// {name=pattern}. False for text that is none of these.
func readTemplate(s string) (*uriTemplate, bool) {
	t := new(uriTemplate)
	var b strings.Builder
	b.WriteString(`\A`)
	for s != "" {
		var ok bool
		if s[0] == '{' {
			s, ok = t.variable(&b, s)
		} else {
			s, ok = templateText(&b, s)
		}
		if !ok {
			return nil, false
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, false
	}
	t.re = re
	return t, true
}

// variable reads {name} or {name=pattern} at the start of s.
func (t *uriTemplate) variable(b *strings.Builder, s string) (rest string, ok bool) {
	inner, rest, ok := strings.Cut(s[1:], "}")
	if !ok {
		return "", false
	}
	name, pattern, has := strings.Cut(inner, "=")
	if !has {
		pattern = "*"
	}
	if name == "" || pattern == "" || strings.ContainsAny(pattern, "{}") {
		return "", false
	}
	t.names = append(t.names, name)
	b.WriteByte('(')
	for pattern != "" {
		if pattern, ok = templateText(b, pattern); !ok {
			return "", false
		}
	}
	b.WriteByte(')')
	return rest, true
}

// templateText reads an operator or one character of literal text.
func templateText(b *strings.Builder, s string) (rest string, ok bool) {
	switch {
	case strings.HasPrefix(s, "**"):
		b.WriteString("[" + templateChars + "/]*")
		return s[2:], true
	case s[0] == '*':
		b.WriteString("[" + templateChars + "]+")
		return s[1:], true
	case s[0] == '}' || s[0] >= 0x80 || s[0] <= 0x20:
		return "", false
	}
	b.WriteString(regexp.QuoteMeta(s[:1]))
	return s[1:], true
}

// match says whether the whole path fits.
func (t *uriTemplate) match(path string) bool { return t.re.MatchString(path) }

// rewrite fills the variables of a path_template_rewrite with what the path holds; false
// where the path does not match or a variable is not known.
func (t *uriTemplate) rewrite(path, template string) (string, bool) {
	m := t.re.FindStringSubmatch(path)
	if m == nil {
		return "", false
	}
	var b strings.Builder
	for template != "" {
		before, after, ok := strings.Cut(template, "{")
		b.WriteString(before)
		if !ok {
			break
		}
		name, rest, ok := strings.Cut(after, "}")
		if !ok {
			return "", false
		}
		v, ok := t.capture(m, name)
		if !ok {
			return "", false
		}
		b.WriteString(v)
		template = rest
	}
	return b.String(), true
}

func (t *uriTemplate) capture(m []string, name string) (string, bool) {
	for i, n := range t.names {
		if n == name {
			return m[i+1], true
		}
	}
	return "", false
}
