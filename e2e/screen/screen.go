// Package screen runs a program on a pty with a terminal emulator behind it: what a person at
// a terminal would see, and how the terminal is left.
package screen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Options say on what terminal a program runs.
type Options struct {
	W, H int
	// Mute is a terminal that answers no question (of its colours, of its modes).
	Mute bool
	// Light is a terminal with a light background, which says so when it is asked.
	Light bool
	// Leader makes the program the leader of the terminal's session, as a login shell is: signals
	// of the terminal and job control work. How it leaves the terminal cannot be seen then, since
	// the kernel hangs up a terminal whose leader ends, and resets its modes.
	Leader bool
	// Env is added to the environment of a program that is started, in the form "NAME=value".
	Env []string
}

// environment is what a program finds of its terminal in its environment.
func environment() []string {
	return []string{"TERM=xterm-256color", "COLORTERM=truecolor", "LANG=C.UTF-8", "LC_ALL=C.UTF-8"}
}

// TTY is the terminal as a program in this process gets it.
type TTY struct {
	*os.File
	Env []string // what the environment of a program there says of it
}

// Getenv is a variable of Env; empty: there is none.
func (t TTY) Getenv(name string) string {
	for _, v := range t.Env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// Program is a program that runs on a terminal of its own.
type Program struct {
	pid      int          // 0: it runs in this process
	kill     func() error // ends it
	ptm, pts *os.File
	em       *vt.Emulator
	before   unix.Termios
	mu       sync.Mutex    // em, and what follows
	raw      []byte        // all that was written
	shown    int           // of raw: what the emulator has
	wrote    time.Time     // when raw last grew
	more     chan struct{} // something was written
	done     chan struct{} // closed when the program has ended
	err      error         // how; valid when done is closed
	copies   sync.WaitGroup
}

// Start runs a built program; the caller closes it.
func Start(opt Options, name string, args ...string) (*Program, error) {
	p, err := open(opt)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.pts, p.pts, p.pts
	cmd.Env = append(append(os.Environ(), environment()...), opt.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: opt.Leader}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, p.ptm.Close(), p.pts.Close())
	}
	// With what it started itself, such as a pager: that would hold the terminal open.
	p.pid, p.kill = cmd.Process.Pid, func() error {
		select {
		case <-p.done:
			return nil
		default:
		}
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	}
	p.follow(opt, cmd.Wait)
	return p, nil
}

// Inside runs a program in this process, so that what it leaves behind can be counted: main
// gets the terminal, and is to end when its context does. The caller closes it.
func Inside(opt Options, main func(ctx context.Context, tty TTY) error) (*Program, error) {
	p, err := open(opt)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.kill = func() error { cancel(); return nil }
	p.follow(opt, func() error { return main(ctx, TTY{p.pts, append(environment(), opt.Env...)}) })
	return p, nil
}

// open makes the terminal.
func open(opt Options) (*Program, error) {
	ptm, pts, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("open a pty: %w", err)
	}
	p := &Program{ptm: ptm, pts: pts, em: vt.NewEmulator(opt.W, opt.H), more: make(chan struct{}, 1), done: make(chan struct{})}
	if opt.Light {
		p.em.SetDefaultBackgroundColor(color.White)
		p.em.SetDefaultForegroundColor(color.Black)
	}
	err = pty.Setsize(pts, &pty.Winsize{Rows: uint16(opt.H), Cols: uint16(opt.W)})
	if err == nil {
		p.before, err = p.modes()
	}
	if err != nil {
		return nil, errors.Join(err, ptm.Close(), pts.Close())
	}
	return p, nil
}

// follow carries what the program and the terminal say to each other, and waits for its end.
func (p *Program) follow(opt Options, wait func() error) {
	answers := io.Writer(p.ptm)
	if opt.Mute {
		answers = io.Discard
	}
	p.copies.Go(func() { _, _ = io.Copy(p, p.ptm) })      // ends when Close closes both sides
	p.copies.Go(func() { _, _ = io.Copy(answers, p.em) }) // ends when Close closes the emulator's pipe
	go func() { p.err = wait(); close(p.done) }()
}

// modes are the terminal's own.
func (p *Program) modes() (unix.Termios, error) {
	t, err := unix.IoctlGetTermios(int(p.pts.Fd()), unix.TCGETS)
	if err != nil {
		return unix.Termios{}, fmt.Errorf("modes of the terminal: %w", err)
	}
	return *t, nil
}

// Write takes what the program writes. The emulator gets it when somebody looks: what it costs
// is not to delay what is measured of the program.
func (p *Program) Write(b []byte) (int, error) {
	now := time.Now()
	p.mu.Lock()
	p.raw, p.wrote = append(p.raw, b...), now
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Raw is all that was written to the terminal so far.
func (p *Program) Raw() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.raw)
}

// Wrote is how many bytes were written to the terminal so far, and when the last of them.
func (p *Program) Wrote() (n int, last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.raw), p.wrote
}

// Text is what the terminal shows.
func (p *Program) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feed()
	return p.em.String()
}

// Cells are what the terminal shows with its colours, and where the cursor is if it is shown.
func (p *Program) Cells() (cells uv.ScreenBuffer, cursor *uv.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feed()
	cells = uv.NewScreenBuffer(p.em.Width(), p.em.Height())
	p.em.Draw(cells, cells.Bounds())
	if !p.em.CursorHidden() {
		at := p.em.CursorPosition()
		cursor = &at
	}
	return cells, cursor
}

// feed gives the emulator what it has not.
func (p *Program) feed() {
	_, _ = p.em.Write(p.raw[p.shown:]) // into memory
	p.shown = len(p.raw)
}

// Wait waits until the terminal shows all of the texts.
func (p *Program) Wait(ctx context.Context, texts ...string) error {
	return p.Until(ctx, fmt.Sprintf("%q", texts), func(s string) bool {
		for _, t := range texts {
			if !strings.Contains(s, t) {
				return false
			}
		}
		return true
	})
}

// Gone waits until the terminal shows a text no more.
func (p *Program) Gone(ctx context.Context, text string) error {
	return p.Until(ctx, fmt.Sprintf("no %q", text), func(s string) bool { return !strings.Contains(s, text) })
}

// Until waits until ok says that the terminal shows what is named.
func (p *Program) Until(ctx context.Context, what string, ok func(string) bool) error {
	for !ok(p.Text()) {
		select {
		case <-p.more:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; the terminal shows\n%s", what, ctx.Err(), p.Text())
		}
	}
	return nil
}

// Keys types.
func (p *Program) Keys(s string) error {
	_, err := io.WriteString(p.ptm, s)
	return err
}

// Ended waits for the program's end, and says how it ended.
func (p *Program) Ended(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("it does not end: %w; the terminal shows\n%s", ctx.Err(), p.Text())
	}
}

// Resize gives the terminal another size, and tells the program.
func (p *Program) Resize(w, h int) error {
	p.mu.Lock()
	p.feed()
	p.em.Resize(w, h)
	p.mu.Unlock()
	return pty.Setsize(p.pts, &pty.Winsize{Rows: uint16(h), Cols: uint16(w)})
}

// PID is the program's process; 0: this one.
func (p *Program) PID() int { return p.pid }

// reverts are what a program may turn on, each with what turns it off again (xterm's
// control sequences, DECSET and DECRST).
var reverts = []struct{ on, off, what string }{
	{"\x1b[?1049h", "\x1b[?1049l", "the alternate screen"},
	{"\x1b[?25l", "\x1b[?25h", "the hidden cursor"},
	{"\x1b[?1002h", "\x1b[?1002l", "the mouse"},
	{"\x1b[?1003h", "\x1b[?1003l", "the mouse"},
	{"\x1b[?1006h", "\x1b[?1006l", "the mouse"},
	{"\x1b[?2004h", "\x1b[?2004l", "bracketed paste"},
}

// Restored is nil if an ended program gave its terminal back as it found it.
func (p *Program) Restored(ctx context.Context) error {
	raw := func(string) bool { return p.left() == "" }
	if err := p.Until(ctx, "the terminal given back", raw); err != nil {
		return fmt.Errorf("%s is left on: %w", p.left(), err)
	}
	modes, err := p.modes()
	if err != nil {
		return err
	}
	if modes != p.before {
		return fmt.Errorf("the terminal's modes were %+v and are %+v", p.before, modes)
	}
	return nil
}

// left is the first thing that was turned on and not off again.
func (p *Program) left() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range reverts {
		if on := bytes.LastIndex(p.raw, []byte(r.on)); on >= 0 && bytes.LastIndex(p.raw, []byte(r.off)) < on {
			return r.what
		}
	}
	return ""
}

// Close ends the program if it still runs, and the terminal; it may be called twice.
func (p *Program) Close() error {
	if p.ptm == nil {
		return nil
	}
	err := p.kill()
	<-p.done
	err = errors.Join(err, p.pts.Close(), p.ptm.Close(), p.em.InputPipe().(io.Closer).Close())
	p.copies.Wait()
	p.ptm = nil
	return err
}
