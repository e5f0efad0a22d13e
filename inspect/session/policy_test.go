package session

import (
	"context"
	"errors"
	"fmt"
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
	if _, err := Enforcer(demo(t, "mesh")); !errors.Is(err, inspect.ErrReadOnly) {
		t.Errorf("%v", err)
	}
}
