// Package style holds the looks of the screens by meaning: the inks, the glyphs, and
// their ASCII forms. It is the only place with colours, and knows no data.
package style

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"
)

// Ink is what a piece of text means. Colours are the terminal's own sixteen, so that the
// user's theme decides and light and dark both work; no ink tells a fact that its text
// does not tell too.
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
	HighContrast Theme = "hi-contrast" // bright colours, nothing faint
	ColourBlind  Theme = "cvd"         // blue and orange-like yellow; no red, no magenta
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
	goes, stops, depends, turns := lipgloss.Cyan, lipgloss.Red, lipgloss.BrightYellow, lipgloss.Magenta
	switch t {
	case HighContrast:
		goes, stops, depends, turns = lipgloss.BrightCyan, lipgloss.BrightRed, lipgloss.BrightYellow, lipgloss.BrightMagenta
		p.styles[Faint], p.styles[Rule], p.styles[FocusDim] = s(), s(), s()
	case ColourBlind:
		goes, stops, depends, turns = lipgloss.BrightBlue, lipgloss.Yellow, lipgloss.BrightWhite, lipgloss.Blue
	}
	if light && depends == lipgloss.BrightYellow {
		depends = lipgloss.Yellow
	}
	if light && depends == lipgloss.BrightWhite {
		depends = lipgloss.Black
	}
	for ink, c := range map[Ink]lipgloss.Style{
		Goes: p.styles[Goes].Foreground(goes), Stops: p.styles[Stops].Foreground(stops), Depends: p.styles[Depends].Foreground(depends),
		Turns: p.styles[Turns].Foreground(turns), Focus: p.styles[Focus].Foreground(goes), Frame: p.styles[Frame].Foreground(goes),
		FocusDim: p.styles[FocusDim].Foreground(goes), Alarm: s().Foreground(lipgloss.Black).Background(lipgloss.BrightYellow),
	} {
		p.styles[ink] = c
	}
	return p
}

// ASCII says whether glyphs are replaced.
func (p Palette) ASCII() bool { return p.ascii }

// Paint is text with the escapes of its ink. text is one line and holds no escapes.
func (p Palette) Paint(ink Ink, text string) string {
	if ink == Plain || int(ink) >= len(p.styles) {
		return text
	}
	return p.styles[ink].Render(text)
}
