package tree

import "encoding/binary"

// Types counts the messages that a text names, as a Scanner passes them: the values of @type,
// and of type_url where a TypedStruct says what it wraps.
type Types struct {
	List []TypeCount // in order of the text
	More int         // how many more names came than are kept
	// slots are places in List + 1, by a hash: dumps name few types very often.
	slots [256]uint16
	other map[string]uint16
}

// TypeCount is one type, as its URL stands in the text.
type TypeCount struct {
	URL   []byte
	Count int
	First int // offset of the first such value's text
}

const (
	// maxTypes is how many types are kept.
	maxTypes = 1 << 12
	// maxTypeName is how long a type's name may be.
	maxTypeName = 512
)

// name is told of each member: its name, and where its value begins.
func (t *Types) name(raw, name []byte, at int) {
	if t == nil || len(name) != 5 && len(name) != 8 || string(name) != "@type" && string(name) != "type_url" {
		return
	}
	if at >= len(raw) || raw[at] != '"' {
		return
	}
	end := at + 1 + plain(raw[at+1:])
	if end >= len(raw) || raw[end] != '"' || end-at > maxTypeName {
		return // an escape in a type's name: no type that anybody knows
	}
	t.count(raw[at+1:end], at)
}

func (t *Types) count(url []byte, at int) {
	slot := hashOf(url)
	if i := t.slots[slot]; i > 0 && string(t.List[i-1].URL) == string(url) {
		t.List[i-1].Count++
		return
	}
	i, ok := t.other[string(url)]
	switch {
	case ok:
		t.List[i].Count++
	case len(t.List) == maxTypes:
		t.More++
		return
	default:
		if t.other == nil {
			t.other = map[string]uint16{}
		}
		i = uint16(len(t.List))
		t.other[string(url)] = i
		t.List = append(t.List, TypeCount{URL: url, Count: 1, First: at})
	}
	t.slots[slot] = i + 1
}

// hashOf looks at the end of a name and its length.
func hashOf(url []byte) uint8 {
	if len(url) < 8 {
		return uint8(len(url))
	}
	x := binary.LittleEndian.Uint64(url[len(url)-8:]) * 0x9e3779b97f4a7c15
	return uint8(x>>56) ^ uint8(len(url))
}
