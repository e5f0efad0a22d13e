package session

import (
	"context"
	"errors"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/rules/check"
	"github.com/meshtop/meshtop/rules/flow"
)

// Case is the case that a snapshot is by its parts request and want.
func Case(r Reading) (check.Case, error) {
	req, ok := r.Files[RequestPart]
	want, ok2 := r.Files[WantPart]
	if !ok || !ok2 {
		return check.Case{}, errors.New("no case: it lacks the part request or want")
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(r.Files[archive.Comment])), "\n")
	return check.One(name, req, want)
}

// Check judges every case by its trace over the reading, which grows by what the traces
// need. Coverage counts the objects of the configuration as it is known at the end.
func Check(ctx context.Context, pod inspect.Pod, r Reading, cases []check.Case, progress func(inspect.Progress)) (Reading, check.Report, error) {
	var failed error
	trace := func(c check.Case) flow.Trace {
		if failed == nil {
			failed = ctx.Err()
		}
		if failed != nil {
			return flow.Trace{Request: c.Request}
		}
		req, err := Resolve(ctx, pod, r, c.Draft())
		if err != nil { // of this case alone nothing can be told
			return flow.Trace{Request: req, Legs: []flow.Leg{{Owner: flow.OwnerApp, Steps: []flow.Step{{Stage: flow.Socket, Subject: c.Host,
				Reason: flow.Because(flow.WhyNamedNot, c.Host, err.Error())}}}}}
		}
		next, t, err := Trace(ctx, pod, r, req, progress)
		r, failed = next, err
		return t
	}
	report := check.Run(cases, trace)
	report.Cover(Objects(r))
	return r, report, failed
}
