package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
)

// Enforcer is the side of a pod that carries out policies by a driver, other than xds, which the
// pod knows nothing of; inspect.ErrReadOnly where it has none, or why by the way that it is seen.
func Enforcer(pod inspect.Pod, d flow.Driver) (inspect.Enforcer, error) {
	if d == flow.Sidecar || d == flow.NetworkPolicy {
		if by, ok := pod.(inspect.Driven); ok {
			return by.Driven(d)
		}
		return nil, fmt.Errorf("driver %s: %w: it is an object of a cluster, and this is no pod of one", d, inspect.ErrReadOnly)
	}
	if e, ok := pod.(inspect.Enforcer); ok {
		return e, nil
	}
	if l, ok := pod.(inspect.Limited); ok {
		return nil, l.Limit()
	}
	return nil, inspect.ErrReadOnly
}

// readOn bounds the reading on of a plan: in an incident an effect that is not known must not
// keep the change waiting.
const readOn = 5 * time.Second

// PlanPolicy plans a policy. Where the reading lacks something that decides an effect, that is
// read on for a while, and the plan made again; the reading that is returned holds it.
func PlanPolicy(ctx context.Context, pod inspect.Pod, r Reading, ask egress.Ask, progress func(inspect.Progress)) (Reading, flow.Change, error) {
	c, err := egress.Plan(r.Snapshot, ask)
	if unsure(c, err) {
		had := len(r.Files)
		r = readForPlan(ctx, pod, r, progress)
		if ctx.Err() != nil {
			return r, flow.Change{}, ctx.Err()
		}
		if len(r.Files) > had {
			c, err = egress.Plan(r.Snapshot, ask)
		}
	}
	if err == nil {
		err = selects(ctx, pod, &c)
	}
	return r, c, err
}

// selects names the pods that a change chooses, which the snapshot of one of them cannot tell.
func selects(ctx context.Context, pod inspect.Pod, c *flow.Change) error {
	if _, ok := pod.(inspect.Driven); !ok || c.Driver != flow.Sidecar && c.Driver != flow.NetworkPolicy {
		return nil
	}
	e, err := Enforcer(pod, c.Driver)
	if err != nil {
		return err
	}
	s, ok := e.(inspect.Selector)
	if !ok {
		return nil
	}
	names, err := s.Selects(ctx, *c)
	if err != nil {
		return err
	}
	for i, r := range c.NotCovered {
		if r.What == "pods" {
			c.NotCovered[i].Whose = fmt.Sprintf("%d selected by these labels: %s; an object that conflicts is not looked for", len(names), some(names))
		}
	}
	return nil
}

// some are the first of many names.
func some(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// unsure says whether more of the configuration could change a plan.
func unsure(c flow.Change, err error) bool {
	unknown := slices.ContainsFunc(c.Effects, func(e flow.Effect) bool { return e.Before == flow.Unknown || e.After == flow.Unknown })
	return unknown || errors.Is(err, egress.ErrNothing)
}

// readForPlan reads what the plan's traces lack.
func readForPlan(ctx context.Context, pod inspect.Pod, r Reading, progress func(inspect.Progress)) Reading {
	ctx, stop := context.WithTimeout(ctx, readOn)
	defer stop()
	const rounds = 2 // a listener that was read on names hosts that were not known before
	for range rounds {
		had := len(r.Files)
		for _, q := range egress.Requests(r.Snapshot) {
			next, _, err := Trace(ctx, pod, r, q, progress)
			if r = next; err != nil {
				return r
			}
		}
		if len(r.Files) == had {
			return r
		}
	}
	return r
}

// Planned is a change as a policy that nobody has carried out.
func Planned(c flow.Change) flow.Policy {
	n := len(c.Kept)
	p := flow.Policy{State: flow.StatePlanned, Change: c, Open: flow.OpenCount{Before: n, Left: n}}
	if c.CloseOpen {
		p.Open.Left = 0
	}
	return p
}

// ApplyPolicy carries a planned change out. What the plan said of its effect and of what it
// does not cover stands beside what was read back.
func ApplyPolicy(ctx context.Context, e inspect.Enforcer, c flow.Change) (flow.Policy, error) {
	p, err := e.Apply(ctx, c)
	if err != nil {
		return p, err
	}
	held := p.Change
	p.Change = c
	if !held.Since.IsZero() {
		p.Change.Since = held.Since
	}
	if len(p.Change.NotCovered) == 0 {
		p.Change.NotCovered = held.NotCovered
	}
	return p, nil
}

// ShowPolicy reads what is in force, with what it covers and what not.
func ShowPolicy(ctx context.Context, e inspect.Enforcer) (flow.Policy, error) {
	p, err := e.Policy(ctx)
	if c := &p.Change; err == nil && len(c.Covers) == 0 && len(c.NotCovered) == 0 {
		c.Covers, c.NotCovered = egress.Reach(*c)
	}
	return p, err
}

// PlanRestore is what takes back that which is in force, whoever's it is; where nothing is, the
// policy that was read says so.
func PlanRestore(ctx context.Context, e inspect.Enforcer, ask egress.Ask) (flow.Policy, error) {
	p, err := e.Policy(ctx)
	if err != nil || p.State == flow.StateNone {
		return p, err
	}
	return Planned(egress.Back(p.Change, ask)), nil
}

// RestorePolicy takes back what is in force, whoever's it is.
func RestorePolicy(ctx context.Context, e inspect.Enforcer, ask egress.Ask) (flow.Policy, error) {
	p, err := PlanRestore(ctx, e, ask)
	if err != nil || p.State == flow.StateNone {
		return p, err
	}
	return e.Apply(ctx, p.Change)
}

// patience bounds the taking back of a policy once nobody waits for it any more.
const patience = 15 * time.Second

// HoldPolicy holds a policy that was put into force until ctx ends, and then takes it back. Where
// it ends by itself, its lease is renewed meanwhile; where nothing else ends it, it is taken back
// when its time is over. It never makes that time shorter, which somebody else may have extended;
// and what somebody else has put in its place it leaves alone (inspect.ErrEnded).
func HoldPolicy(ctx context.Context, e inspect.Enforcer, p flow.Policy) (flow.Policy, error) {
	c := p.Change
	var err error
	if egress.Leased(c.Driver) {
		err = renew(ctx, e, c)
	} else {
		err = outlast(ctx, e, p)
	}
	if err != nil {
		return flow.Policy{}, err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer stop()
	now, err := e.Policy(ctx)
	switch {
	case err == nil && now.State == flow.StateNone:
		return now, nil
	case err == nil && others(now, c):
		return flow.Policy{}, &replaced{now}
	}
	return e.Apply(ctx, egress.Back(c, egress.Ask{By: c.By, Reason: c.Reason}))
}

// others says whether what is in force is another policy than c. What could not be read is none.
func others(now flow.Policy, c flow.Change) bool {
	if now.Change.Kind == flow.NoPolicy || now.Change.Kind == flow.Restore {
		return false
	}
	return now.Change.By != c.By || !now.Change.Since.Equal(c.Since)
}

// replaced: the policy that was held is gone, and another is in its place.
type replaced struct{ by flow.Policy }

func (r *replaced) Error() string {
	c := r.by.Change
	return fmt.Sprintf("hold: the policy is no longer there: %s by %q since %s is in its place, and was left as it is", c.Kind, c.By, c.Since.UTC().Format(time.RFC3339))
}

func (r *replaced) Is(target error) bool { return target == inspect.ErrEnded }

// outlast waits until ctx or the time of a policy ends that nothing else ends.
func outlast(ctx context.Context, e inspect.Enforcer, p flow.Policy) error {
	end := p.Expires
	if end.IsZero() {
		end = time.Now().Add(p.Change.TTL)
	}
	for {
		over := time.NewTimer(time.Until(end))
		select {
		case <-ctx.Done():
			over.Stop()
			return nil
		case <-over.C:
		}
		now, err := e.Policy(ctx)
		switch {
		case err != nil || now.State == flow.StateNone:
			return nil
		case others(now, p.Change):
			return &replaced{now}
		case !now.Expires.After(time.Now()):
			return nil
		}
		end = now.Expires
	}
}

// renew renews the lease of c until ctx ends. A lease that ended is not taken up again: whoever
// ended it meant it.
func renew(ctx context.Context, e inspect.Enforcer, c flow.Change) error {
	every := time.NewTicker(max(c.TTL/3, time.Millisecond))
	defer every.Stop()
	for good := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		err := renewOnce(ctx, e, c)
		var other *replaced
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			good = time.Now()
		case errors.As(err, &other):
			return err
		case errors.Is(err, inspect.ErrEnded):
			return fmt.Errorf("hold: %w: somebody restored, or this process was stopped for longer than the lease", err)
		case time.Since(good) > c.TTL:
			return fmt.Errorf("hold: the lease of %v could not be renewed, and has ended by itself: %w", c.TTL, err)
		}
	}
}

// renewOnce renews the lease if it is still that of c, and has not longer to live anyway.
func renewOnce(ctx context.Context, e inspect.Enforcer, c flow.Change) error {
	now, err := e.Policy(ctx)
	switch {
	case err != nil:
		return err
	case others(now, c):
		return &replaced{now}
	case now.State == flow.StateNone || now.State == flow.StateExpired:
		return inspect.ErrEnded
	case time.Until(now.Expires) >= c.TTL:
		return nil
	}
	return e.Renew(ctx, c.TTL)
}
