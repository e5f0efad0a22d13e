package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// every visits the generated type of each message that is embedded.
func every(t *testing.T, visit func(protoreflect.MessageType)) {
	t.Helper()
	var walk func(protoreflect.MessageDescriptors)
	walk = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			if m := ms.Get(i); !m.IsMapEntry() {
				mt, err := protoregistry.GlobalTypes.FindMessageByName(m.FullName())
				if err != nil {
					t.Fatalf("%s: %v", m.FullName(), err)
				}
				visit(mt)
				walk(m.Messages())
			}
		}
	}
	s, err := unpack()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range slices.Sorted(maps.Keys(s.raw)) { // what is random has a seed
		f, err := protoregistry.GlobalFiles.FindFileByPath(file)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		walk(f.Messages())
	}
}

// What is embedded is what the modules of go.mod have.
func TestEmbeddedIsTheModules(t *testing.T) {
	s, err := unpack()
	if err != nil {
		t.Fatal(err)
	}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		raw, ok := s.raw[f.Path()]
		if !ok {
			if strings.HasPrefix(string(f.Package()), "envoy.") && f.Package() != "envoy.annotations" {
				t.Errorf("%s is not embedded: go generate ./inspect/xds/api", f.Path())
			}
			return true
		}
		got := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(raw, got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, protodesc.ToFileDescriptorProto(f)) {
			t.Errorf("%s is another: go generate ./inspect/xds/api", f.Path())
		}
		return true
	})
}

// fieldsOf is what is read of a message's fields.
func fieldsOf(d protoreflect.MessageDescriptor) (out []string) {
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		text := fmt.Sprint(fd.FullName(), fd.Number(), fd.Kind(), fd.Cardinality(), fd.JSONName(), fd.IsPacked(), fd.IsMap(), fd.HasPresence())
		if fd.ContainingOneof() != nil {
			text += " in " + string(fd.ContainingOneof().Name())
		}
		if m := fd.Message(); m != nil {
			text += fmt.Sprint(" ", m.FullName(), m.IsPlaceholder(), m.Fields().Len())
		}
		if e := fd.Enum(); e != nil {
			text += fmt.Sprint(" ", e.FullName(), e.IsPlaceholder(), e.Values().Len())
		}
		out = append(out, text)
	}
	return out
}

// Each message is found by its name and URL, with the fields of the generated one, and its rules are
// all known.
func TestEveryMessage(t *testing.T) {
	const messageOptions = 7
	n := 0
	every(t, func(mt protoreflect.MessageType) {
		n++
		name := mt.Descriptor().FullName()
		got, err := Types{}.FindMessageByURL("type.googleapis.com/" + string(name))
		if err != nil || got.Descriptor().FullName() != name {
			t.Fatalf("%s: %v", name, err)
		}
		if got, want := fieldsOf(got.Descriptor()), fieldsOf(mt.Descriptor()); !slices.Equal(got, want) {
			t.Errorf("%s has the fields\n%q, want\n%q", name, got, want)
		}
		if _, err := loaded().checklist(got.Descriptor()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, rules := range []protowire.Number{1071, 1072} { // disabled, ignored
			if value(value(loaded().rawMessage(got.Descriptor()), messageOptions), rules) != nil {
				t.Errorf("%s has a rule for the whole message, which Check does not know", name)
			}
		}
	})
	if n < 1300 {
		t.Errorf("only %d messages", n)
	}
	for _, no := range []string{"", "/", "x", "envoy.config", "envoy.config.core.v3.ApiVersion", "envoy.config.core.v3.Nothing", "envoy.config.core.v3.Address.Nothing", "envoy.api.v2.Listener", "a/envoy.config.core.v3.Address/"} {
		if _, err := (Types{}).FindMessageByURL(no); err != protoregistry.NotFound {
			t.Errorf("%q: %v", no, err)
		}
	}
}
