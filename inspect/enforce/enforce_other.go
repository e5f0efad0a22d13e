//go:build !linux

package enforce

import (
	"context"
	"time"

	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/flow"
)

func (e *Enforcer) kernelPolicy() (flow.Policy, error) { return flow.Policy{}, netns.ErrSystem }

func (e *Enforcer) kernelFree() error { return netns.ErrSystem }

func (e *Enforcer) kernelApply(context.Context, flow.Change) (flow.Policy, error) {
	return flow.Policy{}, netns.ErrSystem
}

func (e *Enforcer) kernelRestore(flow.Change) (flow.Policy, error) {
	return flow.Policy{}, netns.ErrSystem
}

func (e *Enforcer) kernelRenew(time.Duration) error { return netns.ErrSystem }

func (e *Enforcer) proveClosed(flow.Change, *flow.Policy, func() bool) {}

func (e *Enforcer) settle(flow.Change, *flow.Change, *flow.Policy) {}
