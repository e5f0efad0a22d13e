// Package person sits at a program's terminal for a test: it types, looks, and fails the test
// when what it waits for does not come.
package person

import (
	"context"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
)

// patience is far more than any wait takes: it only ends a test that hangs.
const patience = 2 * time.Minute

// Person is somebody at a terminal.
type Person struct {
	*screen.Program
	t   testing.TB
	ctx context.Context
}

// At sits down at a terminal, and takes it away when the test ends. The error is that of the
// program's start.
func At(t testing.TB, p *screen.Program, err error) Person {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() {
		cancel()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return Person{p, t, ctx}
}

// Inside sits down at a program that runs in this process.
func Inside(t testing.TB, w, h int, main func(ctx context.Context, tty screen.TTY) error) Person {
	t.Helper()
	p, err := screen.Inside(screen.Options{W: w, H: h}, main)
	return At(t, p, err)
}

// Sees waits until the terminal shows all of the texts.
func (p Person) Sees(texts ...string) {
	p.t.Helper()
	if err := p.Wait(p.ctx, texts...); err != nil {
		p.t.Fatal(err)
	}
}

// Misses waits until the terminal shows a text no more.
func (p Person) Misses(text string) {
	p.t.Helper()
	if err := p.Gone(p.ctx, text); err != nil {
		p.t.Fatal(err)
	}
}

// Shows waits until ok says that the terminal shows what is named.
func (p Person) Shows(what string, ok func(string) bool) {
	p.t.Helper()
	if err := p.Until(p.ctx, what, ok); err != nil {
		p.t.Fatal(err)
	}
}

// Resizes gives the terminal another size.
func (p Person) Resizes(w, h int) {
	p.t.Helper()
	if err := p.Resize(w, h); err != nil {
		p.t.Fatal(err)
	}
}

// Types types.
func (p Person) Types(s string) {
	p.t.Helper()
	if err := p.Keys(s); err != nil {
		p.t.Fatal(err)
	}
}

// End waits for the program's end, and is how it ended.
func (p Person) End() error {
	p.t.Helper()
	ended, cancel := context.WithCancel(p.ctx)
	defer cancel()
	err := p.Ended(ended)
	if p.ctx.Err() != nil {
		p.t.Fatal(err)
	}
	return err
}

// GivenBack waits until the program has given the terminal back as it found it.
func (p Person) GivenBack() {
	p.t.Helper()
	if err := p.Restored(p.ctx); err != nil {
		p.t.Error(err)
	}
}
