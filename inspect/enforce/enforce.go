// Package enforce carries a change of the egress policy into a network namespace.
//
// Each driver plans, applies, reads back and proves; what it could not prove it says. One
// file is one driver or one part of it.
package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// Step is what is being done of a change.
type Step string

// The steps of a change, in order.
const (
	Checking  Step = "checking what is there"
	Writing   Step = "writing"
	Reading   Step = "reading back"
	Proving   Step = "proving"
	Ending    Step = "ending open connections"
	Forgetful Step = "purging dead conntrack entries"
)

// Options adjust an Enforcer.
type Options struct {
	// Step, if not nil, is told of each step before it is done. It must not block.
	Step func(Step)
	// Admin finds Envoy's admin interface for the runtime driver; nil: there is none. The
	// caller closes what it gives.
	Admin func(context.Context) (*admin.Client, error)
}

// Enforcer changes the egress policy of one namespace. It may be used by one goroutine at a
// time; another process may be at it too.
type Enforcer struct {
	space *netns.Space
	opt   Options
}

// New is for the namespace s, which stays the caller's.
func New(s *netns.Space, opt Options) *Enforcer { return &Enforcer{space: s, opt: opt} }

var _ interface {
	Policy(context.Context) (flow.Policy, error)
	Apply(context.Context, flow.Change) (flow.Policy, error)
	Renew(context.Context, time.Duration) error
} = (*Enforcer)(nil)

// Policy reads what is in force: the kernel's, else that of Envoy's runtime. Where the kernel
// has none, or only the rest of one, it asks Envoy two questions: it is not for polling.
func (e *Enforcer) Policy(ctx context.Context) (flow.Policy, error) {
	p, err := e.kernelPolicy()
	if err != nil || e.opt.Admin == nil || p.State != flow.StateNone && p.State != flow.StateExpired {
		return p, err
	}
	q, err := e.runtimePolicy(ctx)
	if err != nil || p.State == flow.StateNone {
		return q, err
	}
	if q.State == flow.StateNone {
		return p, nil
	}
	because(&q, "the rest of an expired table inet %s is there too", edits.Table)
	return q, nil
}

// Apply carries a change out (inspect.Enforcer). The kernel's driver asks for limits in Envoy's
// runtime only once its own table stands, and not for long: in an incident Envoy may hang.
func (e *Enforcer) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	if err := check(c); err != nil {
		return flow.Policy{}, err
	}
	if err := ctx.Err(); err != nil {
		return flow.Policy{}, err
	}
	switch {
	case c.Kind == flow.Restore && c.Driver == flow.EnvoyRuntime:
		return e.restoreRuntime(ctx, c)
	case c.Kind == flow.Restore:
		return e.restoreKernel(ctx, c)
	case c.Driver == flow.EnvoyRuntime:
		return e.runtimeApply(ctx, c)
	}
	return e.kernelApply(ctx, c)
}

// restoreKernel takes the kernel's table away, and then what Envoy's runtime holds of ours: it
// ends whatever is in force.
func (e *Enforcer) restoreKernel(ctx context.Context, c flow.Change) (flow.Policy, error) {
	p, err := e.kernelRestore(c)
	if err != nil || e.opt.Admin == nil {
		return p, err
	}
	r, err := e.glance(context.WithoutCancel(ctx))
	switch {
	case nobody(err):
		return p, nil
	case err != nil:
		if p.State == flow.StateNone {
			p.State = flow.StateUnknown
		}
		because(&p, "the kernel has nothing of ours any more, and whether Envoy's runtime has could not be read: %v: restore again once Envoy answers", err)
		return p, nil
	}
	defer r.admin.Close()
	if !r.has() {
		return p, nil
	}
	q, err := e.runtimeRestore(ctx, r, flow.Change{Kind: flow.Restore, Driver: flow.EnvoyRuntime, CloseOpen: c.CloseOpen, ProxyUIDs: c.ProxyUIDs, ProxyGIDs: c.ProxyGIDs, Capture: c.Capture})
	return joined(p, q, err)
}

// restoreRuntime takes the limits away, and then the kernel's table, which is the rest of one
// that has expired or was written at the same moment.
func (e *Enforcer) restoreRuntime(ctx context.Context, c flow.Change) (flow.Policy, error) {
	e.step(Checking)
	r, err := e.openRuntime(ctx)
	if err != nil {
		return flow.Policy{}, err
	}
	defer r.admin.Close()
	p, err := e.runtimeRestore(ctx, r, c)
	if err != nil {
		return p, err
	}
	if k, err := e.kernelPolicy(); err != nil || k.State == flow.StateNone {
		return joined(p, k, err)
	}
	q, err := e.kernelRestore(flow.Change{Kind: flow.Restore, Driver: flow.Kernel, CloseOpen: c.CloseOpen, ProxyUIDs: c.ProxyUIDs, ProxyGIDs: c.ProxyGIDs, Capture: c.Capture})
	return joined(p, q, err)
}

// joined is a restore of two drivers: what the second met, an error of it too, is said of both.
func joined(p, q flow.Policy, err error) (flow.Policy, error) {
	if err != nil {
		q = flow.Policy{Why: err.Error()}
	}
	p.Proof = append(p.Proof, q.Proof...)
	if q.State != flow.StateNone {
		p.State = flow.StateUnknown
	}
	if q.Why != "" {
		because(&p, "%s", q.Why)
	}
	p.Open.Closed += q.Open.Closed
	return p, nil
}

// Renew sets the lease of what is in force to ttl from now (inspect.Enforcer).
func (e *Enforcer) Renew(ctx context.Context, ttl time.Duration) error {
	if err := checkTTL(ttl); err != nil {
		return err
	}
	err := e.kernelRenew(ttl)
	if errors.Is(err, inspect.ErrEnded) && e.opt.Admin != nil {
		return e.runtimeRenew(ctx, ttl)
	}
	return err
}

func (e *Enforcer) step(s Step) {
	if e.opt.Step != nil {
		e.opt.Step(s)
	}
}

// shortest is the shortest lease: the kernel counts in milliseconds.
const shortest = time.Millisecond

func checkTTL(ttl time.Duration) error {
	if ttl < shortest {
		return fmt.Errorf("a policy that holds for %s would never be in force: the time must be %s or more", ttl, shortest)
	}
	return nil
}

// check refuses a change that cannot be carried out as it stands.
func check(c flow.Change) error {
	switch {
	case c.Kind != flow.BlockAll && c.Kind != flow.AllowAll && c.Kind != flow.Restore:
		return fmt.Errorf("a change to the policy %q cannot be carried out: it is block-all, allow-all or restore", c.Kind)
	case c.Driver != flow.Kernel && c.Driver != flow.EnvoyRuntime:
		return fmt.Errorf("the driver %q changes nothing inside a network namespace: kernel and runtime do", c.Driver)
	case c.Driver == flow.EnvoyRuntime && c.Kind == flow.AllowAll:
		return errors.New("the driver runtime can only block and restore: a limit of Envoy's opens nothing")
	}
	if c.Kind != flow.Restore {
		if c.Permanent != (c.TTL == 0) {
			return fmt.Errorf("a policy holds for a time or is permanent, not both: it says %s and permanent=%v", c.TTL, c.Permanent)
		}
		if !c.Permanent {
			if err := checkTTL(c.TTL); err != nil {
				return err
			}
		}
	}
	for _, h := range slices.Concat(c.Except, c.Open) {
		if !h.Prefix.IsValid() || h.Prefix != h.Prefix.Masked() || h.Prefix.Addr().Is4In6() {
			return fmt.Errorf("the destination %s is no prefix of IPv4 or IPv6 without host bits", h)
		}
	}
	if c.Kind == flow.AllowAll && c.All == (len(c.Open) > 0) {
		return errors.New("allow-all opens every destination or those that it names: this change does neither or both")
	}
	if len(c.By) > maxText || len(c.Reason) > maxText {
		return fmt.Errorf("the name and the reason of a change are kept in the pod, and may be %d bytes long each", maxText)
	}
	if n := len(c.Except) + len(c.Open); n > edits.MostHoles {
		return fmt.Errorf("a change may name %d destinations, and this one names %d: name prefixes", edits.MostHoles, n)
	}
	do, undo := edits.Of(c)
	if !slices.Equal(do, c.Edits) || !slices.Equal(undo, c.Undo) {
		return fmt.Errorf("%w: plan it again", inspect.ErrAltered)
	}
	return nil
}

// maxText bounds the name and the reason: as comments they have to fit one message of netlink
// (64 KiB) beside edits.MostHoles destinations.
const maxText = 1024

// because joins what was not proven to one sentence.
func because(p *flow.Policy, format string, args ...any) {
	if p.Why != "" {
		p.Why += "; "
	}
	p.Why += fmt.Sprintf(format, args...)
}
