// Package check judges a table of expected paths: each case is one request with what must
// be true of its trace, and the answer says which were met, by which step not, and what of
// the configuration no case came by.
package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"go.yaml.in/yaml/v3"
)

// Case is one row of the table.
type Case struct {
	Name    string
	Line    int // where it stands in its file
	Request flow.Request
	Host    string // the name that Request goes to, where that is to be looked up; else empty
	Want    Want
}

// Draft is the request whose name may have to be looked up.
func (c Case) Draft() request.Draft { return request.Draft{Request: c.Request, Host: c.Host} }

// Want is what must be true of the trace. A nil field is not asked; where there are
// several values, any of them will do.
type Want struct {
	Verdict []string
	Outcome map[string][]string // by the JSON names of an outcome's fields
	Caller  map[string][]string // code, flags, tcp, location, details
	// Answer are headers of the answer that the caller sees, as far as the proxy makes them,
	// and Upstream what the endpoint receives: its fields, and its headers by their names.
	// Of a header nil means that it must not be there.
	Answer          map[string][]string
	Upstream        map[string][]string
	UpstreamHeaders map[string][]string
	Netfilter       []string // rules hit on the first leg, in order; nil: not asked, empty: none
	To              []string // where the first leg arrives
}

// OutcomeFields are the JSON names of an outcome's fields in their order.
func OutcomeFields() []string {
	return []string{"listener", "filterChain", "routeConfig", "virtualHost", "route", "routeIndex", "cluster", "endpoint"}
}

// CallerFields are the JSON names of what a caller sees.
func CallerFields() []string { return []string{"code", "flags", "tcp", "location", "details"} }

// UpstreamFields are the JSON names of what the endpoint receives, but for its headers.
func UpstreamFields() []string { return []string{"method", "authority", "path", "version"} }

// headersField holds headers by name, in what is wanted of caller and upstream.
const headersField = "headers"

// Parse reads cases: one JSON object a line, a JSON array, or a YAML list.
func Parse(data []byte) ([]Case, error) {
	text := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
	var cases []Case
	var err error
	switch {
	case len(text) == 0:
		return nil, fmt.Errorf("no cases: the file is empty")
	case text[0] == '{':
		cases, err = parseLines(data)
	default:
		cases, err = parseYAML(data) // a JSON array is YAML, too
	}
	if err == nil && len(cases) == 0 {
		err = fmt.Errorf("no cases")
	}
	return cases, err
}

// parseLines reads objects one behind another; each may take one line or several.
func parseLines(data []byte) ([]Case, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	dec := json.NewDecoder(bytes.NewReader(data))
	var out []Case
	for {
		start := dec.InputOffset()
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if err == io.EOF {
			return out, nil
		}
		line := lineAt(data, start)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		c, err := parseCase(raw, line)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
}

// lineAt is the line of the first character that is no space from offset on.
func lineAt(data []byte, offset int64) int {
	for offset < int64(len(data)) && strings.IndexByte(" \t\r\n", data[offset]) >= 0 {
		offset++
	}
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

func parseYAML(data []byte) ([]Case, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("neither JSON lines nor YAML: %w", err)
	}
	if doc.Kind != yaml.DocumentNode || doc.Content[0].Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("line %d: want one JSON object a line, or a YAML list of cases", max(1, doc.Line))
	}
	var out []Case
	for _, item := range doc.Content[0].Content {
		var v any
		if err := item.Decode(&v); err != nil {
			return nil, fmt.Errorf("line %d: %w", item.Line, err)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", item.Line, err)
		}
		c, err := parseCase(raw, item.Line)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// caseForm is a case as it is written.
type caseForm struct {
	Name    string          `json:"name"`
	Request json.RawMessage `json:"request"`
	Want    *struct {
		Verdict   any            `json:"verdict"`
		Outcome   map[string]any `json:"outcome"`
		Caller    map[string]any `json:"caller"`
		Upstream  map[string]any `json:"upstream"`
		Netfilter *[]string      `json:"netfilter"`
		To        any            `json:"to"`
	} `json:"want"`
}

// One is a case whose request and want stand apart.
func One(name string, req, want []byte) (Case, error) {
	switch {
	case !json.Valid(req):
		return Case{}, errors.New("part request: no JSON")
	case !json.Valid(want):
		return Case{}, errors.New("part want: no JSON")
	}
	raw, err := json.Marshal(map[string]any{"name": name, "request": json.RawMessage(req), "want": json.RawMessage(want)})
	if err != nil {
		return Case{}, err
	}
	return parseCase(raw, 1)
}

func parseCase(raw []byte, line int) (Case, error) {
	c, err := parseForm(raw)
	c.Line = line
	if err != nil {
		if c.Name != "" {
			return c, fmt.Errorf("line %d: case %q: %w", line, c.Name, err)
		}
		return c, fmt.Errorf("line %d: %w", line, err)
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("line %d", line)
	}
	return c, nil
}

func parseForm(raw []byte) (Case, error) {
	var f caseForm
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&f); err != nil {
		return Case{Name: f.Name}, err
	}
	c := Case{Name: f.Name}
	if f.Request == nil {
		return c, fmt.Errorf("request is missing")
	}
	d, err := request.ParseDraft(f.Request)
	if err != nil {
		return c, err
	}
	c.Request, c.Host = d.Request, d.Host
	if f.Want == nil {
		return c, fmt.Errorf("want is missing")
	}
	w := &c.Want
	if w.Verdict, err = values("verdict", f.Want.Verdict); err != nil {
		return c, err
	}
	for _, v := range w.Verdict {
		if !isVerdict(v) {
			return c, fmt.Errorf("want: verdict %q: delivered, refused, dropped, looped, depends or unknown", v)
		}
	}
	if w.To, err = values("to", f.Want.To); err != nil {
		return c, err
	}
	if w.Outcome, err = fields("outcome", f.Want.Outcome, OutcomeFields()); err != nil {
		return c, err
	}
	if w.Caller, w.Answer, err = withHeaders("caller", f.Want.Caller, CallerFields()); err != nil {
		return c, err
	}
	if w.Upstream, w.UpstreamHeaders, err = withHeaders("upstream", f.Want.Upstream, UpstreamFields()); err != nil {
		return c, err
	}
	if f.Want.Netfilter != nil {
		w.Netfilter = append([]string{}, *f.Want.Netfilter...)
	}
	if w.empty() {
		return c, fmt.Errorf("want is empty: such a case cannot fail")
	}
	return c, nil
}

// empty says that nothing is asked.
func (w *Want) empty() bool {
	return w.Verdict == nil && w.To == nil && w.Netfilter == nil && len(w.Outcome)+len(w.Caller)+len(w.Answer)+len(w.Upstream)+len(w.UpstreamHeaders) == 0
}

// withHeaders is fields, where one of them holds headers: a value, a list of which any will
// do, or null for one that must not be there.
func withHeaders(what string, in map[string]any, known []string) (plain, headers map[string][]string, err error) {
	rest := map[string]any{}
	for name, v := range in {
		if name != headersField {
			rest[name] = v
			continue
		}
		list, ok := v.(map[string]any)
		if !ok {
			return nil, nil, fmt.Errorf("want: %s.headers: an object of names and values", what)
		}
		headers = map[string][]string{}
		for h, v := range list {
			if headers[strings.ToLower(h)], err = values(what+".headers."+h, v); err != nil {
				return nil, nil, err
			}
		}
	}
	plain, err = fields(what, rest, known)
	return plain, headers, err
}

func isVerdict(s string) bool {
	for v := flow.Unknown; v <= flow.Depends; v++ {
		if v != flow.Continue && v.String() == s {
			return true
		}
	}
	return false
}

func fields(what string, in map[string]any, known []string) (map[string][]string, error) {
	if in == nil {
		return nil, nil
	}
	out := map[string][]string{}
	for name, v := range in {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("want: %s has no field %q: there are %s", what, name, strings.Join(known, ", "))
		}
		vs, err := values(what+"."+name, v)
		if err != nil {
			return nil, err
		}
		if vs != nil {
			out[name] = vs
		}
	}
	return out, nil
}

// values reads one value or a list of them as strings; a number as it is written.
func values(what string, v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case json.Number:
		return []string{v.String()}, nil
	case []any:
		var out []string
		for _, e := range v {
			one, err := values(what, e)
			if err != nil || len(one) != 1 {
				return nil, fmt.Errorf("want: %s: a list of strings or numbers, no deeper", what)
			}
			out = append(out, one...)
		}
		if out == nil {
			return nil, fmt.Errorf("want: %s: an empty list is never met", what)
		}
		return out, nil
	}
	return nil, fmt.Errorf("want: %s: a string, a number or a list of them", what)
}
