package tree

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

// Rule says of which kinds a member's value may be. Null is always allowed.
type Rule struct {
	Kinds    uint8 // bits 1<<Kind
	Elements uint8 // of a list; 0: not looked at
	Free     bool  // what is inside is data, and has no rules
	Keyed    bool  // an object's names are data; their values have rules
}

func (k Kind) in(set uint8) bool { return k == Null || set&(1<<k) != 0 }

// Odd is the first value of the document that is of no kind that its rule allows; the zero
// Node: there is none. rules are asked by name as it stands in the text. Objects whose first
// member is an @type that known refuses are passed over.
func (d *Doc) Odd(rules func(name []byte) (Rule, bool), known func(typ []byte) bool) Node {
	if d == nil || len(d.tape) == 0 {
		return Node{}
	}
	o := oddity{d, rules, known}
	return o.value(0)
}

type oddity struct {
	d     *Doc
	rules func(name []byte) (Rule, bool)
	known func(typ []byte) bool
}

// value is the first odd one inside value i.
func (o *oddity) value(i uint32) Node {
	d := o.d
	switch d.tape[i].kind() {
	case List:
		return o.elements(i)
	case Object:
	default:
		return Node{}
	}
	from, closer := d.inside(i)
	if from < closer && string(d.bytes(from)) == "@type" && !o.known(d.bytes(from+1)) {
		return Node{}
	}
	for k := from; k < closer; k = d.next(k + 1) {
		r, ok := o.rules(d.bytes(k))
		if !ok {
			r = Rule{Kinds: 0xff}
		}
		if n := o.member(k+1, r); n.doc != nil {
			return n
		}
	}
	return Node{}
}

// member is the first odd value at v, which has this rule.
func (o *oddity) member(v uint32, r Rule) Node {
	d := o.d
	kind := d.tape[v].kind()
	if !kind.in(r.Kinds) {
		return Node{d, v}
	}
	if kind == List && r.Elements != 0 {
		from, closer := d.inside(v)
		for e := from; e < closer; e = d.next(e) {
			if !d.tape[e].kind().in(r.Elements) {
				return Node{d, e}
			}
		}
	}
	switch {
	case r.Free:
		return Node{}
	case r.Keyed && kind == Object:
		return o.keyed(v)
	}
	return o.value(v)
}

// elements is the first odd value inside list i.
func (o *oddity) elements(i uint32) Node {
	from, closer := o.d.inside(i)
	for e := from; e < closer; e = o.d.next(e) {
		if n := o.value(e); n.doc != nil {
			return n
		}
	}
	return Node{}
}

// keyed is the first odd value inside object i, whose names are data.
func (o *oddity) keyed(i uint32) Node {
	from, closer := o.d.inside(i)
	for k := from; k < closer; k = o.d.next(k + 1) {
		if n := o.value(k + 1); n.doc != nil {
			return n
		}
	}
	return Node{}
}
