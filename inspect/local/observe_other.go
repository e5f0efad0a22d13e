//go:build !linux

package local

import (
	"context"
	"fmt"
	"syscall"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Observe needs Linux.
func (p *Pod) Observe(context.Context, []flow.Leg, inspect.ObserveOptions) (inspect.Watch, error) {
	return nil, fmt.Errorf("%s: watch: not supported on this system: %w", p.name, inspect.ErrReadOnly)
}

// marked cannot mark a socket here.
func marked(mark uint32) func(string, string, syscall.RawConn) error {
	if mark == 0 {
		return nil
	}
	return func(string, string, syscall.RawConn) error {
		return fmt.Errorf("a socket's mark is a thing of Linux: %w", inspect.ErrReadOnly)
	}
}
