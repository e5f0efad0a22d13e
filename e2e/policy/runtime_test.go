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
			if !got.Proof[len(got.Proof)-2].Holds {
				t.Errorf("%+v", got.Proof)
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
			if after := envoyRuntime(t, l); !reflect.DeepEqual(after, before) {
				t.Errorf("the runtime was %v and is %v", before, after)
			}
		})
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
