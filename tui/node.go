package tui

import (
	"encoding/json"
	"sort"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// node is a value of a JSON text by its place in it. What is below it is looked at when
// it is opened: a document costs what is open, not what it holds.
type node struct {
	parent *node
	key    string // of a member; empty for elements and the root
	index  int    // among its siblings
	begin  int    // where the member begins, its key included
	from   int    // where the value begins
	to     int    // and ends
	kids   []*node
	looked bool // kids are known
	open   bool
}

// container says whether the value has something below it.
func (n *node) container(data []byte) bool {
	switch data[n.from] {
	case '{', '[':
		return n.to-n.from > 2
	}
	return false
}

func (n *node) list(data []byte) bool { return data[n.from] == '[' }

// look finds the kids.
func (n *node) look(data []byte) []*node {
	if !n.looked {
		n.kids, n.looked = n.read(data), true
	}
	return n.kids
}

// read is look, and changes nothing.
func (n *node) read(data []byte) (kids []*node) {
	s := tree.Scanner{Raw: data}
	add := func(key string, begin, at int) (int, error) {
		end, err := s.Skip(at)
		if err == nil {
			kids = append(kids, &node{parent: n, key: key, index: len(kids), begin: begin, from: at, to: end})
		}
		return end, err
	}
	// An error cannot come: the whole value was skipped, and so checked, before.
	switch data[n.from] {
	case '{':
		_, _ = s.Object(n.from, func(name []byte, at int) (int, error) {
			begin := at - len(name) - 3
			return add(unquote(name), max(begin, n.from), at)
		})
	case '[':
		_, _ = s.List(n.from, func(_, at int) (int, error) { return add("", at, at) })
	}
	return kids
}

// unquote is a member's name as it reads.
func unquote(name []byte) string {
	if strings.IndexByte(string(name), '\\') < 0 {
		return string(name)
	}
	var s string
	if json.Unmarshal([]byte(`"`+string(name)+`"`), &s) != nil {
		return string(name)
	}
	return s
}

// at finds the node that a pointer names below n, and opens what leads there.
func (n *node) at(data []byte, pointer string) (*node, bool) {
	if pointer == "" {
		return n, true
	}
	for _, tok := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		tok = strings.ReplaceAll(strings.ReplaceAll(tok, "~1", "/"), "~0", "~")
		var next *node
		for _, k := range n.look(data) {
			if k.key == tok && !n.list(data) || n.list(data) && itoa(k.index) == tok {
				next = k
			}
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// holding finds the innermost node whose text holds the offset. It changes nothing: what it had
// to read on the way stands in read.
func (n *node) holding(data []byte, offset int, read map[*node][]*node) *node {
	for n.container(data) {
		kids := n.kids
		if !n.looked {
			kids = n.read(data)
			read[n] = kids
		}
		i := sort.Search(len(kids), func(i int) bool { return kids[i].to > offset })
		if i == len(kids) || offset < kids[i].begin {
			return n
		}
		n = kids[i]
	}
	return n
}

// reveal opens what n is in.
func (n *node) reveal() {
	for p := n.parent; p != nil; p = p.parent {
		p.open = true
	}
}

// unfold opens what is below n, level by level, until about budget rows are open.
func (n *node) unfold(data []byte, budget int) {
	level := []*node{n}
	for len(level) > 0 {
		var below []*node
		for _, k := range level {
			if !k.container(data) {
				continue
			}
			kids := k.look(data)
			if k != n && len(kids) > budget {
				continue
			}
			k.open = true
			budget -= len(kids)
			below = append(below, kids...)
		}
		level = below
	}
}

// path is where the node is, as people write it: filter_chains[0].filters[1].
func (n *node) path(data []byte) string {
	if n.parent == nil {
		return ""
	}
	up := n.parent.path(data)
	if n.parent.list(data) {
		return up + "[" + itoa(n.index) + "]"
	}
	if up == "" {
		return n.key
	}
	return up + "." + n.key
}

// pointer is the JSON pointer of n below the root (RFC 6901).
func (n *node) pointer(data []byte) string {
	if n.parent == nil {
		return ""
	}
	tok := itoa(n.index)
	if !n.parent.list(data) {
		tok = strings.ReplaceAll(strings.ReplaceAll(n.key, "~", "~0"), "/", "~1")
	}
	return n.parent.pointer(data) + "/" + tok
}
