package plain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// PAGER decides before EDITOR, with its arguments; the file is its owner's alone, and goes.
func TestPager(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string // the command line before the file; empty: an error
	}{
		{map[string]string{"PAGER": "cat -v", "EDITOR": "true"}, "cat -v"},
		{map[string]string{"EDITOR": "true"}, "true"},
		{map[string]string{"PAGER": "no-such-program --x"}, ""},
	} {
		app := &App{Getenv: func(name string) string { return c.env[name] }}
		cmd, done, err := app.pager("../config_dump.yaml", []byte("text"))
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), `PAGER or EDITOR names "no-such-program"`) {
				t.Errorf("%v: %v", c.env, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		file := cmd.Args[len(cmd.Args)-1]
		if got := strings.Join(cmd.Args[:len(cmd.Args)-1], " "); got != c.want || filepath.Base(file) != "config_dump.yaml" {
			t.Errorf("%v: %q %s", c.env, got, file)
		}
		st, err := os.Stat(file)
		if err != nil || st.Mode() != 0o600 {
			t.Errorf("%v: %v", err, st)
		}
		if err := done(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
			t.Errorf("its folder is left: %v", err)
		}
	}
}
