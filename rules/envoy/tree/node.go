package tree

import (
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
)

// Node is one value of a document. The zero Node is a value that is not there; it answers
// every question with the default, as an absent field of a protobuf message does.
// Nodes are comparable: equal nodes are the same place of the same document.
type Node struct {
	doc *Doc
	i   uint32
}

// Doc is the document that the value stands in; nil for the zero Node.
func (n Node) Doc() *Doc { return n.doc }

// Kind is what the value is; Missing for the zero Node.
func (n Node) Kind() Kind {
	if n.doc == nil {
		return Missing
	}
	return n.doc.tape[n.i].kind()
}

// Exists says whether the value is there and not null: null means unset in protobuf's JSON.
func (n Node) Exists() bool { return n.Kind() > Null }

// IsObject says whether the value is an object.
func (n Node) IsObject() bool { return n.Kind() == Object }

// Raw is the value's text as it stands in the part; nil for the zero Node.
func (n Node) Raw() []byte {
	if n.doc == nil {
		return nil
	}
	if n.i == 0 && n.doc.Text != nil {
		return n.doc.Text
	}
	start, end := n.span()
	return n.doc.raw[start:end]
}

// Size is the length of the value's text.
func (n Node) Size() int64 {
	start, end := n.span()
	return int64(end - start)
}

// Offset is where the value's text begins in its part.
func (n Node) Offset() int64 {
	if n.doc == nil {
		return 0
	}
	start, _ := n.span()
	return n.doc.at + int64(start)
}

func (n Node) span() (start, end uint32) {
	if n.doc == nil {
		return 0, 0
	}
	start, end = n.doc.tape[n.i].start(), n.doc.end(n.i)
	if k := n.Kind(); k == String || k == key {
		return start - 1, end + 1
	}
	return start, end
}

// Source is the part of the snapshot that the value stands in.
func (n Node) Source() string {
	if n.doc == nil {
		return ""
	}
	return n.doc.Source
}

// Field is the object's member of one of these names, written in snake_case here and in
// snake_case or lowerCamelCase in the text. Of several the last one counts. It is the zero
// Node where there is none.
func (n Node) Field(names ...string) Node {
	var found Node
	if n.Kind() != Object {
		return found
	}
	d := n.doc
	from, closer := d.inside(n.i)
	for k := from; k < closer; k = d.next(k + 1) {
		for _, name := range names {
			if d.named(k, name) {
				found = Node{d, k + 1}
			}
		}
	}
	return found
}

// FieldName is the name of the object's member as the text writes it; empty: there is none.
func (n Node) FieldName(name string) string {
	found := ""
	if n.Kind() != Object {
		return found
	}
	d := n.doc
	from, closer := d.inside(n.i)
	for k := from; k < closer; k = d.next(k + 1) {
		if d.named(k, name) {
			found = d.text(k)
		}
	}
	return found
}

// Path is Field, member by member.
func (n Node) Path(names ...string) Node {
	for _, name := range names {
		n = n.Field(name)
	}
	return n
}

// Key is the object's member of exactly this name: for maps, whose keys are data.
func (n Node) Key(name string) Node {
	var found Node
	if n.Kind() != Object {
		return found
	}
	d := n.doc
	from, closer := d.inside(n.i)
	for k := from; k < closer; k = d.next(k + 1) {
		if b := d.bytes(k); string(b) == name && !d.tape[k].escaped() || d.tape[k].escaped() && unescape(b) == name {
			found = Node{d, k + 1}
		}
	}
	return found
}

// named says whether token k is the name, as written or in lowerCamelCase.
func (d *Doc) named(k uint32, name string) bool {
	t := d.tape[k]
	if t.escaped() {
		return unescape(d.bytes(k)) == name
	}
	return Named(d.raw[t.start():t.tail], name)
}

// Named says whether got, a member's name as it stands in the text, is the field name
// (in snake_case), as written or in lowerCamelCase.
func Named(got []byte, name string) bool {
	if len(got) >= len(name) {
		return string(got) == name
	}
	if len(got) == 0 || got[0] != name[0] {
		return false
	}
	g := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '_' && i+1 < len(name) {
			i++
			if c = name[i]; c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
		}
		if g >= len(got) || got[g] != c {
			return false
		}
		g++
	}
	return g == len(got)
}

// Members are the object's members in order of the text, names unescaped.
func (n Node) Members() iter.Seq2[string, Node] {
	return func(yield func(string, Node) bool) {
		if n.Kind() != Object {
			return
		}
		d := n.doc
		from, closer := d.inside(n.i)
		for k := from; k < closer; k = d.next(k + 1) {
			if !yield(d.text(k), Node{d, k + 1}) {
				return
			}
		}
	}
}

// Keys are the names of the object's members.
func (n Node) Keys() []string {
	var keys []string
	for k := range n.Members() {
		keys = append(keys, k)
	}
	return keys
}

// Unknown are the names of the object's members other than the known ones (snake_case)
// and @type, without those that are null or empty: what the caller's model does not cover.
func (n Node) Unknown(known ...string) []string {
	if n.Kind() != Object {
		return nil
	}
	var out []string
	d := n.doc
	from, closer := d.inside(n.i)
next:
	for k := from; k < closer; k = d.next(k + 1) {
		if d.named(k, "@type") || (Node{d, k + 1}).empty() {
			continue
		}
		for _, name := range known {
			if d.named(k, name) {
				continue next
			}
		}
		out = append(out, d.text(k))
	}
	return out
}

// empty says whether the value says nothing: null, "", [] - but not {}, which as a message
// field differs from an absent one.
func (n Node) empty() bool {
	switch n.Kind() {
	case Null:
		return true
	case String:
		return len(n.doc.bytes(n.i)) == 0
	case List:
		from, closer := n.doc.inside(n.i)
		return from == closer
	}
	return false
}

// List are the elements of a list; a single value where a list belongs counts as one
// element, as Envoy's own reader takes it.
func (n Node) List() []Node {
	var out []Node
	for _, e := range n.All() {
		out = append(out, e)
	}
	return out
}

// All ranges over the elements of List.
func (n Node) All() iter.Seq2[int, Node] {
	return func(yield func(int, Node) bool) {
		if n.Kind() != List {
			if n.Exists() {
				yield(0, n)
			}
			return
		}
		i := 0
		from, closer := n.doc.inside(n.i)
		for k := from; k < closer; k = n.doc.next(k) {
			if !yield(i, Node{n.doc, k}) {
				return
			}
			i++
		}
	}
}

// Len is the number of elements of List.
func (n Node) Len() int {
	c := 0
	for range n.All() {
		c++
	}
	return c
}

// Index is element i of List, or the zero Node.
func (n Node) Index(i int) Node {
	for j, e := range n.All() {
		if j == i {
			return e
		}
	}
	return Node{}
}

// unwrap is the value inside {"value": x}, the long form of a protobuf wrapper.
func (n Node) unwrap() Node {
	if n.Kind() == Object {
		return n.Field("value")
	}
	return n
}

// Str is the value as text: a string unescaped, a number or a truth value as written;
// empty for everything else.
func (n Node) Str() string {
	n = n.unwrap()
	switch n.Kind() {
	case String, Number, Bool:
		return n.doc.text(n.i)
	}
	return ""
}

// Is says whether the value is this string.
func (n Node) Is(s string) bool {
	if n.Kind() != String {
		return false
	}
	if n.doc.tape[n.i].escaped() {
		return n.Str() == s
	}
	return string(n.doc.bytes(n.i)) == s
}

func (d *Doc) text(i uint32) string {
	if d.tape[i].escaped() {
		return unescape(d.bytes(i))
	}
	return string(d.bytes(i))
}

// Bool is the truth value, also written as a string or a wrapper; dflt where it is not there.
func (n Node) Bool(dflt bool) bool {
	n = n.unwrap()
	if k := n.Kind(); k != Bool && k != String {
		return dflt
	}
	switch string(n.doc.bytes(n.i)) {
	case "true":
		return true
	case "false":
		return false
	}
	return dflt
}

// Uint is the number, also written as a string; dflt where it is not there or none.
func (n Node) Uint(dflt uint64) uint64 {
	s := n.Str()
	if v, err := strconv.ParseUint(s, 10, 64); err == nil {
		return v
	}
	if f, ok := n.Float(); ok && f >= 0 && f < 1<<63 {
		return uint64(f)
	}
	return dflt
}

// Int is Uint for numbers that may be negative.
func (n Node) Int(dflt int64) int64 {
	s := n.Str()
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v
	}
	if f, ok := n.Float(); ok && math.Abs(f) < 1<<63 {
		return int64(f)
	}
	return dflt
}

// Float is the number, also written as a string.
func (n Node) Float() (float64, bool) {
	n = n.unwrap()
	if k := n.Kind(); k != Number && k != String {
		return 0, false
	}
	f, err := strconv.ParseFloat(n.Str(), 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// Enum is the enum's name in upper case (Envoy's reader takes any case); a number stays one.
func (n Node) Enum() string { return strings.ToUpper(n.Str()) }

// Duration is a protobuf duration: "1.5s", or seconds and nanos.
func (n Node) Duration() (time.Duration, bool) {
	if n.Kind() == Object && !n.Field("value").Exists() {
		s, ns := n.Field("seconds").Int(0), n.Field("nanos").Int(0)
		if s < -maxSeconds || s > maxSeconds {
			return clamp(float64(s)), true
		}
		return time.Duration(s)*time.Second + time.Duration(ns), len(n.Keys()) > 0
	}
	s, ok := strings.CutSuffix(n.Str(), "s")
	f, err := strconv.ParseFloat(s, 64)
	if !ok || err != nil || math.IsNaN(f) {
		return 0, false
	}
	return clamp(f), true
}

const maxSeconds = int64(math.MaxInt64 / int64(time.Second))

func clamp(seconds float64) time.Duration {
	switch {
	case seconds > float64(maxSeconds):
		return math.MaxInt64
	case seconds < -float64(maxSeconds):
		return math.MinInt64
	}
	return time.Duration(math.Round(seconds * 1e9))
}
