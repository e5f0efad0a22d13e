package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// YAML is JSON's object in YAML 1.2, in the same order.
func YAML(t flow.Trace, why bool) []byte { return FromJSON(JSON(t, why)) }

// FromJSON writes a JSON document as block YAML and keeps its order. Every string is
// quoted as JSON quotes it, which YAML 1.2 reads the same, so that no word (no, 1e3,
// null) changes its type and no hidden character appears raw. An own writer, since a
// library's prints bidi and zero-width characters raw.
func FromJSON(doc []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	w := yamlWriter{dec: dec}
	if err := w.value("", ""); err != nil {
		return []byte("# " + Clean(err.Error()) + "\n")
	}
	return w.out.Bytes()
}

type yamlWriter struct {
	dec *json.Decoder
	out bytes.Buffer
}

// value writes the next value, which stands after ":" of a key, "-" of an item, or
// nothing at the start of a line.
func (w *yamlWriter) value(indent, after string) error {
	tok, err := w.dec.Token()
	if err != nil {
		return err
	}
	d, ok := tok.(json.Delim)
	if !ok {
		if after != "" {
			w.out.WriteByte(' ')
		}
		w.out.WriteString(scalar(tok) + "\n")
		return nil
	}
	if !w.dec.More() {
		if after != "" {
			w.out.WriteByte(' ')
		}
		w.out.WriteString(map[json.Delim]string{'{': "{}\n", '[': "[]\n"}[d])
		_, err := w.dec.Token()
		return err
	}
	if after == "-" && d == '{' {
		w.out.WriteByte(' ')
		return w.mapping(indent, true)
	}
	if after != "" {
		w.out.WriteByte('\n')
	}
	if d == '{' {
		return w.mapping(indent, false)
	}
	return w.sequence(indent)
}

// mapping writes the pairs; the first stands on the line that is begun, if one is.
func (w *yamlWriter) mapping(indent string, begun bool) error {
	for w.dec.More() {
		key, err := w.dec.Token()
		if err != nil {
			return err
		}
		if !begun {
			w.out.WriteString(indent)
		}
		begun = false
		w.out.WriteString(yamlKey(key) + ":")
		if err := w.value(indent+"  ", ":"); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w *yamlWriter) sequence(indent string) error {
	for w.dec.More() {
		w.out.WriteString(indent + "-")
		if err := w.value(indent+"  ", "-"); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func yamlKey(tok json.Token) string {
	s := fmt.Sprint(tok)
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" ||
		strings.Contains(" y n yes no on off true false null ", " "+strings.ToLower(s)+" ") {
		return yamlString(s)
	}
	return s
}

func scalar(tok json.Token) string {
	switch v := tok.(type) {
	case string:
		return yamlString(v)
	case nil:
		return "null"
	}
	return fmt.Sprint(tok)
}

// yamlString quotes s. YAML has no surrogate pairs: above the basic plane it is \U.
func yamlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !hidden(r):
			b.WriteRune(r)
		case r < 0x10000:
			b.WriteString(`\u` + hex4(uint16(r)))
		default:
			b.WriteString(`\U` + hex4(uint16(r>>16)) + hex4(uint16(r)))
		}
	}
	b.WriteByte('"')
	return b.String()
}
