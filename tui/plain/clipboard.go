package plain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui"
)

// longCopy is the size above which terminals do not take a text by OSC 52: many stop at 100 000
// bytes of base64.
const longCopy = 70_000

// copy gives a text to whoever keeps it: tmux where the screens run inside it, since by default it
// drops what programs send by OSC 52 (tmux(1), set-clipboard external); the terminal by OSC 52,
// which the screens send themselves; and a file, where the text is too long for that, or neither
// is there.
func (a *App) copy(ctx context.Context, text string) tui.Copied {
	var c tui.Copied
	var failed error
	if a.env("TMUX") != "" {
		failed = a.toTmux(ctx, text)
		c.Tmux = failed == nil
	}
	c.OSC52 = len(text) <= longCopy && a.takesOSC52()
	if c.OSC52 || c.Tmux && len(text) <= longCopy {
		return c
	}
	switch {
	case len(text) > longCopy:
		c.Why = "it has " + render.Bytes(int64(len(text))) + ", which terminals do not take"
	case failed != nil:
		c.Why = failed.Error()
	default:
		c.Why = "this terminal, " + a.env("TERM") + ", has no clipboard"
	}
	var err error
	if c.File, err = a.toFile(text); err != nil {
		c.Why += "; " + err.Error()
	}
	return c
}

// takesOSC52 says whether the terminal may take OSC 52: the console of Linux and GNU screen are
// known not to.
func (a *App) takesOSC52() bool {
	term := a.env("TERM")
	return term != "linux" && a.env("STY") == "" && !(strings.HasPrefix(term, "screen") && a.env("TMUX") == "")
}

// toTmux loads a buffer, and hands it to tmux's own terminal (-w). Releases before 3.2 know no -w.
func (a *App) toTmux(ctx context.Context, text string) error {
	ctx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	var err error
	for _, args := range [][]string{{"load-buffer", "-w", "-"}, {"load-buffer", "-"}} {
		cmd := exec.CommandContext(ctx, "tmux", args...)
		cmd.Env = append(os.Environ(), "TMUX="+a.env("TMUX"))
		cmd.Stdin = strings.NewReader(text)
		var out []byte
		if out, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
		if said := strings.TrimSpace(string(out)); said != "" {
			err = errors.New(said)
		}
	}
	return fmt.Errorf("tmux load-buffer: %w", err)
}

// toFile writes a file that only its owner may read: in the working folder, else in that for
// temporary files.
func (a *App) toFile(text string) (string, error) {
	name := "meshtop-" + time.Now().Format("20060102-150405.000") + ".txt"
	w, done, err := a.create(name)
	if err != nil {
		f, err := os.CreateTemp("", "meshtop-*.txt") // with the mode 0600
		if err != nil {
			return "", err
		}
		w, done, name = f, f.Close, f.Name()
	}
	_, err = io.WriteString(w, text)
	if err = errors.Join(err, done()); err != nil {
		return "", errors.Join(err, os.Remove(name))
	}
	return name, nil
}
