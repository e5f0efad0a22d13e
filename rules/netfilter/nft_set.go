package netfilter

import (
	"encoding/json"
	"strings"
)

// maxFields bounds the parts of a concatenation.
const maxFields = 6

// nftSet is a set or a map, named or in place.
type nftSet struct {
	types    []nftType
	data     []nftType // of a map's values; nil: a set, or verdicts
	verdicts bool
	elems    []nftElem
	exact    map[[maxFields]num]int // elements without ranges, by key
	other    int                    // the element "*": -1: none
	// odd says that some element could not be read: "not found" is then not sure.
	odd bool
}

// nftElem is one element; of a map with its value.
type nftElem struct {
	key   [maxFields]span
	value [2]span
	then  nftVerdict
	text  string // of its key
}

// nftVerdict is a verdict that a map or a statement gives.
type nftVerdict struct {
	verdict verdict
	chain   string
	to      *chain
}

func (r *nftReader) set(it *nftItem) {
	s := &nftSet{other: -1, types: readTypes(it.Type)}
	if len(it.Map) > 0 {
		data := readTypes(it.Map)
		if s.verdicts = string(it.Map) == `"verdict"`; !s.verdicts {
			s.data = data
		}
	}
	t := r.find(it.Family, it.Table)
	if t == nil {
		return
	}
	s.fill(it.Elem, t)
	r.sets[it.key()] = s
}

// readTypes reads "ipv4_addr", "ipv4_addr . inet_service" or a list of them.
func readTypes(raw json.RawMessage) []nftType {
	var one string
	var list []string
	if json.Unmarshal(raw, &one) == nil {
		list = strings.Split(one, " . ")
	} else if json.Unmarshal(raw, &list) != nil {
		return []nftType{tOther}
	}
	var out []nftType
	for _, w := range list {
		out = append(out, namedType(w))
	}
	return out
}

// fill reads the elements.
func (s *nftSet) fill(elems []any, t *table) {
	for _, e := range elems {
		if !s.add(e, t) {
			s.odd = true
		}
	}
	s.exact = map[[maxFields]num]int{}
	for i := range s.elems {
		if k, ok := s.elems[i].plain(len(s.types)); ok && i != s.other {
			s.exact[k] = i
		}
	}
}

func (e *nftElem) plain(fields int) (key [maxFields]num, ok bool) {
	for i := range fields {
		if !e.key[i].one() {
			return key, false
		}
		key[i] = e.key[i].from
	}
	return key, true
}

func (s *nftSet) add(e any, t *table) bool {
	var out nftElem
	key := e
	if pair, ok := e.([]any); ok && (s.verdicts || s.data != nil) {
		if len(pair) != 2 {
			return false
		}
		key = pair[0]
		if !s.value(pair[1], t, &out) {
			return false
		}
	}
	key = unwrap(key)
	if key == "*" {
		s.other = len(s.elems)
		out.text = "*"
		s.elems = append(s.elems, out)
		return true
	}
	if len(s.types) > maxFields {
		return false
	}
	parts := []any{key}
	if m, ok := key.(map[string]any); ok && m["concat"] != nil {
		parts, _ = m["concat"].([]any)
	}
	if len(parts) != len(s.types) {
		return false
	}
	for i, p := range parts {
		var ok bool
		if out.key[i], ok = readSpan(s.types[i], unwrap(p)); !ok {
			return false
		}
	}
	out.text = nftText(key)
	s.elems = append(s.elems, out)
	return true
}

// unwrap takes an element out of its timeout, counter or comment.
func unwrap(v any) any {
	if m, ok := v.(map[string]any); ok {
		if e, ok := m["elem"].(map[string]any); ok {
			return e["val"]
		}
	}
	return v
}

func (s *nftSet) value(v any, t *table, out *nftElem) bool {
	if s.verdicts {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		out.then, ok = readVerdict(m, t)
		return ok
	}
	parts := []any{v}
	if m, ok := v.(map[string]any); ok && m["concat"] != nil {
		parts, _ = m["concat"].([]any)
	}
	if len(parts) != len(s.data) || len(parts) > 2 {
		return false
	}
	for i, p := range parts {
		var ok bool
		if out.value[i], ok = readSpan(s.data[i], p); !ok {
			return false
		}
	}
	return true
}

// readVerdict reads {"accept": null}, {"jump": {"target": "x"}} and their like.
func readVerdict(m map[string]any, t *table) (nftVerdict, bool) {
	for k, v := range m {
		switch k {
		case "accept":
			return nftVerdict{verdict: vAccept}, true
		case "drop":
			return nftVerdict{verdict: vDrop}, true
		case "return":
			return nftVerdict{verdict: vReturn}, true
		case "continue":
			return nftVerdict{verdict: vNext}, true
		case "jump", "goto":
			o := nftVerdict{verdict: vJump}
			if k == "goto" {
				o.verdict = vGoto
			}
			target, _ := v.(map[string]any)
			o.chain, _ = target["target"].(string)
			o.to = t.chains[o.chain]
			return o, o.to != nil
		}
	}
	return nftVerdict{}, false
}

// find looks a key up: the element's place, or -1. sure is false where an element that
// could not be read may hold it.
func (s *nftSet) find(key *[maxFields]num) (at int, sure bool) {
	if i, ok := s.exact[*key]; ok {
		return i, true
	}
	if len(s.exact) < len(s.elems) {
		for i := range s.elems {
			if i != s.other && s.elems[i].holds(key, len(s.types)) {
				return i, true
			}
		}
	}
	return s.other, !s.odd
}

func (e *nftElem) holds(key *[maxFields]num, fields int) bool {
	for i := range fields {
		if !e.key[i].has(key[i]) {
			return false
		}
	}
	return true
}
