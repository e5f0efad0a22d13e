package tui

import (
	"sort"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// A dump may have 200 MB: what goes through all of it is done in a command. The nodes of a
// document change only where an answer is taken; until then keys wait.

// seek is what is looked for in a document.
type seek struct {
	doc  *doc
	what string
	from int // the match at hand; -1: none
	by   int // 1: the next match, -1: the one before, 0: what is below open
	open *node
	hits int // -1: not counted yet
}

// found is where it is.
type found struct {
	hit       int // -1: nowhere
	nth, hits int // hits -1: not counted
	node      *node
	kids      map[*node][]*node // what was looked at on the way there
}

// soughtMsg: a document was searched.
type soughtMsg struct {
	gen int
	seek
	found
}

// seek searches in a command.
func (m *model) seek(by int, open *node) tea.Cmd {
	t := &m.config
	s := seek{doc: t.doc, what: t.what, from: t.hit, by: by, open: open, hits: t.hits}
	m.s.docGen++
	m.ahead.seeking = true
	gen := m.s.docGen
	if open == nil {
		m.s.say = "searching for " + render.Clean(t.what) + style.Ellipsis
	}
	return func() tea.Msg { return soughtMsg{gen, s, s.run()} }
}

func (m *model) gotSought(s soughtMsg) {
	if s.gen != m.s.docGen || s.doc != m.config.doc {
		return
	}
	m.ahead.seeking = false
	m.s.say = ""
	adopt(s.kids)
	if s.open != nil {
		s.open.open = true
		m.config.again(s.open)
		return
	}
	if m.config.take(s.found); s.hit < 0 {
		m.s.say = "not found: " + render.Clean(s.what)
	}
}

// adopt gives nodes what is below them.
func adopt(kids map[*node][]*node) {
	for n, k := range kids {
		if !n.looked {
			n.kids, n.looked = k, true
		}
	}
}

// take goes to a match.
func (t *configScreen) take(f found) {
	t.hits, t.nth = f.hits, f.nth
	if f.hit < 0 {
		return
	}
	t.hit = f.hit
	if f.node == nil {
		t.sel = max(sort.SearchInts(t.doc.lines, f.hit+1)-1, 0)
		return
	}
	f.node.reveal()
	t.again(f.node)
}

// run searches. It changes nothing.
func (s seek) run() found {
	f := found{hit: -1, hits: s.hits, kids: map[*node][]*node{}}
	if s.open != nil {
		f.kids[s.open] = s.open.read(s.doc.data)
		return f
	}
	s.count(&f)
	if s.by > 0 {
		if f.hit = s.doc.find(s.what, s.from+1); f.hit < 0 {
			f.hit = s.doc.find(s.what, 0)
		}
	} else {
		f.hit = s.before()
	}
	if f.hit < 0 {
		return f
	}
	if f.hits > 0 {
		for k := s.doc.find(s.what, 0); k >= 0 && k <= f.hit; k = s.doc.find(s.what, k+1) {
			f.nth++
		}
	}
	if s.doc.root != nil {
		f.node = s.doc.root.holding(s.doc.data, f.hit, f.kids)
	}
	return f
}

// count counts the matches where that costs nothing to speak of.
func (s seek) count(f *found) {
	const small = 8 << 20
	if f.hits >= 0 || len(s.doc.data) > small {
		return
	}
	f.hits = 0
	for i := s.doc.find(s.what, 0); i >= 0; i = s.doc.find(s.what, i+1) {
		f.hits++
	}
}

// before is the last match before the one at hand, or the last of all.
func (s seek) before() int {
	last, all := -1, -1
	for k := s.doc.find(s.what, 0); k >= 0; k = s.doc.find(s.what, k+1) {
		if k < s.from {
			last = k
		}
		all = k
	}
	if last >= 0 {
		return last
	}
	return all
}
