// Package render words every answer: the only place that makes sentences of facts, and
// that shows a foreign string.
package render

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes a foreign string safe to show: control characters, escapes, bidi controls,
// zero-width characters and bytes that are no UTF-8 become visible escapes such as \x1b or
// \u202e. A line feed becomes \n, so that the result is one line.
func Clean(s string) string {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + hex2(s[i]))
		case hidden(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// CleanLines is Clean for text whose line feeds are kept.
func CleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = Clean(strings.ReplaceAll(l, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// hidden says whether a terminal would act on r, or show nothing for it: controls,
// format characters (bidi, zero width, tags), separators, surrogates, private use,
// variation selectors, and marks that would stack on the character before them.
func hidden(r rune) bool {
	if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
		return true
	}
	if r < 0x300 {
		return r == 0xad
	}
	switch {
	case r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, r == 0x2800: // blank letters
		return true
	}
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs, unicode.Co, unicode.Mn, unicode.Me, unicode.Variation_Selector)
}

func hex2(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}
