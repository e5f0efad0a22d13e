package plain

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cutter is standard input that does something to a file while it is read.
type cutter struct {
	*strings.Reader
	cut func() error
}

func (c *cutter) Read(p []byte) (int, error) {
	if err := c.cut(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

// A large dump that shrinks or changes after it was opened is an error in a sentence.
func TestFileChangesMeanwhile(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"cut":     func(path string) error { return os.Truncate(path, 5000) },
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"grows":   func(path string) error { return os.Truncate(path, 9<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dump.json")
			dump := fmt.Sprintf(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[]}],"x":%q}`, strings.Repeat("x", 8<<20))
			if err := os.WriteFile(path, []byte(dump), 0o600); err != nil {
				t.Fatal(err)
			}
			in := &cutter{strings.NewReader("*nat\nCOMMIT\n"), func() error { return change(path) }}
			var out, errs bytes.Buffer
			app := App{Stdin: in, Stdout: &out, Stderr: &errs}
			code := Run(context.Background(), app, []string{"trace", "--config-dump", path, "--iptables", "-", "--to", "10.0.0.1:80"})
			if code != ExitUsage || !strings.Contains(errs.String(), "written to while it was read") {
				t.Errorf("status %d, %q", code, errs.String())
			}
		})
	}
}
