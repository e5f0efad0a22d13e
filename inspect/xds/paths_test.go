package xds

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Every path that is written in this package leads from one of the messages that it handles
// to a field: one that does not would panic where it is used, on a configuration that no test has.
func TestPaths(t *testing.T) {
	known := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	var reach func(d protoreflect.MessageDescriptor)
	reach = func(d protoreflect.MessageDescriptor) {
		if known[d.FullName()] != nil {
			return
		}
		known[d.FullName()] = d
		for i := range d.Fields().Len() {
			if m := d.Fields().Get(i).Message(); m != nil {
				reach(m)
			}
		}
	}
	for _, name := range []string{bootstrapType, chainType, clusterType, filterType, listenerType, rangeType, requestType, responseType, tcpProxyType, anyType} {
		reach(fresh(name).Descriptor())
	}
	leads := func(path string) bool {
		for _, d := range known {
			names := strings.Split(path, ".")
			for i, name := range names {
				fd := d.Fields().ByName(protoreflect.Name(name))
				if fd == nil {
					break
				}
				if i == len(names)-1 {
					return true
				}
				if d = fd.Message(); d == nil || fd.IsList() || fd.IsMap() {
					break
				}
			}
		}
		return false
	}
	methods, calls := map[string]bool{}, 0
	each(t, "object.go", func(n ast.Node) {
		f, ok := n.(*ast.FuncDecl)
		if !ok || f.Recv == nil || len(f.Type.Params.List) == 0 || f.Type.Params.List[0].Names[0].Name != "path" {
			return
		}
		methods[f.Name.Name] = true
	})
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		each(t, file, func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return
			}
			method, ok1 := call.Fun.(*ast.SelectorExpr)
			arg, ok2 := call.Args[0].(*ast.BasicLit)
			if !ok1 || !ok2 || arg.Kind != token.STRING || !methods[method.Sel.Name] {
				return
			}
			calls++
			if path, _ := strconv.Unquote(arg.Value); !leads(path) {
				t.Errorf("%s: no message has %q", file, path)
			}
		})
	}
	if len(methods) < 8 || calls < 40 {
		t.Errorf("%d methods and %d calls seen: the test does not see what it looks for", len(methods), calls)
	}
}

// each shows every node of a file.
func each(t *testing.T, file string, see func(ast.Node)) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		see(n)
		return true
	})
}
