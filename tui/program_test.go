package tui

import (
	"bytes"
	"context"
	"strings"
	"testing"

	terminal "github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
	"github.com/meshtop/meshtop/inspect"
)

// onTerminal runs the whole program on a pty.
func onTerminal(t *testing.T, opt Options, w, h int) person.Person {
	t.Helper()
	return person.Inside(t, w, h, func(ctx context.Context, tty terminal.TTY) error {
		if opt.Input == nil {
			opt.Input = tty.File
		}
		opt.Output, opt.Environment = tty.File, tty.Env
		return Run(ctx, opt)
	})
}

// The whole program on a pty: what the terminal shows is the frame that the model draws;
// keys, mouse and paste come through; quitting gives the terminal back.
func TestProgram(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	tm := onTerminal(t, opt, 80, 24)
	tm.Sees("DELIVERED")
	tm.Sees("20 steps")
	tm.Types("jj")
	tm.Sees("evidence · step 3")
	d := drive(t, opt, 80, 24)
	d.keys("j", "j")
	trim := func(s string) string {
		var out []string
		for _, l := range strings.Split(s, "\n") {
			out = append(out, strings.TrimRight(l, " "))
		}
		return strings.TrimRight(strings.Join(out, "\n"), "\n")
	}
	if got, want := trim(tm.Text()), trim(d.frame()); got != want {
		t.Errorf("the terminal differs from the frame\n--- terminal\n%s\n--- frame\n%s", got, want)
	}
	tm.Types("\x1b[<0;10;5M\x1b[<0;10;5m") // a click on the first step
	tm.Sees("evidence · step 1 ")
	tm.Types("e")
	tm.Sees("▸ Request")
	tm.Types("\x1b[200~curl http://10.107.42.16/pasted\x1b[201~")
	tm.Sees("/pasted")
	tm.Types("\x12") // ctrl+r
	tm.Sees("GET http://10.107.42.16/pasted")
	tm.Types("?")
	tm.Sees("Help: Trace")
	tm.Types("\x1b")
	tm.Sees("evidence") // the help is closed: esc and q at once would be alt+q
	tm.Types("q")
	if err := tm.End(); err != nil {
		t.Error(err)
	}
	tm.GivenBack()
}

// A panic in a command gives the terminal back and is an error.
func TestPanicGivesTheTerminalBack(t *testing.T) {
	opt := meshOptions()
	opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) { panic("broken source") }
	// Not the pty: after a panic Bubble Tea 2.1 closes the reader of a file without waiting
	// for it, which the race detector tells of.
	opt.Input = strings.NewReader("")
	tm := onTerminal(t, opt, 80, 24)
	if err := tm.End(); err == nil {
		t.Error("no error")
	}
	tm.GivenBack()
}

// A context that ends, as by a signal, ends the program.
func TestContextEndsIt(t *testing.T) {
	opt := meshOptions()
	ctx, cancel := context.WithCancel(context.Background())
	opt.Source.Read = func(c context.Context, _ func(inspect.Progress)) (Reading, error) {
		cancel()
		<-c.Done()
		return Reading{}, c.Err()
	}
	var out bytes.Buffer
	opt.Input, opt.Output, opt.Environment = strings.NewReader(""), &out, []string{"TERM=xterm"}
	if err := Run(ctx, opt); err == nil {
		t.Error("no error")
	}
}
