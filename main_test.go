package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"meshtop": main, "kubectl-meshtop": main})
}

// The verbs as somebody types them, one file a subject.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: setup, Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits}})
}

// setup makes the inputs that a script cannot hold, since they are archives themselves.
func setup(e *testscript.Env) error {
	for name, data := range map[string]string{
		"other.txtar": "-- hello.txt --\nx\n",
		"cut.txtar":   "-- iptables-save --\n*nat\nCOMMIT\n-- config_dump.json --\n{\"configs\": [\n",
	} {
		if err := os.WriteFile(filepath.Join(e.WorkDir, name), []byte(data), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// exits runs meshtop and wants an exit status, and a stack trace nowhere.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS ARG...")
	}
	err := ts.Exec("meshtop", args[1:]...)
	got := 0
	var e *exec.ExitError
	if errors.As(err, &e) {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit status %d, want %s", got, want)
	}
	if out := ts.ReadFile("stderr") + ts.ReadFile("stdout"); strings.Contains(out, "goroutine ") {
		ts.Fatalf("a stack trace:\n%s", out)
	}
}
