package render

import (
	"strings"
	"unicode"
)

// width is how many columns s takes: two for characters that East Asian fonts draw wide
// (Unicode TR 11), one for the others. s is cleaned, so nothing takes none.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if r < 0x1100 {
		return 1
	}
	if unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana, unicode.Yi) ||
		r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 || r >= 0x3000 && r <= 0x303e || r >= 0x1f300 && r <= 0x1faff {
		return 2
	}
	return 1
}

// wrap breaks s into lines of at most cols columns, at spaces where there are some, and
// inside a word where a word alone is longer.
func wrap(s string, cols int) []string {
	cols = max(cols, 10)
	if width(s) <= cols {
		return []string{s}
	}
	var lines []string
	for width(s) > cols {
		cut := breakAt(s, cols)
		lines = append(lines, strings.TrimRight(s[:cut], " "))
		s = strings.TrimLeft(s[cut:], " ")
	}
	if s != "" {
		lines = append(lines, s)
	}
	return lines
}

// breakAt is the byte at which the first line of s ends.
func breakAt(s string, cols int) int {
	n, space := 0, 0
	for i, r := range s {
		n += runeWidth(r)
		if n > cols {
			if space > 0 {
				return space
			}
			return max(i, 1)
		}
		if r == ' ' && i > 0 && strings.TrimSpace(s[:i]) != "" {
			space = i
		}
	}
	return len(s)
}
