package tree

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Any is the message type and the content of a google.protobuf.Any: the type's full name
// without its URL prefix; the content is the value itself, or what a TypedStruct
// (xds.type.v3, udpa.type.v1) wraps, or the "value" of a well-known type.
// For a message without @type the name is empty.
func (n Node) Any() (typeName string, content Node) {
	for range 4 {
		typeName = TypeName(n.Key("@type").Str())
		switch typeName {
		case "xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct":
			inner := TypeName(n.Field("type_url").Str())
			n = n.Field("value")
			if n.Key("@type").Exists() {
				continue
			}
			return inner, n
		case "google.protobuf.Any":
			n = n.Field("value")
			continue
		}
		if strings.HasPrefix(typeName, "google.protobuf.") && typeName != "google.protobuf.Empty" {
			return typeName, n.Field("value")
		}
		return typeName, n
	}
	return typeName, n
}

// TypeName is the full name of a type URL, such as
// "type.googleapis.com/envoy.config.listener.v3.Listener".
func TypeName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// Pointer is the JSON pointer (RFC 6901) of the value in its part.
func (n Node) Pointer() string {
	if n.doc == nil {
		return ""
	}
	var room [256]byte
	return string(n.AppendPointer(room[:0]))
}

// AppendPointer appends the value's pointer.
func (n Node) AppendPointer(b []byte) []byte {
	d := n.doc
	b = append(b, d.Ref...)
	for at := uint32(0); at != n.i; {
		k, closer := d.inside(at)
		object := d.tape[at].kind() == Object
		for index := 0; k < closer; index++ {
			v := k
			if object {
				v++
			}
			after := d.next(v)
			if n.i >= after {
				k = after
				continue
			}
			b = append(b, '/')
			if object {
				if d.tape[k].escaped() {
					b = appendEscaped(b, []byte(d.text(k)))
				} else {
					b = appendEscaped(b, d.bytes(k))
				}
			} else {
				b = strconv.AppendInt(b, int64(index), 10)
			}
			at = v
			break
		}
	}
	return b
}

// appendEscaped appends one reference token of a JSON pointer.
func appendEscaped(b, s []byte) []byte {
	for _, c := range s {
		switch c {
		case '~':
			b = append(b, "~0"...)
		case '/':
			b = append(b, "~1"...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// At is the value that a JSON pointer relative to n names, or the zero Node.
func (n Node) At(pointer string) Node {
	if pointer == "" {
		return n
	}
	for _, tok := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		if n.Kind() == List {
			i, err := strconv.Atoi(tok)
			if err != nil {
				return Node{}
			}
			n = n.Index(i)
			continue
		}
		n = n.Key(strings.ReplaceAll(strings.ReplaceAll(tok, "~1", "/"), "~0", "~"))
	}
	return n
}

// Equal says whether two values are equal as protobuf's Value: numbers by value, objects
// without regard to order.
func Equal(a, b Node) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case Number:
		x, _ := a.Float()
		y, _ := b.Float()
		return x == y
	case List:
		x, y := a.List(), b.List()
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if !Equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case Object:
		n := 0
		for k, v := range a.Members() {
			if n++; !Equal(v, b.Key(k)) {
				return false
			}
		}
		return n == len(b.Keys())
	case Missing, Null:
		return true
	}
	return a.Str() == b.Str()
}

// unescape is the text of a JSON string with escapes, which are known to be whole.
func unescape(s []byte) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r := hex4(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(utf8.RuneError)
				if i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
					low = hex4(s[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			b.WriteRune(r)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hex4(s []byte) rune {
	v, _ := strconv.ParseUint(string(s[:4]), 16, 32)
	return rune(v)
}
