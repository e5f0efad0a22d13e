package policy

import (
	"context"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

var (
	hold = flag.Duration("policy.hold", 2*time.Second, "how long a lease is renewed under fire")
	reps = flag.Int("policy.reps", 5, "how often the time to the first refusal is taken")
	bar  = flag.Duration("policy.bar", 0, "what the median time to the first refusal may be at most; 0: it is only told")
)

// A lease that is renewed has no gap: of 1,000 connections a second, none goes through.
func TestRenewalsLeak(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := pod(t, l, local.Options{})
	const ttl = 500 * time.Millisecond
	apply(t, p, flow.StateApplied, change(flow.BlockAll, func(c *flow.Change) { c.TTL = ttl }))
	applied := time.Now()
	c := shoot(t, l, echo, pace)
	renewals := 0
	for end := time.Now().Add(*hold); time.Now().Before(end); renewals++ {
		if err := p.Renew(context.Background(), ttl); err != nil {
			t.Fatal(err)
		}
		c.await(t, 20)
	}
	last := time.Now()
	all := between(c.end(t), applied, last)
	leaks := 0
	for _, s := range all {
		if !s.Refused() {
			leaks++
		}
	}
	rate := float64(len(all)) / last.Sub(applied).Seconds()
	t.Logf("%d renewals in %s: %d connections, %.0f a second, %d leaks", renewals, *hold, len(all), rate, leaks)
	if *hold >= 30*time.Second && rate < 1000 {
		t.Errorf("%.0f connections a second, not 1,000", rate)
	}
	if leaks > 0 || len(all) == 0 {
		t.Errorf("%d of %d connections went through", leaks, len(all))
	}
	apply(t, p, flow.StateNone, change(flow.Restore))
}

// The time from the call to the first connection that is refused, for a client that opens
// one after the other. It is taken in the process, as the screens apply.
func TestFirstRefusal(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := pod(t, l, local.Options{})
	var took []time.Duration
	for range *reps {
		c := shoot(t, l, echo, 200*time.Microsecond)
		c.await(t, 20)
		began := time.Now()
		apply(t, p, flow.StateApplied, change(flow.BlockAll))
		applied := time.Now()
		c.await(t, 20)
		all := c.end(t)
		for _, s := range all {
			if s.Begun.After(began) && s.Refused() {
				took = append(took, s.Over.Sub(began))
				break
			}
		}
		for _, s := range between(all, applied, time.Now()) {
			if !s.Refused() {
				t.Errorf("a connection that began %s after block-all was applied: %v", s.Begun.Sub(applied), s.Err)
			}
		}
		apply(t, p, flow.StateNone, change(flow.Restore))
	}
	if len(took) != *reps {
		t.Fatalf("%d of %d times a connection was refused", len(took), *reps)
	}
	slices.Sort(took)
	median := took[len(took)/2]
	t.Logf("first refusal after %s median, %s most, of %d", median, took[len(took)-1], len(took))
	if *bar > 0 && median > *bar {
		t.Errorf("the median of %s is above %s", median, *bar)
	}
}
