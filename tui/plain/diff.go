package plain

import (
	"context"
	"fmt"
	"slices"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/diff"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/cobra"
)

var diffForms = []string{"text", "json", "yaml"}

// diffOptions are the flags of diff.
type diffOptions struct {
	request requestFlags
	parts   parts
	out     output
	full    bool
}

func newDiff(app *App) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{Use: "diff", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		return app.diff(cmd, args, &o)
	}}
	f := cmd.Flags()
	o.request.register(f)
	o.parts.register(f)
	o.out.register(f, diffForms...)
	f.BoolVar(&o.full, "full", false, "read the whole configuration, however large")
	return cmd
}

// pairOfTargets splits words into two targets. The second may be missing, where its parts are
// files.
func pairOfTargets(args []string) (a, b target, err error) {
	n := min(1, len(args))
	if n == 1 && slices.Contains(targetKinds, args[0]) {
		n = min(2, len(args))
	}
	if n == 0 {
		return a, b, usage("diff: of what? want two targets, such as file before.zip pod NAME")
	}
	if a, err = parseTarget(args[:n]); err != nil {
		return a, b, err
	}
	b, err = parseTarget(args[n:])
	return a, b, err
}

func (a *App) diff(cmd *cobra.Command, args []string, o *diffOptions) error {
	one, other, err := pairOfTargets(args)
	if err != nil {
		return err
	}
	if err := firstError(o.out.check(diffForms...), o.parts.check(cmd.Flags())); err != nil {
		return err
	}
	if other.kind == "" && !o.parts.path() {
		return usage("diff: %s and what? want a second target, or --iptables or --config-dump with a file", one)
	}
	var d request.Draft
	switch {
	case o.request.given():
		if d, err = o.request.draft(); err != nil {
			return err
		}
	case one.kind != "demo" && one.kind != "file": // these can hold a request of their own
		return whichRequest("diff")
	}
	ctx, want := cmd.Context(), inspect.Want{Full: o.full}
	x, q, err := a.side(ctx, one, &parts{}, want, func(l *looked) (flow.Request, error) { return l.ask(ctx, "diff", &o.request, d) })
	if err != nil {
		return err
	}
	defer x.close()
	y, p, err := a.side(ctx, other, &o.parts, want, func(l *looked) (flow.Request, error) {
		if o.request.given() {
			return l.request(ctx, &o.request, d)
		}
		return q, nil // what A itself asks
	})
	if err != nil {
		return err
	}
	defer y.close()
	before, err := x.trace(ctx, q)
	if err != nil {
		return err
	}
	after, err := y.trace(ctx, p)
	if err != nil {
		return err
	}
	return a.beside(diff.Traces(before, after), render.DiffNames{A: x.about(), B: y.about()}, o.out.form)
}

// side opens and reads one of the two, with its request.
func (a *App) side(ctx context.Context, t target, p *parts, want inspect.Want, ask func(*looked) (flow.Request, error)) (*looked, flow.Request, error) {
	l, err := a.look(ctx, t, p, want)
	if err != nil {
		return nil, flow.Request{}, err
	}
	q, err := ask(l)
	if err != nil {
		l.close()
		return nil, q, err
	}
	return l, q, nil
}

// beside prints two traces, and gives the exit status that they mean.
func (a *App) beside(d diff.Diff, names render.DiffNames, form string) error {
	switch form {
	case "json":
		_, _ = a.Stdout.Write(render.DiffJSON(d, names))
	case "yaml":
		_, _ = a.Stdout.Write(render.FromJSON(render.DiffJSON(d, names)))
	default:
		fmt.Fprint(a.Stdout, render.DiffText(d, names))
	}
	switch {
	case !d.Alike():
		return status(ExitNo)
	case d.Unsure():
		return status(ExitUnknown)
	}
	return nil
}
