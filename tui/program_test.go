package tui

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/meshtop/meshtop/inspect"
)

// terminal is a pty with an emulator behind it, on which the whole program runs.
type terminal struct {
	t    *testing.T
	em   *vt.SafeEmulator
	ptm  io.Writer
	done chan error
	mu   sync.Mutex
	raw  bytes.Buffer
	more chan struct{} // something was written
}

func (tm *terminal) Write(b []byte) (int, error) {
	tm.mu.Lock()
	tm.raw.Write(b)
	n, err := tm.em.Write(b)
	tm.mu.Unlock()
	select {
	case tm.more <- struct{}{}:
	default:
	}
	return n, err
}

func (tm *terminal) output() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.raw.String()
}

func onTerminal(t *testing.T, opt Options, w, h int) *terminal {
	t.Helper()
	ptm, pts, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(pts, &pty.Winsize{Rows: uint16(h), Cols: uint16(w)}); err != nil {
		t.Fatal(err)
	}
	tm := &terminal{t: t, em: vt.NewSafeEmulator(w, h), ptm: ptm, done: make(chan error, 1), more: make(chan struct{}, 1)}
	if opt.Input == nil {
		opt.Input = pts
	}
	opt.Output, opt.Environment = pts, []string{"TERM=xterm-256color", "COLORTERM=truecolor"}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { tm.done <- Run(ctx, opt) }()
	go func() { _, _ = io.Copy(tm, ptm) }()    // ends when the pty closes
	go func() { _, _ = io.Copy(ptm, tm.em) }() // the emulator's answers to queries
	// The program's reader may outlive a panic; it ends when the other side closes, and its
	// own side must not be closed under it.
	t.Cleanup(func() { cancel(); ptm.Close() })
	return tm
}

// screen is what the terminal shows. The emulator's own String is not safe while it is
// written to, its safe form's neither.
func (tm *terminal) screen() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.em.String()
}

// wait waits until the screen shows a text.
func (tm *terminal) wait(s string) {
	tm.t.Helper()
	limit := time.After(20 * time.Second)
	for !strings.Contains(tm.screen(), s) {
		select {
		case <-tm.more:
		case <-limit:
			tm.t.Fatalf("%q never came:\n%s", s, tm.screen())
		}
	}
}

func (tm *terminal) keys(s string) {
	if _, err := io.WriteString(tm.ptm, s); err != nil {
		tm.t.Fatal(err)
	}
}

// ended is how the program ended.
func (tm *terminal) ended() error {
	tm.t.Helper()
	select {
	case err := <-tm.done:
		return err
	case <-time.After(20 * time.Second):
		tm.t.Fatalf("it did not end:\n%s", tm.screen())
		return nil
	}
}

// left waits until the alternate screen was left.
func (tm *terminal) left() {
	tm.t.Helper()
	limit := time.After(20 * time.Second)
	for !strings.Contains(tm.output(), "\x1b[?1049l") {
		select {
		case <-tm.more:
		case <-limit:
			tm.t.Fatal("the alternate screen was not left")
		}
	}
}

// The whole program on a pty: what the terminal shows is the frame that the model draws;
// keys, mouse and paste come through; quitting gives the terminal back.
func TestProgram(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	tm := onTerminal(t, opt, 80, 24)
	tm.wait("DELIVERED")
	tm.wait("20 steps")
	tm.keys("jj")
	tm.wait("evidence · step 3")
	d := drive(t, opt, 80, 24)
	d.keys("j", "j")
	trim := func(s string) string {
		var out []string
		for _, l := range strings.Split(s, "\n") {
			out = append(out, strings.TrimRight(l, " "))
		}
		return strings.TrimRight(strings.Join(out, "\n"), "\n")
	}
	if got, want := trim(tm.screen()), trim(d.frame()); got != want {
		t.Errorf("the terminal differs from the frame\n--- terminal\n%s\n--- frame\n%s", got, want)
	}
	tm.keys("\x1b[<0;10;5M\x1b[<0;10;5m") // a click on the first step
	tm.wait("evidence · step 1 ")
	tm.keys("e")
	tm.wait("▸ Request")
	tm.keys("\x1b[200~curl http://10.107.42.16/pasted\x1b[201~")
	tm.wait("/pasted")
	tm.keys("\x12") // ctrl+r
	tm.wait("GET http://10.107.42.16/pasted")
	tm.keys("?")
	tm.wait("Help: Trace")
	tm.keys("\x1b")
	tm.wait("evidence") // the help is closed: esc and q at once would be alt+q
	tm.keys("q")
	if err := tm.ended(); err != nil {
		t.Error(err)
	}
	tm.left()
}

// A panic in a command gives the terminal back and is an error.
func TestPanicGivesTheTerminalBack(t *testing.T) {
	opt := meshOptions()
	opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) { panic("broken source") }
	// Not the pty: after a panic Bubble Tea 2.1 closes the reader of a file without waiting
	// for it, which the race detector tells of.
	opt.Input = strings.NewReader("")
	tm := onTerminal(t, opt, 80, 24)
	if err := tm.ended(); err == nil {
		t.Error("no error")
	}
	if strings.Contains(tm.output(), "\x1b[?1049h") {
		tm.left()
	}
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
