// Package config reads what the user's file says of the screens: keys, looks, and the
// contexts that are dangerous. It reads strictly: what it does not know is an error with its
// line, for a setting that does nothing would be believed to do something.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/tui"
	"github.com/meshtop/meshtop/tui/style"
	"go.yaml.in/yaml/v3"
)

// Settings are what a file says, with what is built in where it says nothing.
type Settings struct {
	Theme  style.Theme
	Color  string // "auto" or "never"
	ASCII  string // "auto", "true" or "false"
	Mouse  bool
	Danger []Pattern
	Keys   tui.Keys
}

// Pattern matches names of contexts: a * stands for any text, also none. Upper and lower case
// are the same.
type Pattern struct {
	Text string
	Line int // of the file
}

// MaxBytes is the size of the largest file that is read.
const MaxBytes = 1 << 20

// BuiltIn are the settings without a file.
func BuiltIn() Settings {
	keys, _ := tui.NewKeys(nil) // the built-in map has no conflict
	return Settings{Theme: style.Auto, Color: "auto", ASCII: "auto", Mouse: true, Keys: keys}
}

// Names are the settings that a file may hold.
func Names() []string { return []string{"theme", "color", "ascii", "mouse", "danger", "keys"} }

// Parse reads a file. Its errors are all that is wrong, a line each, and each begins with
// "line N: "; the settings are then those that are built in.
func Parse(data []byte) (Settings, error) {
	s := BuiltIn()
	root, err := document(data)
	if err != nil || root == nil {
		return s, err
	}
	r := reader{s: s}
	r.mapping(root, "the file", func(key, value *yaml.Node) {
		if set := r.setting(key.Value); set != nil {
			set(value)
			return
		}
		r.wrong(key, "there is no setting %q%s", key.Value, near(key.Value, Names()))
	})
	keys, err := tui.NewKeys(r.remaps)
	if err = errors.Join(append(r.errs, err)...); err != nil {
		return s, err
	}
	r.s.Keys = keys
	return r.s, nil
}

// document is the root of the one document of a file; nil: it is empty.
func document(data []byte) (*yaml.Node, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("line 1: %d bytes, more than the %d that are read", len(data), MaxBytes)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, inYAML(err)
	}
	if err := d.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second document begins: want one", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, inYAML(err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	return doc.Content[0], nil
}

// inYAML is an error of the library's with its line first.
func inYAML(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if !strings.HasPrefix(text, "line ") {
		text = "line 1: " + text
	}
	return errors.New(text)
}

// reader walks a file, and notes all that is wrong.
type reader struct {
	s      Settings
	remaps []tui.Remap
	errs   []error
}

func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("line %d: %s", n.Line, fmt.Sprintf(format, args...)))
}

// mapping walks the pairs of a mapping; a key stands in it once.
func (r *reader) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "%s: want names with values, such as \"theme: auto\"", what)
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch line, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			r.wrong(key, "%s: want a name before the colon", what)
		case twice:
			r.wrong(key, "%s stands in line %d already", key.Value, line)
		default:
			seen[key.Value] = key.Line
			each(key, value)
		}
	}
}

// setting is what takes the value of a setting; nil: there is none of that name.
func (r *reader) setting(name string) func(*yaml.Node) {
	switch name {
	case "theme":
		return func(v *yaml.Node) { r.s.Theme = style.Theme(r.word(v, name, themes()...)) }
	case "color":
		return func(v *yaml.Node) { r.s.Color = r.word(v, name, "auto", "never") }
	case "ascii":
		return func(v *yaml.Node) { r.s.ASCII = r.word(v, name, "auto", "true", "false") }
	case "mouse":
		return func(v *yaml.Node) { r.s.Mouse = r.word(v, name, "true", "false") == "true" }
	case "danger":
		return r.danger
	case "keys":
		return func(v *yaml.Node) { r.mapping(v, name, r.key) }
	}
	return nil
}

func themes() []string {
	var out []string
	for _, t := range style.Themes() {
		out = append(out, string(t))
	}
	return out
}

// word is one of a few words.
func (r *reader) word(v *yaml.Node, name string, known ...string) string {
	if v.Kind != yaml.ScalarNode || !slices.Contains(known, v.Value) {
		r.wrong(v, "%s: %s: want %s", name, said(v), strings.Join(known, ", "))
	}
	return v.Value
}

// said is a value in words.
func said(v *yaml.Node) string {
	switch v.Kind {
	case yaml.MappingNode:
		return "names with values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "*" + v.Value
	}
	if v.Tag == "!!null" {
		return "nothing"
	}
	return fmt.Sprintf("%q", v.Value)
}

// words is a list of words, or one alone.
func (r *reader) words(v *yaml.Node, name string) []*yaml.Node {
	list := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		list = v.Content
	}
	for _, w := range list {
		if w.Kind != yaml.ScalarNode || w.Tag == "!!null" {
			r.wrong(w, "%s: %s: want a word or a list of words", name, said(w))
			return nil
		}
	}
	return list
}

func (r *reader) danger(v *yaml.Node) {
	for _, w := range r.words(v, "danger") {
		if strings.TrimSpace(w.Value) == "" {
			r.wrong(w, "danger: an empty name matches no context: want one such as prod-*")
			continue
		}
		r.s.Danger = append(r.s.Danger, Pattern{w.Value, w.Line})
	}
}

func (r *reader) key(name, v *yaml.Node) {
	before := len(r.errs)
	m := tui.Remap{Act: name.Value, Line: name.Line}
	for _, w := range r.words(v, "keys: "+name.Value) {
		m.Keys = append(m.Keys, w.Value)
	}
	if len(r.errs) == before {
		r.remaps = append(r.remaps, m)
	}
}

// near says which names are meant, or which there are.
func near(word string, known []string) string {
	for _, k := range known {
		if word != "" && (strings.HasPrefix(k, strings.ToLower(word)) || strings.HasPrefix(strings.ToLower(word), k)) {
			return ": was " + k + " meant?"
		}
	}
	return ": want " + strings.Join(known, ", ")
}

// Dangerous is the pattern that a context's name matches.
func (s Settings) Dangerous(context string) (Pattern, bool) {
	for _, p := range s.Danger {
		if context != "" && p.matches(context) {
			return p, true
		}
	}
	return Pattern{}, false
}

func (p Pattern) matches(name string) bool {
	name = strings.ToLower(name)
	parts := strings.Split(strings.ToLower(p.Text), "*")
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, last)
}
