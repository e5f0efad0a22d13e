package netfilter

import (
	"encoding/json"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// expr is an expression of nft: what a match compares, or what a statement sets. w is nil
// where nothing may be drawn or chosen: a draw is then unknown.
type expr interface {
	value(p *packet, w *walk) (num, got)
	kind() nftType
}

func (f *field) value(p *packet, _ *walk) (num, got) { return f.get(p) }
func (f *field) kind() nftType                       { return f.typ }

// connField is a field of the packet's connection.
type connField struct{ field }

func (*connField) needsConntrack(bool) bool { return true }

func (e *bitExpr) needsConntrack(v6 bool) bool { return anyNeeds(v6, e.left, e.right) }
func (e *mapExpr) needsConntrack(v6 bool) bool { return anyNeeds(v6, e.key...) }

// anyNeeds says whether one of the expressions looks at the connection.
func anyNeeds(v6 bool, exprs ...expr) bool {
	for _, e := range exprs {
		if n, ok := e.(needing); ok && n.needsConntrack(v6) {
			return true
		}
	}
	return false
}

// opaqueExpr is an expression that is not modelled.
type opaqueExpr struct{}

func (opaqueExpr) value(*packet, *walk) (num, got) { return unknown() }
func (opaqueExpr) kind() nftType                   { return tOther }

// constExpr is a value written down.
type constExpr struct {
	span
	typ nftType
}

func (e *constExpr) value(*packet, *walk) (num, got) { return e.from, gotValue }
func (e *constExpr) kind() nftType                   { return e.typ }

// bitExpr is left & right and its like.
type bitExpr struct {
	op          byte // & | ^ < >
	left, right expr
}

func (e *bitExpr) kind() nftType { return e.left.kind() }

func (e *bitExpr) value(p *packet, w *walk) (num, got) {
	a, g := e.left.value(p, w)
	if g != gotValue {
		return a, g
	}
	b, g := e.right.value(p, w)
	if g != gotValue {
		return b, g
	}
	switch e.op {
	case '&':
		a = a.and(b)
	case '|':
		a = a.or(b)
	case '^':
		a = a.xor(b)
	case '<':
		a = num{0, a.lo << min(b.lo, 64) & 0xffffffff}
	case '>':
		a = num{0, a.lo >> min(b.lo, 64)}
	}
	return a, gotValue
}

// drawExpr is numgen, jhash or symhash: one of mod numbers from offset on.
type drawExpr struct {
	word        string
	mod, offset uint64
	kinds       flow.ChoiceKind
}

func (e *drawExpr) kind() nftType { return tInteger }

func (e *drawExpr) value(_ *packet, w *walk) (num, got) {
	const most = 64
	if w == nil || e.mod == 0 || e.mod > most {
		return unknown()
	}
	ch := flow.Choice{Ref: w.ref() + " " + e.word, Kind: e.kinds}
	for i := range e.mod {
		o := flow.Option{Value: strconv.FormatUint(e.offset+i, 10)}
		if e.kinds == flow.Chance {
			o.Weight = 1
		}
		ch.Options = append(ch.Options, o)
	}
	if len(ch.Options) == 1 {
		return small(e.offset)
	}
	n := w.ch.Take(ch)
	w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhyNumgen, ch.Options[n].Value), Flag: pickFlag(ch, n)})
	return small(e.offset + uint64(n))
}

// mapExpr is a look-up in a map; its second value is the second part of a concatenation.
type mapExpr struct {
	key []expr
	set *nftSet
}

func (e *mapExpr) kind() nftType {
	if len(e.set.data) == 0 {
		return tOther
	}
	return e.set.data[0]
}

func (e *mapExpr) value(p *packet, w *walk) (num, got) {
	el, g := e.find(p, w)
	if g != gotValue {
		return num{}, g
	}
	return el.value[0].from, gotValue
}

// find is the element that the packet's key has.
func (e *mapExpr) find(p *packet, w *walk) (*nftElem, got) {
	key, g := keyOf(e.key, p, w)
	if g != gotValue {
		return nil, g
	}
	at, sure := e.set.find(&key)
	switch {
	case at >= 0:
		return &e.set.elems[at], gotValue
	case !sure:
		return nil, gotUnknown
	}
	return nil, gotNone
}

// keyOf evaluates the parts of a key; one that the packet does not have breaks it off.
func keyOf(parts []expr, p *packet, w *walk) (key [maxFields]num, g got) {
	g = gotValue
	for i, e := range parts {
		n, one := e.value(p, w)
		switch one {
		case gotNone:
			return key, gotNone
		case gotUnknown:
			g = gotUnknown
		}
		key[i] = n
	}
	return key, g
}

// expr reads an expression.
func (b *nftBuilder) expr(v any) expr {
	m, ok := v.(map[string]any)
	if !ok {
		return opaqueExpr{}
	}
	for k, arg := range m {
		switch k {
		case "&", "|", "^", "<<", ">>":
			return b.bits(k[0], arg)
		case "map":
			return b.mapExpr(arg)
		case "numgen", "jhash", "symhash":
			return drawOf(k, arg)
		}
		if a, ok := arg.(map[string]any); ok {
			if f, ok := fieldOf(k, a); ok && k == "ct" {
				return &connField{f}
			} else if ok {
				return &f
			}
		}
	}
	return opaqueExpr{}
}

func fieldOf(kind string, a map[string]any) (field, bool) {
	str := func(k string) string { s, _ := a[k].(string); return s }
	switch kind {
	case "meta":
		return metaField(str("key"))
	case "payload":
		if base := str("base"); base != "" {
			off, _ := number(a["offset"])
			length, _ := number(a["len"])
			return rawField(base, off, length)
		}
		return payloadField(str("protocol"), str("field"))
	case "ct":
		return ctField(str("key"), str("dir"))
	case "fib":
		var flags []string
		switch f := a["flags"].(type) {
		case string:
			flags = []string{f}
		case []any:
			for _, w := range f {
				s, _ := w.(string)
				flags = append(flags, s)
			}
		}
		return fibField(str("result"), flags)
	case "socket":
		return socketField(str("key"))
	case "exthdr":
		if str("field") == "" { // exists: a plain packet has no extension header
			return field{typ: tBool, get: func(*packet) (num, got) { return small(0) }}, true
		}
		return field{typ: tInteger, get: func(*packet) (num, got) { return none() }}, true
	}
	return field{}, false
}

func drawOf(word string, arg any) expr {
	a, _ := arg.(map[string]any)
	mod, ok := number(a["mod"])
	offset, _ := number(a["offset"])
	if !ok || mod < 1 || offset < 0 {
		return opaqueExpr{}
	}
	d := &drawExpr{word: word, mod: uint64(mod), offset: uint64(offset), kinds: flow.Unmodelled}
	if word == "numgen" {
		d.kinds = flow.Chance
	}
	return d
}

func (b *nftBuilder) bits(op byte, arg any) expr {
	list, ok := arg.([]any)
	if !ok || len(list) < 2 {
		return opaqueExpr{}
	}
	e := b.expr(list[0])
	for _, v := range list[1:] {
		e = &bitExpr{op, e, b.operand(e.kind(), v)}
	}
	return e
}

// operand is an expression or a constant of a type.
func (b *nftBuilder) operand(t nftType, v any) expr {
	if s, ok := readSpan(t, v); ok {
		return &constExpr{s, t}
	}
	if _, ok := v.(map[string]any); ok {
		return b.expr(v)
	}
	if n, ok := v.(json.Number); ok { // of a type that has no words
		if k, err := strconv.ParseUint(string(n), 0, 64); err == nil {
			return &constExpr{span{num{0, k}, num{0, k}}, t}
		}
	}
	return opaqueExpr{}
}

func (b *nftBuilder) mapExpr(arg any) expr {
	a, _ := arg.(map[string]any)
	key := b.key(a["key"])
	set := b.setOf(a["data"], key, mapOfValues)
	if set == nil || len(set.data) == 0 {
		return opaqueExpr{}
	}
	return &mapExpr{key, set}
}

// key reads the parts of a concatenation, or the one expression.
func (b *nftBuilder) key(v any) []expr {
	if m, ok := v.(map[string]any); ok {
		if parts, ok := m["concat"].([]any); ok && len(parts) <= maxFields {
			var out []expr
			for _, p := range parts {
				out = append(out, b.expr(p))
			}
			return out
		}
	}
	return []expr{b.expr(v)}
}

// setUse says what a set is looked up for.
type setUse uint8

const (
	setOnly setUse = iota
	mapOfValues
	mapOfVerdicts
)

// setOf is a named set ("@name") or one in place; nil where it is not known. Values of a
// map in place are guessed by what they look like.
func (b *nftBuilder) setOf(v any, key []expr, use setUse) *nftSet {
	if name, ok := v.(string); ok && len(name) > 1 && name[0] == '@' {
		return b.r.sets[b.table.family+" "+b.table.name+" "+name[1:]]
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	list, ok := m["set"].([]any)
	if !ok {
		return nil
	}
	s := &nftSet{other: -1, verdicts: use == mapOfVerdicts}
	for _, e := range key {
		s.types = append(s.types, e.kind())
	}
	if use == mapOfValues {
		s.data = guessTypes(list)
	}
	s.fill(list, b.table)
	return s
}

// guessTypes tells the types of a map's values from the first of them: nil for a set.
func guessTypes(list []any) []nftType {
	if len(list) == 0 {
		return nil
	}
	pair, ok := list[0].([]any)
	if !ok || len(pair) != 2 {
		return nil
	}
	parts := []any{pair[1]}
	if m, ok := pair[1].(map[string]any); ok && m["concat"] != nil {
		parts, _ = m["concat"].([]any)
	}
	var out []nftType
	for _, p := range parts {
		out = append(out, guessType(p))
	}
	return out
}

func guessType(v any) nftType {
	switch x := v.(type) {
	case json.Number:
		return tInteger
	case string:
		if _, ok := parseAddr(x, false); ok {
			return tIPv4
		}
		if _, ok := parseAddr(x, true); ok {
			return tIPv6
		}
	case map[string]any:
		if r, ok := x["range"].([]any); ok && len(r) > 0 {
			return guessType(r[0])
		}
		if p, ok := x["prefix"].(map[string]any); ok {
			return guessType(p["addr"])
		}
	}
	return tOther
}
