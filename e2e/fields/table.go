package fields

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/envoyproxy/protoc-gen-validate/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Make is the text of the table, for the fields that the Go text of a folder reads by name.
// What it cannot read of the modules' text is an error.
func Make(reader string) (string, error) {
	s, err := readSchema()
	if err != nil {
		return "", err
	}
	read, err := names(reader)
	if err != nil {
		return "", err
	}
	t := table{s, read, map[string]string{}}
	for _, name := range sorted(s.messages) {
		t.message(name)
	}
	var b strings.Builder
	for _, name := range sorted(t.lines) {
		b.WriteString(name + t.lines[name] + "\n")
	}
	return b.String(), nil
}

// table has a line for each message and enum.
type table struct {
	*schema
	read  map[string]bool
	lines map[string]string
}

// message writes a line: after the name its oneofs that must be set, as "!1"; then the
// fields that are read, and those of a oneof that any is read of, as NAME=TYPE@ONEOF.
func (t *table) message(name string) {
	m := t.messages[name]
	if m.GetOptions().GetMapEntry() {
		return
	}
	looked := map[int32]bool{} // oneofs
	for _, f := range m.Field {
		if f.OneofIndex != nil && !f.GetProto3Optional() && t.read[f.GetName()] {
			looked[f.GetOneofIndex()] = true
		}
	}
	line := ""
	for i, o := range m.OneofDecl {
		if must, _ := proto.GetExtension(o.Options, validate.E_Required).(bool); must && looked[int32(i)] {
			line += " !" + strconv.Itoa(i+1)
		}
	}
	for _, f := range m.Field {
		group := ""
		if f.OneofIndex != nil && !f.GetProto3Optional() && looked[f.GetOneofIndex()] {
			group = "@" + strconv.Itoa(int(f.GetOneofIndex())+1)
		}
		switch {
		case t.read[f.GetName()]:
			line += " " + f.GetName() + "=" + t.fieldType(f) + group
		case group != "":
			line += " " + f.GetName() + "=x" + group
		}
	}
	for _, old := range m.ReservedName { // fields of older Envoys, which may be what a oneof lacks
		if t.read[old] {
			line += " " + old + "=x@0"
		}
	}
	if line != "" {
		t.lines[name] = line
	}
}

// fieldType is one letter for the kind and what belongs to it, after * for a list and % for
// a map.
func (t *table) fieldType(f *descriptorpb.FieldDescriptorProto) string {
	pre := ""
	rules, _ := proto.GetExtension(f.Options, validate.E_Rules).(*validate.FieldRules)
	if f.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REPEATED {
		pre, rules = "*", rules.GetRepeated().GetItems()
		if m := t.messages[strings.TrimPrefix(f.GetTypeName(), ".")]; m.GetOptions().GetMapEntry() {
			pre, f = "%", m.Field[1]
		}
	}
	name := strings.TrimPrefix(f.GetTypeName(), ".")
	switch f.GetType() {
	case descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_BYTES:
		return pre + "s"
	case descriptorpb.FieldDescriptorProto_TYPE_BOOL:
		return pre + "b"
	case descriptorpb.FieldDescriptorProto_TYPE_ENUM:
		t.enum(name)
		return pre + "e" + name
	case descriptorpb.FieldDescriptorProto_TYPE_MESSAGE:
		return pre + t.inner(name, rules)
	}
	return pre + numbers(f.GetType(), rules)
}

func (t *table) enum(name string) {
	line := ""
	for _, v := range t.enums[name].GetValue() {
		line += " " + v.GetName()
	}
	t.lines[name] = line
}

// inner is the type of a message field.
func (t *table) inner(name string, rules *validate.FieldRules) string {
	switch name {
	case "google.protobuf.StringValue", "google.protobuf.BytesValue":
		return "ws"
	case "google.protobuf.BoolValue":
		return "wb"
	case "google.protobuf.UInt32Value":
		return "w" + numbers(descriptorpb.FieldDescriptorProto_TYPE_UINT32, rules)
	case "google.protobuf.UInt64Value":
		return "w" + numbers(descriptorpb.FieldDescriptorProto_TYPE_UINT64, rules)
	case "google.protobuf.Int32Value":
		return "w" + numbers(descriptorpb.FieldDescriptorProto_TYPE_INT32, rules)
	case "google.protobuf.Int64Value":
		return "w" + numbers(descriptorpb.FieldDescriptorProto_TYPE_INT64, rules)
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue":
		return "w" + numbers(descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, rules)
	case "google.protobuf.Duration":
		return "d"
	case "google.protobuf.Any":
		return "a"
	case "google.protobuf.Struct":
		return "o"
	}
	if strings.HasPrefix(name, "google.protobuf.") || t.messages[name] == nil {
		return "x"
	}
	return "m" + name
}

// numbers is "n" for whole numbers and "f" for others, with the least and the greatest.
func numbers(typ descriptorpb.FieldDescriptorProto_Type, rules *validate.FieldRules) string {
	kind, lo, hi := "n", -math.MaxFloat64, math.MaxFloat64
	switch typ {
	case descriptorpb.FieldDescriptorProto_TYPE_UINT32, descriptorpb.FieldDescriptorProto_TYPE_FIXED32:
		lo, hi = 0, math.MaxUint32
	case descriptorpb.FieldDescriptorProto_TYPE_UINT64, descriptorpb.FieldDescriptorProto_TYPE_FIXED64:
		lo, hi = 0, math.MaxUint64
	case descriptorpb.FieldDescriptorProto_TYPE_INT32, descriptorpb.FieldDescriptorProto_TYPE_SINT32, descriptorpb.FieldDescriptorProto_TYPE_SFIXED32:
		lo, hi = math.MinInt32, math.MaxInt32
	case descriptorpb.FieldDescriptorProto_TYPE_INT64, descriptorpb.FieldDescriptorProto_TYPE_SINT64, descriptorpb.FieldDescriptorProto_TYPE_SFIXED64:
		lo, hi = math.MinInt64, math.MaxInt64
	default:
		kind = "f"
	}
	l, h := bounds(rules)
	lo, hi = max(lo, l), min(hi, h)
	text := func(f float64) string {
		if math.Abs(f) == math.MaxFloat64 {
			return ""
		}
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return kind + text(lo) + ":" + text(hi)
}

// bounds are the least and the greatest number that a field's validation takes.
func bounds(rules *validate.FieldRules) (lo, hi float64) {
	lo, hi = -math.MaxFloat64, math.MaxFloat64
	var group proto.Message
	switch {
	case rules.GetUint32() != nil:
		group = rules.GetUint32()
	case rules.GetUint64() != nil:
		group = rules.GetUint64()
	case rules.GetInt32() != nil:
		group = rules.GetInt32()
	case rules.GetInt64() != nil:
		group = rules.GetInt64()
	case rules.GetDouble() != nil:
		group = rules.GetDouble()
	default:
		return lo, hi
	}
	m := group.ProtoReflect()
	step := 1.0
	if rules.GetDouble() != nil {
		step = 0 // an open bound counts as a closed one
	}
	for name, apply := range map[string]func(float64){
		"gte": func(v float64) { lo = max(lo, v) }, "gt": func(v float64) { lo = max(lo, v+step) },
		"lte": func(v float64) { hi = min(hi, v) }, "lt": func(v float64) { hi = min(hi, v-step) },
	} {
		if fd := m.Descriptor().Fields().ByName(protoreflect.Name(name)); m.Has(fd) {
			v, _ := strconv.ParseFloat(fmt.Sprint(m.Get(fd).Interface()), 64)
			apply(v)
		}
	}
	return lo, hi
}
