package plain

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// Which ways a text takes, without tmux.
func TestCopyWays(t *testing.T) {
	short, long := "short", strings.Repeat("x", longCopy+1)
	for _, c := range []struct {
		name, text string
		env        map[string]string
		osc, file  bool
		why        string
	}{
		{name: "xterm", text: short, env: map[string]string{"TERM": "xterm-256color"}, osc: true},
		{name: "at the edge", text: long[1:], env: map[string]string{"TERM": "xterm"}, osc: true},
		{name: "over it", text: long, env: map[string]string{"TERM": "xterm"}, file: true, why: "it has 70 kB"},
		{name: "console", text: short, env: map[string]string{"TERM": "linux"}, file: true, why: "this terminal, linux, has no clipboard"},
		{name: "GNU screen", text: short, env: map[string]string{"TERM": "screen", "STY": "1.tty"}, file: true, why: "has no clipboard"},
		{name: "GNU screen elsewhere", text: short, env: map[string]string{"TERM": "screen.xterm"}, file: true, why: "has no clipboard"},
	} {
		t.Chdir(t.TempDir())
		app := &App{Getenv: func(name string) string { return c.env[name] }}
		got := app.copy(context.Background(), c.text)
		if got.OSC52 != c.osc || got.Tmux || (got.File != "") != c.file || !strings.Contains(got.Why, c.why) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if !c.file {
			continue
		}
		data, err := os.ReadFile(got.File)
		st, _ := os.Stat(got.File)
		if err != nil || string(data) != c.text || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %d bytes, %v", c.name, err, len(data), st.Mode())
		}
	}
}

// A real tmux keeps what is copied inside it, however long; a tmux that is gone is no way.
func TestCopyIntoTmux(t *testing.T) {
	power.Tools(t, "tmux")
	t.Chdir(t.TempDir())
	socket := filepath.Join(t.TempDir(), "s")
	tmux := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", socket}, args...)...)
		cmd.Env = append(os.Environ(), "TERM=xterm")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	tmux("new-session", "-d", "-x", "80", "-y", "24", "cat")
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", socket, "kill-server").Run() })
	env := map[string]string{"TERM": "screen-256color", "TMUX": socket + ",1,0"}
	app := &App{Getenv: func(name string) string { return env[name] }}
	const text = "-A OUTPUT -j RETURN\nsecond line ✓ $(no shell)\n"
	if got := app.copy(context.Background(), text); !got.Tmux || got.File != "" || got.Why != "" {
		t.Errorf("%+v", got)
	}
	if got := tmux("show-buffer"); got != text {
		t.Errorf("the buffer is %q", got)
	}
	long := strings.Repeat("0123456789", longCopy/10+1)
	got := app.copy(context.Background(), long)
	if data, _ := os.ReadFile(got.File); !got.Tmux || got.OSC52 || string(data) != long || tmux("show-buffer") != long {
		t.Errorf("long: %+v", got)
	}
	env["TMUX"] = socket + ".gone,1,0"
	env["TERM"] = "linux"
	if got := app.copy(context.Background(), text); got.Tmux || got.File == "" || !strings.Contains(got.Why, "tmux load-buffer: ") {
		t.Errorf("gone: %+v", got)
	}
}
