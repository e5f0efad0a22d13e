package xds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// held is a policy in force.
type held struct {
	change  flow.Change
	expires time.Time   // zero: never
	timer   *time.Timer // ends it; nil: never
	from    any         // who asked, for what ends with them
	under   []object
}

// Apply puts a change into force, reads it back and proves it (inspect.Enforcer).
func (s *Server) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	return s.apply(ctx, c, nil)
}

func (s *Server) apply(ctx context.Context, c flow.Change, from any) (flow.Policy, error) {
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.may(c); err != nil {
		return flow.Policy{}, err
	}
	if c.Kind == flow.Restore {
		return s.restore(ctx, c)
	}
	next, err := s.conf.under(c)
	if err != nil {
		return flow.Policy{}, fmt.Errorf("%s: %w", c.Kind, err)
	}
	if do, undo := edits.Served(c, next.capturing); !slices.Equal(do, c.Edits) || !slices.Equal(undo, c.Undo) {
		return flow.Policy{}, fmt.Errorf("%w, which would be %q: plan it again", inspect.ErrAltered, do)
	}
	since := time.Now()
	before, why := s.workersNow(ctx)
	if err := s.swap(next.listeners); err != nil {
		return flow.Policy{}, fmt.Errorf("%s is not applied: %w", c.Kind, err)
	}
	c.Since, c.Driver = since, flow.XDS
	c.NotCovered = notCovered(c.NotCovered, next.notCovered)
	s.hold(c, next.listeners, from)
	p := s.policy()
	acked := flow.Proof{What: "version " + s.current() + " acknowledged by Envoy", Result: "acknowledged", Holds: true, Took: time.Since(since)}
	ctx, cancel := s.untilEnd(ctx)
	defer cancel()
	p.Proof = append([]flow.Proof{acked}, s.prove(ctx, before, why, next.listeners)...)
	judge(&p)
	return p, nil
}

// swap serves other listeners. What they leave out goes in a step of its own, once Envoy has
// taken the rest: of a set that it refuses a listener of, Envoy carries the removals out all the
// same, and a refusal must change nothing (source/common/listener_manager/lds_api.cc).
func (s *Server) swap(next []object) error {
	grown := slices.Clone(next)
	for _, l := range s.conf.listeners {
		if !slices.ContainsFunc(next, func(n object) bool { return n.text("name") == l.text("name") }) {
			grown = append(grown, l)
		}
	}
	if err := s.try(func() error { return s.push(nil, grown) }); err != nil || len(grown) == len(next) {
		return err
	}
	return s.try(func() error { return s.push(nil, next) })
}

// untilEnd bounds what is asked of Envoy by the end of the policy, which would have to wait for it.
func (s *Server) untilEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.held == nil || s.held.expires.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, s.held.expires)
}

// notCovered is what the plan says that a change does not cover, and what its configuration shows
// besides: the plan knows of the kernel's rules too, and may have seen less of the listeners.
func notCovered(planned, found []flow.Reach) []flow.Reach {
	out := slices.Clone(planned)
	if len(out) == 0 { // no swap of listeners reaches these
		out = []flow.Reach{{What: "udp"}, {What: "proxy"}, {What: "loopback"}, {What: "established", Whose: "until Envoy's drain time is over"}}
	}
	for _, r := range found {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// may refuses a change that this control plane cannot or must not carry out.
func (s *Server) may(c flow.Change) error {
	s.mu.Lock()
	connected := s.envoy != nil
	s.mu.Unlock()
	switch {
	case c.Driver != flow.XDS && c.Kind != flow.Restore:
		return fmt.Errorf("the control plane carries out changes of the driver xds, and this one is of %s", c.Driver)
	case c.Kind == flow.Restore:
		return nil
	case c.Permanent != (c.TTL == 0) || c.TTL < 0:
		return fmt.Errorf("a change holds for a time or for ever, and this one says %s and permanent %v", c.TTL, c.Permanent)
	case s.held != nil:
		return &inspect.Held{Policy: s.policy()}
	case !connected:
		return fmt.Errorf("%w: nothing was changed", errNoEnvoy)
	}
	return nil
}

// hold keeps a policy, and its end.
func (s *Server) hold(c flow.Change, under []object, from any) {
	h := &held{change: c, under: under}
	if c.Hold {
		h.from = from
	}
	s.held = h
	if !c.Permanent {
		s.extend(h, c.Since.Add(c.TTL))
	}
}

// extend sets the end of a policy.
func (s *Server) extend(h *held, end time.Time) {
	h.stop()
	h.expires = end
	h.timer = time.AfterFunc(time.Until(end), func() {
		s.op.Lock()
		defer s.op.Unlock()
		if s.held == h && !time.Now().Before(h.expires) { // not renewed meanwhile, nor replaced
			s.end("its time is over")
		}
	})
}

func (h *held) stop() {
	if h.timer != nil {
		h.timer.Stop()
	}
}

// end serves the configuration of the file again, and says how it went. Whatever Envoy says, the
// policy is not served again: its time is over. It is called with op held.
func (s *Server) end(why string) error {
	kind := s.held.change.Kind
	s.held.stop()
	s.held = nil
	err := s.push(nil, s.conf.listeners)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), s.opt.Grace)
		defer cancel()
		err = s.await(ctx)
	}
	if err != nil {
		s.say("%s ended (%s): %s is served again, but: %v", kind, why, s.conf.file, err)
		return err
	}
	s.say("%s ended (%s): %s is served again", kind, why, s.conf.file)
	return nil
}

// restore takes back what is in force, whoever asked for it.
func (s *Server) restore(ctx context.Context, c flow.Change) (flow.Policy, error) {
	if s.held == nil {
		return s.policy(), nil
	}
	since := time.Now()
	before, why := s.workersNow(ctx)
	if err := s.end("restored by " + or(c.By, "somebody")); err != nil {
		p := flow.Policy{Why: fmt.Sprintf("%s is served, but: %v", s.conf.file, err)}
		if errors.Is(err, errNoEnvoy) {
			p.Why = fmt.Sprintf("%s is served, and %v", s.conf.file, err)
		}
		return p, nil
	}
	p := s.policy()
	acked := flow.Proof{What: "version " + s.current() + " acknowledged by Envoy", Result: "acknowledged", Holds: true, Took: time.Since(since)}
	p.Proof = append([]flow.Proof{acked}, s.prove(ctx, before, why, s.conf.listeners)...)
	judge(&p)
	return p, nil
}

// Policy reads back what is in force (inspect.Enforcer).
func (s *Server) Policy(ctx context.Context) (flow.Policy, error) {
	s.op.Lock()
	defer s.op.Unlock()
	ctx, cancel := s.untilEnd(ctx)
	defer cancel()
	p := s.policy()
	if waits := s.settled(ctx); waits != nil {
		p.State, p.Why = flow.StateUnknown, waits.Error()
		return p, nil
	}
	want := s.conf.listeners
	if s.held != nil {
		want = s.held.under
	}
	p.Proof = []flow.Proof{s.readBack(ctx, want)}
	judge(&p)
	return p, nil
}

// settled says what is missing until Envoy has all that is served. One that has just connected
// is given a moment.
func (s *Server) settled(ctx context.Context) error {
	s.mu.Lock()
	waits, connected := s.unacknowledged(), s.envoy != nil
	s.mu.Unlock()
	if waits == nil || !connected {
		return waits
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.await(ctx)
}

// policy is what the control plane itself knows: what it serves, and until when.
func (s *Server) policy() flow.Policy {
	if s.held == nil {
		return flow.Policy{State: flow.StateNone, Change: flow.Change{Driver: flow.XDS}}
	}
	return flow.Policy{State: flow.StateApplied, Change: s.held.change, Expires: s.held.expires}
}

// judge leaves the state as it is iff every proof holds; else it is unknown, and says why.
func judge(p *flow.Policy) {
	for _, proof := range p.Proof {
		if !proof.Holds {
			p.State, p.Why = flow.StateUnknown, proof.What+": "+proof.Result
			return
		}
	}
}

// current is the version of the listeners that are served.
func (s *Server) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versionText(s.served[listeners].version)
}

// Renew sets the end of what is in force to ttl from now (inspect.Enforcer).
func (s *Server) Renew(_ context.Context, ttl time.Duration) error {
	s.op.Lock()
	defer s.op.Unlock()
	switch {
	case s.held == nil:
		return inspect.ErrEnded
	case s.held.change.Permanent:
		return fmt.Errorf("%s is in force for ever: there is nothing to renew", s.held.change.Kind)
	case ttl <= 0:
		return fmt.Errorf("renew for %s: it is no time", ttl)
	}
	s.held.change.TTL = ttl
	s.extend(s.held, time.Now().Add(ttl))
	return nil
}

// gone ends a policy that was to end with who asked for it.
func (s *Server) gone(from any) {
	s.op.Lock()
	defer s.op.Unlock()
	if s.held != nil && s.held.from != nil && s.held.from == from {
		s.end("who held it is gone")
	}
}
