package api

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// maker makes messages at random.
type maker struct {
	t              *testing.T
	r              *rand.Rand
	made           map[protoreflect.FullName][]protoreflect.Message // some of each type that Validate takes
	rules          map[protoreflect.FullName]protoreflect.Message   // by field
	refused, taken map[protoreflect.FullName]bool                   // fields
	mending        bool                                             // keeps texts short, since they are copied often
}

// valid is a message that Validate takes, or one that it does not where none is found.
func (g *maker) valid(mt protoreflect.MessageType) protoreflect.Message {
	name := mt.Descriptor().FullName()
	if _, ok := g.made[name]; !ok {
		g.made[name] = []protoreflect.Message{mt.New()} // for a type that holds itself
		before := g.mending
		g.mending = true
		for range 4 {
			g.made[name] = append(g.made[name], g.mend(mt.New()))
		}
		g.made[name], g.mending = g.made[name][1:], before
	}
	some := g.made[name]
	return proto.Clone(some[g.r.IntN(len(some))].Interface()).ProtoReflect()
}

// mend sets the field that Validate complains of until there is none.
func (g *maker) mend(m protoreflect.Message) protoreflect.Message {
	v, ok := m.Interface().(validator)
	for range 200 {
		if !ok {
			return m
		}
		err := v.Validate()
		if err == nil {
			return m
		}
		d, name := m.Descriptor(), err.(violation).Field()
		if fd := fieldOf(d, name); fd != nil {
			g.set(m, fd)
			continue
		}
		for i := range d.Oneofs().Len() {
			if o := d.Oneofs().Get(i); plain(string(o.Name())) == plain(name) {
				g.set(m, o.Fields().Get(g.r.IntN(o.Fields().Len())))
			}
		}
	}
	return m
}

// set gives a field some value, or none.
func (g *maker) set(m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	rules := g.rulesOf(fd)
	m.Clear(fd)
	switch {
	case g.r.IntN(8) == 0:
	case fd.IsList():
		list, size := m.NewField(fd).List(), g.size(rules)
		var v protoreflect.Value
		for i := range size {
			if i < 50 {
				v = g.value(fd, list.NewElement, rules)
			}
			list.Append(v)
		}
		m.Set(fd, protoreflect.ValueOfList(list))
	case fd.IsMap():
		pairs := m.NewField(fd).Map()
		for range g.size(rules) {
			pairs.Set(g.value(fd.MapKey(), nil, rules).MapKey(), g.value(fd.MapValue(), pairs.NewValue, rules))
		}
		m.Set(fd, protoreflect.ValueOfMap(pairs))
	default:
		m.Set(fd, g.value(fd, func() protoreflect.Value { return m.NewField(fd) }, rules))
	}
}

// size is a number of elements.
func (g *maker) size(rules protoreflect.Message) int {
	n := g.r.IntN(4)
	if limits := numbersIn(rules); len(limits) > 0 && g.r.IntN(3) == 0 {
		if l := limits[g.r.IntN(len(limits))]; l < 2000 {
			n = max(0, int(l)+g.r.IntN(3)-1)
		}
	}
	return n
}

func (g *maker) value(fd protoreflect.FieldDescriptor, empty func() protoreflect.Value, rules protoreflect.Message) protoreflect.Value {
	number := g.number(rules)
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.r.IntN(2) == 0)
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		if g.r.IntN(4) == 0 {
			return protoreflect.ValueOfEnum([]protoreflect.EnumNumber{-1, 77, math.MaxInt32}[g.r.IntN(3)])
		}
		return protoreflect.ValueOfEnum(values.Get(g.r.IntN(values.Len())).Number())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(g.text(rules))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(g.text(rules)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(number)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(number))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(int64(number)))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(number))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(int64(number)))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(int64(number)))
	}
	return g.message(empty(), rules, number)
}

// message is a valid message, or an empty one, or one of protobuf's own.
func (g *maker) message(empty protoreflect.Value, rules protoreflect.Message, number float64) protoreflect.Value {
	m := empty.Message()
	if d, ok := m.Interface().(*durationpb.Duration); ok {
		ns := int64(number)
		d.Seconds, d.Nanos = ns/1e9, int32(ns%1e9)
		switch g.r.IntN(12) {
		case 0:
			d.Seconds, d.Nanos = 1, -1
		case 1:
			d.Seconds, d.Nanos = 0, math.MaxInt32
		case 2:
			d.Seconds = math.MaxInt64
		}
		return protoreflect.ValueOfMessage(m)
	}
	if m.Descriptor().FullName().Parent() == "google.protobuf" && strings.HasSuffix(string(m.Descriptor().Name()), "Value") {
		if fd := m.Descriptor().Fields().ByName("value"); fd != nil {
			m = m.New()
			m.Set(fd, g.value(fd, nil, rules))
		}
		return protoreflect.ValueOfMessage(m)
	}
	if g.r.IntN(6) == 0 {
		return protoreflect.ValueOfMessage(m.New())
	}
	return protoreflect.ValueOfMessage(g.valid(m.Type()))
}

// number is one near a limit of the rules, mostly.
func (g *maker) number(rules protoreflect.Message) float64 {
	limits := append(numbersIn(rules), 0, 1)
	n := limits[g.r.IntN(len(limits))] + []float64{-1, 0, 0, 1, 1, 0.5}[g.r.IntN(6)]
	switch g.r.IntN(40) {
	case 0:
		n = math.NaN()
	case 1:
		n = math.MaxUint32
	case 2:
		n = math.Inf(1)
	}
	return n
}

// numbersIn are the limits in rules, durations in nanoseconds.
func numbersIn(m protoreflect.Message) (out []float64) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch x := v.Interface().(type) {
		case uint32, uint64:
			out = append(out, float64(v.Uint()))
		case int32, int64:
			out = append(out, float64(v.Int()))
		case float32, float64:
			out = append(out, v.Float())
		case protoreflect.Message:
			if x.Descriptor().FullName() == "google.protobuf.Duration" {
				out = append(out, float64(duration(v).AsDuration()))
				break
			}
			out = append(out, numbersIn(x)...)
		}
		return true
	})
	slices.Sort(out) // Range has no order
	return out
}

// textsIn are the texts in rules.
func textsIn(m protoreflect.Message) (out []string) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch x := v.Interface().(type) {
		case string:
			out = append(out, x)
		case protoreflect.List:
			for i := range x.Len() {
				out = append(out, x.Get(i).String())
			}
		case protoreflect.Message:
			out = append(out, textsIn(x)...)
		}
		return true
	})
	slices.Sort(out) // Range has no order
	return out
}

// texts are such as some pattern of the API takes, and others.
var texts = []string{"", "a", "a-b", "a b", "aB_1", "é", "a\x00", "a\n", "x:y", "/a", "/a/{b}", "http://x/y", "*.example.com", "1.5", "GET", "*", "%A%", ":path", "x-y\t", "a.mmdb", strings.Repeat("a0", 32), "\"a\""}

func (g *maker) text(rules protoreflect.Message) string {
	given, limits := textsIn(rules), numbersIn(rules)
	switch n := g.r.IntN(6); {
	case n == 0 && len(given) > 0:
		return given[g.r.IntN(len(given))]
	case n == 1 && len(given) > 0:
		return given[g.r.IntN(len(given))] + "x" + given[g.r.IntN(len(given))]
	case n <= 2 && len(limits) > 0:
		l := limits[g.r.IntN(len(limits))]
		if l < 70_000 && (l < 200 || !g.mending) {
			return strings.Repeat([]string{"a", "é"}[g.r.IntN(2)], max(0, int(l)+g.r.IntN(3)-1))
		}
	}
	return texts[g.r.IntN(len(texts))]
}
