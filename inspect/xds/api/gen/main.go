// Command gen makes what package api embeds, from the Go packages of Envoy's API that go.mod names:
// go generate ./inspect/xds/api. It reads the descriptors out of their sources, so that
// nothing has to be built, and the same modules give the same bytes.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// roots are the folders with what a configuration may hold, and the messages of ADS. The version 2
// that lies beside them Envoy no longer reads.
var roots = map[string][]string{
	"github.com/envoyproxy/go-control-plane/envoy":   {"config", "data", "extensions", "service/discovery/v3", "type", "watchdog"},
	"github.com/envoyproxy/go-control-plane/contrib": {"envoy"},
	"github.com/cncf/xds/go":                         {"udpa", "xds"},
}

var current = regexp.MustCompile(`/v3[a-z0-9]*$`)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	packages, err := list()
	if err != nil {
		return err
	}
	linked, err := command("go", append([]string{"list", "-deps", "-f", "{{if .Module}}{{.ImportPath}} {{.Dir}}{{end}}"}, packages...)...)
	if err != nil {
		return err
	}
	files, asked := map[string]*descriptorpb.FileDescriptorProto{}, []string(nil)
	for i := 0; i < len(linked); i += 2 {
		names, err := read(linked[i+1], files)
		if err != nil {
			return err
		}
		if _, ok := slices.BinarySearch(packages, linked[i]); ok {
			asked = append(asked, names...)
		}
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, name := range needed(asked, files) {
		set.File = append(set.File, files[name])
	}
	return write(set, packages)
}

// list gives the packages below the roots, sorted.
func list() (out []string, err error) {
	for module, below := range roots {
		dir, err := command("go", "list", "-m", "-f", "{{.Dir}}", module)
		if err != nil {
			return nil, err
		}
		for _, root := range below {
			err := filepath.WalkDir(filepath.Join(dir[0], root), func(path string, d fs.DirEntry, err error) error {
				in := filepath.ToSlash(filepath.Dir(path))
				if err != nil || !strings.HasSuffix(path, ".pb.go") || strings.HasPrefix(module, "github.com/envoyproxy") && !current.MatchString(in) {
					return err
				}
				out = append(out, module+strings.TrimPrefix(in, filepath.ToSlash(dir[0])))
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func command(name string, args ...string) ([]string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return strings.Fields(string(out)), nil
}

// read adds the descriptors that the generated files of a folder hold, and gives their names.
func read(dir string, into map[string]*descriptorpb.FileDescriptorProto) (names []string, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.pb.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		raw := rawDescriptor(tree)
		if raw == nil {
			continue // of another generator
		}
		f := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(raw, f); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		into[f.GetName()] = f
		names = append(names, f.GetName())
	}
	return names, nil
}

// rawDescriptor is the value of file_..._rawDesc: a constant of protoc-gen-go, a list of bytes of
// older ones.
func rawDescriptor(tree *ast.File) []byte {
	for _, d := range tree.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			v, ok := s.(*ast.ValueSpec)
			if ok && len(v.Values) == 1 && strings.HasSuffix(v.Names[0].Name, "_rawDesc") {
				return evaluate(v.Values[0])
			}
		}
	}
	return nil
}

func evaluate(e ast.Expr) []byte {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return append(evaluate(e.X), evaluate(e.Y)...)
	case *ast.BasicLit:
		return []byte(constant.StringVal(constant.MakeFromLiteral(e.Value, e.Kind, 0)))
	case *ast.CompositeLit:
		out := make([]byte, len(e.Elts))
		for i, b := range e.Elts {
			lit := b.(*ast.BasicLit)
			n, _ := constant.Int64Val(constant.MakeFromLiteral(lit.Value, lit.Kind, 0))
			out[i] = byte(n)
		}
		return out
	}
	return nil
}

// needed are the names of files, and of those that they import, each after what it imports.
func needed(names []string, files map[string]*descriptorpb.FileDescriptorProto) (out []string) {
	done := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		if files[name] == nil {
			log.Fatalf("no package has the file %s", name)
		}
		for _, d := range files[name].Dependency {
			add(d)
		}
		out = append(out, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add(name)
	}
	return out
}

// write writes the set, and the imports by which the test links what it was made of.
func write(set *descriptorpb.FileDescriptorSet, packages []string) error {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(raw); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	var imports strings.Builder
	imports.WriteString("// Code generated by inspect/xds/api/gen. DO NOT EDIT.\n\npackage api\n\nimport (\n")
	for _, p := range packages {
		fmt.Fprintf(&imports, "\t_ %q\n", p)
	}
	imports.WriteString(")\n")
	if err := os.WriteFile("all_test.go", []byte(imports.String()), 0o644); err != nil {
		return err
	}
	fmt.Printf("%d files, %d packages, %d bytes, %d compressed\n", len(set.File), len(packages), len(raw), packed.Len())
	return os.WriteFile("envoy.pb.gz", packed.Bytes(), 0o644)
}
