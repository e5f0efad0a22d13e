package tui

import (
	"bytes"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// place is where something stands in a snapshot.
type place struct {
	part    string
	pointer string // of JSON
	text    string // of a text: the line that is looked for
}

// placeOf is where an evidence was read.
func placeOf(e flow.Evidence) place {
	if part, pointer, ok := strings.Cut(e.Ref, "#"); ok && strings.HasPrefix(pointer, "/") {
		return place{part: part, pointer: pointer}
	}
	if strings.HasPrefix(e.Ref, "/") {
		return place{part: e.Source, pointer: e.Ref}
	}
	return place{part: e.Source, text: e.Text}
}

// placeOfRef is where a reference as Config.Objects gives it points: PART#POINTER, or a
// pointer into the dump.
func placeOfRef(ref string) place {
	if part, pointer, ok := strings.Cut(ref, "#"); ok {
		return place{part: part, pointer: pointer}
	}
	return place{part: "config_dump.json", pointer: ref}
}

// object is the pointer of the listener, cluster or route table that a pointer is in: it
// ends with the second number (/configs/2/dynamic_listeners/1).
func object(pointer string) string {
	toks := strings.Split(pointer, "/")
	numbers := 0
	for i, tok := range toks {
		if tok != "" && strings.Trim(tok, "0123456789") == "" {
			if numbers++; numbers == 2 {
				return strings.Join(toks[:i+1], "/")
			}
		}
	}
	return pointer
}

// openPlace makes the document of a place, in a command: it may be large. whole shows
// the part and not the object alone; again leaves the screen where it is.
func (m *model) openPlace(p place, whole, again bool) tea.Cmd {
	snap := m.s.reading.Snapshot
	if snap == nil {
		return nil
	}
	data, ok := snap.Files[p.part]
	if !ok {
		m.s.say = "the snapshot has no part " + render.Clean(p.part)
		return nil
	}
	const large = 8 << 20
	if whole && len(data) > large {
		m.s.say = "opening " + render.Clean(p.part) + ", " + bytesWord(int64(len(data))) + style.Ellipsis
	}
	m.s.docGen++
	m.ahead.opening = !again
	gen, steps := m.s.docGen, m.s.steps()
	return func() tea.Msg {
		d, target, line, err := makeDoc(p, data, whole, steps)
		return docMsg{gen, d, target, line, again, err}
	}
}

// openAgain makes the open document anew from a new reading, at the row that is selected.
func (m *model) openAgain() tea.Cmd {
	d := m.config.doc
	p := place{part: d.part, pointer: d.pointer}
	if n := m.config.node(); n != nil {
		p.pointer += n.pointer(d.data)
	} else if m.config.sel < len(d.lines) {
		p.text = d.lineText(m.config.sel)
	}
	return m.openPlace(p, d.pointer == "", true)
}

func makeDoc(p place, data []byte, whole bool, steps []flow.Step) (d *doc, target *node, line int, err error) {
	root := ""
	if !whole && p.pointer != "" {
		root = object(p.pointer)
		start, end, ok := tree.Find(data, root)
		if !ok {
			return nil, nil, 0, fmt.Errorf("%s has nothing at %s", p.part, p.pointer)
		}
		data = data[start:end]
	}
	if d, err = newDoc(p.part, root, data); err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", p.part, err)
	}
	d.title = titleOf(d)
	if d.root == nil {
		return d, nil, d.tie(steps, p), nil
	}
	target, _ = d.root.at(d.data, strings.TrimPrefix(p.pointer, root))
	d.tie(steps, p)
	d.unfold(target)
	return d, target, 0, nil
}

// unfold opens what is shown at first: some rows, what has notes, and a target.
func (d *doc) unfold(target *node) {
	d.root.unfold(d.data, 400)
	for n := range d.notes {
		n.reveal()
	}
	if target != nil {
		target.reveal()
	}
	d.layOut()
}

// titleOf names a document: its part, or its object with its name.
func titleOf(d *doc) string {
	if d.pointer == "" {
		return render.Clean(d.part)
	}
	toks := strings.Split(d.pointer, "/")
	s := toks[len(toks)-1]
	if len(toks) > 2 {
		s = toks[len(toks)-2] + "[" + s + "]"
	}
	for _, k := range d.root.look(d.data) {
		if k.key == "name" {
			s += " " + d.value(k)
		}
		for _, in := range k.look(d.data) {
			if in.key == "name" && (k.key == "cluster" || k.key == "route_config" || k.key == "listener") {
				s += " " + d.value(in)
			}
		}
	}
	return render.Clean(s)
}

// tie writes the margin notes: which step used what. It returns the line of a text that
// the place asks for.
func (d *doc) tie(steps []flow.Step, at place) int {
	line := 0
	for i, st := range steps {
		for _, e := range st.Evidence {
			p := placeOf(e)
			if p.part != d.part {
				continue
			}
			note := "step " + itoa(i+1) + " " + render.StageWord(st.Stage)
			if d.root == nil {
				if n, ok := d.lineOf(p.text); ok {
					d.lineNotes[n] = join(d.lineNotes[n], note)
				}
				continue
			}
			rest, ok := strings.CutPrefix(p.pointer, d.pointer)
			if !ok || rest != "" && rest[0] != '/' {
				continue
			}
			if n, ok := d.root.at(d.data, rest); ok {
				d.notes[n] = join(d.notes[n], note)
			}
		}
	}
	if d.root == nil {
		line, _ = d.lineOf(at.text)
	}
	return line
}

// join adds a note to those of the same row, once.
func join(notes, note string) string {
	switch {
	case notes == "":
		return note
	case strings.Contains(notes+",", note+","):
		return notes
	}
	return notes + ", " + note
}

// lineOf finds the line that holds a text.
func (d *doc) lineOf(what string) (int, bool) {
	what = strings.TrimSpace(what)
	if what == "" {
		return 0, false
	}
	for i := range d.lines {
		if bytes.Contains([]byte(d.lineText(i)), []byte(what)) {
			return i, true
		}
	}
	return 0, false
}
