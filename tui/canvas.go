package tui

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/meshtop/meshtop/tui/style"
)

// canvas is one frame in cells. Screens draw into it and cannot leave it: whatever they
// put, the frame is exactly w by h.
type canvas struct {
	w, h   int
	cells  []cell
	cursor struct {
		x, y int
		on   bool // the terminal's real cursor, so that screen readers follow
		text bool // of a text field: shown as a bar
	}
	hits []hit // where a click means something
}

// cell is one column: a character with its ink. The right half of a wide character has
// an empty text.
type cell struct {
	text string
	ink  style.Ink
}

// hit is a part of a row that a click acts on.
type hit struct {
	x, y, w int
	click   effect
}

func newCanvas(w, h int) *canvas {
	c := &canvas{w: w, h: h, cells: make([]cell, w*h)}
	for i := range c.cells {
		c.cells[i].text = " "
	}
	return c
}

// put writes text from x on in at most width columns, and returns the column after it.
// What does not fit ends in an ellipsis.
func (c *canvas) put(x, y, width int, ink style.Ink, text string) int {
	if width > c.w-x {
		width = c.w - x
	}
	if y < 0 || y >= c.h || width <= 0 || x < 0 {
		return x
	}
	end, row := x+width, y*c.w
	fits := fitsIn(text, width)
	for len(text) > 0 {
		g, n, w := next(text)
		if !fits && x+w > end-1 {
			for ; x < end-1; x++ {
				c.set(row+x, " ", ink)
			}
			c.set(row+x, style.Ellipsis, ink)
			return end
		}
		c.set(row+x, g, ink)
		if w == 2 {
			c.set(row+x+1, "", ink)
		}
		x, text = x+w, text[n:]
	}
	return x
}

// right writes text so that it ends before column end, and returns where it begins.
func (c *canvas) right(end, y int, ink style.Ink, text string) int {
	x := end - textWidth(text)
	if x < 0 {
		x = 0
	}
	c.put(x, y, end-x, ink, text)
	return x
}

// set replaces one cell; a wide character that it cuts in half becomes blank.
func (c *canvas) set(i int, g string, ink style.Ink) {
	x := i % c.w
	if c.cells[i].text == "" && g != "" && x > 0 && wide(c.cells[i-1].text) {
		c.cells[i-1].text = " "
	}
	if wide(c.cells[i].text) && x+1 < c.w && c.cells[i+1].text == "" {
		c.cells[i+1].text = " "
	}
	c.cells[i] = cell{g, ink}
}

// fill writes one character n times.
func (c *canvas) fill(x, y, n int, ink style.Ink, g string) {
	for ; n > 0 && x < c.w && y < c.h; x, n = x+1, n-1 {
		c.set(y*c.w+x, g, ink)
	}
}

// wash gives every cell of an area the ink, and keeps the text.
func (c *canvas) wash(r rect, ink style.Ink) {
	for y := r.y; y < r.y+r.h && y < c.h; y++ {
		for x := r.x; x < r.x+r.w && x < c.w; x++ {
			c.cells[y*c.w+x].ink = ink
		}
	}
}

// clear blanks an area.
func (c *canvas) clear(r rect) {
	for y := r.y; y < r.y+r.h && y < c.h; y++ {
		c.fill(r.x, y, r.w, style.Plain, " ")
	}
}

// spot makes a part of a row act on a click.
func (c *canvas) spot(x, y, w int, e effect) {
	if e.kind != effNone {
		c.hits = append(c.hits, hit{x, y, w, e})
	}
}

// at is what a click on a cell does; the last drawn is on top.
func (c *canvas) at(x, y int) effect {
	for i := len(c.hits) - 1; i >= 0; i-- {
		if h := c.hits[i]; h.y == y && x >= h.x && x < h.x+h.w {
			return h.click
		}
	}
	return effect{}
}

// String is the frame with escapes: h lines of w columns.
func (c *canvas) String(p style.Palette) string {
	var b, run strings.Builder
	b.Grow(c.w * c.h * 2)
	for y := range c.h {
		if y > 0 {
			b.WriteByte('\n')
		}
		row := c.cells[y*c.w : (y+1)*c.w]
		for x := 0; x < len(row); {
			ink := row[x].ink
			run.Reset()
			for ; x < len(row) && row[x].ink == ink; x++ {
				g := row[x].text
				if p.ASCII() && g != "" {
					g = style.InASCII(g, 1+b2i(x+1 < len(row) && row[x+1].text == ""))
				}
				run.WriteString(g)
			}
			b.WriteString(p.Paint(ink, run.String()))
		}
	}
	return b.String()
}

// next is the first character of s as it stands in a cell, the bytes it took, and its
// columns. Terminals disagree about characters that join: each is shown as its escape,
// so that a frame has the same width everywhere.
func next(s string) (g string, n, w int) {
	if s[0] < utf8.RuneSelf {
		if s[0] < ' ' || s[0] == 0x7f {
			return "?", 1, 1 // render.Clean lets none through
		}
		return s[:1], 1, 1
	}
	r, n := utf8.DecodeRuneInString(s)
	g = s[:n]
	w = ansi.StringWidth(g)
	if r == utf8.RuneError || w < 1 || w > 2 || w != ansi.StringWidthWc(g) || joins(r) {
		return "\ufffd", n, 1
	}
	return g, n, w
}

// joins says whether r may combine with a character beside it in a terminal that knows
// grapheme clusters (Unicode UAX 29): spacing marks and those of unicode-prepended kind,
// emoji modifiers, regional indicators, Hangul and Kirat jamo, half-width voiced marks.
func joins(r rune) bool { return unicode.In(r, unicode.Mc, joining) }

var joining = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x0d4e, Hi: 0x0d4e, Stride: 1}, {Lo: 0x0e33, Hi: 0x0eb3, Stride: 0x80},
		{Lo: 0x1100, Hi: 0x11ff, Stride: 1}, {Lo: 0xa960, Hi: 0xa97f, Stride: 1}, {Lo: 0xd7b0, Hi: 0xd7ff, Stride: 1}, {Lo: 0xff9e, Hi: 0xff9f, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x111c2, Hi: 0x111c3, Stride: 1}, {Lo: 0x113b0, Hi: 0x113df, Stride: 1}, {Lo: 0x1193f, Hi: 0x11941, Stride: 2},
		{Lo: 0x11a84, Hi: 0x11a89, Stride: 1}, {Lo: 0x11b60, Hi: 0x11b67, Stride: 1}, {Lo: 0x11d46, Hi: 0x11d46, Stride: 1},
		{Lo: 0x11f02, Hi: 0x11f02, Stride: 1}, {Lo: 0x1611e, Hi: 0x1612f, Stride: 1}, {Lo: 0x16d63, Hi: 0x16d6a, Stride: 1},
		{Lo: 0x1f1e6, Hi: 0x1f1ff, Stride: 1}, {Lo: 0x1f3fb, Hi: 0x1f3ff, Stride: 1},
	},
}

// textWidth is how many columns s takes on a canvas.
func textWidth(s string) int {
	w := 0
	for len(s) > 0 {
		_, n, cw := next(s)
		w, s = w+cw, s[n:]
	}
	return w
}

// fitsIn says whether s takes at most width columns. It looks at no more than it must: a
// value may have megabytes.
func fitsIn(s string, width int) bool {
	if len(s) <= width {
		return true // no character is wider than it has bytes, but for escapes of one byte
	}
	for len(s) > 0 && width >= 0 {
		_, n, cw := next(s)
		width, s = width-cw, s[n:]
	}
	return width >= 0
}

// cut is s in at most width columns, with an ellipsis where it was longer.
func cut(s string, width int) string {
	if fitsIn(s, width) {
		return s
	}
	if width <= 0 {
		return ""
	}
	w, i := 0, 0
	for i < len(s) {
		_, n, cw := next(s[i:])
		if w+cw > width-1 {
			break
		}
		w, i = w+cw, i+n
	}
	return s[:i] + style.Ellipsis
}

// pad is s in exactly width columns.
func pad(s string, width int) string {
	s = cut(s, width)
	if n := width - textWidth(s); n > 0 {
		s += strings.Repeat(" ", n)
	}
	return s
}

// wrap breaks s at blanks into lines of at most width columns; a longer word is cut.
// What is longer than anybody reads ends in an ellipsis.
func wrap(s string, width int) []string {
	const longest = 16 << 10
	if width < 1 {
		width = 1
	}
	if len(s) > longest {
		s, _ = split(s, longest)
		s += style.Ellipsis
	}
	var out []string
	line, at := "", 0
	for _, word := range strings.Split(s, " ") {
		w := textWidth(word)
		if line != "" && at+1+w <= width {
			line, at = line+" "+word, at+1+w
			continue
		}
		if line != "" {
			out = append(out, line)
		}
		for w > width {
			head, rest := split(word, width)
			out = append(out, head)
			word, w = rest, w-textWidth(head)
		}
		line, at = word, w
	}
	return append(out, line)
}

// split is the part of s that fits in width columns, at least one character, and the rest.
func split(s string, width int) (head, rest string) {
	w, i := 0, 0
	for i < len(s) {
		_, n, cw := next(s[i:])
		if w+cw > width && i > 0 {
			break
		}
		w, i = w+cw, i+n
	}
	return s[:i], s[i:]
}

func wide(g string) bool { return len(g) > 2 && ansi.StringWidth(g) == 2 }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func itoa(i int) string { return strconv.Itoa(i) }
