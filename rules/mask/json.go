package mask

import (
	"bytes"
	"encoding/json"
)

// scanner goes once over JSON and replaces the strings that are secrets; every other
// byte stays. It needs no valid JSON: a dump that was cut off is masked up to its end.
type scanner struct {
	in    []byte
	at    int
	last  int // what stands before it is in out
	out   bytes.Buffer
	count int
	stack []level
}

// level is one open object or array.
type level struct {
	object  bool
	key     string // of an object: the field that is read
	holder  bool   // what is below is a secret
	subject string // of an object: the value of its field key or name
}

func (s *scanner) bytes() []byte {
	if s.last == 0 {
		return s.in
	}
	s.out.Write(s.in[s.last:])
	return s.out.Bytes()
}

func (s *scanner) run() {
	for s.at < len(s.in) {
		switch c := s.in[s.at]; c {
		case '{', '[':
			s.push(c == '{')
			s.at++
		case '}', ']':
			if len(s.stack) > 0 {
				s.stack = s.stack[:len(s.stack)-1]
			}
			s.at++
		case '"':
			s.str()
		default:
			s.at++
		}
	}
}

func (s *scanner) push(object bool) {
	l := level{object: object}
	if top := s.top(); top != nil {
		l.key = top.key // an array's elements are read as their field's
		l.holder = top.holder || holder(top.key)
		if !object {
			l.subject = top.subject
		} else if valueOf(top.key) {
			l.subject = top.subject // a matcher below its header: {"name": ..., "string_match": {"exact": ...}}
		}
	}
	s.stack = append(s.stack, l)
}

func (s *scanner) top() *level {
	if len(s.stack) == 0 {
		return nil
	}
	return &s.stack[len(s.stack)-1]
}

// str reads a string: a field's name, or a value, which may be a secret.
func (s *scanner) str() {
	start := s.at
	for s.at++; s.at < len(s.in) && s.in[s.at] != '"'; s.at++ {
		if s.in[s.at] == '\\' {
			s.at++
		}
	}
	s.at = min(s.at+1, len(s.in))
	raw := s.in[start:s.at]
	top := s.top()
	if top != nil && top.object && s.colon() {
		top.key = unquote(raw)
		return
	}
	s.value(top, start, raw)
}

// colon says whether the next character that is no space is a colon.
func (s *scanner) colon() bool {
	for i := s.at; i < len(s.in); i++ {
		switch s.in[i] {
		case ' ', '\t', '\r', '\n':
		default:
			return s.in[i] == ':'
		}
	}
	return false
}

func (s *scanner) value(top *level, start int, raw []byte) {
	if top == nil || len(raw) <= 2 {
		return
	}
	if top.object && (top.key == "key" || top.key == "name" || top.key == "header") {
		top.subject = unquote(raw)
	}
	if squash(top.key) == applied {
		if inner, n := embedded(unquote(raw)); n > 0 {
			s.put(start, inner)
			s.count += n
		}
		return
	}
	if masks(*top) && raw[1] != '%' && string(raw) != `"`+Text+`"` { // "%REQ(AUTHORIZATION)%" is a format, no secret
		s.put(start, []byte(`"`+Text+`"`))
		s.count++
	}
}

// applied is the annotation in which kubectl repeats the whole object, as it is squashed.
const applied = "kubectlkubernetesio/lastappliedconfiguration"

// embedded masks JSON that stands in a string.
func embedded(doc string) ([]byte, int) {
	in := scanner{in: []byte(doc)}
	in.run()
	if in.count == 0 {
		return nil, 0
	}
	out, err := json.Marshal(string(in.bytes()))
	if err != nil {
		return []byte(`"` + Text + `"`), in.count
	}
	return out, in.count
}

// masks says whether a string at this place is a secret: by its field's name, by the
// field it is below, or by the header or variable whose value it is.
func masks(l level) bool {
	if pointer(l.key) || l.key == "key" || l.key == "header" {
		return false
	}
	return l.holder || secret(l.key) || secret(l.subject) && valueOf(l.key) && !routes(l)
}

// routes says whether a matcher looks for a part of a cookie, as a canary's route does: it
// holds a choice of the operator's, and without it the trace would go elsewhere.
func routes(l level) bool {
	k := squash(l.key)
	return squash(l.subject) == "cookie" && k != "value" && k != "rawvalue"
}

// valueOf are the fields in which a header or variable, named beside, has its value:
// HeaderValue (envoy.config.core.v3), StringMatcher (envoy.type.matcher.v3), v1.EnvVar.
func valueOf(key string) bool {
	switch squash(key) {
	case "value", "rawvalue", "exact", "prefix", "suffix", "contains", "regex", "exactmatch", "prefixmatch", "suffixmatch", "containsmatch",
		"stringmatch", "saferegex", "saferegexmatch":
		return true
	}
	return false
}

func (s *scanner) put(start int, with []byte) {
	s.out.Write(s.in[s.last:start])
	s.out.Write(with)
	s.last = s.at
}

func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(bytes.Trim(raw, `"`))
	}
	var out string
	if json.Unmarshal(raw, &out) != nil {
		return string(bytes.Trim(raw, `"`))
	}
	return out
}
