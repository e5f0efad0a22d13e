// Package fields makes a table of what the fields of Envoy's API may hold, from the descriptors
// that go-control-plane and xds carry in their generated Go text.
package fields

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	_ "github.com/envoyproxy/protoc-gen-validate/validate" // the bounds of fields are its options
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// modules hold the descriptors.
var modules = []string{"github.com/envoyproxy/go-control-plane/envoy", "github.com/cncf/xds/go"}

// schema are all messages and enums of the API by their full names.
type schema struct {
	messages map[string]*descriptorpb.DescriptorProto
	enums    map[string]*descriptorpb.EnumDescriptorProto
}

func readSchema() (*schema, error) {
	s := &schema{map[string]*descriptorpb.DescriptorProto{}, map[string]*descriptorpb.EnumDescriptorProto{}}
	for _, m := range modules {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", m).Output()
		if err != nil {
			return nil, fmt.Errorf("find the module %s: %w", m, err)
		}
		err = filepath.WalkDir(strings.TrimSpace(string(dir)), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".pb.go") {
				return err
			}
			return s.file(path)
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// file adds what the descriptor of one generated file declares; most files hold one, those
// of validation and of vtproto none.
func (s *schema) file(path string) error {
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "_rawDesc = ") {
		return err
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if len(v.Values) != 1 || !strings.HasSuffix(v.Names[0].Name, "_rawDesc") {
				continue
			}
			raw, err := constant(v.Values[0])
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			var fd descriptorpb.FileDescriptorProto
			if err := proto.Unmarshal([]byte(raw), &fd); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			s.add(fd.GetPackage(), fd.MessageType, fd.EnumType)
		}
	}
	return nil
}

// constant is the value of strings that are added up.
func constant(e ast.Expr) (string, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.Unquote(e.Value)
	case *ast.BinaryExpr:
		a, err := constant(e.X)
		if err != nil {
			return "", err
		}
		b, err := constant(e.Y)
		return a + b, err
	}
	return "", fmt.Errorf("a descriptor that is no constant string: %T", e)
}

func (s *schema) add(pkg string, messages []*descriptorpb.DescriptorProto, enums []*descriptorpb.EnumDescriptorProto) {
	for _, m := range messages {
		name := pkg + "." + m.GetName()
		s.messages[name] = m
		s.add(name, m.NestedType, m.EnumType)
	}
	for _, e := range enums {
		s.enums[pkg+"."+e.GetName()] = e
	}
}

// names are the members that the Go text of a folder reads: strings in it, other than those
// of the lists of what is known not to decide, which are named ...Fields.
func names(dir string) (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				return !strings.HasSuffix(n.Names[0].Name, "Fields")
			case *ast.FuncDecl:
				return !strings.HasSuffix(n.Name.Name, "Fields")
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					for _, part := range strings.Split(s, ".") { // paths, such as "route.weighted_clusters"
						out[part] = true
					}
				}
			}
			return true
		})
	}
	return out, nil
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
