package xds

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meshtop/meshtop/inspect/xds/api"
)

// reader turns YAML, of which JSON is a part, into protobuf messages, and takes what Envoy takes:
// both spellings of a field, enums in any case, one message where a list belongs. It does not use
// protojson, which takes none of the last two and names no line. What it does not know is an error.
type reader struct {
	file  string
	nodes int // read so far
	skips int // how many fields are being read whose messages Envoy takes as they are
	most  int // that may be read: a file whose anchors repeat each other grows without bound
}

// readError is what is wrong at a line of the file.
type readError struct {
	file string
	line int
	path string // of the field, from the top of the file
	what string
}

func (e *readError) Error() string {
	at := e.path
	if at == "" {
		at = "the whole"
	}
	return fmt.Sprintf("%s: line %d: %s: %s", e.file, e.line, at, e.what)
}

func (r *reader) fail(n *yaml.Node, path, format string, args ...any) error {
	return &readError{r.file, n.Line, path, fmt.Sprintf(format, args...)}
}

// readMessage reads a whole file into o.
func readMessage(file string, data []byte, o object) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: the file is empty", file)
		}
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return fmt.Errorf("%s: line %d: a second document begins: Envoy reads one", file, more.Line)
	}
	r := &reader{file: file, most: 20_000 + 10*count(&doc)}
	return r.message(doc.Content[0], o, "")
}

// count is how many values a file holds as it is written.
func count(n *yaml.Node) int {
	sum := 1
	for _, e := range n.Content {
		sum += count(e)
	}
	return sum
}

// message reads a mapping into m, or for the types that protobuf's JSON writes otherwise what
// they are written as.
func (r *reader) message(n *yaml.Node, m protoreflect.Message, path string) error {
	n, err := r.enter(n, path)
	if err != nil {
		return err
	}
	name := m.Descriptor().FullName()
	if name == "google.protobuf.Any" {
		return r.any(n, m, path)
	}
	if done, err := r.wellKnown(n, m, path); done {
		return err
	}
	if n.Kind != yaml.MappingNode {
		return r.fail(n, path, "a %s belongs here, not %s", name, kindOf(n))
	}
	seen := map[protoreflect.FieldNumber]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		if err := r.field(n.Content[i], n.Content[i+1], m, path, seen); err != nil {
			return err
		}
	}
	return r.valid(n, m, path)
}

// enter follows an alias, and counts.
func (r *reader) enter(n *yaml.Node, path string) (*yaml.Node, error) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.nodes++; r.nodes > r.most {
		return nil, r.fail(n, path, "the file holds more than %d values, counting what its anchors repeat", r.most)
	}
	return n, nil
}

// field reads one key of a mapping.
func (r *reader) field(key, value *yaml.Node, m protoreflect.Message, path string, seen map[protoreflect.FieldNumber]bool) error {
	desc := m.Descriptor()
	fd := desc.Fields().ByTextName(key.Value)
	if fd == nil {
		fd = desc.Fields().ByJSONName(key.Value)
	}
	if fd == nil {
		return r.fail(key, path, "%s has no field %q", desc.FullName(), key.Value)
	}
	path = join(path, string(fd.Name()))
	if seen[fd.Number()] {
		return r.fail(key, path, "the field is given twice")
	}
	seen[fd.Number()] = true
	value, err := r.enter(value, path)
	if err != nil {
		return err
	}
	if isNull(value) && (fd.Message() == nil || fd.Message().FullName() != "google.protobuf.Value") {
		return nil // as protobuf's JSON: the field is not set
	}
	if o := fd.ContainingOneof(); o != nil && m.WhichOneof(o) != nil {
		return r.fail(key, path, "it excludes %s, which is given too", m.WhichOneof(o).Name())
	}
	switch {
	case fd.IsMap():
		return r.mapField(value, fd, m.Mutable(fd).Map(), path)
	case fd.IsList():
		return r.listField(value, fd, m.Mutable(fd).List(), path)
	case fd.Message() != nil:
		if api.Skips(fd) {
			r.skips++
			defer func() { r.skips-- }()
		}
		return r.message(value, m.Mutable(fd).Message(), path)
	}
	v, err := r.scalar(value, fd, path)
	if err != nil {
		return err
	}
	m.Set(fd, v)
	return nil
}

// listField reads a list, or one element where a list belongs.
func (r *reader) listField(n *yaml.Node, fd protoreflect.FieldDescriptor, list protoreflect.List, path string) error {
	elems := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		elems = n.Content
	}
	for i, e := range elems {
		at := fmt.Sprintf("%s[%d]", path, i)
		if fd.Message() != nil {
			v := list.NewElement()
			if err := r.message(e, v.Message(), at); err != nil {
				return err
			}
			list.Append(v)
			continue
		}
		v, err := r.scalar(e, fd, at)
		if err != nil {
			return err
		}
		list.Append(v)
	}
	return nil
}

func (r *reader) mapField(n *yaml.Node, fd protoreflect.FieldDescriptor, m protoreflect.Map, path string) error {
	if n.Kind != yaml.MappingNode {
		return r.fail(n, path, "a mapping belongs here, not %s", kindOf(n))
	}
	for i := 0; i < len(n.Content); i += 2 {
		kn := *n.Content[i]
		kn.Style = yaml.DoubleQuotedStyle // a key is text, however it is written
		key, err := r.scalar(&kn, fd.MapKey(), path)
		if err != nil {
			return err
		}
		at := fmt.Sprintf("%s[%q]", path, kn.Value)
		if m.Has(key.MapKey()) {
			return r.fail(&kn, at, "the key is given twice")
		}
		v := m.NewValue()
		if fd.MapValue().Message() != nil {
			err = r.message(n.Content[i+1], v.Message(), at)
		} else {
			v, err = r.scalar(n.Content[i+1], fd.MapValue(), at)
		}
		if err != nil {
			return err
		}
		m.Set(key.MapKey(), v)
	}
	return nil
}

// any reads a message of the type that its "@type" names.
func (r *reader) any(n *yaml.Node, m protoreflect.Message, path string) error {
	if n.Kind != yaml.MappingNode {
		return r.fail(n, path, `a message with "@type" belongs here, not %s`, kindOf(n))
	}
	inner, url := *n, ""
	inner.Content = nil
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == "@type" {
			url = n.Content[i+1].Value
			continue
		}
		inner.Content = append(inner.Content, n.Content[i], n.Content[i+1])
	}
	if url == "" {
		return r.fail(n, path, `there is no "@type"`)
	}
	t, err := api.Types{}.FindMessageByURL(url)
	if err != nil {
		return r.fail(n, path, "the type %q is not one that this build can serve", url)
	}
	msg := t.New()
	body := &inner
	if special(msg.Descriptor().FullName()) { // protobuf's JSON puts these under "value"
		if len(inner.Content) != 2 || inner.Content[0].Value != "value" {
			return r.fail(n, path, "a %s in an Any has the one field \"value\"", msg.Descriptor().FullName())
		}
		body = inner.Content[1]
	}
	if err := r.message(body, msg, path); err != nil {
		return err
	}
	if err := (object{m}).fill(url, msg); err != nil {
		return r.fail(n, path, "%v", err)
	}
	return nil
}

// valid asks the rules that Envoy's API gives for a message (protoc-gen-validate).
func (r *reader) valid(n *yaml.Node, m protoreflect.Message, path string) error {
	if err := api.Check(m); err != nil && r.skips == 0 {
		return r.fail(n, path, "%v", err)
	}
	return nil
}

// special says whether protobuf's JSON writes a type otherwise than as an object of its fields.
func special(name protoreflect.FullName) bool {
	switch name {
	case "google.protobuf.Any", "google.protobuf.Duration", "google.protobuf.Timestamp", "google.protobuf.FieldMask",
		"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue":
		return true
	}
	return isWrapper(name)
}

func isWrapper(name protoreflect.FullName) bool {
	return name.Parent() == "google.protobuf" && strings.HasSuffix(string(name), "Value") &&
		name != "google.protobuf.Value" && name != "google.protobuf.ListValue"
}

// wellKnown reads a special type; done is false where it is written as an object of its fields,
// which Envoy takes of durations and wrappers too.
func (r *reader) wellKnown(n *yaml.Node, m protoreflect.Message, path string) (done bool, err error) {
	name := m.Descriptor().FullName()
	switch {
	case name == "google.protobuf.Struct", name == "google.protobuf.Value", name == "google.protobuf.ListValue":
		return true, r.free(n, m, path)
	case !special(name) || n.Kind != yaml.ScalarNode:
		return false, nil
	case isWrapper(name):
		fd := m.Descriptor().Fields().ByName("value")
		v, err := r.scalar(n, fd, path)
		if err == nil {
			m.Set(fd, v)
		}
		return true, err
	}
	text, err := r.text(n, path, string(name))
	if err != nil {
		return true, err
	}
	if err := protojson.Unmarshal(quote(text), m.Interface()); err != nil {
		return true, r.fail(n, path, "%q is no %s", n.Value, strings.ToLower(string(name.Name())))
	}
	return true, nil
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}
