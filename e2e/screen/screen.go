// Package screen runs a built program on a pty with a terminal emulator behind it: what a
// person at a terminal would see, and how the terminal is left.
package screen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Options say on what terminal a program runs.
type Options struct {
	W, H int
	// Mute is a terminal that answers no question (of its colours, of its modes).
	Mute bool
}

// Program is a program that runs on a terminal of its own.
type Program struct {
	cmd      *exec.Cmd
	ptm, pts *os.File
	em       *vt.Emulator
	before   unix.Termios
	mu       sync.Mutex // em and raw
	raw      bytes.Buffer
	more     chan struct{} // something was written
	done     chan struct{} // closed when the program has ended
	err      error         // how; valid when done is closed
	copies   sync.WaitGroup
}

// Start runs a program; the caller closes it.
func Start(opt Options, name string, args ...string) (*Program, error) {
	ptm, pts, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("open a pty: %w", err)
	}
	p := &Program{cmd: exec.Command(name, args...), ptm: ptm, pts: pts, em: vt.NewEmulator(opt.W, opt.H), more: make(chan struct{}, 1), done: make(chan struct{})}
	if err := p.start(opt); err != nil {
		return nil, errors.Join(err, ptm.Close(), pts.Close())
	}
	return p, nil
}

func (p *Program) start(opt Options) error {
	if err := pty.Setsize(p.pts, &pty.Winsize{Rows: uint16(opt.H), Cols: uint16(opt.W)}); err != nil {
		return err
	}
	modes, err := p.modes()
	if err != nil {
		return err
	}
	p.before = modes
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.pts, p.pts, p.pts
	p.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "COLORTERM=truecolor", "LC_ALL=C.UTF-8")
	// Not the controlling terminal: the kernel hangs that up when a session's leader ends,
	// and resets its modes, so that nobody could see how the program left them.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	answers := io.Writer(p.ptm)
	if opt.Mute {
		answers = io.Discard
	}
	p.copies.Add(2)
	go func() { defer p.copies.Done(); _, _ = io.Copy(p, p.ptm) }()      // ends when Close closes both sides
	go func() { defer p.copies.Done(); _, _ = io.Copy(answers, p.em) }() // ends when Close closes the emulator's pipe
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	return nil
}

// modes are the terminal's own.
func (p *Program) modes() (unix.Termios, error) {
	t, err := unix.IoctlGetTermios(int(p.pts.Fd()), unix.TCGETS)
	if err != nil {
		return unix.Termios{}, fmt.Errorf("modes of the terminal: %w", err)
	}
	return *t, nil
}

// Write takes what the program writes.
func (p *Program) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.raw.Write(b)
	n, err := p.em.Write(b)
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	return n, err
}

// Text is what the terminal shows.
func (p *Program) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.em.String()
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

// PID is the program's process.
func (p *Program) PID() int { return p.cmd.Process.Pid }

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
	out := p.raw.Bytes()
	for _, r := range reverts {
		if on := bytes.LastIndex(out, []byte(r.on)); on >= 0 && bytes.LastIndex(out, []byte(r.off)) < on {
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
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.done
	err = errors.Join(err, p.pts.Close(), p.ptm.Close(), p.em.InputPipe().(io.Closer).Close())
	p.copies.Wait()
	p.ptm = nil
	return err
}
