package xds

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Envoy's reader (source/common/protobuf/yaml_utility.cc) makes of a plain scalar a bool where
// yaml-cpp knows one, else an integer, else text; what is quoted is text. Protobuf's JSON then takes
// text for numbers and bools, and nothing but text for text: `18` where text belongs is an error,
// and `1.5` is none.
func yes(text string) bool {
	return slices.Contains([]string{"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}, text)
}

func no(text string) bool {
	return slices.Contains([]string{"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}, text)
}

// integer says whether a text is one, decimal or behind 0x.
func integer(text string) bool {
	digits := "0123456789"
	if text != "" && strings.ContainsAny(text[:1], "-+") {
		text = text[1:]
	}
	if len(text) > 2 && (text[:2] == "0x" || text[:2] == "0X") {
		text, digits = text[2:], "0123456789abcdefABCDEF"
	}
	return text != "" && strings.Trim(text, digits) == ""
}

func plain(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// kindOf is what a node is, for an error.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}

// scalar reads a number, bool, text, or the name of an enum's value.
func (r *reader) scalar(n *yaml.Node, fd protoreflect.FieldDescriptor, path string) (protoreflect.Value, error) {
	n, err := r.enter(n, path)
	if err != nil {
		return protoreflect.Value{}, err
	}
	kind := fd.Kind()
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return protoreflect.Value{}, r.fail(n, path, "a %s belongs here, not %s", kind, kindOf(n))
	}
	var v protoreflect.Value
	ok := true
	switch kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		text, err := r.text(n, path, kind.String())
		if err != nil {
			return v, err
		}
		v, ok = textValue(text, kind)
	case protoreflect.BoolKind:
		v, ok = boolValue(n)
	case protoreflect.EnumKind:
		v, ok = enumValue(n.Value, fd.Enum())
		if !ok {
			return v, r.fail(n, path, "%q is no value of %s", n.Value, fd.Enum().FullName())
		}
	default:
		v, ok = number(n, kind)
	}
	if !ok {
		return v, r.fail(n, path, "%q is no %s", n.Value, kind)
	}
	return v, nil
}

// text is a scalar where text belongs.
func (r *reader) text(n *yaml.Node, path, kind string) (string, error) {
	if plain(n) && (yes(n.Value) || no(n.Value) || integer(n.Value)) {
		return "", r.fail(n, path, "Envoy reads %s as a number or bool, and a %s belongs here: quote it", n.Value, kind)
	}
	return n.Value, nil
}

func textValue(text string, kind protoreflect.Kind) (protoreflect.Value, bool) {
	if kind == protoreflect.StringKind {
		return protoreflect.ValueOfString(text), true
	}
	enc := base64.StdEncoding
	if strings.ContainsAny(text, "-_") {
		enc = base64.URLEncoding
	}
	b, err := enc.WithPadding(base64.NoPadding).DecodeString(strings.TrimRight(text, "="))
	return protoreflect.ValueOfBytes(b), err == nil
}

func boolValue(n *yaml.Node) (protoreflect.Value, bool) {
	if plain(n) {
		return protoreflect.ValueOfBool(yes(n.Value)), yes(n.Value) || no(n.Value)
	}
	// What is quoted is read by absl::SimpleAtob.
	switch strings.ToLower(n.Value) {
	case "true", "t", "yes", "y", "1":
		return protoreflect.ValueOfBool(true), true
	case "false", "f", "no", "n", "0":
		return protoreflect.ValueOfBool(false), true
	}
	return protoreflect.Value{}, false
}

func enumValue(text string, ed protoreflect.EnumDescriptor) (protoreflect.Value, bool) {
	if i, err := strconv.ParseInt(text, 10, 32); err == nil {
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(i)), true
	}
	for i := range ed.Values().Len() {
		if v := ed.Values().Get(i); strings.EqualFold(string(v.Name()), text) {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	return protoreflect.Value{}, false
}

func number(n *yaml.Node, kind protoreflect.Kind) (protoreflect.Value, bool) {
	text, base := n.Value, 10
	if integer(text) && (plain(n) || strings.ContainsAny(text, "xX")) {
		base = 0 // 0x1f; and 010 in octal where yaml-cpp reads it, which it does not what is quoted
	}
	switch kind {
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		f, ok := floatOf(text, base)
		if kind == protoreflect.FloatKind {
			return protoreflect.ValueOfFloat32(float32(f)), ok && (math.IsInf(f, 0) || math.IsNaN(f) || math.Abs(f) <= math.MaxFloat32)
		}
		return protoreflect.ValueOfFloat64(f), ok
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, ok := intOf(text, base, 32)
		return protoreflect.ValueOfInt32(int32(i)), ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		i, ok := intOf(text, base, 64)
		return protoreflect.ValueOfInt64(i), ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		u, ok := uintOf(text, base, 32)
		return protoreflect.ValueOfUint32(uint32(u)), ok
	}
	u, ok := uintOf(text, base, 64)
	return protoreflect.ValueOfUint64(u), ok
}

func floatOf(text string, base int) (float64, bool) {
	if base == 0 {
		i, err := strconv.ParseInt(text, 0, 64)
		return float64(i), err == nil
	}
	switch text {
	case "NaN", "Infinity", "-Infinity":
	default:
		if strings.ContainsAny(text, "xXpP_nN") { // Go's own forms, and its names of no number
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

// intOf takes 3.0 and 1e3 as protobuf's JSON does.
func intOf(text string, base, bits int) (int64, bool) {
	if i, err := strconv.ParseInt(text, base, bits); err == nil {
		return i, true
	}
	f, ok := floatOf(text, 10)
	i := int64(f)
	limit := math.Ldexp(1, bits-1)
	return i, ok && f == math.Trunc(f) && f >= -limit && f < limit
}

func uintOf(text string, base, bits int) (uint64, bool) {
	if u, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), base, bits); err == nil {
		return u, true
	}
	f, ok := floatOf(text, 10)
	return uint64(max(f, 0)), ok && f == math.Trunc(f) && f >= 0 && f < math.Ldexp(1, bits)
}

// free reads a Struct, Value or ListValue, whose fields are the user's own.
func (r *reader) free(n *yaml.Node, m protoreflect.Message, path string) error {
	v, err := r.value(n, path)
	if err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = protojson.Unmarshal(data, m.Interface())
	}
	if err != nil {
		return r.fail(n, path, "%s is no %s", kindOf(n), strings.ToLower(string(m.Descriptor().Name())))
	}
	return nil
}

func (r *reader) value(n *yaml.Node, path string) (any, error) {
	n, err := r.enter(n, path)
	if err != nil {
		return nil, err
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			if out[n.Content[i].Value], err = r.value(n.Content[i+1], path); err != nil {
				return nil, err
			}
		}
		return out, nil
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, e := range n.Content {
			if out[i], err = r.value(e, path); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return leaf(n), nil
}

// leaf is a scalar that has no type but its own.
func leaf(n *yaml.Node) any {
	switch {
	case isNull(n):
		return nil
	case !plain(n):
	case yes(n.Value):
		return true
	case no(n.Value):
		return false
	case integer(n.Value):
		if i, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return i
		}
	}
	return n.Value
}

// quote is a text as JSON.
func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string has no value that JSON lacks
	}
	return b
}
