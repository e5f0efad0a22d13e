package mask

import (
	"bytes"
	"encoding/base64"
	"regexp"
)

// pattern finds secrets by their own form, wherever they stand.
type pattern struct {
	hints []string // one of them is in every match: without any, the part is not searched
	re    *regexp.Regexp
	// with is what replaces a match; $1 is kept. sure, if not nil, has the last word.
	with string
	sure func(match []byte) bool
}

// patterns are secrets that can be told by their form.
func patterns() []pattern {
	return []pattern{
		// PEM (RFC 7468), also with \n written as two characters, also cut off.
		{[]string{"PRIVATE KEY-----"}, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:\\[nr]|[A-Za-z0-9+/=\s:,.-])*`), Text, nil},
		// The same in base64, as inline_bytes has it.
		{[]string{"LS0tLS1CRUdJTi"}, regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/=]+`), Text, privateInside},
		// JSON Web Tokens (RFC 7519): two JSON objects in base64url and a signature.
		{[]string{"eyJ"}, regexp.MustCompile(`eyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*`), Text, nil},
		// Credentials of an Authorization header (RFC 9110, 11.4).
		{[]string{"earer ", "EARER ", "asic ", "ASIC "}, regexp.MustCompile(`(?i)\b((?:bearer|basic) +)[A-Za-z0-9._~+/=-]{6,}`), "${1}" + Text, odd},
		// User information in a URL (RFC 3986, 3.2.1).
		{[]string{"://"}, regexp.MustCompile(`(://)[^/\s:@"'\\]+:[^/\s@"'\\]+@`), "${1}" + Text + "@", nil},
		{[]string{"token=", "key=", "password=", "secret=", "sig="}, regexp.MustCompile(`([?&](?:access_|api_|id_)?(?:token|key|password|secret|sig)=)[^&\s"'\\]+`), "${1}" + Text, nil},
		// Keys of clouds and forges with a form of their own.
		{[]string{"AKIA", "ASIA"}, regexp.MustCompile(`\bA[KS]IA[0-9A-Z]{16}\b`), Text, nil},
		{[]string{"ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "xox", "glpat-"},
			regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|glpat-[A-Za-z0-9_-]{20,})`), Text, nil},
		// Headers as a log or a script writes them.
		{[]string{"ookie", "OOKIE"}, regexp.MustCompile(`(?i)\b((?:set-)?cookie: *)[^\s"'\\][^\r\n"'\\]*`), "${1}" + Text, nil},
		{[]string{"pi-key", "PI-KEY", "pi-Key", "PI-Key"}, regexp.MustCompile(`(?i)\b(x-api-key: *)[^\s"'\\][^\r\n"'\\]*`), "${1}" + Text, nil},
	}
}

// text masks what can be told by its form.
func text(data []byte) ([]byte, int) {
	n := 0
	for _, p := range patterns() {
		if !hinted(data, p.hints) {
			continue
		}
		data = p.re.ReplaceAllFunc(data, func(m []byte) []byte {
			if bytes.Contains(m, []byte(Text)) || p.sure != nil && !p.sure(m) {
				return m
			}
			n++
			return p.re.ReplaceAll(m, []byte(p.with))
		})
	}
	return data, n
}

func hinted(data []byte, hints []string) bool {
	for _, h := range hints {
		if bytes.Contains(data, []byte(h)) {
			return true
		}
	}
	return false
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
