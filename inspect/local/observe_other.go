//go:build !linux

package local

import (
	"context"
	"fmt"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Observe needs Linux.
func (p *Pod) Observe(context.Context, []flow.Leg, inspect.ObserveOptions) (inspect.Watch, error) {
	return nil, fmt.Errorf("%s: watch: not supported on this system: %w", p.name, inspect.ErrReadOnly)
}
