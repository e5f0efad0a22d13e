package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/inspect/enforce"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/flow"
)

var _ inspect.Enforcer = (*Pod)(nil)

// Policy reads what is in force in the namespace.
func (p *Pod) Policy(ctx context.Context) (flow.Policy, error) {
	pol, err := p.enforcer().Policy(ctx)
	return pol, p.named("read the policy", err)
}

// Apply puts a change into force. It refuses the machine's own namespace: what is cut off
// there may be the hand that would undo it.
func (p *Pod) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	if err := p.harmless(); err != nil {
		return flow.Policy{}, p.named("apply a policy", err)
	}
	pol, err := p.enforcer().Apply(ctx, c)
	return pol, p.named("apply a policy", err)
}

// Renew sets the lease of what is in force to ttl from now.
func (p *Pod) Renew(ctx context.Context, ttl time.Duration) error {
	if err := p.harmless(); err != nil {
		return p.named("renew the policy", err)
	}
	return p.named("renew the policy", p.enforcer().Renew(ctx, ttl))
}

// named says where an error came up, and gives inspect's word for a right that is missing.
func (p *Pod) named(what string, err error) error {
	var held *inspect.Held
	switch {
	case err == nil || errors.As(err, &held):
		return err
	case errors.Is(err, netns.ErrNoPower):
		return &openError{p.name + ": " + what, err, inspect.ErrNoPower}
	}
	return fmt.Errorf("%s: %s: %w", p.name, what, err)
}

func (p *Pod) enforcer() *enforce.Enforcer {
	return enforce.New(p.space, enforce.Options{Step: p.opt.Step, Admin: p.admin})
}

// admin finds Envoy's admin interface anew: the Envoy of an earlier read may be gone.
func (p *Pod) admin(ctx context.Context) (*admin.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("it was closed")
	}
	r := &reading{pod: p, want: inspect.Want{Parts: []string{"runtime.json"}}, out: inspect.Snapshot{Files: inspect.Files{}}}
	found, err := r.seek(ctx)
	if err != nil {
		return nil, err
	}
	return found.Client, nil
}

// harmless is nil if the namespace is proven to be another than the machine's own: that of
// the process with number 1.
func (p *Pod) harmless() error {
	machine, err := p.space.Has(1)
	switch {
	case err != nil:
		return fmt.Errorf("refused: whether this is the machine's own network namespace cannot be told: %w", err)
	case machine:
		return errors.New("refused: this is the machine's own network namespace (that of pid 1), not a pod's: a policy here would cut off the machine")
	}
	return nil
}
