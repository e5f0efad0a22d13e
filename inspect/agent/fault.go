package agent

import (
	"context"
	"errors"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// fault is an error on the stream: its sentence, and the sentinels of package inspect that
// callers decide by.
type fault struct {
	Text string
	Is   []string     `json:",omitempty"`
	Held *flow.Policy `json:",omitempty"` // of an *inspect.Held
}

// sentinels are the errors that keep their identity, by name.
var sentinels = []struct {
	name string
	err  error
}{
	{"read-only", inspect.ErrReadOnly},
	{"not-found", inspect.ErrNotFound},
	{"no-power", inspect.ErrNoPower},
	{"altered", inspect.ErrAltered},
	{"ended", inspect.ErrEnded},
	{"canceled", context.Canceled},
	{"deadline", context.DeadlineExceeded},
}

// faultOf is err as it goes onto the stream; nil for nil.
func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{Text: err.Error()}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			f.Is = append(f.Is, s.name)
		}
	}
	var held *inspect.Held
	if errors.As(err, &held) {
		f.Held = &held.Policy
	}
	return f
}

// err is the fault as the caller has it; nil for nil.
func (f *fault) err() error {
	if f == nil {
		return nil
	}
	return &remoteError{f}
}

// remoteError is an error of the other end.
type remoteError struct{ f *fault }

// Error is the other end's sentence.
func (e *remoteError) Error() string { return e.f.Text }

// Is says whether the other end's error was target, of the sentinels of package inspect.
func (e *remoteError) Is(target error) bool {
	for _, s := range sentinels {
		if s.err == target {
			for _, n := range e.f.Is {
				if n == s.name {
					return true
				}
			}
		}
	}
	return false
}

// As gives the *inspect.Held that the other end's error was.
func (e *remoteError) As(target any) bool {
	if h, ok := target.(**inspect.Held); ok && e.f.Held != nil {
		*h = &inspect.Held{Policy: *e.f.Held}
		return true
	}
	return false
}
