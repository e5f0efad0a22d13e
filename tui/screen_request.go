package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/meshtop/meshtop/tui/style"
)

// requestScreen makes a request: a form, and presets that fill it.
type requestScreen struct {
	form    form
	filled  bool
	sel     int // row of the form
	top     int
	presets []preset
	preset  int // selected one
	ptop    int
	onRight bool // the presets have the keys
	wrong   string
}

// preset is a request that fills the form, or a heading.
type preset struct {
	text string
	req  *flow.Request // nil: a heading
}

// formRow is a row of the form: a field, or one of the headers.
type formRow struct {
	id     fieldID
	header int // valid iff id is fHeaders
}

func (t *requestScreen) rows() []formRow {
	var out []formRow
	for id := fDirection; id < fieldEnd; id++ {
		if id != fHeaders {
			out = append(out, formRow{id: id})
			continue
		}
		for i := range t.form.headers {
			out = append(out, formRow{id, i})
		}
	}
	return out
}

// fill shows a request in the form.
func (t *requestScreen) fill(r flow.Request) {
	t.form.fill(r)
	t.filled, t.wrong = true, ""
	if !r.Dst.IsValid() {
		t.onRight, t.sel = false, int(fTo) // what is to be written first
	}
}

// field is the text of a row; nil for a choice.
func (t *requestScreen) field(r formRow) *field {
	switch {
	case choicesOf(r.id) != nil:
		return nil
	case r.id == fHeaders:
		return &t.form.headers[r.header]
	}
	return &t.form.text[r.id]
}

// typing gets a key that the key map does not know.
func (t *requestScreen) typing(k tea.KeyPressMsg) effect {
	if t.onRight {
		switch k.String() {
		case "j":
			t.movePreset(1)
		case "k":
			t.movePreset(-1)
		}
		return effect{}
	}
	r := t.rows()[t.sel]
	if f := t.field(r); f != nil {
		before := f.String()
		f.press(k)
		t.more()
		if r.id == fTo && f.String() != before {
			t.form.url()
		}
		return effect{}
	}
	switch k.String() {
	case "left", "h":
		t.choose(r.id, -1)
	case "right", "l":
		t.choose(r.id, 1)
	}
	return effect{}
}

// more keeps one empty header row at the end.
func (t *requestScreen) more() {
	h := t.form.headers
	if n := len(h); n == 0 || len(h[n-1].text) > 0 {
		t.form.headers = append(h, field{})
	}
}

func (t *requestScreen) choose(id fieldID, by int) {
	n := len(choicesOf(id))
	t.form.choice[id] = (t.form.choice[id] + by + n) % n
}

// paste takes a curl command from anywhere, or text into the field.
func (t *requestScreen) paste(s string) effect {
	if looksLikeCurl(s) {
		return t.curl(strings.TrimSpace(s))
	}
	r := t.rows()[t.sel]
	if f := t.field(r); f != nil && !t.onRight {
		f.insert(strings.TrimRight(s, "\r\n"))
		t.more()
		if r.id == fTo {
			t.form.url()
		}
	}
	return effect{}
}

// curl fills the form from a curl command. A name stays one until the request is traced.
func (t *requestScreen) curl(cmd string) effect {
	d, err := request.Curl(cmd)
	if err != nil {
		return effect{kind: effSay, text: render.Clean(err.Error()), n: 1}
	}
	t.fill(d.Request)
	if d.Host == "" {
		return say("filled from the curl command")
	}
	t.form.text[fTo].set(d.Host + ":" + itoa(int(d.Request.Dst.Port())))
	t.form.text[fHost].set(d.Request.HTTP.Authority)
	t.onRight, t.sel = false, 1
	return say("filled from the curl command; " + render.Clean(d.Host) + " is looked up as the pod would")
}

func (t *requestScreen) do(a act, s *state) effect {
	switch a {
	case actRun:
		return t.run()
	case actZoom:
		t.onRight = !t.onRight
	case actDown, actPane:
		t.move(1)
	case actUp, actPaneBack:
		t.move(-1)
	case actOpen:
		if t.onRight {
			if p := t.presets[t.preset]; p.req != nil {
				t.fill(*p.req)
				t.onRight = false
			}
			return effect{}
		}
		t.move(1)
	case actChoose:
		r := t.rows()[t.sel]
		if f := t.field(r); f != nil && !t.onRight {
			f.insert(" ")
			t.more()
		} else if !t.onRight {
			t.choose(r.id, 1)
		}
	case actCopyAs:
		r, err := t.form.request()
		if err != nil {
			return say(render.Clean(err.Error()))
		}
		if c := render.Curl(r); c != "" {
			return effect{kind: effCopy, text: c, note: "the curl command"}
		}
		return effect{kind: effCopy, text: render.Command(command(s.opt), r), note: "the command"}
	case actBack:
		return press(actBack)
	}
	return effect{}
}

func (t *requestScreen) run() effect {
	d, err := t.form.draft()
	if err != nil {
		t.wrong = render.Clean(err.Error())
		return effect{kind: effSay, text: t.wrong, n: 1}
	}
	t.wrong = ""
	if d.Host != "" {
		return effect{kind: effResolve, draft: d}
	}
	return effect{kind: effTrace, req: &d.Request}
}

func (t *requestScreen) move(by int) {
	if t.onRight {
		t.movePreset(by)
		return
	}
	n := len(t.rows())
	t.sel = (t.sel + by + n) % n
}

// movePreset goes to the next preset that is no heading.
func (t *requestScreen) movePreset(by int) {
	for i := t.preset + by; i >= 0 && i < len(t.presets); i += by {
		if t.presets[i].req != nil {
			t.preset = i
			return
		}
	}
}

// areas divides the frame into form and presets.
func (t *requestScreen) areas(w, h int) (left, rightSide rect) {
	switch b := body(w, h); {
	case w >= wideFrom:
		return b.left(58)
	case w >= 76:
		return b.left(42)
	case t.onRight: // there is room for one of the two
		return rect{}, b
	default:
		return b, rect{}
	}
}

func (t *requestScreen) settle(s *state) {
	if !t.filled {
		t.fill(s.req)
		t.filled = false
	}
	t.presets = presets(s)
	t.preset = max(min(t.preset, len(t.presets)-1), 0)
	if t.preset < len(t.presets) && t.presets[t.preset].req == nil {
		t.movePreset(1)
	}
	l, r := t.areas(s.w, s.h)
	t.sel = max(min(t.sel, len(t.rows())-1), 0)
	t.top = scroll(t.top, t.sel, len(t.rows()), t.formHeight(l))
	t.ptop = scroll(t.ptop, t.preset, len(t.presets), r.h-1)
}

// formHeight is what the command below leaves of the form's pane.
func (t *requestScreen) formHeight(r rect) int {
	if r.h < 20 {
		return max(r.h-1-3, 1)
	}
	return r.h - 1 - 6
}

func (t *requestScreen) draw(c *canvas, s *state) {
	l, r := t.areas(c.w, c.h)
	hint := ""
	if r.h == 0 {
		hint = s.key(actZoom) + " presets"
	}
	c.pane(l, !t.onRight, "request", "", hint)
	c.pane(r, t.onRight, "presets", "", s.key(actZoom)+", "+s.key(actOpen)+" fills")
	if l.h > 0 && r.h > 0 {
		c.upright(r.x-1, r)
	}
	rows := t.rows()
	h := t.formHeight(l)
	for i := 0; i < h && t.top+i < len(rows); i++ {
		t.drawRow(c, rect{l.x, l.y + 1 + i, l.w, 1}, rows[t.top+i], t.top+i == t.sel && !t.onRight, t.top+i)
	}
	used := min(h, len(rows)) // the command follows the form
	t.drawCommand(c, rect{l.x, l.y + 1 + used, l.w, l.h - 1 - used}, s)
	for i := 0; i < r.h-1 && t.ptop+i < len(t.presets); i++ {
		p, y := t.presets[t.ptop+i], r.y+1+i
		if p.req == nil {
			c.put(r.x+1, y, r.w-1, style.Strong, p.text)
			continue
		}
		c.put(r.x+3, y, r.w-4, style.Plain, p.text)
		c.spot(r.x, y, r.w, effect{kind: effFill, req: p.req})
		if t.ptop+i == t.preset && t.onRight {
			c.wash(rect{r.x, y, r.w, 1}, style.Selected)
			c.cursor.x, c.cursor.y, c.cursor.on = r.x, y, true
		}
	}
	if at := t.preset - t.ptop; t.onRight && t.preset < len(t.presets) {
		_, in := r.top(1)
		c.full(rect{in.x + 1, in.y, in.w - 2, in.h}, in.y+at, r.w-4, text(style.Plain, t.presets[t.preset].text))
	}
}

func (t *requestScreen) drawRow(c *canvas, r rect, row formRow, sel bool, n int) {
	name := fieldNames[row.id]
	if row.id == fHeaders && row.header > 0 {
		name = ""
	}
	ink := style.Plain
	if !t.form.applies(row.id) {
		ink = style.Faint
	}
	if sel {
		ink = style.Selected
		c.wash(r, style.Selected)
		c.put(r.x+1, r.y, 1, ink, style.Cursor)
	}
	c.put(r.x+3, r.y, 10, ink, name)
	c.spot(r.x, r.y, r.w, effect{kind: effSelect, n: n})
	x, w := r.x+14, r.w-15
	f := t.field(row)
	if f == nil {
		t.drawChoice(c, rect{x, r.y, w, 1}, row.id, ink)
		if sel {
			c.cursor.x, c.cursor.y, c.cursor.on, c.cursor.text = x, r.y, true, false
		}
		return
	}
	if len(f.text) == 0 {
		hintInk := style.Faint
		if sel {
			hintInk = style.Selected
		}
		c.put(x, r.y, w, hintInk, t.form.hint(row.id))
	}
	if len(f.text) > 0 || sel {
		f.draw(c, x, r.y, w, ink, sel)
	}
}

func (t *requestScreen) drawChoice(c *canvas, r rect, id fieldID, ink style.Ink) {
	x, names := r.x, choicesOf(id)
	for i, name := range names {
		switch on := i == t.form.choice[id]; {
		case len(names) > 2 && on: // five fit a narrow pane by name alone
			name = "[" + name + "]"
		case len(names) > 2:
		case on:
			name = "(" + style.Radio + ") " + name
		default:
			name = "( ) " + name
		}
		x = c.put(x, r.y, r.w-(x-r.x), ink, name) + 1
	}
}

// drawCommand shows what can be pasted here, and the command that does the same: all of it is
// worth more than what stands above.
func (t *requestScreen) drawCommand(c *canvas, r rect, s *state) {
	lines := t.commandRows(r.w-2, s)
	if r.h > len(lines)+3 {
		lines = append([]line{text(style.Faint, "Paste a curl command anywhere here."), {}}, lines...)
	}
	if r.h > len(lines) {
		_, r = r.top(1)
	}
	c.page(r.inset(), 0, lines)
}

// commandRows are the equivalent command, or what it lacks.
func (t *requestScreen) commandRows(w int, s *state) []line {
	req, err := t.form.request()
	switch {
	case strings.TrimSpace(t.form.text[fTo].String()) == "":
		return para(line{}, style.Faint, "Or write into to where it goes: an address with its port, or a URL.", w-2)
	case err != nil:
		return para(line{}, style.Depends, render.Clean(err.Error()), w-2)
	}
	var out []line
	for i, l := range commandLines(render.Command(command(s.opt), req), w-3) {
		out = append(out, text(style.Strong, strings.Repeat("  ", b2i(i > 0))+l))
	}
	return out
}

// commandLines breaks a command before its flags, as a shell takes it.
func commandLines(cmd string, width int) []string {
	var out []string
	line := ""
	for i, part := range strings.Split(cmd, " -") {
		if i > 0 {
			part = "-" + part
		}
		switch {
		case line == "":
			line = part
		case textWidth(line)+1+textWidth(part) <= width-2:
			line += " " + part
		default:
			out, line = append(out, line+` \`), part
		}
	}
	return append(out, line)
}

// looksLikeCurl says whether a paste is a curl command.
func looksLikeCurl(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), "curl ") }

// command is how the target is named on a command line.
func command(o Options) string { return or(o.Command, o.Target) }
