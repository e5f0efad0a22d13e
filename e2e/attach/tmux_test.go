package attach

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/power"
)

// pane is a real tmux with meshtop in it.
type pane struct {
	*testing.T
	socket string
}

func inTmux(t *testing.T, command string) pane {
	t.Helper()
	power.Tools(t, "tmux")
	p := pane{t, filepath.Join(t.TempDir(), "s")}
	p.tmux("new-session", "-d", "-x", "80", "-y", "24", command)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", p.socket, "kill-server").Run() })
	return p
}

func (p pane) tmux(args ...string) string {
	p.Helper()
	cmd := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", p.socket}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "MESHTOP_CONFIG="+os.DevNull)
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// sees waits for a text in the pane.
func (p pane) sees(text string) {
	p.Helper()
	shown := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if shown = p.tmux("capture-pane", "-p"); strings.Contains(shown, text) {
			return
		}
	}
	p.Fatalf("%q does not come:\n%s", text, shown)
}

// Inside tmux, which by default drops what programs send by OSC 52, a copy is in tmux's buffer,
// and the footer says so.
func TestCopyInTmux(t *testing.T) {
	p := inTmux(t, program+" demo mesh")
	p.sees("DELIVERED")
	p.tmux("send-keys", "s", "c")
	p.sees("in tmux's buffer")
	const rule = "-A OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001"
	if got := p.tmux("show-buffer"); !strings.Contains(got, rule) {
		t.Errorf("the buffer is %q", got)
	}
	p.tmux("send-keys", "C")
	p.sees("Copy as")
	p.tmux("send-keys", "-l", "curl")
	p.tmux("send-keys", "Enter")
	p.sees("copied the curl")
	if got := p.tmux("show-buffer"); !strings.HasPrefix(got, "curl ") {
		t.Errorf("the buffer is %q", got)
	}
	p.tmux("send-keys", "q")
}
