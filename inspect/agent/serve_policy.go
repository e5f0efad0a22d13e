package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// errNoEnforcer is said where a pod's egress cannot be changed.
var errNoEnforcer = fmt.Errorf("this pod's egress cannot be changed: %w", inspect.ErrReadOnly)

func (s *server) policy(w http.ResponseWriter, r *http.Request) {
	p, err := flow.Policy{}, error(errNoEnforcer)
	if e, ok := s.pod.(inspect.Enforcer); ok {
		p, err = e.Policy(r.Context())
	}
	answer(w, policy{p, faultOf(err)})
}

// apply carries a change out to its end even if the caller goes meanwhile: half a change is
// worse than one that nobody waits for.
func (s *server) apply(w http.ResponseWriter, r *http.Request) {
	var c flow.Change
	if !asked(w, r, &c) {
		return
	}
	e, ok := s.pod.(inspect.Enforcer)
	if !ok {
		answer(w, policy{Error: faultOf(errNoEnforcer)})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return // whom would it serve, and who would end it?
	}
	p, err := e.Apply(context.WithoutCancel(r.Context()), c)
	if err == nil {
		s.held = nil
		if c.Hold && c.Kind != flow.Restore {
			held := begun(c, p)
			s.held = &held
			if k, ok := s.pod.(*Keeper); ok && s.session != "" {
				k.held(s.session, held)
			}
		}
	}
	answer(w, policy{p, faultOf(err)})
}

func (s *server) renew(w http.ResponseWriter, r *http.Request) {
	var ttl time.Duration
	if !asked(w, r, &ttl) {
		return
	}
	err := error(errNoEnforcer)
	if e, ok := s.pod.(inspect.Enforcer); ok {
		err = e.Renew(r.Context(), ttl)
	}
	answer(w, policy{Error: faultOf(err)})
}

// letGo undoes what was to hold only while this stream lives, unless its client may come back.
func (s *server) letGo() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	if s.held == nil || s.session != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), undoPatience)
	defer cancel()
	c := *s.held
	s.held = nil
	if err := undo(ctx, s.pod.(inspect.Enforcer), c); err != nil {
		return fmt.Errorf("end %s, which was to hold while its client watched: %w", c.Kind, err)
	}
	return nil
}

// undoPatience bounds an undoing that nobody waits for.
const undoPatience = 10 * time.Second

// undo restores what was before c, if what is in force is still c.
func undo(ctx context.Context, e inspect.Enforcer, c flow.Change) error {
	now, err := e.Policy(ctx)
	if err != nil {
		return err
	}
	if now.Change.Kind != flow.NoPolicy && now.Change.Kind != flow.Restore && !same(now.Change, c) {
		return nil // another's by now
	}
	_, err = e.Apply(ctx, restored(c))
	if errors.Is(err, inspect.ErrNotFound) {
		return nil
	}
	return err
}

// begun is the change with the time since when it is in force: the pod's own clock tells it,
// and same goes by it.
func begun(c flow.Change, p flow.Policy) flow.Change {
	if !p.Change.Since.IsZero() {
		c.Since = p.Change.Since
	}
	return c
}

// restored is the change that undoes c.
func restored(c flow.Change) flow.Change {
	out := flow.Change{Kind: flow.Restore, Driver: c.Driver, By: c.By, Reason: c.Reason, Since: c.Since}
	for _, s := range c.Runtime {
		s.Value = s.Before
		if !s.Had {
			s.Value = "" // takes the key away
		}
		out.Runtime = append(out.Runtime, s)
	}
	out.Edits, out.Undo = edits.Of(out)
	return out
}

// same says whether two changes are one: a later one by the same author differs in its time.
func same(a, b flow.Change) bool {
	return a.Kind == b.Kind && a.By == b.By && a.Driver == b.Driver && a.Since.Equal(b.Since)
}
