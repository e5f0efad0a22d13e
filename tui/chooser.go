package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/tui/style"
)

// item is one thing to choose: what it is, what is said of it, and what choosing does.
type item struct {
	name   string
	note   string
	ink    style.Ink // of the note
	effect effect
}

// chooser is a dialog with a list that typing filters.
type chooser struct {
	title  string
	prompt string // before the typed text
	items  []item
	foot   string
	empty  string // said where the list has nothing
	filter field
	sel    int
	top    int
	width  int // columns; 0: 68
}

// shown are the items that hold every word typed; !word leaves out what holds it.
func (d *chooser) shown() []item {
	words := strings.Fields(d.filter.String())
	if len(words) == 0 {
		return d.items
	}
	var out []item
	for _, it := range d.items {
		if holds(it.name+" "+it.note, words) {
			out = append(out, it)
		}
	}
	return out
}

// holds is the filter of every list: all words, any case unless a word has capitals,
// !word leaves out.
func holds(text string, words []string) bool {
	lower := strings.ToLower(text)
	for _, w := range words {
		in := lower
		out := len(w) > 1 && w[0] == '!'
		if out {
			w = w[1:]
		}
		if strings.ToLower(w) != w {
			in = text
		}
		if strings.Contains(in, w) == out {
			return false
		}
	}
	return true
}

func (d *chooser) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	n := len(d.shown())
	switch k.String() {
	case "esc", "ctrl+c":
		return effect{}, true
	case "enter":
		if d.sel < n {
			return d.shown()[d.sel].effect, true
		}
		return effect{}, n == 0 && len(d.items) == 0
	case "down", "ctrl+n", "tab":
		d.sel = min(d.sel+1, max(n-1, 0))
	case "up", "ctrl+p", "shift+tab":
		d.sel = max(d.sel-1, 0)
	case "pgdown":
		d.sel = min(d.sel+10, max(n-1, 0))
	case "pgup":
		d.sel = max(d.sel-10, 0)
	default:
		if d.filter.press(k) {
			d.sel, d.top = 0, 0
		}
	}
	return effect{}, false
}

// chooserRows is how many rows a chooser shows at once.
const chooserRows = 14

func (d *chooser) draw(c *canvas, _ *state) {
	w := d.width
	if w == 0 {
		w = 68
	}
	list := d.shown()
	rows := min(max(len(list), 1), chooserRows, max(c.h-9, 1))
	in := c.box(w, rows+6, d.title)
	x := c.put(in.x+1, in.y, in.w, style.Key, d.prompt)
	d.filter.draw(c, x, in.y, in.w-(x-in.x)-1, style.Plain, true)
	first := scroll(0, d.sel, len(list), rows)
	col := 0
	for _, it := range list[min(first, len(list)):min(first+rows, len(list))] {
		col = max(col, textWidth(it.name))
	}
	col = min(col, in.w*3/4)
	if len(list) == 0 {
		c.put(in.x+1, in.y+2, in.w, style.Faint, d.empty)
	}
	for i := 0; i < rows && first+i < len(list); i++ {
		it, y := list[first+i], in.y+2+i
		c.put(in.x+1, y, col, style.Plain, it.name)
		c.put(in.x+1+col+2, y, in.w-col-3, it.ink, it.note)
		c.spot(in.x, y, in.w, effect{kind: effPickItem, n: first + i})
		if first+i == d.sel {
			c.wash(rect{in.x, y, in.w, 1}, style.Selected)
		}
	}
	y := in.y + in.h - 1
	c.put(in.x+1, y, in.w-1, style.Faint, d.foot)
	n := itoa(len(list)) + " of " + itoa(len(d.items))
	if d.foot != "" && textWidth(d.foot)+textWidth(n)+3 > in.w {
		return
	}
	c.right(in.x+in.w-1, y, style.Faint, n)
}

// pick is a click on row n.
func (d *chooser) pick(n int) (effect, bool) {
	list := d.shown()
	if n < 0 || n >= len(list) {
		return effect{}, false
	}
	d.sel = n
	return list[n].effect, true
}
