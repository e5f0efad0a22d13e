package tui

import (
	"context"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/inspect/session"
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
	opt.Request, opt.Requests = &opt.Requests[0], opt.Requests[1:]
	opt.Source = Source{
		Read: func(ctx context.Context, progress func(inspect.Progress)) (Reading, error) {
			r, err := session.Read(ctx, pod, inspect.Want{Progress: progress})
			r.Taken = session.TakenAt(r)
			return Reading{Reading: r}, err
		},
		Trace: func(ctx context.Context, in Reading, req flow.Request, progress func(inspect.Progress)) (Reading, flow.Trace, error) {
			r, tr, err := session.Trace(ctx, pod, in.Reading, req, progress)
			return Reading{Reading: r}, tr, err
		},
	}
	return opt
}
