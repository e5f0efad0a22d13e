package plain

import (
	"context"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/tui"
)

// egress is how screens see and change the pod's egress policy; nil: it has no live side. Of a pod
// that cannot be looked into its record is shown.
func (a *App) egress(t target, pod inspect.Pod, allow bool) *tui.Egress {
	e, err := session.Enforcer(pod, flow.Kernel)
	if r, ok := pod.(inspect.Recorder); ok && err != nil {
		return &tui.Egress{Name: t.name, Locked: err.Error(), Show: r.Recorded}
	}
	if err != nil {
		return nil
	}
	locked := ""
	if !allow {
		locked = "read-only: start meshtop with --allow-policy to change the egress policy"
	}
	return &tui.Egress{
		Name: t.name, Locked: locked, Show: func(ctx context.Context) (flow.Policy, error) { return session.ShowPolicy(ctx, e) }, Renew: e.Renew,
		Plan: func(ctx context.Context, in tui.Reading, ask egress.Ask, except []string) (tui.Reading, flow.Change, error) {
			var err error
			if ask.Except, err = holes(ctx, pod, in.Reading, except); err != nil {
				return in, flow.Change{}, err
			}
			ask.By = a.by()
			r, c, err := session.PlanPolicy(ctx, pod, in.Reading, ask, nil)
			in.Reading = r
			return in, c, err
		},
		Apply: func(ctx context.Context, c flow.Change) (flow.Policy, error) { return session.ApplyPolicy(ctx, e, c) },
		Restore: func(ctx context.Context, closeOpen bool) (flow.Policy, error) {
			return session.RestorePolicy(ctx, e, egress.Ask{By: a.by(), CloseOpen: closeOpen})
		},
	}
}
