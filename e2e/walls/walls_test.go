// Package walls guards the arrows between the rooms: who may import whom, and why.
package walls

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/meshtop/meshtop/"

// room is a folder with what it may import of meshtop itself. A folder that is not
// listed fails the test: a new room needs a line and a reason.
type room struct {
	dir string
	may []string // folders of meshtop; "x/..." with all below x
	why string
}

var rooms = []room{
	{"rules/flow", nil, "the shared words depend on nothing, so that every room can speak them"},
	{"rules/netfilter", []string{"rules/flow"}, "the kernel's half knows no proxy"},
	{"rules/envoy/tree", nil, "reading JSON knows no meaning"},
	{"rules/envoy", []string{"rules/flow", "rules/envoy/tree"}, "the proxy's half knows no kernel"},
	{"rules", []string{"rules/flow", "rules/netfilter", "rules/envoy"}, "the join knows both halves and nothing above"},
	{"rules/live", []string{"rules", "rules/flow"}, "what was open is a fact of a snapshot, whoever shows it or plans with it"},
	{"rules/confirm", []string{"rules/flow"}, "what was seen is judged without knowing how it was predicted"},
	{"rules/egress", []string{"rules", "rules/flow", "rules/netfilter", "rules/envoy", "rules/live", "rules/egress/edits"}, "a plan is made of a snapshot"},
	{"rules/egress/edits", []string{"rules/flow"}, "what a change does is worded from the change alone, so that who plans and who applies cannot differ"},
	{"inspect/enforce", []string{"inspect", "inspect/admin", "inspect/netns", "inspect/probe", "rules/flow", "rules/egress/edits"}, "a change is carried out without knowing why"},
	{"inspect/xds/api", nil, "Envoy's API is data, whoever reads a configuration by it"},
	{"inspect/xds/api/gen", nil, "what is embedded is made of the modules alone"},
	{"inspect/xds", []string{"inspect", "inspect/admin", "inspect/xds/api", "rules/flow", "rules/egress/edits"}, "a control plane serves a configuration that it is given"},
	{"inspect/agent", []string{"inspect", "inspect/spool", "rules/flow", "rules/egress/edits"}, "a stream carries a pod, whatever the pod is"},
	{"rules/doctor", []string{"rules", "rules/flow", "rules/netfilter", "rules/envoy", "rules/envoy/tree"}, "findings are made of a snapshot"},
	{"rules/request", []string{"rules/flow"}, "a request is read without knowing where it goes"},
	{"rules/check", []string{"rules", "rules/flow", "rules/netfilter", "rules/envoy", "rules/request"}, "cases are judged by traces; words are render's"},
	{"rules/diff", []string{"rules", "rules/flow", "rules/netfilter", "rules/envoy"}, "two snapshots in words of paths"},
	{"rules/mask", []string{"rules/flow"}, "masking knows files, not meaning"},
	{"rules/render", []string{"rules", "rules/flow", "rules/netfilter", "rules/envoy", "rules/envoy/tree", "rules/request", "rules/confirm", "rules/doctor", "rules/check", "rules/diff", "rules/egress", "rules/egress/edits"}, "words are made of facts"},
	{"inspect", []string{"rules/flow"}, "the seams name no implementation"},
	{"inspect/archive", nil, "files become one file without knowing their meaning"},
	{"inspect/session", []string{"inspect", "inspect/archive", "rules/...", "capture/pcapng"}, "the verbs compose the seams and the engine, and know no reader"},
	{"inspect/saved", []string{"inspect", "capture", "inspect/archive", "rules/flow"}, "a saved snapshot is files"},
	{"inspect/netns", nil, "one helper enters another namespace"},
	{"inspect/probe", []string{"rules/flow"}, "one request, whoever opens the connection"},
	{"inspect/spool", nil, "a long answer is bytes"},
	{"inspect/admin", []string{"inspect", "inspect/spool", "rules/flow"}, "Envoy's admin is asked for bytes"},
	{"inspect/kube", []string{"inspect", "inspect/admin", "inspect/agent", "rules/flow"}, "a pod of a cluster is what its agent says, and where that is put; or what Envoy's admin interface says to who forwards a port"},
	{"inspect/local", []string{"inspect", "inspect/admin", "inspect/netns", "inspect/probe", "inspect/enforce", "capture", "rules/flow"}, "this machine's reader carries bytes"},
	{"capture", []string{"rules/flow", "capture/pcapng", "inspect/netns"}, "packets become observations"},
	{"capture/pcapng", nil, "a file format knows no meaning"},
	{"deploy/image", nil, "an image is made of files, whatever they are"},
	{"tui/style", nil, "colours know no data"},
	{"tui", []string{"inspect", "inspect/session", "rules/...", "tui/style"}, "screens show what the session answers; readers are injected by main"},
	{"tui/config", []string{"tui", "tui/style"}, "what a file says of the screens is read without opening the file"},
	{"tui/plain", []string{"inspect", "inspect/session", "inspect/saved", "inspect/archive", "rules/...", "tui", "tui/style", "tui/config"}, "verbs show what the session answers; readers are injected by main"},
	{"", []string{"..."}, "main wires everything"},
}

// barred are packages that nothing under rules may import: a trace must give the same
// bytes on every machine and at every time.
var barred = []string{"os", "net", "net/http", "os/exec", "context", "log", "math/rand", "math/rand/v2", "syscall"}

func TestWalls(t *testing.T) {
	known := map[string]room{}
	for _, r := range rooms {
		known[r.dir] = r
	}
	for dir, files := range goFiles(t, "../..") {
		if strings.HasPrefix(dir, "e2e") || strings.HasPrefix(dir, "cmd/") {
			continue // oracles may use anything; the agent has a test of its own
		}
		r, ok := known[dir]
		if !ok {
			t.Errorf("%s: a new room needs a line in this test, with its reason", dir)
			continue
		}
		for _, f := range files {
			for _, imp := range imports(t, f) {
				if own, ok := strings.CutPrefix(imp, module); ok && !allowed(own, r.may) {
					t.Errorf("%s must not import %s: %s", f, own, r.why)
				}
				if strings.HasPrefix(imp, "k8s.io/") && dir != "inspect/kube" {
					t.Errorf("%s must not import %q: client-go lives in inspect/kube, so that one room follows its versions", f, imp)
				}
				if strings.HasPrefix(dir, "rules") && slices.Contains(barred, imp) {
					t.Errorf("%s must not import %q: a trace must give the same bytes on every machine", f, imp)
				}
			}
		}
	}
}

// Nothing under rules asks for the time.
func TestNoClock(t *testing.T) {
	for dir, files := range goFiles(t, "../..") {
		if !strings.HasPrefix(dir, "rules") {
			continue
		}
		for _, f := range files {
			tree, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Now" {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
						t.Errorf("%s calls time.Now: a trace must give the same bytes at every time", f)
					}
				}
				return true
			})
		}
	}
}

// Each package has exactly one doc comment.
func TestOneDocComment(t *testing.T) {
	for dir, files := range goFiles(t, "../..") {
		var with []string
		for _, f := range files {
			tree, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if tree.Doc != nil {
				with = append(with, filepath.Base(f))
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has %d doc comments of its package (%v), want one", or(dir, "."), len(with), with)
		}
	}
}

// The agent that runs in a pod stays small: none of the client's heavy dependencies.
func TestAgentIsSmall(t *testing.T) {
	links(t, module+"cmd/meshtop-agent", "google.golang.org/protobuf", "google.golang.org/grpc", "k8s.io/")
}

// Each start of the program initialises all that it links, whichever verb it runs: the typed
// clients of Kubernetes register each of its kinds, 4 ms of processor time.
func TestStartIsCheap(t *testing.T) {
	links(t, strings.TrimSuffix(module, "/"), "k8s.io/client-go/kubernetes", "k8s.io/client-go/dynamic", "k8s.io/client-go/testing")
}

// links fails where a program depends on a package of the heavy ones, or on one below them.
func links(t *testing.T, program string, heavy ...string) {
	out, err := exec.Command("go", "list", "-deps", program).CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, h := range heavy {
			if strings.HasPrefix(dep, h) {
				t.Errorf("%s depends on %s", program, dep)
			}
		}
	}
}

// The program starts lightly for every verb: a generated package of Envoy's API costs each start its
// init, and all of them together cost as much as everything else. The messages are data
// (inspect/xds/api).
func TestStartIsLight(t *testing.T) {
	links(t, strings.TrimSuffix(module, "/"), "github.com/envoyproxy/", "github.com/cncf/xds/", "cel.dev/expr", "go.opentelemetry.io/",
		"google.golang.org/genproto/googleapis/api", "google.golang.org/protobuf/types/descriptorpb")
}

func allowed(own string, may []string) bool {
	for _, m := range may {
		if m == own || m == "..." {
			return true
		}
		if below, ok := strings.CutSuffix(m, "/..."); ok && (own == below || strings.HasPrefix(own, below+"/")) {
			return true
		}
	}
	return false
}

// goFiles lists the non-test files of each folder below root, by folder relative to it.
func goFiles(t *testing.T, root string) map[string][]string {
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "kubernetes") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			dir, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			if dir == "." {
				dir = ""
			}
			out[filepath.ToSlash(dir)] = append(out[filepath.ToSlash(dir)], path)
		}
		return nil
	})
	if err != nil && root == "../.." {
		t.Fatal(err)
	}
	for _, f := range out {
		sort.Strings(f)
	}
	return out
}

func imports(t *testing.T, file string) []string {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range tree.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func or(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

// docs/architecture.md says of every room what lives there.
func TestEveryRoomIsDescribed(t *testing.T) {
	doc, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for dir := range goFiles(t, "../..") {
		if dir != "" && !strings.HasPrefix(dir, "e2e") && !strings.Contains(string(doc), "`"+dir+"`") {
			t.Errorf("docs/architecture.md does not say what lives in %s", dir)
		}
	}
}
