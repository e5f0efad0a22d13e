package plain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/cobra"
)

// attachOptions are the flags of attach, which is what meshtop does without a verb.
type attachOptions struct {
	request requestFlags
	parts   parts
	full    bool
	plain   bool
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
		if len(args) == 0 && !r.parts.given() && !r.request.given() {
			fmt.Fprint(app.Stdout, usageOf(cmd))
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
	f.BoolVar(&o.full, "full", false, "read the whole configuration, however large")
	f.BoolVar(&o.plain, "plain", false, "text instead of screens")
}

func (a *App) attach(cmd *cobra.Command, args []string, o *attachOptions) error {
	t, err := parseTarget(args)
	if err != nil {
		return err
	}
	if err := o.parts.check(cmd.Flags()); err != nil {
		return err
	}
	if t.kind == "" && !o.parts.given() {
		return usage("attach: to what? want netns NAME, pid N, file PATH or demo SCENE")
	}
	var d request.Draft
	if o.request.given() {
		if d, err = o.request.draft(); err != nil {
			return err
		}
	}
	ctx := cmd.Context()
	l, err := a.look(ctx, t, &o.parts, inspect.Want{Full: o.full})
	if err != nil {
		return err
	}
	defer l.close()
	var requests []flow.Request
	if o.request.given() {
		q, err := l.request(ctx, &o.request, d)
		if err != nil {
			return err
		}
		requests = append(requests, q)
	}
	if a.Terminal && a.Screens != nil && !o.plain {
		return a.Screens(ctx, Screens{Pod: l.pod, Command: t.String(), Requests: requests, Read: l.reading})
	}
	if len(requests) == 0 {
		fmt.Fprint(a.Stdout, render.Parts(l.about(), l.reading.Files, l.reading.Snapshot.Gaps))
		return nil
	}
	tr, err := l.trace(ctx, requests[0])
	if err != nil {
		return err
	}
	a.print(l, tr, "text", false)
	return status(verdictStatus(tr.Verdict))
}
