package envoy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// Filters, matchers and transport sockets of types that are not understood are counted, with
// the name and place of the first; those that are known, and what no request meets, are not.
func TestStrangeTypes(t *testing.T) {
	shiny := func(family, kind string) string {
		return fmt.Sprintf(`{"name":"%s1","typed_config":{"@type":"type.googleapis.com/envoy.extensions.%s.v3.Shiny"}}`, kind, family+"."+kind)
	}
	filters := withFilters(oneHost(answering("r", `"prefix":"/"`)), shiny("filters.http", "new_one")+","+shiny("filters.http", "new_one")+","+
		`{"name":"w","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/acme.Wasm","value":{}}},`+
		typedFilter("f", "fault.v3.HTTPFault", `"shiny":{"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.type.matcher.v3.NewInput"}}}`)) +
		`,"access_log":[{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.shiny.v3.Log"}}]`
	cfg := httpDump(t, filters)
	want := map[string]flow.NotModelled{
		"envoy.extensions.filters.http.new_one.v3.Shiny": {Count: 2, Name: "new_one1"},
		"acme.Wasm":                      {Count: 1, Name: "w"},
		"envoy.type.matcher.v3.NewInput": {Count: 1, Name: "i"},
	}
	got := cfg.Unmodelled()
	for _, u := range got {
		w := want[u.Type]
		raw, ok := cfg.Raw(u.Ref)
		if u.Count != w.Count || u.Name != w.Name || !ok || len(raw) < 10 || raw[0] != '{' {
			t.Errorf("%+v, at %s; want %+v", u, raw, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d types: %+v", len(got), got)
	}
	sockets := mesh{clusters: `{'name': 'c', 'type': 'STATIC', 'transport_socket': {'name': 's', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.shiny.v3.Shiny'}}}`}.load(t)
	if u := sockets.Unmodelled(); len(u) != 1 || u[0].Name != "s" || u[0].Count != 1 {
		t.Errorf("%+v", u)
	}
}

// The lists of what is understood are those that the filters are met by.
func TestKindsAreThoseMet(t *testing.T) {
	for _, c := range []struct {
		file, function string
		knows          func(kind string) bool
		but            string // a word that is no type's
	}{
		{"network.go", "filter", networkKind, ""},
		{"network.go", "limits", networkKind, ""},
		{"listenerfilter.go", "listenerFilter", listenerKind, "listener_local_ratelimit"},
		{"httpfilter.go", "runs", httpKind, "envoy.extensions.common.matching.v3.ExtensionWithMatcher"},
		{"matcher.go", "networkInput", inputKind, ""},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), c.file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		ast.Inspect(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.FuncDecl); ok {
				return d.Name.Name == c.function
			}
			clause, ok := n.(*ast.CaseClause)
			if !ok {
				return true
			}
			for _, e := range clause.List {
				lit, ok := e.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					continue
				}
				kind, _ := strconv.Unquote(lit.Value)
				if found++; kind != c.but && !c.knows(kind) {
					t.Errorf("%s: %s meets %q, which counts as not understood", c.file, c.function, kind)
				}
			}
			return true
		})
		if found == 0 {
			t.Errorf("%s: no cases in %s", c.file, c.function)
		}
	}
}
