// Package api is Envoy's API as data: every message that a configuration may hold, by its name, and
// the rules that the API gives for its fields. The generated Go packages of the same messages would
// cost every start of the program what only the control plane needs: each registers itself in an
// init. Here nothing is done before the first message is asked for, and then only for the files
// that it needs.
package api

import (
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/runtime/protoimpl"
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
	raw   map[string][]byte                // by file
	holds map[protoreflect.FullName]string // the file of a message or enum that lies in no message

	files sync.Map // the protoreflect.FileDescriptor of each that was needed

	checking sync.Mutex
	checked  map[protoreflect.FullName]checklist // check.go; guarded by checking
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
	s := &set{raw: map[string][]byte{}, holds: map[protoreflect.FullName]string{}, checked: map[protoreflect.FullName]checklist{}}
	return s, each(all, func(_ protowire.Number, file []byte) { s.index(file) })
}

// The fields of descriptor.proto that are read here.
const (
	nameField     = 1 // of everything
	filePackage   = 2
	fileMessages  = 4
	fileEnums     = 5
	messageFields = 2
	messageNested = 3
	messageOneofs = 8
	fieldOptions  = 8
	oneofOptions  = 2
)

// index notes the name of a file and what is declared in it.
func (s *set) index(file []byte) {
	name, pkg := text(file, nameField), text(file, filePackage)
	s.raw[name] = file
	each(file, func(n protowire.Number, b []byte) {
		if n == fileMessages || n == fileEnums {
			s.holds[protoreflect.FullName(pkg).Append(protoreflect.Name(text(b, nameField)))] = name
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
	d, err := s.FindDescriptorByName(name)
	if m, ok := d.(protoreflect.MessageDescriptor); ok {
		return m, nil
	}
	return nil, cmp.Or(err, protoregistry.NotFound)
}

// FindDescriptorByName finds a message or enum, for the fields of another too.
func (s *set) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if s.holds[name] == "" {
		if name == "" {
			return nil, protoregistry.NotFound
		}
		in, err := s.message(name.Parent())
		if err != nil {
			return nil, err
		}
		return child(in, name.Name())
	}
	return child(s.file(s.holds[name]), name.Name())
}

// child is a message or enum that is declared in another message, or in a file.
func child(in interface {
	Messages() protoreflect.MessageDescriptors
	Enums() protoreflect.EnumDescriptors
}, name protoreflect.Name) (protoreflect.Descriptor, error) {
	if m := in.Messages().ByName(name); m != nil {
		return m, nil
	}
	if e := in.Enums().ByName(name); e != nil {
		return e, nil
	}
	return nil, protoregistry.NotFound
}

// file is the descriptor of a file. It is made as the generated packages make theirs: what is
// declared in it is read when it is asked for. protodesc would read all of it and of what it
// imports, and cost each start of the program its own init.
func (s *set) file(name string) protoreflect.FileDescriptor {
	if f, ok := s.files.Load(name); ok {
		return f.(protoreflect.FileDescriptor)
	}
	made := protoimpl.DescBuilder{RawDescriptor: s.raw[name], TypeResolver: Types{}, FileRegistry: s}.Build().File // may ask for others
	f, _ := s.files.LoadOrStore(name, made)
	return f.(protoreflect.FileDescriptor)
}

// FindFileByPath finds none: what a file imports is found by its name.
func (s *set) FindFileByPath(string) (protoreflect.FileDescriptor, error) {
	return nil, protoregistry.NotFound
}

// RegisterFile does nothing: file keeps what it makes.
func (s *set) RegisterFile(protoreflect.FileDescriptor) error { return nil }
