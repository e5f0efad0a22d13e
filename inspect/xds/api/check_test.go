package api

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// validator is what protoc-gen-validate generates: the oracle.
type validator interface{ Validate() error }

// violation is what its errors say.
type violation interface {
	Field() string
	Reason() string
	Cause() error
}

// leaf is the innermost violation of an error.
func leaf(err error) violation {
	v := err.(violation)
	for {
		in, ok := v.Cause().(violation)
		if !ok {
			return v
		}
		v = in
	}
}

// plain is a field and a reason, however the field's name is written.
func plain(text string) string { return strings.ToLower(strings.ReplaceAll(text, "_", "")) }

// wrongs are what Check says of a message and of each in it, as field and reason.
func wrongs(t *testing.T, m protoreflect.Message) (out []string) {
	if err := Check(m); err != nil {
		_, what, ok := strings.Cut(err.Error(), ".")
		if !ok {
			t.Fatal(err)
		}
		out = append(out, plain(what))
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case Skips(fd), fd.FullName() == "envoy.config.core.v3.ExtensionConfigSource.config_source": // it has the rules of an Any, and is none
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				out = append(out, wrongs(t, v.Message())...)
				return true
			})
		case fd.IsMap() || fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				out = append(out, wrongs(t, v.List().Get(i).Message())...)
			}
		default:
			out = append(out, wrongs(t, v.Message())...)
		}
		return true
	})
	return out
}

// Check says of every message what the code says that protoc-gen-validate has made of the same
// rules: of one that it takes, and of that one with a few fields replaced.
func TestCheckIsValidate(t *testing.T) {
	g := &maker{t, rand.New(rand.NewPCG(1, 0)), map[protoreflect.FullName][]protoreflect.Message{},
		map[protoreflect.FullName]protoreflect.Message{}, map[protoreflect.FullName]bool{}, map[protoreflect.FullName]bool{}, false}
	types, fields, taken, refused := 0, 0, 0, 0
	every(t, func(mt protoreflect.MessageType) {
		if _, ok := mt.Zero().Interface().(validator); !ok {
			return
		}
		types++
		judge := func(some ...protoreflect.FieldDescriptor) {
			m := g.valid(mt)
			for _, fd := range some {
				g.set(m, fd)
			}
			if g.judge(m, some) {
				taken++
			} else {
				refused++
			}
		}
		all := mt.Descriptor().Fields()
		for i := range all.Len() {
			for range 3 {
				judge(all.Get(i), all.Get(g.r.IntN(all.Len())))
			}
			fd := all.Get(i)
			if r := g.rulesOf(fd); proto.Size(r.Interface()) > 0 {
				fields++
				for n := 0; n < 400 && (n < 30 || !g.covered(fd)); n++ {
					judge(fd)
				}
				if !g.covered(fd) {
					t.Errorf("%s: taken %v, refused %v: %v", fd.FullName(), g.taken[fd.FullName()], g.refused[fd.FullName()], r)
				}
			}
		}
	})
	t.Logf("%d types, %d fields with rules, %d messages taken and %d refused", types, fields, taken, refused)
}

// judge says whether a message is taken, by both.
func (g *maker) judge(m protoreflect.Message, set []protoreflect.FieldDescriptor) bool {
	err := m.Interface().(validator).Validate()
	got := wrongs(g.t, g.dynamic(m))
	switch {
	case err == nil && len(got) > 0:
		g.t.Errorf("%s is refused for %q, and Validate takes it: %v", m.Descriptor().FullName(), got, m.Interface())
	case err != nil:
		l := leaf(err)
		want, found := plain(l.Field()+": "+l.Reason()), false
		for _, w := range got {
			found = found || w == want
		}
		if !found {
			g.t.Errorf("%s is refused for %q, and Validate says %v: %v", m.Descriptor().FullName(), got, err, m.Interface())
		}
	}
	g.note(m, err, set)
	return err == nil
}

// note keeps which fields were set and taken, and which one was refused for a rule of its own.
func (g *maker) note(m protoreflect.Message, err error, set []protoreflect.FieldDescriptor) {
	if err == nil {
		for _, fd := range set {
			g.taken[fd.FullName()] = true
		}
		return
	}
	v := err.(violation)
	if fd := fieldOf(m.Descriptor(), v.Field()); fd != nil && v.Reason() != "embedded message failed validation" {
		g.refused[fd.FullName()] = true
	}
}

// covered says whether both answers were seen of a field, or the one that there is.
func (g *maker) covered(fd protoreflect.FieldDescriptor) bool {
	return g.taken[fd.FullName()] && (g.refused[fd.FullName()] || !breakable(fd, g.rulesOf(fd)))
}

// breakable says whether a value can break rules. One that is required in a oneof is there where the
// oneof has it.
func breakable(fd protoreflect.FieldDescriptor, rules protoreflect.Message) bool {
	kind, of := typeRules(rules)
	if of == nil {
		return truth(part(rules, "message"), "required") && fd.ContainingOneof() == nil
	}
	n, nothing := 0, false
	of.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		n++
		atLeast := fd.Name() == "gte" && strings.HasPrefix(string(kind), "uint") || fd.Name() == "min_len"
		nothing = atLeast && v.Uint() == 0
		return true
	})
	return n > 1 || !nothing
}

// dynamic is a message as Types has it.
func (g *maker) dynamic(m protoreflect.Message) protoreflect.Message {
	mt, err := Types{}.FindMessageByName(m.Descriptor().FullName())
	if err != nil {
		g.t.Fatal(err)
	}
	raw, err := proto.Marshal(m.Interface())
	if err != nil {
		g.t.Fatal(err)
	}
	out := mt.New()
	if err := proto.Unmarshal(raw, out.Interface()); err != nil {
		g.t.Fatal(err)
	}
	return out
}

var index = regexp.MustCompile(`\[.*\]$`)

// fieldOf finds a field by the name that Go gives it.
func fieldOf(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	for i := range d.Fields().Len() {
		if fd := d.Fields().Get(i); plain(string(fd.Name())) == plain(index.ReplaceAllString(name, "")) {
			return fd
		}
	}
	return nil
}

// rulesOf are the rules of a field, to probe both sides of each limit in them.
func (g *maker) rulesOf(fd protoreflect.FieldDescriptor) protoreflect.Message {
	if r, ok := g.rules[fd.FullName()]; ok {
		return r
	}
	d, err := loaded().message(fd.ContainingMessage().FullName())
	if err != nil {
		g.t.Fatal(err)
	}
	rules, err := loaded().message("validate.FieldRules")
	if err != nil {
		g.t.Fatal(err)
	}
	out := dynamicpb.NewMessage(rules)
	raw := options(loaded().rawMessage(d), messageFields, fieldOptions)[fd.Name()]
	if err := proto.Unmarshal(value(raw, fieldRules), out); err != nil {
		g.t.Fatal(err)
	}
	g.rules[fd.FullName()] = out
	return out
}
