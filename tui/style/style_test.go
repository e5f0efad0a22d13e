package style

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

// glyphs are all that screens draw.
var glyphs = []string{MarkGoes, MarkTurns, MarkStops, MarkDepends, MarkUnknown, MarkUnmet, MarkEnd, SeenYes, SeenNotYet, SeenOther, SeenNever,
	Winner, Cursor, Folded, Unfolded, Margin, Ellipsis, Dot, Arrow, Back, Dashed, LightRule, HeavyRule, Upright, TeeDown, TeeUp, TeeRight, Corner,
	CornerTL, CornerTR, CornerBR, DoubleH, DoubleV, DoubleTL, DoubleTR, DoubleBL, DoubleBR, BarFull, BarRest, ArrowLeftEnd, Warning, Radio, "↓", "↑"}

// Every glyph is one column wide and has one ASCII character of its own.
func TestGlyphs(t *testing.T) {
	for _, g := range glyphs {
		if ansi.StringWidth(g) != 1 || ansi.StringWidthWc(g) != 1 {
			t.Errorf("%q is not one column wide", g)
		}
		if a := InASCII(g, 1); len(a) != 1 || a[0] < ' ' || a[0] > '~' || a == "?" && g != "?" {
			t.Errorf("%q in ASCII is %q", g, a)
		}
	}
	if InASCII("界", 2) != "??" || InASCII("é", 1) != "?" || InASCII("a", 1) != "a" {
		t.Error("what has no form is a question mark a column")
	}
	// The marks of a step stay apart.
	seen := map[string]string{}
	for _, g := range []string{MarkGoes, MarkTurns, MarkStops, MarkDepends, MarkUnknown, MarkUnmet} {
		if old, ok := seen[InASCII(g, 1)]; ok {
			t.Errorf("%q and %q look the same in ASCII", g, old)
		}
		seen[InASCII(g, 1)] = g
	}
}

// No ink changes its text, and without colours none has one.
func TestInks(t *testing.T) {
	for _, theme := range append(Themes(), "") {
		for _, light := range []bool{false, true} {
			p := New(theme, light, false)
			for ink := Plain; ink < inkEnd; ink++ {
				s := p.Paint(ink, " a 界 ")
				if ansi.Strip(s) != " a 界 " {
					t.Errorf("%s ink %d: %q", theme, ink, s)
				}
				if theme == Mono && (strings.Contains(s, "[3") || strings.Contains(s, ";3") || strings.Contains(s, ";9") || strings.Contains(s, "[9")) {
					t.Errorf("mono ink %d has a colour: %q", ink, s)
				}
			}
			if theme == HighContrast && p.Paint(Faint, "x") != "x" {
				t.Error("high contrast has something faint")
			}
		}
	}
}

func TestParseTheme(t *testing.T) {
	for _, th := range Themes() {
		if got, err := ParseTheme(string(th)); err != nil || got != th {
			t.Errorf("%s: %v %v", th, got, err)
		}
	}
	if got, err := ParseTheme(""); err != nil || got != Auto {
		t.Errorf("empty: %v %v", got, err)
	}
	if _, err := ParseTheme("neon"); err == nil || !strings.Contains(err.Error(), "hi-contrast") {
		t.Errorf("unknown: %v", err)
	}
}
