package policy

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	labscenes "github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	ruleset "github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
)

// layered is a scene's pod whose Envoy takes limits while it runs.
func layered(t *testing.T, scene string) *lab.Lab {
	t.Helper()
	s, err := labscenes.Named(scene)
	if err != nil {
		t.Fatal(err)
	}
	return lab.New(t, lab.Options{Scene: scene, Config: append(s.Envoy, "\nlayered_runtime:\n  layers:\n    - { name: base, static_layer: {} }\n    - { name: by_hand, admin_layer: {} }\n"...)})
}

// plan reads the pod and plans for it.
func plan(t *testing.T, p *local.Pod, a egress.Ask) (flow.Change, error) {
	t.Helper()
	return egress.Plan(snapshot(t, p), a)
}

// snapshot reads the pod as it is.
func snapshot(t *testing.T, p *local.Pod) *ruleset.Snapshot {
	t.Helper()
	s, err := p.Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := ruleset.ParseSnapshot(s.Files, s.Gaps)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// The limits of Envoy's runtime block and are taken back, whatever the scene; another process
// is told whose they are, and restores what was before.
func TestRuntime(t *testing.T) {
	for _, s := range scenes(lab.NFT)[:3] {
		t.Run(s.name, func(t *testing.T) {
			l := layered(t, s.opt.Scene)
			p, other := pod(t, l, local.Options{}), pod(t, l, local.Options{})
			ctx := context.Background()
			before := envoyRuntime(t, l)
			var kept []opened
			if s.name == "mesh" {
				kept = holdOpen(t, l, 1, "HTTP", svc, get)
			}
			c, err := plan(t, p, egress.Ask{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, TTL: time.Minute, By: "judge@lab", Reason: "50% & a {brace} + plus; 漢"})
			if err != nil {
				t.Fatal(err)
			}
			got := apply(t, p, flow.StateApplied, c)
			for _, proof := range got.Proof {
				if !proof.Holds {
					t.Errorf("applied beside %+v", proof)
				}
			}
			if a := ask(t, l, appUID, web); a.Code == 200 {
				t.Errorf("blocked: %+v", a)
			}
			for _, o := range kept {
				if code, err := status(o.conn); code != 503 || err != nil {
					t.Errorf("a request on an open connection: %d, %v", code, err)
				}
			}
			if _, err := other.Apply(ctx, c); !isHeld(err, "judge@lab") {
				t.Errorf("a second writer: %v", err)
			}
			shown, err := other.Policy(ctx)
			if err != nil || shown.State != flow.StateApplied || shown.Change.Reason != c.Reason || !shown.Change.Since.Equal(got.Change.Since) {
				t.Errorf("shown %+v, %v", shown, err)
			}
			if err := other.Renew(ctx, time.Hour); err != nil {
				t.Error(err)
			}
			if again, err := p.Policy(ctx); err != nil || time.Until(again.Expires) < 59*time.Minute {
				t.Errorf("renewed: %+v, %v", again, err)
			}
			back := egress.Back(shown.Change, egress.Ask{})
			apply(t, other, flow.StateNone, back)
			s.untouched(t, l, "restored")
			for _, o := range kept {
				if code, err := status(o.conn); code != 200 || err != nil {
					t.Errorf("restored, a request on the same connection: %d, %v", code, err)
				}
			}
			// A family that the plan calls covered has to be proven: no rule of these pods redirects IPv6.
			c.NotCovered = nil
			claimed := apply(t, p, flow.StateUnknown, c)
			apply(t, p, flow.StateNone, egress.Back(claimed.Change, egress.Ask{}))
			if after := envoyRuntime(t, l); !reflect.DeepEqual(after, before) {
				t.Errorf("the runtime was %v and is %v", before, after)
			}
		})
	}
}

// Limits are set and taken back while a client opens 1,000 connections a second: none that began
// after they were applied is answered, and the runtime is that of before in the end.
func TestRuntimeSwaps(t *testing.T) {
	for _, s := range scenes(lab.NFT)[:3] {
		t.Run(s.name, func(t *testing.T) {
			l := layered(t, s.opt.Scene)
			p := pod(t, l, local.Options{})
			before := envoyRuntime(t, l)
			s.untouched(t, l, "before")
			for range *swaps {
				s.limit(t, l, p)
				s.untouched(t, l, "restored")
			}
			if after := envoyRuntime(t, l); !reflect.DeepEqual(after, before) {
				t.Errorf("the runtime was %v and is %v", before, after)
			}
		})
	}
}

// limit blocks a pod by limits of its Envoy, and takes them back.
func (s scene) limit(t *testing.T, l *lab.Lab, p *local.Pod) {
	t.Helper()
	change, err := plan(t, p, egress.Ask{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, TTL: time.Minute, By: "judge@lab"})
	if err != nil {
		t.Fatal(err)
	}
	c := talk(t, l, echo, pace)
	c.await(t, 20)
	began := time.Now()
	held := apply(t, p, flow.StateApplied, change)
	applied := time.Now()
	c.await(t, 200)
	bystanders(t, l, "limited")
	c.await(t, 1)
	ending := time.Now()
	apply(t, p, flow.StateNone, egress.Back(held.Change, egress.Ask{}))
	c.await(t, 20)
	all := c.end(t)
	if first := between(all, time.Time{}, began)[0]; first.Answered != s.open {
		t.Errorf("before: %+v", first)
	}
	blocked := between(all, applied, ending)
	for _, x := range blocked {
		if x.Answered {
			t.Errorf("a connection that began %s after block-all was applied was answered", x.Begun.Sub(applied))
		}
	}
	if len(blocked) < 200 {
		t.Errorf("only %d connections were tried", len(blocked))
	}
	if last := all[len(all)-1]; last.Answered != s.open {
		t.Errorf("restored: %+v", last)
	}
}

// envoyRuntime is Envoy's runtime, as its admin interface tells it.
func envoyRuntime(t *testing.T, l *lab.Lab) (all map[string]any) {
	t.Helper()
	text, err := l.InPod("curl", "-s", "http://127.0.0.1:9901/runtime")
	if err == nil {
		err = json.Unmarshal([]byte(text), &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func isHeld(err error, by string) bool {
	var held *inspect.Held
	return errors.As(err, &held) && held.Policy.Change.By == by
}

// An Envoy without an admin layer refuses in one sentence.
func TestRuntimeWithoutALayer(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := pod(t, l, local.Options{})
	c := change(flow.BlockAll, func(c *flow.Change) {
		c.Driver, c.Runtime = flow.EnvoyRuntime, []flow.Setting{{Key: "envoy.resource_limits.listener.virtualOutbound.connection_limit", Value: "0"}}
	})
	_, err := p.Apply(context.Background(), c)
	if err == nil || !strings.Contains(err.Error(), "has no admin layer") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if a := ask(t, l, appUID, web); a.Code != 200 {
		t.Errorf("%+v", a)
	}
}
