package mask

import (
	"bytes"
	"encoding/base64"
	"iter"
	"regexp"
)

// pattern finds secrets by their own form, wherever they stand.
type pattern struct {
	hints []string // one of them is in every match: what holds none is not searched
	lines bool     // a match may go over the end of a line
	re    *regexp.Regexp
	// with is what replaces a match; $1 is kept. sure, if not nil, has the last word.
	with string
	sure func(match []byte) bool
}

// patterns are secrets that can be told by their form.
func patterns() []pattern {
	return []pattern{
		// PEM (RFC 7468), also with \n written as two characters, also cut off.
		{[]string{"PRIVATE KEY-----"}, true, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:\\[nr]|[A-Za-z0-9+/=\s:,.-])*`), Text, nil},
		// The same in base64, as inline_bytes has it.
		{[]string{"LS0tLS1CRUdJTi"}, false, regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/=]+`), Text, privateInside},
		// JSON Web Tokens (RFC 7519): two JSON objects in base64url and a signature.
		{[]string{"eyJ"}, false, regexp.MustCompile(`eyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*`), Text, nil},
		// Credentials of an Authorization header (RFC 9110, 11.4).
		{[]string{"earer ", "EARER ", "asic ", "ASIC "}, false, regexp.MustCompile(`(?i)\b((?:bearer|basic) +)[A-Za-z0-9._~+/=-]{6,}`), "${1}" + Text, odd},
		// User information in a URL (RFC 3986, 3.2.1).
		{[]string{"://"}, false, regexp.MustCompile(`(://)[^/\s:@"'\\]+:[^/\s@"'\\]+@`), "${1}" + Text + "@", nil},
		{[]string{"token=", "key=", "password=", "secret=", "sig="}, false, regexp.MustCompile(`([?&](?:access_|api_|id_)?(?:token|key|password|secret|sig)=)[^&\s"'\\]+`), "${1}" + Text, nil},
		// Keys of clouds and forges with a form of their own.
		{[]string{"AKIA", "ASIA"}, false, regexp.MustCompile(`\bA[KS]IA[0-9A-Z]{16}\b`), Text, nil},
		{[]string{"ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "xox", "glpat-"}, false,
			regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|glpat-[A-Za-z0-9_-]{20,})`), Text, nil},
		// Headers as a log or a script writes them.
		{[]string{"ookie", "OOKIE"}, false, regexp.MustCompile(`(?i)\b((?:set-)?cookie: *)[^\s"'\\][^\r\n"'\\]*`), "${1}" + Text, nil},
		{[]string{"pi-key", "PI-KEY", "pi-Key", "PI-Key"}, false, regexp.MustCompile(`(?i)\b(x-api-key: *)[^\s"'\\][^\r\n"'\\]*`), "${1}" + Text, nil},
	}
}

// text masks what can be told by its form.
func text(data []byte) ([]byte, int) {
	n := 0
	for _, p := range patterns() {
		data = p.mask(data, &n)
	}
	return data, n
}

// mask replaces the matches, and counts them. Data without any is given back as it is.
func (p *pattern) mask(data []byte, n *int) []byte {
	var out []byte
	last := 0
	for start, end := range p.places(data) {
		place, before := data[start:end], *n
		masked := p.re.ReplaceAllFunc(place, func(m []byte) []byte {
			if bytes.Contains(m, []byte(Text)) || p.sure != nil && !p.sure(m) {
				return m
			}
			*n++
			return p.re.ReplaceAll(m, []byte(p.with))
		})
		if *n > before {
			out = append(append(out, data[last:start]...), masked...)
			last = end
		}
	}
	if last == 0 {
		return data
	}
	return append(out, data[last:]...)
}

// ends are what no match but that of a PEM block holds. They end words, too, so that a
// pattern sees the same at them as at the ends of a text.
const ends = "\"\n"

// places are the pieces of data between two ends that hold a hint. To search all of a large
// dump takes a hundred times as long.
func (p *pattern) places(data []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		next := make([]int, len(p.hints)) // where each hint stands next
		for i := range next {
			next[i] = -1
		}
		for at := 0; at < len(data); {
			first := len(data)
			for i, h := range p.hints {
				if next[i] < at {
					next[i] = len(data)
					if k := bytes.Index(data[at:], []byte(h)); k >= 0 {
						next[i] = at + k
					}
				}
				first = min(first, next[i])
			}
			if first == len(data) {
				return
			}
			start, end := bytes.LastIndexAny(data[at:first], ends)+1+at, len(data)
			if k := bytes.IndexAny(data[first:], ends); k >= 0 {
				end = first + k
			}
			if p.lines {
				end = len(data)
			}
			if !yield(start, end) {
				return
			}
			at = end + 1
		}
	}
}

// odd says whether the credentials are more than a word: "basic authentication" is none.
func odd(m []byte) bool {
	i := bytes.LastIndexByte(m, ' ')
	return bytes.ContainsAny(m[i+1:], "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_~+/=")
}

// privateInside says whether base64 text holds a private key: certificates stay.
func privateInside(m []byte) bool {
	enc := base64.RawStdEncoding
	m = bytes.TrimRight(m, "=")
	out := make([]byte, enc.DecodedLen(len(m)))
	n, err := enc.Decode(out, m)
	return err != nil || bytes.Contains(out[:n], []byte("PRIVATE KEY"))
}
