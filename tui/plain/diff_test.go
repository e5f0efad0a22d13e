package plain

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect/saved"
)

func diffed(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = Run(context.Background(), App{Stdout: &o, Stderr: &e, Version: "v0"}, append([]string{"diff"}, args...))
	return code, o.String(), e.String()
}

// diffForm is what a program reads.
type diffForm struct {
	Schema string
	Alike  bool
	First  int
	Why    string
	Rows   []struct {
		Kind string
		A, B *struct {
			Step           int
			Stage, Verdict string
		}
	}
}

// Every scene is like itself, in every form; of any two each step of both stands in one row.
func TestDiffOfScenes(t *testing.T) {
	var before string
	for _, s := range saved.Scenes() {
		code, out, errs := diffed("demo", s.Name, "demo", s.Name)
		if code == ExitNo || code == ExitUsage || !strings.Contains(out, "differs   nothing: every step is decided alike") {
			t.Errorf("%s: exit %d, %s%s", s.Name, code, out, errs)
		}
		if before != "" {
			rowsOf(t, before, s.Name)
		}
		before = s.Name
	}
}

func rowsOf(t *testing.T, a, b string) {
	t.Helper()
	_, out, errs := diffed("demo", a, "demo", b, "--to", "10.107.42.16:80", "--uid", "1000", "-o", "json")
	var f diffForm
	if err := json.Unmarshal([]byte(out), &f); err != nil || f.Schema != "meshtop.diff/v1" {
		t.Fatalf("%s %s: %v %s %s", a, b, err, out, errs)
	}
	na, nb := 0, 0
	for i, r := range f.Rows {
		if r.A != nil {
			if na++; r.A.Step != na {
				t.Errorf("%s %s: row %d is step %d of A, want %d", a, b, i, r.A.Step, na)
			}
		}
		if r.B != nil {
			if nb++; r.B.Step != nb {
				t.Errorf("%s %s: row %d is step %d of B, want %d", a, b, i, r.B.Step, nb)
			}
		}
		if parts := r.Kind != "same" && r.Kind != "renumbered"; parts != (i >= f.First && parts) {
			t.Errorf("%s %s: row %d is %s before the first, %d", a, b, i, r.Kind, f.First)
		}
	}
	if f.Alike != (f.First < 0) && f.First >= 0 {
		t.Errorf("%s %s: alike %v, first %d", a, b, f.Alike, f.First)
	}
}

// The seed's question: what does the block change?
func TestDiffSaysWhereTheyPart(t *testing.T) {
	code, out, _ := diffed("demo", "mesh", "demo", "block-all", "--to", "10.107.42.16:80", "--uid", "1000")
	if code != ExitNo {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"A         demo mesh, ", "DELIVERED to", "B         demo block-all, ", "REFUSED: the", "differs   at step 7, handoff: A: 10.107.42.16_80, handed to the listener of",
		"caller: A sees status 200, B its connection reset or closed", "\nFIRST      7 handoff      10.107.42.16_80               7 handoff      no listener fits\n",
		"only A    20 wire", "only B                                                 10 net filter   tcp_proxy"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, l := range strings.Split(out, "\n") {
		if len([]rune(l)) > 100 {
			t.Errorf("%d columns: %s", len([]rune(l)), l)
		}
	}
}

// A snapshot before a change against rules after it, as files; and what a command line cannot be.
func TestDiffOfFiles(t *testing.T) {
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules")
	before := string(demoFiles(t, "mesh")["iptables-save"])
	after := strings.Replace(before, "-A OUTPUT ", "[0:0] -A OUTPUT -d 203.0.113.0/24 -p tcp -j RETURN\n-A OUTPUT ", 1)
	if i := strings.Index(after, "[0:0] -A OUTPUT -d 203"); i > 0 && after[i-1] != '\n' { // counters stand before the rule
		at := strings.LastIndexByte(after[:i], '\n') + 1
		after = before[:at] + "[0:0] -A OUTPUT -d 203.0.113.0/24 -p tcp -j RETURN\n" + before[at:]
	}
	if err := os.WriteFile(rules, []byte(after), 0o600); err != nil {
		t.Fatal(err)
	}
	request := []string{"--to", "10.107.42.16:80", "--uid", "1000"}
	code, out, errs := diffed(append([]string{"demo", "mesh", "demo", "mesh", "--iptables", rules}, request...)...)
	if code != ExitOK || !strings.Contains(out, "\nmoved ") || !strings.Contains(out, "nothing: every step") {
		t.Errorf("a rule above that does not match: exit %d, %s%s", code, out, errs)
	}
	code, out, errs = diffed("demo", "mesh", "demo", "mesh", "--iptables", rules, "--to", "203.0.113.9:80", "--uid", "1000")
	if code != ExitNo || !strings.Contains(out, "nat OUTPUT") || !strings.Contains(out, "FIRST ") {
		t.Errorf("a rule above that matches: exit %d, %s%s", code, out, errs)
	}
	for want, args := range map[string][]string{
		"want two targets":        {},
		"and what? want a second": append([]string{"demo", "mesh"}, request...),
		"which request":           {"netns", "a", "netns", "b"},
		"too many words":          {"demo", "mesh", "demo", "mesh", "x"},
		"not found":               append([]string{"demo", "mesh", "demo", "nowhere"}, request...),
	} {
		if code, out, errs := diffed(args...); code != ExitUsage || !strings.Contains(errs, want) || out != "" {
			t.Errorf("%v: exit %d, %q, %s", args, code, out, errs)
		}
	}
}
