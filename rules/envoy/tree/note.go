package tree

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Note is something odd in a text that was read all the same.
type Note struct {
	At   int // offset in the text
	What string
}

const (
	// maxNotes is how many notes are kept; the others are counted.
	maxNotes = 16
	// maxNames bounds the names of open objects that are kept: of more it is not known
	// whether one is there twice.
	maxNames = 1 << 16
	// pairsUpTo is the number of names up to which each is compared with each.
	pairsUpTo = 16
)

// Notes are what a Scanner that checks met, in order of the text as far as they are kept.
type Notes struct {
	List  []Note
	More  int    // how many came beyond those of List
	names []span // of the members of the objects that are open, each object's behind a mark
	full  bool
}

// span is where a name stands; start -1 marks where an object begins.
type span struct{ start, end int }

func (n *Notes) add(at int, what string) {
	if len(n.List) == maxNotes {
		n.More++
		return
	}
	n.List = append(n.List, Note{at, what})
}

// open is told of an object that begins, name of each of its members' names, and shut of
// its end: then the names are compared.
func (n *Notes) open() {
	if n != nil {
		n.names = append(n.names, span{start: -1})
	}
}

func (n *Notes) name(start, end int) {
	switch {
	case n == nil:
	case len(n.names) < maxNames:
		n.names = append(n.names, span{start, end})
	case !n.full:
		n.full = true
		n.add(start, "more members than are compared: one may be there twice")
	}
}

func (n *Notes) shut(raw []byte) {
	if n == nil {
		return
	}
	i := len(n.names)
	for n.names[i-1].start >= 0 {
		i--
	}
	list := n.names[i:]
	if n.names = n.names[:i-1]; len(list) > pairsUpTo {
		n.sorted(raw, list)
		return
	}
	for k := 1; k < len(list); k++ {
		for _, before := range list[:k] {
			if before.end-before.start == list[k].end-list[k].start && string(raw[before.start:before.end]) == string(raw[list[k].start:list[k].end]) {
				n.twice(raw, list[k])
				break
			}
		}
	}
}

// sorted compares many names.
func (n *Notes) sorted(raw []byte, list []span) {
	slices.SortFunc(list, func(a, b span) int {
		if c := bytes.Compare(raw[a.start:a.end], raw[b.start:b.end]); c != 0 {
			return c
		}
		return a.start - b.start
	})
	for k := 1; k < len(list); k++ {
		if a, b := list[k-1], list[k]; bytes.Equal(raw[a.start:a.end], raw[b.start:b.end]) {
			n.twice(raw, b)
		}
	}
}

func (n *Notes) twice(raw []byte, name span) {
	text := raw[name.start:name.end]
	if len(text) > 40 {
		text = append(bytes.ToValidUTF8(text[:40], nil), "…"...)
	}
	n.add(name.start, "member "+strconv.Quote(string(text))+" is there again: the last one counts")
}

// text is told of a string with bytes above ASCII.
func (n *Notes) text(raw []byte, start, end int) {
	if n != nil && !utf8.Valid(raw[start:end]) {
		n.add(start, "a string that is not UTF-8")
	}
}
