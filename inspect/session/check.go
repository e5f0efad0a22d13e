package session

import (
	"context"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/check"
	"github.com/meshtop/meshtop/rules/flow"
)

// Check judges every case by its trace over the reading, which grows by what the traces
// need. Coverage counts the objects of the configuration as it is known at the end.
func Check(ctx context.Context, pod inspect.Pod, r Reading, cases []check.Case, progress func(inspect.Progress)) (Reading, check.Report, error) {
	var failed error
	trace := func(req flow.Request) flow.Trace {
		if failed == nil {
			failed = ctx.Err()
		}
		if failed != nil {
			return flow.Trace{Request: req}
		}
		next, t, err := Trace(ctx, pod, r, req, progress)
		r, failed = next, err
		return t
	}
	report := check.Run(cases, trace)
	report.Cover(Objects(r))
	return r, report, failed
}
