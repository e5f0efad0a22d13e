package tui

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

var (
	update = flag.Bool("update", false, "write the golden frames")
	shots  = flag.String("shots", "", "folder to write the frames with their colours to")
)

// driver drives the model with messages and runs its commands at once: no goroutines of
// its own, no clock.
type driver struct {
	t *testing.T
	m *model
	// copied is what went to the clipboard; quit that the program ended.
	copied string
	quit   bool
}

// noon is the time of every test.
func noon() time.Time { return time.Date(2026, 11, 22, 12, 4, 39, 0, time.UTC) }

func drive(t *testing.T, opt Options, w, h int) *driver {
	t.Helper()
	d := &driver{t: t, m: newModel(context.Background(), opt, noon())}
	d.m.tick = func() tea.Cmd { return nil }
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	d.run(d.m.Init())
	return d
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.m.Update(msg)
	d.run(cmd)
}

// run runs a command and what follows from it.
func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	msg := cmd()
	switch msg := msg.(type) {
	case nil:
	case tea.BatchMsg:
		// The asking command closes the progress channel, so it goes first.
		for i := len(msg) - 1; i >= 0; i-- {
			d.run(msg[i])
		}
	case tea.QuitMsg:
		d.quit = true
	default:
		if strings.HasSuffix(strings.ToLower(typeName(msg)), "setclipboardmsg") {
			d.copied = stringOf(msg)
			return
		}
		d.send(msg)
	}
}

func (d *driver) keys(ks ...string) *driver {
	for _, k := range ks {
		d.send(key(k))
	}
	return d
}

func key(s string) tea.KeyPressMsg {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown,
		"left": tea.KeyLeft, "right": tea.KeyRight, "backspace": tea.KeyBackspace, "home": tea.KeyHome, "end": tea.KeyEnd,
		"pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "f1": tea.KeyF1, "delete": tea.KeyDelete}
	switch {
	case s == "space":
		return tea.KeyPressMsg{Code: tea.KeySpace, Text: " "}
	case s == "shift+tab":
		return tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift}
	case special[s] != 0:
		return tea.KeyPressMsg{Code: special[s]}
	case strings.HasPrefix(s, "ctrl+"):
		return tea.KeyPressMsg{Code: rune(s[5]), Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: []rune(s)[0], Text: s}
}

// frame is what the terminal would show, in plain text.
func (d *driver) frame() string {
	b := uv.NewScreenBuffer(d.m.s.w, d.m.rows)
	uv.NewStyledString(d.m.View().Content).Draw(b, b.Bounds())
	return b.String()
}

// exact checks that the frame has the size it was asked for, to the column.
func (d *driver) exact(name string) {
	d.t.Helper()
	lines := strings.Split(d.m.View().Content, "\n")
	if len(lines) != d.m.rows {
		d.t.Errorf("%s: %d lines, want %d", name, len(lines), d.m.rows)
	}
	for i, l := range lines {
		if w := ansi.StringWidth(l); w != d.m.s.w {
			d.t.Errorf("%s: line %d is %d columns, want %d: %q", name, i, w, d.m.s.w, ansi.Strip(l))
		}
		if w := ansi.StringWidthWc(l); w != d.m.s.w {
			d.t.Errorf("%s: line %d is %d columns by wcwidth, want %d: %q", name, i, w, d.m.s.w, ansi.Strip(l))
		}
	}
}

// golden compares the frame with the one that was looked at by a person.
func (d *driver) golden(name string) {
	d.t.Helper()
	d.exact(name)
	golden(d.t, name, d.frame(), d.m.View().Content)
}

// golden compares a frame with the one that was looked at by a person; raw is the frame with
// its colours.
func golden(t *testing.T, name, frame, raw string) {
	t.Helper()
	var b strings.Builder
	for _, l := range strings.Split(frame, "\n") {
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	got := b.String()
	shot(t, name, raw)
	file := filepath.Join("testdata", "frames", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it; look at it then)\n--- got\n%s--- want\n%s", name, got, want)
	}
}

func (d *driver) shot(name string) {
	d.t.Helper()
	shot(d.t, name, d.m.View().Content)
}

// shot writes a frame with its colours, to be looked at.
func shot(t *testing.T, name, raw string) {
	t.Helper()
	if *shots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".ansi"), []byte(raw+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// source is a pod whose every answer is given.
func source(r Reading, t flow.Trace) Source {
	return Source{
		Read: func(context.Context, func(inspect.Progress)) (Reading, error) { return r, nil },
		Trace: func(_ context.Context, in Reading, req flow.Request, _ func(inspect.Progress)) (Reading, flow.Trace, error) {
			t.Request = req
			in.Calls = nil
			return in, t, nil
		},
	}
}
