package tui

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// What a frame of 140x40 says is in reach at 80x24: in the same state, or after keys that scroll,
// zoom, select or go to another pane.
func TestNothingIsOutOfReach(t *testing.T) {
	t.Parallel()
	for _, e := range entries() {
		if e.again {
			continue
		}
		wide := e.open(t, 140, 40)
		wide.press(strings.Fields(e.keys)...)
		small := e.open(t, 80, 24)
		small.press(strings.Fields(e.keys)...)
		seen := inner(small.plain())
		for _, k := range strings.Fields(e.walk) {
			small.press(k)
			seen += inner(small.plain())
		}
		dense := strings.Join(strings.Fields(seen), "")
		var lost []string
		for _, w := range facts(inner(wide.plain())) {
			if !strings.Contains(dense, w) {
				lost = append(lost, w)
			}
		}
		if lost != nil {
			t.Errorf("%s: at 80x24 these are out of reach: %q, of\n%s", e.name, lost, inner(wide.plain()))
		}
	}
}

// inner is a frame without header and footer, whose words differ by width; of a frame with a box the
// box, since what is under it is another entry's.
func inner(frame string) string {
	rows := strings.Split(strings.TrimRight(frame, "\n"), "\n")
	rows = rows[1 : len(rows)-1]
	if strings.Contains(frame, "╔") {
		var box []string
		for _, r := range rows {
			if i, k := strings.Index(r, "║"), strings.LastIndex(r, "║"); i < k {
				box = append(box, r[i:k])
			} else if i := strings.Index(r, "╔"); i >= 0 {
				box = append(box, strings.Split(r[i:], "╗")[0])
			}
		}
		rows = box
	}
	out := strings.Join(rows, "\n") + "\n"
	for _, h := range hints {
		out = strings.ReplaceAll(out, h, "")
	}
	return scrolled.ReplaceAllString(out, "")
}

// scrolled says how much of a page is in sight, which a small frame says with other numbers.
var scrolled = regexp.MustCompile(`j/k: \d+-\d+ of \d+`)

// hints are words that only tell of keys or head what stands there, and of which a small frame has
// others or none.
var hints = []string{"Paste a curl command anywhere here.", "It can go 2 ways:", "v: choose one and go on", "p change  + extend  u undo", "f every packet",
	"steps that it proves", "confirmation ·", "enter traces a row", "tab,",
	"  egress  "} // a column of the picker, where no pod has any

// facts are the words of a frame with a letter or a digit; what an ellipsis cut off is in neither
// frame. Of a rule line the title counts, and the hint at its end does not: it names keys.
func facts(frame string) []string {
	var out []string
	for _, row := range strings.Split(frame, "\n") {
		for _, part := range strings.FieldsFunc(row, func(r rune) bool {
			return strings.ContainsRune("│║─━═┌┐└┘├┤┬┴╔╗╚╝╌◀▶█░", r)
		}) {
			for _, w := range strings.Fields(part) {
				w = strings.TrimSuffix(w, "…")
				if strings.IndexFunc(w, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) >= 0 {
					out = append(out, w)
				}
			}
		}
	}
	return out
}
