package envoy

import (
	_ "embed"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// fieldTable has a line for each message of Envoy's API and of xds that holds fields which
// this package reads by name, and for each enum of such a field; in order of their names.
// TestFieldTable makes it of the descriptors of go-control-plane.
//
// After a message's name come the oneofs of which one member must be there, as !N, and the
// fields: NAME=TYPE, and @N for a member of oneof N; @0 marks a field of older Envoys. TYPE is
// b (truth), s (text), nMIN:MAX (whole number), fMIN:MAX (number), d (duration), eENUM, mMESSAGE,
// a (Any), o (an object without rules), x (anything), after * in a list, % as values of a map
// and w in a wrapper. After an enum's name come its words.
//
//go:embed fields.txt
var fieldTable string

// met are the messages of the table that were asked for, by name, and the rules of their
// fields, by type: most fields are of a few. They are made when a document holds one, so that
// the start of the program pays nothing.
var met = struct {
	sync.RWMutex
	messages map[string]*tree.Message
	rules    map[string]*tree.Rule
}{messages: map[string]*tree.Message{}, rules: map[string]*tree.Rule{}}

// messageOf is what a message may hold; nil: nobody knows it, or nobody reads a field of it.
func messageOf(name string) *tree.Message {
	met.RLock()
	m := met.messages[name]
	met.RUnlock()
	if m != nil {
		return m
	}
	line, ok := tableLine(name)
	if !ok {
		return nil // not kept: a document may hold any number of names
	}
	met.Lock()
	defer met.Unlock()
	if m = met.messages[name]; m != nil {
		return m
	}
	m = &tree.Message{Members: map[string]*tree.Rule{}}
	for _, word := range strings.Fields(line) {
		if group, ok := strings.CutPrefix(word, "!"); ok {
			n, _ := strconv.Atoi(group)
			m.Must |= 1 << n
			continue
		}
		name, typ, _ := strings.Cut(word, "=")
		r := met.rules[typ]
		if r == nil {
			made := readRule(typ)
			r, met.rules[typ] = &made, &made
		}
		m.Members[name] = r
	}
	met.messages[name] = m
	return m
}

// tableLine is what stands after a name in the table.
func tableLine(name string) (string, bool) {
	t := fieldTable
	line := func(i int) (start, end int) { // around byte i
		start = strings.LastIndexByte(t[:i], '\n') + 1
		if end = strings.IndexByte(t[i:], '\n'); end < 0 {
			return start, len(t)
		}
		return start, i + end
	}
	i := sort.Search(len(t), func(i int) bool {
		start, end := line(i)
		got, _, _ := strings.Cut(t[start:end], " ")
		return got >= name
	})
	if i == len(t) || name == "" {
		return "", false
	}
	start, end := line(i)
	got, rest, _ := strings.Cut(t[start:end], " ")
	return rest, got == name
}

const (
	anObject = 1 << tree.Object
	aText    = 1 << tree.String
	aNumber  = 1 << tree.Number
	aTruth   = 1 << tree.Bool
)

// readRule reads a type as the table writes it. Numbers and truths may be texts, and
// durations objects, as protobuf's JSON takes them.
func readRule(typ string) tree.Rule {
	typ, group, _ := strings.Cut(typ, "@")
	r := tree.Rule{Fills: group == "0"}
	if n, err := strconv.Atoi(group); err == nil {
		r.Oneof = uint8(n)
	}
	for ; ; typ = typ[1:] {
		switch typ[0] {
		case '*':
			r.List = true
			continue
		case '%':
			r.Map = true
			continue
		case 'w':
			r.Wrapped = true
			continue
		case 's':
			r.Kinds = aText
		case 'b':
			r.Kinds = aText | aTruth
		case 'n', 'f':
			r.Kinds, r.Numeric, r.Whole = aText|aNumber, true, typ[0] == 'n'
			least, most, _ := strings.Cut(typ[1:], ":")
			r.Least, r.Most = boundOr(least, -math.MaxFloat64), boundOr(most, math.MaxFloat64)
		case 'd':
			r.Kinds, r.Time = aText|anObject, true
		case 'e':
			words, _ := tableLine(typ[1:])
			r.Kinds, r.Words = aText|aNumber, strings.Fields(words)
		case 'm':
			r.Kinds, r.Message = anObject, typ[1:]
		case 'a':
			r.Kinds, r.Any = anObject, true
		case 'o':
			r.Kinds = anObject
		default:
			r.Kinds = math.MaxUint8
		}
		return r
	}
}

func boundOr(s string, dflt float64) float64 {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f
	}
	return dflt
}

// wrong says what stands in a value, outside the parts but, that no Envoy writes or this
// program does not know. newer: a newer Envoy may write it.
func wrong(n tree.Node, but ...tree.Node) (what string, newer bool) {
	d := n.Doc()
	if d == nil {
		return "", false
	}
	if d.Wrong != "" {
		return d.Wrong, false
	}
	at, o := n.Odd(but...)
	if !at.Exists() {
		return "", false
	}
	return reference(at) + " " + o.What, o.New
}

// elements are the objects in these members, as parts that do not matter; what stands there
// and is no object matters.
func elements(n tree.Node, members ...string) (out []tree.Node) {
	if at, _ := n.Odd(); !at.Exists() {
		return nil
	}
	for _, name := range members {
		for _, e := range n.Field(name).All() {
			if e.IsObject() {
				out = append(out, e)
			}
		}
	}
	return out
}

// wrong ends the pass at an object in which something is no value of its field: what it was
// meant to say cannot be told. But are parts that do not matter here.
func (p *pass) wrong(stage flow.Stage, subject string, n tree.Node, but ...tree.Node) bool {
	what, newer := wrong(n, but...)
	if what != "" {
		p.stop(stage, subject, wrongWhy(what, newer), n)
	}
	return what != ""
}

func wrongWhy(what string, newer bool) flow.Reason {
	if newer {
		return flow.Because(flow.WhyNewWord, what)
	}
	return flow.Because(flow.WhyWrongKind, what)
}

// judge looks for what a document of this message holds that is no value of its field, such
// as a list that somebody replaced by a word, or a word of an Envoy that is newer than this
// program. A message that names itself is what it says.
func judge(d *tree.Doc, message string) {
	if name := tree.TypeName(d.Root().Key("@type").Str()); messageOf(name) != nil {
		message = name
	}
	judgeAs(d, tree.Rule{Kinds: anObject, Message: message})
}

func judgeAs(d *tree.Doc, r tree.Rule) {
	if !d.Judge(r, messageOf) {
		at, o := d.Root().Odd()
		d.Wrong = reference(at) + " " + o.What
	}
}
