// Package api is Envoy's API as data: every message that a configuration may hold, by its name, and
// the rules that the API gives for its fields. The generated Go packages of the same messages would
// cost every start of the program what only the control plane needs: each registers itself in an
// init. Here nothing is done before the first message is asked for, and then only for the files
// that it needs.
package api

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

//go:generate go run ./gen

//go:embed envoy.pb.gz
var packed []byte

// Types finds the messages of Envoy's API: config, data, extensions (those of Envoy's contrib
// build too), type, and what they are made of. It is a Resolver of protojson and proto, for use
// by many at once. What it does not have is protoregistry.NotFound.
type Types struct{}

// FindMessageByName finds a message by its full name.
func (Types) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	d, err := loaded().message(name)
	if err != nil {
		return nil, err
	}
	return dynamicpb.NewMessageType(d), nil
}

// FindMessageByURL finds a message by what stands after the last slash, as the type URL of an Any
// has it.
func (t Types) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return t.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

// FindExtensionByName finds none: Envoy's configuration has no extension fields.
func (Types) FindExtensionByName(protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return nil, protoregistry.NotFound
}

// FindExtensionByNumber finds none, as FindExtensionByName.
func (Types) FindExtensionByNumber(protoreflect.FullName, protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return nil, protoregistry.NotFound
}

// set is the descriptors that are embedded, each file raw until somebody needs it.
type set struct {
	mu      sync.Mutex
	raw     map[string][]byte                 // by file
	holds   map[protoreflect.FullName]string  // the file of a message that lies in no other
	files   protoregistry.Files               // those that were needed
	checked map[protoreflect.FullName][]asker // check.go
}

var loaded = sync.OnceValue(func() *set {
	s, err := unpack()
	if err != nil {
		panic(fmt.Sprintf("the embedded API of Envoy: %v", err)) // it is part of the program, and a test reads it
	}
	return s
})

func unpack() (*set, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	all, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	s := &set{raw: map[string][]byte{}, holds: map[protoreflect.FullName]string{}, checked: map[protoreflect.FullName][]asker{}}
	return s, each(all, func(_ protowire.Number, file []byte) { s.index(file) })
}

// index notes the name of a file and the messages in it (descriptor.proto: name is 1, package 2,
// message_type 4; a message's name 1).
func (s *set) index(file []byte) {
	name, pkg := text(file, 1), text(file, 2)
	s.raw[name] = file
	each(file, func(n protowire.Number, b []byte) {
		if n == 4 {
			s.holds[protoreflect.FullName(pkg).Append(protoreflect.Name(text(b, 1)))] = name
		}
	})
}

// text is a field of a raw message.
func text(b []byte, field protowire.Number) (out string) {
	each(b, func(n protowire.Number, b []byte) {
		if n == field {
			out = string(b)
		}
	})
	return out
}

// each visits the fields of a raw message that are texts, bytes or messages.
func each(b []byte, visit func(protowire.Number, []byte)) error {
	for len(b) > 0 {
		n, kind, l := protowire.ConsumeTag(b)
		if l < 0 {
			return protowire.ParseError(l)
		}
		size := protowire.ConsumeFieldValue(n, kind, b[l:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		if kind == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b[l:])
			visit(n, v)
		}
		b = b[l+size:]
	}
	return nil
}

func (s *set) message(name protoreflect.FullName) (protoreflect.MessageDescriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	top := name
	for s.holds[top] == "" {
		if top = top.Parent(); top == "" {
			return nil, protoregistry.NotFound
		}
	}
	if err := s.need(s.holds[top]); err != nil {
		return nil, err
	}
	d, err := s.files.FindDescriptorByName(name)
	if err != nil {
		return nil, err
	}
	m, ok := d.(protoreflect.MessageDescriptor)
	if !ok {
		return nil, protoregistry.NotFound
	}
	return m, nil
}

// need makes descriptors of a file, and of what it imports. It is called with mu held.
func (s *set) need(file string) error {
	if _, err := s.files.FindFileByPath(file); err == nil {
		return nil
	}
	f := &descriptorpb.FileDescriptorProto{}
	// The rules in the options stay raw, whatever else is linked (rules.go).
	if err := (proto.UnmarshalOptions{Resolver: (*protoregistry.Types)(nil)}).Unmarshal(s.raw[file], f); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, d := range f.Dependency {
		if err := s.need(d); err != nil {
			return err
		}
	}
	d, err := protodesc.NewFile(f, &s.files)
	if err != nil {
		return err
	}
	return s.files.RegisterFile(d)
}
