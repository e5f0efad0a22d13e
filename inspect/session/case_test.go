package session

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/check"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
)

var update = flag.Bool("update", false, "rewrite what the cases want by what they get")

// Every snapshot in rules/testdata is a case: its first line says what it shows, its
// request is traced, its want is judged. A bug arrives as such a file and stays.
func TestCases(t *testing.T) {
	paths, err := filepath.Glob("../../rules/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { oneCase(t, path) })
	}
}

func oneCase(t *testing.T, path string) {
	pod, err := saved.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r := read(t, pod)
	req, err := request.Parse(r.Files[RequestPart])
	if err != nil {
		t.Fatal(err)
	}
	_, tr, err := Trace(context.Background(), pod, r, req, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		rewrite(t, path, tr)
		return
	}
	c, err := Case(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(c.Name, ".") {
		t.Errorf("%s begins with no sentence: %q", path, c.Name)
	}
	if j := check.Judge(c, tr); j.Status != check.Met {
		t.Errorf("%v: %+v\n%s", j.Status, j.Diffs, render.Text(tr, render.TextOptions{Why: true}))
	}
}

// rewrite replaces the part want, which is the last, by what the trace says.
func rewrite(t *testing.T, path string, tr flow.Trace) {
	t.Helper()
	want := map[string]any{"verdict": tr.Verdict.String()}
	outcome := map[string]string{}
	for _, name := range check.OutcomeFields() {
		if v := check.OutcomeField(tr.Outcome, name); v != "" && v != "-1" {
			outcome[name] = v
		}
	}
	if len(outcome) > 0 {
		want["outcome"] = outcome
	}
	if tr.Caller.Code != 0 {
		want["caller"] = map[string]any{"code": tr.Caller.Code, "tcp": tr.Caller.TCP.String()}
	}
	if len(tr.Legs) > 0 && tr.Verdict != flow.Unknown && tr.Verdict != flow.Depends {
		want["netfilter"], want["to"] = check.RulesHit(tr.Legs[0]), request.AddrPort(tr.Legs[0].To.Dst)
	}
	raw, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(old), "-- want --\n")
	if !ok {
		t.Fatalf("%s has no part want", path)
	}
	if err := os.WriteFile(path, []byte(head+"-- want --\n"+string(raw)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
