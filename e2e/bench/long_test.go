package main

import (
	"errors"
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
		want          []string // of what is listed as failed
	}{
		{none, none, nil},
		{"-bench . -benchmem", none, []string{"benchmarks: exit status 3"}},
		{"TestScenesConfirm", none, []string{"confirmation: every case of every scene, 20 times in a row: exit status 3"}},
		{"-screen", "Read20000", []string{"reading 20,000 rules live: CPU beside that of iptables-nft-save: no line that matters", "the confirm screen at 5,000 packets/s: exit status 3"}},
	} {
		cmd := exec.Command(filepath.Join(dir, ".ci/long"))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "BREAK="+c.breaks, "MUTE="+c.mutes, "MESHTOP_ISTIOCTL="+filepath.Join(dir, "bin/istioctl"))
		out, err := cmd.CombinedOutput()
		text := string(out)
		end := "\nevery part passed\n"
		if c.want != nil {
			end = "parts failed:\n  " + strings.Join(c.want, "\n  ") + "\n"
			if !strings.Contains(text, "failed; all it said:\n") || !strings.Contains(text, "it broke here") {
				t.Errorf("%v does not show what was said:\n%s", c, text)
			}
		}
		var exit *exec.ExitError
		if failed := errors.As(err, &exit); failed != (c.want != nil) || err != nil && !failed || !strings.HasSuffix(text, end) {
			t.Errorf("%v: %v, want the end %q:\n%s", c, err, end, text)
		}
		if !strings.Contains(text, "## everything, five minutes for each fuzz target\nBenchmarkX 1\n") {
			t.Errorf("%v: it does not go to its end:\n%s", c, text)
		}
	}
}
