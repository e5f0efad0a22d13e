package tui

import (
	"strings"
	"testing"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshtop/meshtop/tui/style"
)

// Whatever is put on a canvas, at whatever place, it keeps its size.
func FuzzCanvas(f *testing.F) {
	for _, s := range []string{"plain", "界界界", "e\u0301", "👩‍👩‍👧", "🇩🇪", "\x1b[2J", "\u202e", "a\tb", "\xff", "👍🏽", "가"} {
		f.Add(s, 3, 1, 7)
	}
	f.Fuzz(func(t *testing.T, s string, x, y, w int) {
		c := newCanvas(12, 3)
		c.put(0, 1, 12, style.Plain, "界界界界界界")
		c.put(x%20, y%5, w%20, style.Goes, s)
		c.draw(x%9, y%3, w%20, text(style.Faint, s).with(style.Strong, s))
		lines := strings.Split(c.String(style.New(style.Auto, false, false)), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d lines", len(lines))
		}
		for _, l := range lines {
			if ansi.StringWidth(l) != 12 || ansi.StringWidthWc(l) != 12 {
				t.Errorf("%d and %d columns: %q", ansi.StringWidth(l), ansi.StringWidthWc(l), l)
			}
		}
		if n := textWidth(cut(s, 5)); n > 5 {
			t.Errorf("cut to %d", n)
		}
		if n := textWidth(pad(s, 5)); n != 5 {
			t.Errorf("padded to %d", n)
		}
		for _, l := range wrap(s, 5) {
			if textWidth(l) > 5 {
				t.Errorf("wrapped to %q", l)
			}
		}
	})
}

// Every character of Unicode keeps its columns beside others, or is shown as its escape:
// what a terminal that joins graphemes would draw narrower does not reach a cell.
func TestNextStandsAlone(t *testing.T) {
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		g, _, w := next(string(r))
		if g == "\ufffd" {
			continue
		}
		for _, c := range []string{"a", "가", "👍"} {
			_, _, cw := next(c)
			if ansi.StringWidth(g+c) != w+cw || ansi.StringWidth(c+g) != w+cw || ansi.StringWidth(g+g) != 2*w {
				t.Errorf("%U changes its columns beside %q", r, c)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		s    string
		w    int
		want string
	}{
		{"", 5, ""}, {"one two", 7, "one two"}, {"one two", 6, "one|two"}, {"abcdefgh", 3, "abc|def|gh"}, {"a bcdefg h", 3, "a|bcd|efg|h"}, {"界界界", 4, "界界|界"},
	} {
		if got := strings.Join(wrap(c.s, c.w), "|"); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.s, c.w, got, c.want)
		}
	}
}

// The line editor does what a shell's does.
func TestField(t *testing.T) {
	press := func(f *field, ks ...string) {
		for _, k := range ks {
			f.press(key(k))
		}
	}
	f := newField("one two")
	press(&f, "ctrl+w", "x", "home", "delete", "right", "backspace", "end", "ctrl+a", "ctrl+f", "y")
	if f.String() != "eyx" && f.String() != "e"+"y"+" x" {
		t.Errorf("%q", f.String())
	}
	f = newField("abc")
	press(&f, "left", "ctrl+k")
	if f.String() != "ab" {
		t.Errorf("ctrl+k: %q", f.String())
	}
	press(&f, "left", "ctrl+u")
	if f.String() != "b" || f.at != 0 {
		t.Errorf("ctrl+u: %q", f.String())
	}
	f.insert("x\ny")
	if f.String() != "x yb" {
		t.Errorf("paste: %q", f.String())
	}
	if f.press(tea.KeyPressMsg{Code: 'q', Mod: tea.ModCtrl}) {
		t.Error("ctrl+q is no text")
	}
}

// A filter takes all words, in any case unless one has capitals, and leaves out !words.
func TestHolds(t *testing.T) {
	for _, c := range []struct {
		filter string
		want   bool
	}{{"", true}, {"out envoy", true}, {"OUT", false}, {"Envoy", true}, {"!direct", true}, {"!envoy", false}, {"out nope", false}, {"!", false}} {
		if got := holds("out 10.0.0.1 Envoy", strings.Fields(c.filter)); got != c.want {
			t.Errorf("%q: %v", c.filter, got)
		}
	}
}
