package api

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// ready makes the rules of a field, a raw validate.FieldRules, a check of its value.
func ready(d protoreflect.MessageDescriptor, raw []byte, fd protoreflect.FieldDescriptor) (*fieldCheck, error) {
	r := dynamicpb.NewMessage(d)
	err := proto.Unmarshal(raw, r)
	f := &fieldCheck{fd: fd}
	if err == nil {
		err = f.fill(r)
	}
	if err != nil {
		return nil, fmt.Errorf("the rules of %s: %w", fd.FullName(), err)
	}
	return f, nil
}

func (f *fieldCheck) fill(r protoreflect.Message) (err error) {
	of := part(r, "message")
	f.skips = truth(of, "skip")
	kind, rules := typeRules(r)
	switch {
	case truth(of, "required") && rules != nil:
		f.required = "value is required and must not be nil."
	case truth(of, "required") || truth(rules, "required"):
		f.required = "value is required"
	}
	if of != nil {
		if err := known(of, "required", "skip"); err != nil {
			return err
		}
	}
	if rules == nil {
		return nil
	}
	switch fd := f.fd; {
	case kind == "repeated":
		f.value, err = listCheck(rules, fd)
	case kind == "map":
		f.value, err = mapCheck(rules, fd)
	default:
		f.value, err = valueCheck(kind, rules, fd)
		if fd.Message() != nil && kind != "duration" && kind != "any" { // a google.protobuf.UInt32Value or its like
			f.value = unwrap(f.value, fd.Message().Fields().ByNumber(1))
		}
	}
	return err
}

func unwrap(inner check, fd protoreflect.FieldDescriptor) check {
	return func(v protoreflect.Value) wrong { return inner(v.Message().Get(fd)) }
}

// typeRules are the rules that are given for the field's type; nil: there are none.
func typeRules(r protoreflect.Message) (kind protoreflect.Name, rules protoreflect.Message) {
	fd := r.WhichOneof(r.Descriptor().Oneofs().ByName("type"))
	if fd == nil {
		return "", nil
	}
	return fd.Name(), r.Get(fd).Message()
}

// valueCheck checks a single value, or one in a list or map.
func valueCheck(kind protoreflect.Name, rules protoreflect.Message, fd protoreflect.FieldDescriptor) (check, error) {
	switch kind {
	case "string":
		return stringCheck(rules)
	case "bytes":
		return bytesCheck(rules)
	case "enum":
		return enumCheck(rules, fd.Enum())
	case "bool":
		want := rules.Get(field(rules, "const")).Bool()
		return func(v protoreflect.Value) wrong {
			return broken(v.Bool() != want, "value must equal %v", want)
		}, known(rules, "const")
	case "any":
		return nil, known(rules, "required")
	case "duration":
		return durationCheck(rules)
	case "float", "double", "int32", "int64", "uint32", "uint64":
		ignore := truth(rules, "ignore_empty")
		b := boundsOf(rules, func(v protoreflect.Value) protoreflect.Value { return v }, func(v protoreflect.Value) string { return fmt.Sprint(v.Interface()) })
		return func(v protoreflect.Value) wrong {
			if c, _ := compare(v, zero(v)); ignore && c == 0 {
				return wrong{}
			}
			return b.check(v)
		}, known(rules, "lt", "lte", "gt", "gte", "ignore_empty")
	}
	return nil, fmt.Errorf("rules of a %s are not known here", kind)
}

func broken(is bool, format string, args ...any) wrong {
	if !is {
		return wrong{}
	}
	return wrong{reason: fmt.Sprintf(format, args...)}
}

// known refuses rules that no check here asks: none may be passed over.
func known(rules protoreflect.Message, names ...protoreflect.Name) (err error) {
	rules.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(names, fd.Name()) {
			err = fmt.Errorf("the rule %s is not known here", fd.FullName())
		}
		return err == nil
	})
	return err
}

func field(m protoreflect.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}

// part is a message in rules; nil: it is not given.
func part(m protoreflect.Message, name protoreflect.Name) protoreflect.Message {
	if fd := field(m, name); m.Has(fd) {
		return m.Get(fd).Message()
	}
	return nil
}

// truth is a bool of rules, false where they, or it, are not given.
func truth(m protoreflect.Message, name protoreflect.Name) bool {
	if m == nil {
		return false
	}
	fd := field(m, name)
	return fd != nil && m.Get(fd).Bool()
}

// The patterns of the well-known expressions (protoc-gen-validate, module/checker.go): of a header's
// name, of its value, and of either where the rule is not strict.
const (
	headerName  = "^:?[0-9a-zA-Z!#$%&'*+-.^_|~\x60]+$"
	headerValue = "^[^\u0000-\u0008\u000A-\u001F\u007F]*$"
	headerText  = "^[^\u0000\u000A\u000D]*$"
)

func pattern(rules protoreflect.Message) string {
	switch rules.Get(field(rules, "well_known_regex")).Enum() {
	case 0:
		return rules.Get(field(rules, "pattern")).String()
	case 1, 2:
		if !rules.Get(field(rules, "strict")).Bool() {
			return headerText
		}
	}
	if rules.Get(field(rules, "well_known_regex")).Enum() == 1 {
		return headerName
	}
	return headerValue
}

func stringCheck(rules protoreflect.Message) (check, error) {
	ignore, list := truth(rules, "ignore_empty"), rules.Get(field(rules, "in")).List()
	var in []string
	for i := range list.Len() {
		in = append(in, list.Get(i).String())
	}
	runes, size := lengthOf(rules, "min_len", "max_len", "runes"), lengthOf(rules, "min_bytes", "max_bytes", "bytes")
	prefix, suffix := rules.Get(field(rules, "prefix")).String(), rules.Get(field(rules, "suffix")).String()
	text := pattern(rules)
	like, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return func(v protoreflect.Value) wrong {
		s := v.String()
		switch {
		case ignore && s == "":
			return wrong{}
		case in != nil && !slices.Contains(in, s):
			return wrong{reason: fmt.Sprintf("value must be in list %v", in)}
		case runes.broken(utf8.RuneCountInString(s)):
			return runes.wrong()
		case size.broken(len(s)):
			return size.wrong()
		case !strings.HasPrefix(s, prefix):
			return wrong{reason: fmt.Sprintf("value does not have prefix %q", prefix)}
		case !strings.HasSuffix(s, suffix):
			return wrong{reason: fmt.Sprintf("value does not have suffix %q", suffix)}
		}
		return broken(!like.MatchString(s), "value does not match regex pattern %q", text)
	}, known(rules, "in", "min_len", "max_len", "min_bytes", "max_bytes", "prefix", "suffix", "pattern", "well_known_regex", "strict", "ignore_empty")
}

func bytesCheck(rules protoreflect.Message) (check, error) {
	size := lengthOf(rules, "min_len", "max_len", "bytes")
	return func(v protoreflect.Value) wrong {
		if size.broken(len(v.Bytes())) {
			return size.wrong()
		}
		return wrong{}
	}, known(rules, "min_len", "max_len")
}

func enumCheck(rules protoreflect.Message, ed protoreflect.EnumDescriptor) (check, error) {
	defined, list := truth(rules, "defined_only"), rules.Get(field(rules, "not_in")).List()
	var not []protoreflect.EnumNumber
	var names []protoreflect.Name
	for i := range list.Len() {
		n := protoreflect.EnumNumber(list.Get(i).Int())
		not = append(not, n)
		names = append(names, ed.Values().ByNumber(n).Name())
	}
	return func(v protoreflect.Value) wrong {
		if slices.Contains(not, v.Enum()) {
			return wrong{reason: fmt.Sprintf("value must not be in list %v", names)}
		}
		return broken(defined && ed.Values().ByNumber(v.Enum()) == nil, "value must be one of the defined enum values")
	}, known(rules, "defined_only", "not_in")
}

func durationCheck(rules protoreflect.Message) (check, error) {
	b := boundsOf(rules, func(v protoreflect.Value) protoreflect.Value {
		return protoreflect.ValueOfInt64(int64(duration(v).AsDuration()))
	},
		func(v protoreflect.Value) string { return time.Duration(v.Int()).String() })
	if b.low == nil && b.high == nil {
		return nil, known(rules, "required")
	}
	return func(v protoreflect.Value) wrong {
		d := duration(v)
		if d.CheckValid() != nil {
			return wrong{reason: "value is not a valid duration"}
		}
		return b.check(protoreflect.ValueOfInt64(int64(d.AsDuration())))
	}, known(rules, "required", "lt", "lte", "gt", "gte")
}

func duration(v protoreflect.Value) *durationpb.Duration {
	m := v.Message()
	return &durationpb.Duration{Seconds: m.Get(field(m, "seconds")).Int(), Nanos: int32(m.Get(field(m, "nanos")).Int())}
}

// each element has the same rules.
func elementCheck(rules protoreflect.Message, name protoreflect.Name, fd protoreflect.FieldDescriptor) (check, error) {
	r := part(rules, name)
	if r == nil {
		return nil, nil
	}
	kind, of := typeRules(r)
	if of == nil || fd.Message() != nil {
		return nil, fmt.Errorf("the rules %s are not known here", name)
	}
	return valueCheck(kind, of, fd)
}

func listCheck(rules protoreflect.Message, fd protoreflect.FieldDescriptor) (check, error) {
	count, unique := countOf(rules, "min_items", "max_items", "item"), truth(rules, "unique")
	item, err := elementCheck(rules, "items", fd)
	if err != nil {
		return nil, err
	}
	return func(v protoreflect.Value) wrong {
		list := v.List()
		if count.broken(list.Len()) {
			return count.wrong()
		}
		if item == nil && !unique {
			return wrong{}
		}
		seen := map[any]bool{}
		for i := range list.Len() {
			var w wrong
			if e := list.Get(i); unique && seen[e.Interface()] {
				w.reason = "repeated value must contain unique items"
			} else if seen[e.Interface()] = true; item != nil {
				w = item(e)
			}
			if w.reason != "" {
				w.at = fmt.Sprintf("[%d]", i)
				return w
			}
		}
		return wrong{}
	}, known(rules, "min_items", "max_items", "unique", "items")
}

func mapCheck(rules protoreflect.Message, fd protoreflect.FieldDescriptor) (check, error) {
	count := countOf(rules, "min_pairs", "max_pairs", "pair")
	key, err := elementCheck(rules, "keys", fd.MapKey())
	if err != nil {
		return nil, err
	}
	value, err := elementCheck(rules, "values", fd.MapValue())
	if err != nil {
		return nil, err
	}
	return func(v protoreflect.Value) wrong {
		pairs := v.Map()
		if count.broken(pairs.Len()) {
			return count.wrong()
		}
		var keys []protoreflect.MapKey
		pairs.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
			keys = append(keys, k)
			return true
		})
		slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return cmp.Compare(a.String(), b.String()) })
		for _, k := range keys {
			var w wrong
			if key != nil {
				w = key(k.Value())
				w.key = "key for "
			}
			if value != nil && w.reason == "" {
				w = value(pairs.Get(k))
			}
			if w.reason != "" {
				w.at = fmt.Sprintf("[%v]", k)
				return w
			}
		}
		return wrong{}
	}, known(rules, "min_pairs", "max_pairs", "keys", "values")
}
