package tui

import (
	"context"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// sceneOptions are the screens on a built-in recording.
func sceneOptions(t testing.TB, name string) Options {
	t.Helper()
	pod, scene, err := saved.Demo(name)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Target: "demo " + name, Command: "demo " + name}
	for _, raw := range scene.Requests {
		r, err := request.Parse([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		opt.Requests = append(opt.Requests, r)
	}
	opt.Request = &opt.Requests[0]
	opt.Source = Source{
		Read: func(ctx context.Context, progress func(inspect.Progress)) (Reading, error) {
			s, err := pod.Read(ctx, inspect.Want{Progress: progress})
			if err != nil {
				return Reading{}, err
			}
			snap, err := rules.ParseSnapshot(s.Files, s.Gaps)
			return Reading{Snapshot: snap, Calls: s.Calls}, err
		},
		Trace: func(_ context.Context, in Reading, req flow.Request, _ func(inspect.Progress)) (Reading, flow.Trace, error) {
			return in, rules.Trace(in.Snapshot, req), nil
		},
	}
	return opt
}
