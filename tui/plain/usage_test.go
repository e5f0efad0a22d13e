package plain

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verbs are root and all verbs with a usage text of their own.
func verbs(app *App) []*cobra.Command {
	root := newRoot(app)
	out := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if !c.Hidden {
			out = append(out, c)
		}
	}
	return out
}

// A usage text fits a screen of 24 lines of 80 to 90 columns, and names every flag.
func TestUsageFits(t *testing.T) {
	for _, cmd := range verbs(&App{}) {
		text := usageOf(cmd)
		if !strings.Contains(text, "meshtop") || strings.Contains(text, "Usage:") {
			t.Errorf("%s has no usage text of its own", cmd.Name())
		}
		lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
		if len(lines) > 24 {
			t.Errorf("%s: %d lines", cmd.Name(), len(lines))
		}
		for _, l := range lines {
			if len(l) > 84 {
				t.Errorf("%s: %d columns: %s", cmd.Name(), len(l), l)
			}
		}
		see := text
		if cmd.Name() == "attach" || cmd.Name() == "meshtop" || strings.Contains(text, "as for trace") {
			see += usageOf(trace(t))
		}
		if cmd.Name() == "meshtop" || strings.Contains(text, "as for attach") {
			see += usageOf(verb(t, "attach"))
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(see, "--"+f.Name) {
				t.Errorf("%s: --%s is not in its usage text", cmd.Name(), f.Name)
			}
		})
	}
}

func trace(t *testing.T) *cobra.Command { return verb(t, "trace") }

func verb(t *testing.T, name string) *cobra.Command {
	t.Helper()
	for _, c := range verbs(&App{}) {
		if c.Name() == name {
			return c
		}
	}
	t.Fatalf("no verb %s", name)
	return nil
}

// The two examples at the end of each usage text run, and are no mistake.
func TestUsageExamples(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, data := range map[string]string{"cases.jsonl": exampleCase, "cases.yaml": "- " + exampleCase} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range verbs(&App{}) {
		lines := strings.Split(strings.TrimRight(usageOf(cmd), "\n"), "\n")
		for _, example := range lines[len(lines)-2:] {
			words, err := request.Words(strings.TrimSpace(example))
			if err != nil || words[0] != "meshtop" {
				t.Fatalf("%s: no example: %q %v", cmd.Name(), example, err)
			}
			var out, errs bytes.Buffer
			code := Run(context.Background(), App{Stdout: &out, Stderr: &errs, Version: "v0"}, words[1:])
			if code == ExitUsage || out.Len() == 0 && errs.Len() == 0 {
				t.Errorf("%s: exit %d, %s", example, code, errs.String())
			}
		}
	}
}

const exampleCase = `{"name": "v2 goes to v2", "request": {"direction": "inbound", "dst": "10.244.1.7:8080", "http": {"authority": "app.shadow.com", "path": "/", "headers": [["version", "v2"]]}}, "want": {"verdict": "delivered", "outcome": {"cluster": "app_cluster_v2"}}}
`
