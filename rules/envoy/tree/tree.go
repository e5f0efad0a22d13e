// Package tree reads one JSON object at a time, leniently in what it accepts of a value and
// strictly in what it accepts as JSON: an own small reader, because a typed one refuses a
// whole dump for one extension that it does not know.
package tree

import (
	"strconv"
)

// MaxDepth bounds the nesting of a document. Envoy's own protobuf reader stops at 100
// messages, each of which may stand in a list of an object.
const MaxDepth = 512

// Kind is what a JSON value is.
type Kind uint8

const (
	Missing Kind = iota
	Null
	Bool
	Number
	String
	List
	Object
	key // the name of an object's member; its value is the next token
)

// token is one value of the document; next is the token after it and all inside it.
type token struct {
	start, end uint32 // in raw; of a string without its quotes
	next       uint32
	kind       Kind
	escaped    bool
}

// Doc is one parsed document. It does not change after Parse.
type Doc struct {
	Source string // the part of the snapshot that it stands in
	Ref    string // JSON pointer (RFC 6901) of its root in that part
	Notes  []Note // what was odd, but read
	// Text, if not nil, is the root's text where the document holds less of it.
	Text []byte
	raw  []byte
	at   int64
	tape []token
}

// Note is something odd in a document that was read all the same.
type Note struct {
	At   int64 // offset in the part
	What string
}

// SyntaxError is where and why a text is not JSON.
type SyntaxError struct {
	At  int64 // offset in the part
	Msg string
}

func (e *SyntaxError) Error() string {
	return "byte " + strconv.FormatInt(e.At, 10) + ": " + e.Msg
}

// Parse reads the one value that raw holds; at is the offset of raw in its part.
// The document refers to raw, which must not change.
func Parse(raw []byte, at int64) (*Doc, error) {
	d := &Doc{raw: raw, at: at}
	if uint64(len(raw)) >= 1<<32 {
		return nil, &SyntaxError{At: at, Msg: "a single value of 4 GiB or more"}
	}
	p := parser{doc: d, scan: Scanner{Raw: raw}}
	d.tape = make([]token, 0, len(raw)/24+4)
	i, err := p.value(space(raw, 0), 0)
	if err == nil {
		if i = space(raw, i); i != len(raw) {
			err = p.fail(i, "more text after the value")
		}
	}
	if err, ok := err.(*SyntaxError); ok {
		return nil, &SyntaxError{At: at + err.At, Msg: err.Msg}
	}
	return d, nil
}

// Root is the document's value.
func (d *Doc) Root() Node {
	if d == nil || len(d.tape) == 0 {
		return Node{}
	}
	return Node{doc: d}
}

// parser builds the tape; the scanner reads the text.
type parser struct {
	doc  *Doc
	scan Scanner
}

func (p *parser) fail(i int, msg string) error { return p.scan.fail(i, msg) }

func (p *parser) note(i int, what string) {
	if len(p.doc.Notes) < 100 {
		p.doc.Notes = append(p.doc.Notes, Note{At: p.doc.at + int64(i), What: what})
	}
}

func (p *parser) push(k Kind, start, end int) int {
	t := len(p.doc.tape)
	p.doc.tape = append(p.doc.tape, token{start: uint32(start), end: uint32(end), next: uint32(t + 1), kind: k})
	return t
}

func (p *parser) close(t, end int) int {
	p.doc.tape[t].end, p.doc.tape[t].next = uint32(end), uint32(len(p.doc.tape))
	return end
}

func (p *parser) value(i, depth int) (int, error) {
	raw := p.doc.raw
	if depth > MaxDepth {
		return i, p.fail(i, "nested deeper than "+strconv.Itoa(MaxDepth))
	}
	if i >= len(raw) {
		return i, p.fail(i, "")
	}
	switch raw[i] {
	case '{':
		return p.object(i, depth)
	case '[':
		return p.list(i, depth)
	case '"':
		return p.str(i, String)
	}
	end, err := p.scan.scalar(i)
	if err != nil {
		return end, err
	}
	kind := Number
	switch raw[i] {
	case 't', 'f':
		kind = Bool
	case 'n':
		kind = Null
	}
	p.push(kind, i, end)
	return end, nil
}

func (p *parser) object(i, depth int) (int, error) {
	t := p.push(Object, i, i)
	raw := p.doc.raw
	i = space(raw, i+1)
	if i < len(raw) && raw[i] == '}' {
		return p.close(t, i+1), nil
	}
	for {
		var err error
		if i >= len(raw) || raw[i] != '"' {
			return i, p.fail(i, "a member's name is missing")
		}
		if i, err = p.str(i, key); err != nil {
			return i, err
		}
		if i = space(raw, i); i >= len(raw) || raw[i] != ':' {
			return i, p.fail(i, "a colon is missing")
		}
		if i, err = p.value(space(raw, i+1), depth+1); err != nil {
			return i, err
		}
		i = space(raw, i)
		if i < len(raw) && raw[i] == '}' {
			p.close(t, i+1)
			p.duplicates(t)
			return i + 1, nil
		}
		if i >= len(raw) || raw[i] != ',' {
			return i, p.fail(i, "a comma is missing")
		}
		i = space(raw, i+1)
	}
}

func (p *parser) list(i, depth int) (int, error) {
	t := p.push(List, i, i)
	raw := p.doc.raw
	i = space(raw, i+1)
	if i < len(raw) && raw[i] == ']' {
		return p.close(t, i+1), nil
	}
	for {
		var err error
		if i, err = p.value(i, depth+1); err != nil {
			return i, err
		}
		i = space(raw, i)
		if i < len(raw) && raw[i] == ']' {
			return p.close(t, i+1), nil
		}
		if i >= len(raw) || raw[i] != ',' {
			return i, p.fail(i, "a comma is missing")
		}
		i = space(raw, i+1)
	}
}

// str reads the string at i.
func (p *parser) str(i int, k Kind) (int, error) {
	odd := p.scan.NotUTF8
	end, escaped, err := p.scan.str(i)
	if err != nil {
		return end, err
	}
	if p.scan.NotUTF8 > odd {
		p.note(i, "a string that is not UTF-8")
	}
	t := p.push(k, i+1, end-1)
	p.doc.tape[t].escaped = escaped
	return end, nil
}

// numberEnd is where the number at i ends (RFC 8259, 6), or -1.
func numberEnd(raw []byte, i int) int {
	digits := func(i int) int {
		j := i
		for j < len(raw) && raw[j] >= '0' && raw[j] <= '9' {
			j++
		}
		if j == i {
			return -1
		}
		return j
	}
	if raw[i] == '-' {
		i++
	}
	first := i
	if i = digits(i); i < 0 || raw[first] == '0' && i > first+1 {
		return -1
	}
	if i < len(raw) && raw[i] == '.' {
		if i = digits(i + 1); i < 0 {
			return -1
		}
	}
	if i < len(raw) && (raw[i] == 'e' || raw[i] == 'E') {
		i++
		if i < len(raw) && (raw[i] == '+' || raw[i] == '-') {
			i++
		}
		i = digits(i)
	}
	return i
}

// duplicates notes members of one object that bear the same name; the last one counts,
// as in Envoy's reader.
func (p *parser) duplicates(t int) {
	tape := p.doc.tape
	var seen map[string]struct{}
	n := 0
	for k := t + 1; k < int(tape[t].next); k = int(tape[k+1].next) {
		name := p.doc.raw[tape[k].start:tape[k].end]
		dup := false
		if n < 12 {
			for j := t + 1; j < k; j = int(tape[j+1].next) {
				dup = dup || string(p.doc.raw[tape[j].start:tape[j].end]) == string(name)
			}
		} else {
			if seen == nil {
				seen = p.names(t, k)
			}
			_, dup = seen[string(name)]
			seen[string(name)] = struct{}{}
		}
		if dup {
			p.note(int(tape[k].start), "a member named twice")
		}
		n++
	}
}

func (p *parser) names(t, end int) map[string]struct{} {
	seen := map[string]struct{}{}
	for j := t + 1; j < end; j = int(p.doc.tape[j+1].next) {
		seen[string(p.doc.raw[p.doc.tape[j].start:p.doc.tape[j].end])] = struct{}{}
	}
	return seen
}
