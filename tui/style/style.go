// Package style holds the looks of the screens by meaning: the inks, the glyphs, and
// their ASCII forms. It is the only place with colours, and knows no data.
package style

import (
	"fmt"
	"image/color"
	"strings"

	"charm.land/lipgloss/v2"
)

// Ink is what a piece of text means. Colours are the terminal's own sixteen, so that the
// user's theme decides and light and dark both work, but for those of the theme cvd; no ink
// tells a fact that its text does not tell too.
type Ink uint8

const (
	Plain    Ink = iota
	Faint        // not reached, secondary
	Strong       // the winner, a heading
	Goes         // goes on, confirmed
	Stops        // refused, dropped, contradicted
	Depends      // chance, unknown, near miss
	Turns        // redirected or handed over
	Rule         // a pane's rule line
	Focus        // the rule line of the pane that has the keys
	FocusDim     // beside the title on such a line
	Bar          // header and footer
	Selected     // the row the keys act on
	Alarm        // a banner that must be read
	Key          // a key's name
	Frame        // a dialog's border
	Fill         // the done part of a progress bar
	inkEnd
)

// Theme names a set of colours.
type Theme string

const (
	Auto         Theme = "auto"        // the terminal's sixteen colours, yellow by background
	Sixteen      Theme = "16"          // the same, asking the terminal nothing
	HighContrast Theme = "hi-contrast" // the colours furthest from the background, nothing faint
	ColourBlind  Theme = "cvd"         // blue and orange, of the 256 colours that no palette changes
	Mono         Theme = "mono"        // bold, reverse and faint only (NO_COLOR)
)

// Themes are the names that --theme takes.
func Themes() []Theme { return []Theme{Auto, Sixteen, HighContrast, ColourBlind, Mono} }

// ParseTheme reads a theme's name; empty is Auto.
func ParseTheme(s string) (Theme, error) {
	if s == "" {
		return Auto, nil
	}
	var names []string
	for _, t := range Themes() {
		if string(t) == s {
			return t, nil
		}
		names = append(names, string(t))
	}
	return Auto, fmt.Errorf("theme %q: one of %s", s, strings.Join(names, ", "))
}

// Palette turns inks into escapes.
type Palette struct {
	styles [inkEnd]lipgloss.Style
	ascii  bool
}

// New makes a palette. light says that the terminal's background is light; ascii that
// every glyph must become one ASCII character.
func New(t Theme, light, ascii bool) Palette {
	p := Palette{ascii: ascii}
	s := lipgloss.NewStyle
	p.styles = [inkEnd]lipgloss.Style{
		Plain: s(), Faint: s().Faint(true), Strong: s().Bold(true), Goes: s(), Stops: s().Bold(true), Depends: s(), Turns: s(),
		Rule: s().Faint(true), Focus: s().Bold(true), FocusDim: s().Faint(true), Bar: s().Reverse(true), Selected: s().Reverse(true),
		Alarm: s().Reverse(true).Bold(true), Key: s().Bold(true), Frame: s().Bold(true), Fill: s(),
	}
	if t == Mono {
		return p
	}
	k := t.colours(light)
	if t == HighContrast {
		p.styles[Faint], p.styles[Rule], p.styles[FocusDim] = s(), s(), s()
	}
	for ink, c := range map[Ink]color.Color{Goes: k.goes, Stops: k.stops, Depends: k.depends, Turns: k.turns, Focus: k.goes, Frame: k.goes, FocusDim: k.goes} {
		p.styles[ink] = p.styles[ink].Foreground(c)
	}
	// Reversed, so that its text has the background's colour, against which the colour is
	// legible anyway: a pair of fixed colours is legible in some palettes only.
	p.styles[Alarm] = p.styles[Alarm].Foreground(k.alarm)
	return p
}

// colours are those of the inks that have one.
type colours struct{ goes, stops, depends, turns, alarm color.Color }

// colours are chosen so that no two that mean the contrary are told apart by red and green alone.
// Those of hi-contrast and cvd have a contrast of 4.5 to the background and more (WCAG 1.4.3) in
// the palette of xterm; those of the others are as the user's palette has them.
func (t Theme) colours(light bool) colours {
	switch {
	case t == HighContrast && light:
		return colours{lipgloss.Blue, lipgloss.Red, lipgloss.Black, lipgloss.Magenta, lipgloss.Red}
	case t == HighContrast:
		return colours{lipgloss.BrightCyan, lipgloss.BrightRed, lipgloss.BrightYellow, lipgloss.BrightMagenta, lipgloss.BrightYellow}
	case t == ColourBlind && light: // dark blue against brown
		return colours{lipgloss.ANSIColor(25), lipgloss.ANSIColor(130), lipgloss.Black, lipgloss.ANSIColor(60), lipgloss.ANSIColor(130)}
	case t == ColourBlind: // sky blue against orange
		return colours{lipgloss.ANSIColor(39), lipgloss.ANSIColor(208), lipgloss.BrightWhite, lipgloss.ANSIColor(147), lipgloss.ANSIColor(208)}
	case t == Sixteen: // the background is not known
		return colours{lipgloss.Cyan, lipgloss.Red, lipgloss.Yellow, lipgloss.Magenta, lipgloss.Red}
	case light:
		return colours{lipgloss.Cyan, lipgloss.Red, lipgloss.Yellow, lipgloss.Magenta, lipgloss.Yellow}
	}
	return colours{lipgloss.Cyan, lipgloss.Red, lipgloss.BrightYellow, lipgloss.Magenta, lipgloss.BrightYellow}
}

// AsksBackground says whether the theme has others colours for a light background than for a
// dark one.
func (t Theme) AsksBackground() bool { return t != Sixteen && t != Mono }

// ASCII says whether glyphs are replaced.
func (p Palette) ASCII() bool { return p.ascii }

// Paint is text with the escapes of its ink. text is one line and holds no escapes.
func (p Palette) Paint(ink Ink, text string) string {
	if ink == Plain || int(ink) >= len(p.styles) {
		return text
	}
	return p.styles[ink].Render(text)
}
