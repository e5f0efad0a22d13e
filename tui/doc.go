package tui

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/mask"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// doc is a part of a snapshot, or one object of it, to be read: JSON as a tree of which
// only the open parts are known, or lines of text.
type doc struct {
	part    string // of the snapshot
	pointer string // JSON pointer of the root in the part; empty: the whole
	title   string
	data    []byte
	masked  int // secrets that are hidden

	root   *node // nil: text
	asJSON bool
	rows   []docRow
	notes  map[*node]string
	closed map[*node]string // what is said of containers that are closed

	lines     []int // of a text: where each line begins
	lineNotes map[int]string
}

// docRow is one row of a tree.
type docRow struct {
	n     *node
	outer *node // the outermost element whose dash stands in this row; n where there is none
	depth int
	dash  int  // dashes before it
	close bool // the closing bracket of n, in JSON
	// block is the number of a line of a string of several, from 1; 0: no such line.
	block int
}

// newDoc makes a document of a part's bytes or of those of one object in it. Secrets are
// masked before anything can be seen.
func newDoc(part, pointer string, data []byte) (*doc, error) {
	masked, n, err := mask.Part(part, data)
	if err != nil {
		return nil, err
	}
	d := &doc{part: part, pointer: pointer, data: masked, masked: n, notes: map[*node]string{}, closed: map[*node]string{}, lineNotes: map[int]string{}}
	s := tree.Scanner{Raw: masked}
	from := s.Space(0)
	if to, err := s.Skip(from); err == nil && from < len(masked) && (masked[from] == '{' || masked[from] == '[') && s.Space(to) == len(masked) {
		d.root = &node{from: from, begin: from, to: to, open: true}
		return d, nil
	}
	for i, at := 0, 0; i <= len(masked); {
		j := bytes.IndexByte(masked[i:], '\n')
		if j < 0 {
			if i < len(masked) || at == 0 {
				d.lines = append(d.lines, i)
			}
			break
		}
		d.lines, at = append(d.lines, i), at+1
		i += j + 1
	}
	return d, nil
}

// size is the number of rows.
func (d *doc) size() int {
	if d.root == nil {
		return len(d.lines)
	}
	return len(d.rows)
}

// layOut makes the rows of what is open.
func (d *doc) layOut() {
	if d.root == nil {
		return
	}
	d.rows = d.rows[:0]
	if d.asJSON {
		d.layJSON(d.root, 0)
		return
	}
	for _, k := range d.root.look(d.data) {
		d.layYAML(k, nil, 0, b2i(d.root.list(d.data)))
	}
	if len(d.rows) == 0 {
		d.rows = append(d.rows, docRow{n: d.root, outer: d.root})
	}
}

// layYAML lays out n: an open element's first member stands behind its dash, and a list
// begins in the column of its key.
func (d *doc) layYAML(n, outer *node, depth, dash int) {
	if outer == nil {
		outer = n
	}
	if !n.open || !n.container(d.data) {
		d.rows = append(d.rows, docRow{n: n, outer: outer, depth: depth, dash: dash})
		for i := range d.blockLines(n) {
			d.rows = append(d.rows, docRow{n: n, outer: n, depth: depth + dash + 1, block: i + 1})
		}
		return
	}
	element := n.parent != nil && n.parent.list(d.data)
	list := n.list(d.data)
	if !element {
		d.rows = append(d.rows, docRow{n: n, outer: outer, depth: depth, dash: dash})
		if depth += dash; !list {
			depth++
		}
		for _, k := range n.look(d.data) {
			d.layYAML(k, nil, depth, b2i(list))
		}
		return
	}
	for i, k := range n.look(d.data) {
		if i == 0 {
			d.layYAML(k, outer, depth, dash+b2i(list))
			continue
		}
		d.layYAML(k, nil, depth+dash, b2i(list))
	}
}

// blockLines are the lines of a string that has several, such as a script; YAML writes
// it as a block.
func (d *doc) blockLines(n *node) []string {
	raw := d.data[n.from:n.to]
	if raw[0] != '"' || len(raw) > longBlock || !bytes.Contains(raw, []byte(`\n`)) {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || !strings.Contains(strings.TrimRight(s, "\n"), "\n") {
		return nil
	}
	return strings.Split(strings.TrimRight(s, "\n"), "\n")
}

func (d *doc) layJSON(n *node, depth int) {
	d.rows = append(d.rows, docRow{n: n, outer: n, depth: depth})
	if !n.open || !n.container(d.data) {
		return
	}
	for _, k := range n.look(d.data) {
		d.layJSON(k, depth+1)
	}
	d.rows = append(d.rows, docRow{n: n, outer: n, depth: depth, close: true})
}

// row is row i in words.
func (d *doc) row(i int) line {
	if d.root == nil {
		return d.textRow(i)
	}
	r := d.rows[i]
	l := d.lead(r)
	if d.asJSON {
		l = d.jsonRow(l, r)
	} else {
		l = d.yamlRow(l, r)
	}
	return l
}

// margin is the note of row i.
func (d *doc) margin(i int) string {
	if d.root == nil {
		return d.lineNotes[i]
	}
	return d.note(d.rows[i])
}

// lead is the fold mark and the indent.
func (d *doc) lead(r docRow) line {
	g := " "
	switch {
	case r.close, r.block > 0:
	case r.n.container(d.data) && r.n.open && r.n.parent != nil:
		g = style.Unfolded
	case r.n.container(d.data) && !r.n.open:
		g = style.Folded
	}
	return text(style.Faint, g+" ").with(style.Plain, strings.Repeat("  ", r.depth)+strings.Repeat("- ", r.dash))
}

func (d *doc) yamlRow(l line, r docRow) line {
	if r.block > 0 {
		return l.with(style.Plain, render.Clean(strings.ReplaceAll(d.blockLines(r.n)[r.block-1], "\t", "    ")))
	}
	if r.n.key != "" || r.n.parent != nil && !r.n.parent.list(d.data) {
		l = l.with(style.Goes, render.Clean(r.n.key)).with(style.Plain, ":")
		if r.n.open && r.n.container(d.data) {
			return l
		}
		l = l.with(style.Plain, " ")
	}
	if d.blockLines(r.n) != nil {
		return l.with(style.Plain, "|")
	}
	return l.with(d.ink(r.n), d.value(r.n))
}

func (d *doc) jsonRow(l line, r docRow) line {
	comma := ","
	if r.n.parent == nil || r.n.index == len(r.n.parent.kids)-1 {
		comma = ""
	}
	open, shut := "{", "}"
	if r.n.list(d.data) {
		open, shut = "[", "]"
	}
	if r.close {
		return l.with(style.Plain, shut+comma)
	}
	if r.n.parent != nil && !r.n.parent.list(d.data) {
		l = l.with(style.Goes, `"`+render.Clean(r.n.key)+`"`).with(style.Plain, ": ")
	}
	if r.n.container(d.data) && r.n.open {
		return l.with(style.Plain, open)
	}
	if r.n.container(d.data) {
		return l.with(style.Faint, d.value(r.n)+comma)
	}
	return l.with(style.Plain, render.Clean(string(d.data[r.n.from:min(r.n.to, r.n.from+longValue)]))+comma)
}

func (d *doc) ink(n *node) style.Ink {
	if n.container(d.data) {
		return style.Faint
	}
	return style.Plain
}

const (
	longValue = 4 << 10  // bytes of a value that a row shows at most
	longBlock = 64 << 10 // of a string that is shown in lines
)

// value is a scalar as YAML writes it, or what is in a closed container.
func (d *doc) value(n *node) string {
	raw := d.data[n.from:n.to]
	switch {
	case n.container(d.data):
		return d.summary(n)
	case len(raw) > longValue:
		return render.Clean(string(raw[:longValue])) + style.Ellipsis + " " + bytesWord(int64(len(raw)))
	case raw[0] == '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return render.Clean(string(raw))
		}
		return yamlWord(s)
	}
	return render.Clean(string(raw))
}

// summary is a closed container in one row; a big one is not counted.
func (d *doc) summary(n *node) string {
	const big = 1 << 20
	if n.to-n.from > big && !n.looked {
		return "{ " + style.Ellipsis + " " + bytesWord(int64(n.to-n.from)) + " }"
	}
	if s, ok := d.closed[n]; ok {
		return s
	}
	kids := n.kids
	if !n.looked {
		kids = n.read(d.data) // a frame must not change a node that is being searched
	}
	s := d.counted(n, kids)
	d.closed[n] = s
	return s
}

// counted says how much is in a container, and its name.
func (d *doc) counted(n *node, kids []*node) string {
	if n.list(d.data) {
		return "[ " + itoa(len(kids)) + plural(len(kids), " item") + " ]"
	}
	for _, k := range kids {
		if k.key == "name" && d.data[k.from] == '"' {
			return "{ name: " + d.value(k) + ", " + itoa(len(kids)) + plural(len(kids), " key") + " }"
		}
	}
	return "{ " + itoa(len(kids)) + plural(len(kids), " key") + " }"
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// yamlWord quotes s where YAML would read something else than this string.
func yamlWord(s string) string {
	bare := s != "" && !strings.ContainsAny(s, "\n\"'#{}[],&*!|>%@`") && strings.TrimSpace(s) == s && !strings.Contains(s, ": ") &&
		!strings.HasSuffix(s, ":") && !strings.HasPrefix(s, "- ") && !strings.HasPrefix(s, "?")
	if bare {
		switch strings.ToLower(s) {
		case "true", "false", "null", "yes", "no", "on", "off", "~", "y", "n":
			bare = false
		}
		first := rune(s[0])
		if unicode.IsDigit(first) || first == '-' || first == '.' || first == '+' {
			bare = strings.Count(s, ".") > 1 || strings.Trim(s, "0123456789.-+eExXobOB_") != ""
		}
	}
	if bare {
		return render.Clean(s)
	}
	return `"` + strings.ReplaceAll(strings.ReplaceAll(render.Clean(s), `"`, `\"`), "\t", `\t`) + `"`
}

// note ties a row to a step of the trace.
func (d *doc) note(r docRow) string {
	if r.close || r.block > 0 {
		return ""
	}
	for n := r.n; n != nil; n = n.parent {
		if s := d.notes[n]; s != "" {
			return s
		}
		if n == r.outer {
			return ""
		}
	}
	return ""
}

func (d *doc) textRow(i int) line {
	s := d.lineText(i)
	return text(style.Plain, "  "+render.Clean(strings.ReplaceAll(s[:min(len(s), longValue)], "\t", "    ")))
}

func (d *doc) lineText(i int) string {
	end := len(d.data)
	if i+1 < len(d.lines) {
		end = d.lines[i+1]
	}
	return strings.TrimRight(string(d.data[d.lines[i]:end]), "\r\n")
}

// rowOf is the row in which a node stands.
func (d *doc) rowOf(n *node) int {
	for i, r := range d.rows {
		for k := r.n; k != nil && !r.close && r.block == 0; k = k.parent {
			if k == n {
				return i
			}
			if k == r.outer {
				break
			}
		}
	}
	return 0
}

// find is the next place of a text at or after an offset, any case unless it has
// capitals; -1: none.
func (d *doc) find(what string, from int) int {
	if what == "" || from < 0 || from > len(d.data) {
		return -1
	}
	pat := []byte(what)
	if strings.ToLower(what) != what {
		if i := bytes.Index(d.data[from:], pat); i >= 0 {
			return from + i
		}
		return -1
	}
	return indexFold(d.data, pat, from)
}

// indexFold finds pat, which is lower case, whatever the case of ASCII letters in data.
func indexFold(data, pat []byte, from int) int {
	lo, up := newSeeker(data, pat[0]), newSeeker(data, upper(pat[0]))
	for i := from; i+len(pat) <= len(data); i++ {
		i = min(lo.next(i), up.next(i))
		if i+len(pat) > len(data) {
			return -1
		}
		if equalFold(data[i:i+len(pat)], pat) {
			return i
		}
	}
	return -1
}

// seeker finds one byte again and again, and looks at each part of data once.
type seeker struct {
	data []byte
	c    byte
	at   int
}

func newSeeker(data []byte, c byte) *seeker { return &seeker{data, c, -1} }

// next is the first place at or after i, or the end.
func (s *seeker) next(i int) int {
	if s.at >= i {
		return s.at
	}
	if j := bytes.IndexByte(s.data[i:], s.c); j >= 0 {
		s.at = i + j
	} else {
		s.at = len(s.data)
	}
	return s.at
}

func equalFold(a, b []byte) bool {
	for i := range b {
		if a[i] != b[i] && a[i] != upper(b[i]) {
			return false
		}
	}
	return true
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 32
	}
	return c
}
