package plain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/meshtop/meshtop/tui"
	"github.com/spf13/cobra"
)

// attachOptions are the flags of attach, which is what meshtop does without a verb.
type attachOptions struct {
	request requestFlags
	parts   parts
	screens screenFlags
	full    bool
}

// newAttach makes the verb, and the same of root, which takes a target without a verb.
func newAttach(app *App, root *cobra.Command) *cobra.Command {
	var o, r attachOptions
	cmd := &cobra.Command{Use: "attach", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		return app.attach(cmd, args, &o)
	}}
	o.register(cmd)
	r.register(root)
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && !r.parts.given() && !r.request.given() && !app.picks(&r.screens) {
			fmt.Fprint(app.Stdout, app.usage(cmd))
			return nil
		}
		if len(args) > 0 {
			if !slices.Contains(targetKinds, args[0]) && !strings.Contains(args[0], "/") {
				return unknownVerb(root, args[0])
			}
		}
		return app.attach(cmd, args, &r)
	}
	return cmd
}

func (o *attachOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	o.request.register(f)
	o.parts.register(f)
	o.screens.register(cmd)
	f.BoolVar(&o.screens.allowPolicy, "allow-policy", false, "let the screens change the egress policy")
	f.BoolVar(&o.full, "full", false, "read the whole configuration, however large")
}

func (a *App) attach(cmd *cobra.Command, args []string, o *attachOptions) error {
	t, err := parseTarget(args)
	if err != nil {
		return err
	}
	if err := firstError(o.parts.check(cmd.Flags()), o.screens.check()); err != nil {
		return err
	}
	if t.kind == "" && !o.parts.given() {
		if !a.picks(&o.screens) {
			return usage("attach: to what? want pod NAME, netns NAME, pid N, file PATH or demo SCENE")
		}
		if t, err = a.pick(cmd.Context(), &o.screens); err != nil || t.kind == "" {
			return err
		}
	}
	var d request.Draft
	if o.request.given() {
		if d, err = o.request.draft(); err != nil {
			return err
		}
	}
	if a.wanted(&o.screens) && t.live() {
		return a.seat(cmd, t, o, d)
	}
	ctx := cmd.Context()
	l, err := a.reach(ctx, t, &o.parts)
	if err != nil {
		return err
	}
	defer l.close()
	screens := a.wanted(&o.screens)
	// Screens read by themselves, so that the first frame waits for nothing; but a name or
	// a container can only be looked up in what was read.
	if !screens || d.Host != "" || o.request.container != "" {
		if err := l.read(ctx, inspect.Want{Full: o.full}); err != nil {
			return err
		}
	}
	var requests []flow.Request
	if o.request.given() {
		q, err := l.request(ctx, &o.request, d)
		if err != nil {
			return err
		}
		requests = append(requests, q)
	}
	if screens {
		return a.show(ctx, l.target, l.pod, requests, o.full, &o.screens)
	}
	return l.overview(ctx, requests)
}

// overview prints what screens would show first.
func (l *looked) overview(ctx context.Context, requests []flow.Request) error {
	if len(requests) == 0 {
		in := (&source{live: l.target.live()}).give(l.reading)
		fmt.Fprintln(l.app.Stdout, tui.Linear(in, l.pod.Name(), cmp.Or(l.target.String(), "TARGET")))
		fmt.Fprint(l.app.Stdout, render.Parts(l.about(), l.reading.Files, l.reading.Snapshot.Gaps, l.reading.Snapshot.Envoy.Unmodelled()))
		return nil
	}
	t, err := l.trace(ctx, requests[0])
	if err != nil {
		return err
	}
	l.app.print(l, l.label(ctx, t), "text", false)
	return status(traceStatus(t))
}
