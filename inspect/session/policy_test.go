package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
)

func block() egress.Ask { return egress.Ask{Kind: flow.BlockAll, TTL: time.Minute} }

// verdicts are what a plan says of each destination.
func verdicts(c flow.Change) (out []string) {
	for _, e := range c.Effects {
		out = append(out, fmt.Sprint(e.Dst, " ", e.Before, " ", e.After))
	}
	return out
}

// Of a configuration that was not read whole, a plan reads on what its effects depend on, and
// then says the same as of one that was.
func TestPlanReadsOn(t *testing.T) {
	for _, scene := range []string{"mesh", "block-all", "allow-all"} {
		whole := demo(t, scene)
		want, err := egress.Plan(read(t, whole).Snapshot, block())
		if err != nil {
			t.Fatal(err)
		}
		p := newAsking(t, whole)
		r, got, err := PlanPolicy(context.Background(), p, read(t, p), block(), nil)
		if err != nil || len(p.asked) == 0 {
			t.Fatalf("%s: asked %v, %v", scene, p.asked, err)
		}
		if g, w := fmt.Sprint(verdicts(got)), fmt.Sprint(verdicts(want)); g != w {
			t.Errorf("%s:\n got %s\nwant %s", scene, g, w)
		}
		if len(r.Files) <= len(read(t, p).Files) {
			t.Errorf("%s: what was read on is not kept", scene)
		}
	}
}

// What cannot be read on is unknown before; what the block does to it is not.
func TestPlanUnknown(t *testing.T) {
	p := newAsking(t, demo(t, "mesh"))
	p.fail = errors.New("refused")
	_, c, err := PlanPolicy(context.Background(), p, read(t, p), block(), nil)
	if err != nil || len(c.Effects) == 0 || c.Effects[0].Before != flow.Unknown || c.Effects[0].After != flow.Refused {
		t.Errorf("%v %v", err, verdicts(c))
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, _, err := PlanPolicy(ctx, p, read(t, p), block(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// allow-all opens nothing that it does not know to be blocked.
	if _, c, err := PlanPolicy(context.Background(), p, read(t, p), egress.Ask{Kind: flow.AllowAll, TTL: time.Minute}, nil); !errors.Is(err, egress.ErrNothing) {
		t.Errorf("allow-all: %v, opens %v", err, c.Open)
	}
}

// A recording has no live side.
func TestEnforcer(t *testing.T) {
	for _, d := range []flow.Driver{flow.Kernel, flow.Sidecar} {
		if _, err := Enforcer(demo(t, "mesh"), d); !errors.Is(err, inspect.ErrReadOnly) {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// side is the live side of a pod with a policy that the test puts there. Each read of it is told.
type side struct {
	mu      sync.Mutex
	now     flow.Policy
	renewed int
	applied []flow.PolicyKind
	reads   chan struct{}
}

func newSide(p flow.Policy) *side { return &side{now: p, reads: make(chan struct{}, 1<<16)} }

func (s *side) Policy(context.Context) (flow.Policy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads <- struct{}{}
	return s.now, nil
}

func (s *side) Apply(_ context.Context, c flow.Change) (flow.Policy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = append(s.applied, c.Kind)
	s.now = flow.Policy{State: flow.StateNone}
	return s.now, nil
}

func (s *side) Renew(_ context.Context, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed++
	s.now.Expires = time.Now().Add(ttl)
	return nil
}

// inForce is a policy that is in force for some time from now.
func inForce(d flow.Driver, by string, ttl, left time.Duration) flow.Policy {
	return flow.Policy{State: flow.StateApplied, Expires: time.Now().Add(left),
		Change: flow.Change{Kind: flow.BlockAll, Driver: d, By: by, TTL: ttl, Since: time.Unix(1_800_000_000, 0)}}
}

// Who holds a policy leaves alone what somebody else has put in its place, at each renewal and
// in the end.
func TestHoldLeavesOthersAlone(t *testing.T) {
	later := inForce(flow.Kernel, "a", time.Hour, time.Hour)
	later.Change.Since = later.Change.Since.Add(time.Millisecond)
	for _, driver := range []flow.Driver{flow.Kernel, flow.EnvoyRuntime} {
		mine := inForce(driver, "a", 30*time.Millisecond, 30*time.Millisecond)
		for _, other := range []flow.Policy{inForce(flow.Kernel, "b", time.Hour, time.Hour), later} {
			s := newSide(other)
			_, err := HoldPolicy(context.Background(), s, mine)
			if !errors.Is(err, inspect.ErrEnded) || !strings.Contains(err.Error(), other.Change.By) || s.renewed > 0 || len(s.applied) > 0 {
				t.Errorf("%s: %v; renewed %d times, applied %v", driver, err, s.renewed, s.applied)
			}
			ctx, stop := context.WithCancel(context.Background())
			stop()
			if _, err := HoldPolicy(ctx, s, mine); !errors.Is(err, inspect.ErrEnded) || len(s.applied) > 0 {
				t.Errorf("%s, interrupted: %v; applied %v", driver, err, s.applied)
			}
		}
		// What is no more there needs no taking back.
		s := newSide(flow.Policy{State: flow.StateNone})
		ctx, stop := context.WithCancel(context.Background())
		stop()
		if p, err := HoldPolicy(ctx, s, mine); err != nil || p.State != flow.StateNone || len(s.applied) > 0 {
			t.Errorf("%s: %+v, %v; applied %v", driver, p, err, s.applied)
		}
	}
}

// A time that somebody else has extended is not made shorter again.
func TestHoldShortensNothing(t *testing.T) {
	for _, driver := range []flow.Driver{flow.Kernel, flow.EnvoyRuntime} {
		mine := inForce(driver, "a", 3*time.Millisecond, 3*time.Millisecond)
		s := newSide(inForce(driver, "a", time.Hour, time.Hour))
		if driver == flow.EnvoyRuntime {
			s.now.Expires = time.Now().Add(100 * time.Millisecond) // it ends after all
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := HoldPolicy(ctx, s, mine)
			done <- err
		}()
		end := s.now.Expires
		for range 2 {
			<-s.reads
		}
		if driver == flow.Kernel {
			stop()
		} else if now := time.Now(); now.Before(end) {
			t.Errorf("it looked again %s before its end", end.Sub(now))
		}
		if err := <-done; err != nil || s.renewed > 0 || len(s.applied) != 1 || s.applied[0] != flow.Restore {
			t.Errorf("%s: %v; renewed %d times, applied %v", driver, err, s.renewed, s.applied)
		}
		stop()
	}
}
