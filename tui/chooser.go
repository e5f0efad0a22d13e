package tui

import (
	"slices"
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
	width  int    // columns; 0: 68
	sieve  *sieve // of items, once something is typed
	moved  bool   // the last key moved the selection: the terminal's cursor is on its row
}

// count is how many items hold every word typed; !word leaves out what holds it.
func (d *chooser) count() int {
	if d.all() {
		return len(d.items)
	}
	return len(d.kept())
}

// at is item i of those.
func (d *chooser) at(i int) *item {
	if d.all() {
		return &d.items[i]
	}
	return &d.items[d.kept()[i]]
}

// all says whether nothing is typed.
func (d *chooser) all() bool { return strings.TrimSpace(d.filter.String()) == "" }

func (d *chooser) kept() []int {
	if d.sieve == nil {
		texts := make([]string, len(d.items))
		for i, it := range d.items {
			texts[i] = it.name + " " + it.note
		}
		d.sieve = newSieve(texts)
	}
	return d.sieve.through(d.filter.String())
}

func (d *chooser) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	n := d.count()
	d.moved = slices.Contains([]string{"down", "ctrl+n", "tab", "up", "ctrl+p", "shift+tab", "pgdown", "pgup"}, k.String())
	switch k.String() {
	case "esc", "ctrl+c":
		return effect{}, true
	case "enter":
		if d.sel < n {
			return d.at(d.sel).effect, true
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
	n := d.count()
	rows := min(max(n, 1), chooserRows, max(c.h-9, 1))
	in := c.box(w, rows+6, d.title)
	x := c.put(in.x+1, in.y, in.w, style.Key, d.prompt)
	d.filter.draw(c, x, in.y, in.w-(x-in.x)-1, style.Plain, true)
	first := scroll(0, d.sel, n, rows)
	col := 0
	for i := first; i < min(first+rows, n); i++ {
		col = max(col, textWidth(d.at(i).name))
	}
	col = min(col, in.w*3/4)
	if n == 0 {
		c.put(in.x+1, in.y+2, in.w, style.Faint, d.empty)
	}
	for i := 0; i < rows && first+i < n; i++ {
		it, y := d.at(first+i), in.y+2+i
		c.put(in.x+1, y, col, style.Plain, it.name)
		c.put(in.x+1+col+2, y, in.w-col-3, it.ink, it.note)
		c.spot(in.x, y, in.w, effect{kind: effPickItem, n: first + i})
		if first+i == d.sel {
			c.wash(rect{in.x, y, in.w, 1}, style.Selected)
			if d.moved {
				c.cursor.x, c.cursor.y, c.cursor.text = in.x, y, false
			}
		}
	}
	y := in.y + in.h - 1
	c.put(in.x+1, y, in.w-1, style.Faint, d.foot)
	of := itoa(n) + " of " + itoa(len(d.items))
	if d.foot != "" && textWidth(d.foot)+textWidth(of)+3 > in.w {
		return
	}
	c.right(in.x+in.w-1, y, style.Faint, of)
}

// pick is a click on row n.
func (d *chooser) pick(n int) (effect, bool) {
	if n < 0 || n >= d.count() {
		return effect{}, false
	}
	d.sel = n
	return d.at(n).effect, true
}
