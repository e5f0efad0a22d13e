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

// MaxDoc bounds the bytes of one document: less than that can be read as one object.
const MaxDoc = 1 << 28

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

// token is one value of the document, in eight bytes: where it begins, its kind and whether
// it holds escapes in head; in tail where it ends, or for a list or object the token after
// it. The last token of a list or object is its closer, whose head is where it ends. Of a
// string begin and end are those without the quotes.
type token struct{ head, tail uint32 }

// manyTokens is what a document has room for at first.
const manyTokens = 1 << 18

const (
	startMask  = MaxDoc - 1
	kindShift  = 28
	escapedBit = 1 << 31
)

func (t token) start() uint32 { return t.head & startMask }
func (t token) kind() Kind    { return Kind(t.head >> kindShift & 7) }
func (t token) escaped() bool { return t.head&escapedBit != 0 }

// next is the token after value i and all inside it.
func (d *Doc) next(i uint32) uint32 {
	if t := d.tape[i]; t.kind() >= List && t.kind() <= Object {
		return t.tail
	}
	return i + 1
}

// end is where value i ends.
func (d *Doc) end(i uint32) uint32 {
	if t := d.tape[i]; t.kind() >= List && t.kind() <= Object {
		return d.tape[t.tail-1].head
	}
	return d.tape[i].tail
}

// inside are the tokens of the members or elements of value i: from, and the closer.
func (d *Doc) inside(i uint32) (from, closer uint32) { return i + 1, d.tape[i].tail - 1 }

// bytes is the text of token i, of a string without its quotes.
func (d *Doc) bytes(i uint32) []byte { return d.raw[d.tape[i].start():d.end(i)] }

// Doc is one parsed document. It does not change after Parse.
type Doc struct {
	Source string // the part of the snapshot that it stands in
	Ref    string // JSON pointer (RFC 6901) of its root in that part
	Wrong  string // what makes all of it unreadable, as the reader who knows the fields says
	// Text, if not nil, is the root's text where the document holds less of it.
	Text []byte
	raw  []byte
	at   int64
	tape []token
	odd  []Oddity // in no order
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
	if len(raw) >= MaxDoc {
		return nil, &SyntaxError{At: at, Msg: "a single object of 256 MiB or more"}
	}
	p := parser{doc: d, scan: Scanner{Raw: raw}}
	d.tape = make([]token, 0, min(len(raw)/24+4, manyTokens)) // text may be one long string
	i, err := p.value(space(raw, 0), 0)
	if err == nil {
		if i = space(raw, i); i != len(raw) {
			err = p.fail(i, "more text after the value")
		}
	}
	if err, ok := err.(*SyntaxError); ok {
		return nil, &SyntaxError{At: at + err.At, Msg: err.Msg}
	}
	if cap(d.tape) > len(d.tape)+len(d.tape)/8 { // documents are kept: no slack
		d.tape = append(make([]token, 0, len(d.tape)), d.tape...)
	}
	return d, nil
}

// Size is about how many bytes the document takes, beside its text.
func (d *Doc) Size() int64 { return int64(8*cap(d.tape) + 160 + len(d.Ref)) }

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

func (p *parser) push(k Kind, start, end int) int {
	t := len(p.doc.tape)
	p.doc.tape = append(p.doc.tape, token{head: uint32(start) | uint32(k)<<kindShift, tail: uint32(end)})
	return t
}

// close ends the list or object of token t before end.
func (p *parser) close(t, end int) int {
	p.doc.tape = append(p.doc.tape, token{head: uint32(end)})
	p.doc.tape[t].tail = uint32(len(p.doc.tape))
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
			return p.close(t, i+1), nil
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
	end, escaped, err := p.scan.str(i)
	if err != nil {
		return end, err
	}
	t := p.push(k, i+1, end-1)
	if escaped {
		p.doc.tape[t].head |= escapedBit
	}
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
