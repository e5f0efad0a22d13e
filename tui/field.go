package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// field is one line of text that the user edits. An own one: a library's would draw
// itself, and a canvas must know what stands in its cells.
type field struct {
	text []rune
	at   int // cursor, in runes
}

func newField(s string) field {
	var f field
	f.set(s)
	return f
}

func (f *field) set(s string) { f.text = []rune(s); f.at = len(f.text) }

func (f *field) String() string { return string(f.text) }

// insert puts s at the cursor; a paste's line ends become blanks.
func (f *field) insert(s string) {
	r := []rune(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, s))
	f.text = append(f.text[:f.at:f.at], append(r, f.text[f.at:]...)...)
	f.at += len(r)
}

// press edits; false: the key means nothing in a field.
func (f *field) press(k tea.KeyPressMsg) bool {
	switch k.String() {
	case "left", "ctrl+b":
		f.at = max(f.at-1, 0)
	case "right", "ctrl+f":
		f.at = min(f.at+1, len(f.text))
	case "home", "ctrl+a":
		f.at = 0
	case "end", "ctrl+e":
		f.at = len(f.text)
	case "backspace", "ctrl+h":
		if f.at > 0 {
			f.text = append(f.text[:f.at-1:f.at-1], f.text[f.at:]...)
			f.at--
		}
	case "delete", "ctrl+d":
		if f.at < len(f.text) {
			f.text = append(f.text[:f.at:f.at], f.text[f.at+1:]...)
		}
	case "ctrl+u":
		f.text, f.at = f.text[f.at:], 0
	case "ctrl+k":
		f.text = f.text[:f.at]
	case "ctrl+w":
		i := f.at
		for i > 0 && f.text[i-1] == ' ' {
			i--
		}
		for i > 0 && f.text[i-1] != ' ' {
			i--
		}
		f.text = append(f.text[:i:i], f.text[f.at:]...)
		f.at = i
	default:
		if k.Text == "" || k.Mod&(tea.ModCtrl|tea.ModAlt) != 0 {
			return false
		}
		f.insert(k.Text)
	}
	return true
}

// draw shows the field in w columns with the terminal's cursor in it, scrolled so that
// the cursor is in sight.
func (f *field) draw(c *canvas, x, y, w int, ink style.Ink, focus bool) {
	before, after := render.Clean(string(f.text[:f.at])), render.Clean(string(f.text[f.at:]))
	if focus {
		for before != "" && textWidth(before) > w-1 {
			_, before = split(before, 1)
		}
		c.cursor.x, c.cursor.y, c.cursor.on, c.cursor.text = x+textWidth(before), y, true, true
	}
	at := c.put(x, y, w, ink, before)
	c.put(at, y, w-(at-x), ink, after)
}
