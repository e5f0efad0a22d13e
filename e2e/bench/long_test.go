package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stub stands for a program of the long run: it says what a good run says, and fails or
// keeps silent where the test asks for it.
const stub = `#!/bin/bash
case "$*" in
  *"$MUTE"*) exit 0 ;;
esac
echo "BenchmarkX 1"; echo "ok  pkg"; echo "seed 7: noise on stderr" >&2
case "$*" in *"$BREAK"*) echo "it broke here" >&2; exit 3 ;; esac
`

// The long run goes to its end whatever fails, lists what failed, and fails then. A part
// that prints nothing of what it should count has failed as well.
func TestLongListsFailures(t *testing.T) {
	dir := t.TempDir()
	long, err := os.ReadFile("../../.ci/long")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{".ci/long": string(long), ".ci/deps": "#!/bin/bash\n", ".ci/test": stub, "bin/go": stub, "bin/istioctl": stub} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const none = "no such argument"
	for _, c := range []struct {
		breaks, mutes string
		want          []string // begin and end of each line that lists a failed part
	}{
		{none, none, nil},
		{"-bench . -benchmem", none, []string{"benchmarks|: exit status 3"}},
		{"TestScenesConfirm", none, []string{"confirmation: |: exit status 3"}},
		{"-live 10000", "Read20000", []string{"reading 20,000 rules live: |: no line that matters", "a live Envoy with 10,000 services: |: exit status 3"}},
	} {
		cmd := exec.Command(filepath.Join(dir, ".ci/long"))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "BREAK="+c.breaks, "MUTE="+c.mutes, "MESHTOP_ISTIOCTL="+filepath.Join(dir, "bin/istioctl"))
		out, err := cmd.CombinedOutput()
		text := string(out)
		listed := !strings.Contains(text, "parts failed:") && strings.HasSuffix(text, "\nevery part passed\n")
		if c.want != nil {
			listed = lists(text, c.want)
			if !strings.Contains(text, "failed; all it said:\n") || !strings.Contains(text, "it broke here") {
				t.Errorf("%v does not show what was said:\n%s", c, text)
			}
		}
		var exit *exec.ExitError
		if failed := errors.As(err, &exit); failed != (c.want != nil) || err != nil && !failed || !listed {
			t.Errorf("%v: %v, want it to fail with %q:\n%s", c, err, c.want, text)
		}
		if !strings.Contains(text, "## everything, five minutes for each fuzz target\nBenchmarkX 1\n") {
			t.Errorf("%v: it does not go to its end:\n%s", c, text)
		}
	}
}

// lists says whether the last lines of a run list just these parts as failed.
func lists(text string, want []string) bool {
	_, list, ok := strings.Cut(text, fmt.Sprintf("\n%d parts failed:\n", len(want)))
	lines := strings.Split(strings.TrimSuffix(list, "\n"), "\n")
	if !ok || len(lines) != len(want) {
		return false
	}
	for i, w := range want {
		begin, end, _ := strings.Cut(w, "|")
		if !strings.HasPrefix(lines[i], "  "+begin) || !strings.HasSuffix(lines[i], end) {
			return false
		}
	}
	return true
}
