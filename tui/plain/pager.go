package plain

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pager makes the command that shows a text: PAGER with its arguments, else EDITOR, else less or
// more. The text is a file that only its owner may read, which goes when the command has ended.
func (a *App) pager(name string, text []byte) (*exec.Cmd, func() error, error) {
	words := strings.Fields(cmp.Or(a.env("PAGER"), a.env("EDITOR")))
	for _, known := range []string{"less", "more"} {
		if _, err := exec.LookPath(known); err == nil && len(words) == 0 {
			words = []string{known}
		}
	}
	if len(words) == 0 {
		return nil, nil, errors.New("there is nothing to show it with: neither PAGER nor EDITOR is set, and there is no less")
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return nil, nil, fmt.Errorf("PAGER or EDITOR names %q: %w", words[0], err)
	}
	dir, err := os.MkdirTemp("", "meshtop-") // with the mode 0700
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, filepath.Base(name))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	cmd := exec.Command(words[0], append(words[1:], file)...)
	// The terminal's own, which the screens would not give it: more(1) reads its keys there, and
	// an editor complains there.
	cmd.Stderr = a.Stderr
	return cmd, func() error { return os.RemoveAll(dir) }, nil
}
