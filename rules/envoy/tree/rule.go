package tree

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// String is the kind in words.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Bool:
		return "a truth value"
	case Number:
		return "a number"
	case String:
		return "a string"
	case List:
		return "a list"
	case Object:
		return "an object"
	}
	return "missing"
}

// Rule says what a member's value may be. Null is always allowed.
type Rule struct {
	Kinds   uint8 // bits 1<<Kind, of each element or value where List or Map is set
	List    bool  // a list of them, or one
	Map     bool  // an object whose names are data
	Wrapped bool  // or an object that holds the value as "value"
	Any     bool  // an object that names its own message
	Time    bool  // a duration, where it is a string
	// Message names the message that an object is; empty: what is inside has no rules.
	Message string
	// Words, if not nil, are those of an enum. A number is none: Envoy writes one only for a
	// word that it does not know itself.
	Words []string
	// Least and Most are the bounds of a number. Valid iff Numeric.
	Least, Most float64
	Numeric     bool
	Whole       bool  // no fraction
	Oneof       uint8 // of the members of one group not more than one may be there; 0: in none
	Fills       bool  // it may stand for any group
}

// Message is what the members of one type of object may be.
type Message struct {
	Members map[string]*Rule
	Must    uint32 // bits 1<<Oneof: one member of the group must be there
}

// Oddity is a value that no rule allows.
type Oddity struct {
	at   uint32
	What string // after the place of the value
	New  bool   // a newer Envoy may write it: a word that is not known
}

// maxOdd is how many are kept of one document.
const maxOdd = 32

// Judge looks for values that no rule allows: the root as rule says, what it holds as the
// messages say. False: there are more than are kept.
func (d *Doc) Judge(rule Rule, messages func(name string) *Message) bool {
	if d == nil || len(d.tape) == 0 {
		return true
	}
	o := judge{d, messages}
	o.value(0, &rule)
	return len(d.odd) < maxOdd
}

// Odd is the first value inside n, or n itself, that no rule allows, other than those inside
// one of but; the zero Node: there is none.
func (n Node) Odd(but ...Node) (Node, Oddity) {
	if n.doc == nil || len(n.doc.odd) == 0 {
		return Node{}, Oddity{}
	}
	end := n.doc.next(n.i)
next:
	for _, o := range n.doc.odd {
		if o.at < n.i || o.at >= end {
			continue
		}
		for _, b := range but {
			if b.doc == n.doc && o.at >= b.i && o.at < n.doc.next(b.i) {
				continue next
			}
		}
		return Node{n.doc, o.at}, o
	}
	return Node{}, Oddity{}
}

type judge struct {
	d        *Doc
	messages func(name string) *Message
}

func (j *judge) odd(at uint32, what string) { j.add(Oddity{at: at, What: what}) }

func (j *judge) add(o Oddity) {
	if len(j.d.odd) < maxOdd {
		j.d.odd = append(j.d.odd, o)
	}
}

// value judges token v by a member's rule.
func (j *judge) value(v uint32, r *Rule) {
	kind := j.d.tape[v].kind()
	switch {
	case kind == Null:
	case r.Map:
		if kind != Object {
			j.odd(v, "is "+kind.String())
			return
		}
		from, closer := j.d.inside(v)
		for k := from; k < closer; k = j.d.next(k + 1) {
			j.one(k+1, r)
		}
	case r.List && kind == List:
		from, closer := j.d.inside(v)
		for e := from; e < closer; e = j.d.next(e) {
			j.one(e, r)
		}
	default:
		j.one(v, r)
	}
}

// one judges a single value.
func (j *judge) one(v uint32, r *Rule) {
	kind := j.d.tape[v].kind()
	switch {
	case kind == Null:
	case r.Wrapped && kind == Object && (Node{j.d, v}).Field("value").Exists():
		inner := *r
		inner.Wrapped = false
		j.one((Node{j.d, v}).Field("value").i, &inner)
	case r.Kinds&(1<<kind) == 0:
		j.odd(v, "is "+kind.String())
	case kind == Object && r.Any:
		j.any(v)
	case kind == Object && r.Message != "":
		if m := j.messages(r.Message); m != nil {
			j.object(v, m)
		}
	case kind != Object && kind != List:
		j.scalar(v, kind, r)
	}
}

// scalar judges the text of a value that is of a kind that its rule allows.
func (j *judge) scalar(v uint32, kind Kind, r *Rule) {
	text := j.d.bytes(v)
	switch {
	case r.Words != nil:
		if kind == Number || !isWord(r.Words, text) {
			j.add(Oddity{at: v, What: "is " + short(text) + ", a word that is not known", New: true})
		}
	case r.Numeric:
		if what := r.number(text); what != "" {
			j.odd(v, "is "+short(text)+", "+what)
		}
	case kind == String && r.Kinds&(1<<Bool) != 0:
		if string(text) != "true" && string(text) != "false" {
			j.odd(v, "is "+short(text)+", no truth value")
		}
	case kind == String && r.Time:
		if _, ok := (Node{j.d, v}).Duration(); !ok {
			j.odd(v, "is "+short(text)+", no duration")
		}
	}
}

func isWord(words []string, text []byte) bool {
	for _, w := range words {
		if w == string(text) {
			return true
		}
	}
	for _, w := range words { // Envoy's own reader takes any case
		if len(w) == len(text) && strings.EqualFold(w, string(text)) {
			return true
		}
	}
	return false
}

// number says why a text is no number of the rule; empty: it is one.
func (r *Rule) number(text []byte) string {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || strings.IndexFunc(string(text), notOfNumber) >= 0 && !math.IsNaN(f) && !math.IsInf(f, 0) {
		return "no number"
	}
	switch {
	case r.Whole && f != math.Trunc(f), math.IsNaN(f):
		return "no whole number"
	case f != 0 && (f < r.Least || f > r.Most): // Envoy writes 0 for what nobody set
		return "not from " + bound(r.Least) + " to " + bound(r.Most)
	}
	return ""
}

func notOfNumber(c rune) bool { return (c < '0' || c > '9') && !strings.ContainsRune("+-.eE", c) }

func bound(f float64) string {
	if math.Abs(f) == math.MaxFloat64 {
		return "any"
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// short is a text for a sentence.
func short(text []byte) string {
	const most = 40
	if len(text) <= most {
		return strconv.Quote(string(text))
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return strconv.Quote(string(text[:n]) + "…")
}

// object judges the members of object v. Those that the message does not hold, or nobody
// reads, have no rules.
func (j *judge) object(v uint32, m *Message) {
	var seen uint32
	first := [32]uint32{}
	from, closer := j.d.inside(v)
	for k := from; k < closer; k = j.d.next(k + 1) {
		r := m.rule(j.d, k)
		if r == nil || j.d.tape[k+1].kind() == Null {
			continue
		}
		switch bit := uint32(1) << r.Oneof; {
		case r.Fills:
			seen = math.MaxUint32
		case r.Oneof == 0:
		case seen&bit != 0 && first[r.Oneof] != 0 && j.d.text(first[r.Oneof]) != j.d.text(k):
			j.odd(v, "holds both "+short(j.d.bytes(first[r.Oneof]))+" and "+short(j.d.bytes(k)))
		default:
			seen, first[r.Oneof] = seen|bit, k
		}
		j.value(k+1, r)
	}
	if m.Must&^seen != 0 {
		j.add(Oddity{at: v, What: "holds nothing that is known of what it must hold", New: true})
	}
}

// rule is that of the name at token k, as written or in lowerCamelCase.
func (m *Message) rule(d *Doc, k uint32) *Rule {
	name := d.bytes(k)
	if r := m.Members[string(name)]; r != nil {
		return r
	}
	if strings.HasPrefix(string(name), "hidden_envoy_deprecated_") {
		return &anything
	}
	for _, c := range name {
		if c >= 'A' && c <= 'Z' || c == '\\' {
			for want, r := range m.Members {
				if d.named(k, want) {
					return r
				}
			}
			break
		}
	}
	return nil
}

// anything is a field of an older Envoy.
var anything = Rule{Kinds: math.MaxUint8, Fills: true}

// any judges an object that names its message, itself or inside a TypedStruct.
func (j *judge) any(v uint32) {
	for range 4 {
		n := Node{j.d, v}
		t := n.Key("@type")
		name := TypeName(t.Str())
		switch name {
		case "xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct":
			name = TypeName(n.Field("type_url").Str())
			if n = n.Field("value"); n.Kind() != Object {
				return
			}
			v = n.i
			if n.Key("@type").Exists() {
				continue
			}
		case "google.protobuf.Any":
			if n = n.Field("value"); n.Kind() != Object {
				return
			}
			v = n.i
			continue
		}
		if m := j.messages(name); m != nil {
			j.object(v, m)
		}
		return
	}
}
