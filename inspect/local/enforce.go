package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
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

// harmless is nil if the namespace is proven to be another than the machine's own: it is not
// that of the process with number 1, or that one is a pod's own first process. A pod that was
// opened from its node is proven by its address too.
func (p *Pod) harmless() error {
	first, err := p.space.Has(1)
	switch {
	case err != nil:
		return fmt.Errorf("refused: whether this is the machine's own network namespace cannot be told: %w", err)
	case p.outside && first:
		return errors.New("refused: this is the node's own network namespace (that of pid 1), not a pod's: a policy here would cut off the node")
	case p.outside && len(p.opt.PodAddrs) == 0:
		return errors.New("refused: no address of the pod was told, and only that would prove that this is its network namespace")
	case !p.outside && !first:
		return nil
	}
	seen, err := p.addrs()
	if err != nil {
		return fmt.Errorf("refused: whether this is the pod's own network namespace cannot be told: %w", err)
	}
	return ofPod(!p.outside && netns.MachinePIDs(), p.opt.PodAddrs, seen)
}

// ofPod is nil if the namespace of process 1 is proven to be that of the pod whose addresses
// were told. Where process 1 is the machine's, no address proves that.
func ofPod(machine bool, told []netip.Addr, seen []net.Addr) error {
	switch {
	case machine || len(told) == 0:
		return errors.New("refused: this is the machine's own network namespace (that of pid 1), not a pod's: a policy here would cut off the machine")
	case !anyOf(told, seen):
		return fmt.Errorf("refused: none of the pod's addresses %v is on an interface here (%v): this is not the pod's own network namespace", told, seen)
	}
	return nil
}

// anyOf says whether one of the pod's addresses is among those of the interfaces. Loopback's
// are everybody's, and prove nothing.
func anyOf(pod []netip.Addr, seen []net.Addr) bool {
	for _, s := range seen {
		n, ok := s.(*net.IPNet)
		if !ok {
			continue
		}
		if a, ok := netip.AddrFromSlice(n.IP); ok && !a.IsLoopback() && slices.Contains(pod, a.Unmap()) {
			return true
		}
	}
	return false
}
