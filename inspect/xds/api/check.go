package api

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The options that hold rules, in a field's and a oneof's options (validate.proto).
const (
	fieldRules    = 1071
	oneofRequired = 1071
)

// Check asks the rules that the API gives for the fields of a message of Types, as Envoy does
// before it takes one (protoc-gen-validate). The messages in its fields are not asked themselves.
// The error names the field.
func Check(m protoreflect.Message) error {
	list, err := loaded().checklist(m.Descriptor())
	if err != nil {
		return err
	}
	for _, c := range list.asks {
		if why := c.ask(m); why.reason != "" {
			return fmt.Errorf("invalid %s%s.%s%s: %s", why.key, m.Descriptor().Name(), c.name, why.at, why.reason)
		}
	}
	return nil
}

// Skips says whether the API has the message in a field taken as it is: neither it nor what is in it
// is asked.
func Skips(fd protoreflect.FieldDescriptor) bool {
	list, err := loaded().checklist(fd.ContainingMessage())
	return err == nil && slices.Contains(list.skips, fd.Name())
}

// checklist is the rules of a message.
type checklist struct {
	asks  []asker
	skips []protoreflect.Name
}

// asker is the rules of one field or oneof.
type asker struct {
	name protoreflect.Name
	ask  func(protoreflect.Message) wrong
}

// wrong is how a value breaks its rules; no reason: it does not.
type wrong struct {
	key    string // "key for " where it is the key of a map
	at     string // of a list or map: "[2]"
	reason string
}

type check func(protoreflect.Value) wrong

// fieldCheck is the rules of one field.
type fieldCheck struct {
	fd       protoreflect.FieldDescriptor
	required string // what is wrong where the field is not set; empty: nothing
	skips    bool
	value    check // nil: none
}

func (c *fieldCheck) ask(m protoreflect.Message) wrong {
	switch {
	case c.fd.HasPresence() && !m.Has(c.fd):
		if c.fd.ContainingOneof() == nil {
			return wrong{reason: c.required}
		}
		return wrong{}
	case c.value == nil:
		return wrong{}
	}
	return c.value(m.Get(c.fd))
}

// checklist makes the rules of a message ready, once, in the order in which the generated code asks
// them: fields that are in no oneof, those that are, and the optional ones.
func (s *set) checklist(d protoreflect.MessageDescriptor) (list checklist, err error) {
	rules, err := s.message("validate.FieldRules")
	if err != nil {
		return list, err
	}
	s.checking.Lock()
	defer s.checking.Unlock()
	if list, ok := s.checked[d.FullName()]; ok {
		return list, nil
	}
	raw := s.rawMessage(d)
	ofFields, ofOneofs := options(raw, messageFields, fieldOptions), options(raw, messageOneofs, oneofOptions)
	add := func(fd protoreflect.FieldDescriptor) {
		if raw := value(ofFields[fd.Name()], fieldRules); raw != nil && err == nil {
			var c *fieldCheck
			if c, err = ready(rules, raw, fd); err == nil {
				list.asks = append(list.asks, asker{fd.Name(), c.ask})
			}
			if err == nil && c.skips {
				list.skips = append(list.skips, fd.Name())
			}
		}
	}
	for i := range d.Fields().Len() {
		if fd := d.Fields().Get(i); fd.ContainingOneof() == nil {
			add(fd)
		}
	}
	for i := range d.Oneofs().Len() { // those of optional fields are the last
		o := d.Oneofs().Get(i)
		for i := range o.Fields().Len() {
			add(o.Fields().Get(i))
		}
		if value(ofOneofs[o.Name()], oneofRequired) != nil {
			list.asks = append(list.asks, asker{o.Name(), func(m protoreflect.Message) wrong { return broken(m.WhichOneof(o) == nil, "value is required") }})
		}
	}
	if err == nil {
		s.checked[d.FullName()] = list
	}
	return list, err
}

// rawMessage is the descriptor of a message as it is embedded.
func (s *set) rawMessage(d protoreflect.MessageDescriptor) (raw []byte) {
	in, kind := s.raw[d.ParentFile().Path()], protowire.Number(fileMessages)
	if m, ok := d.Parent().(protoreflect.MessageDescriptor); ok {
		in, kind = s.rawMessage(m), messageNested
	}
	each(in, func(n protowire.Number, b []byte) {
		if n == kind && text(b, nameField) == string(d.Name()) {
			raw = b
		}
	})
	return raw
}

// options are the options of each field or oneof of a raw message. They are not asked of its
// descriptor, which has none where descriptorpb is not linked.
func options(message []byte, kind, field protowire.Number) map[protoreflect.Name][]byte {
	out := map[protoreflect.Name][]byte{}
	each(message, func(n protowire.Number, b []byte) {
		if n == kind {
			out[protoreflect.Name(text(b, nameField))] = value(b, field)
		}
	})
	return out
}

// value is a field of a raw message as it is encoded: a message's bytes, a bool's one byte; nil: it
// is not set, or false.
func value(b []byte, field protowire.Number) (out []byte) {
	for len(b) > 0 {
		n, kind, l := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(n, kind, b[l:])
		switch v := b[l : l+size]; {
		case n != field:
		case kind == protowire.BytesType:
			v, _ = protowire.ConsumeBytes(v)
			out = append(out, v...) // a message may be given in parts
		case v[0] != 0:
			out = v
		}
		b = b[l+size:]
	}
	return out
}
