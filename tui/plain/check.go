package plain

import (
	"context"
	"fmt"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/check"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/spf13/cobra"
)

var checkForms = []string{"text", "json", "junit"}

// checkOptions are the flags of check.
type checkOptions struct {
	parts     parts
	out       output
	failUnder float64
	full      bool
}

func newCheck(app *App) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{Use: "check", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		return app.check(cmd, args, &o)
	}}
	f := cmd.Flags()
	o.parts.register(f)
	o.parts.still = true
	o.out.register(f, checkForms...)
	f.Float64Var(&o.failUnder, "fail-under", 0, "exit 1 where coverage is under this percentage")
	f.BoolVar(&o.full, "full", false, "read the whole configuration, however large")
	return cmd
}

func (a *App) check(cmd *cobra.Command, args []string, o *checkOptions) error {
	if len(args) == 0 {
		return usage("check: which cases? want check TARGET CASES, or check --iptables FILE CASES")
	}
	path := args[len(args)-1]
	if len(args) == 2 && args[0] == "file" { // a snapshot that is a case itself
		return a.checkOwn(cmd, target{kind: "file", name: path}, o)
	}
	t, err := parseTarget(args[:len(args)-1])
	if err != nil {
		return err
	}
	if err := o.check(cmd); err != nil {
		return err
	}
	if t.kind == "" && !o.parts.path() {
		return usage("check: of what? want a target before %s (pod NAME, netns NAME, pid N, file PATH), or --iptables or --config-dump with a file", path)
	}
	for i, p := range o.parts.paths {
		if p == "-" && path == "-" {
			return usage("--%s - and cases from -: standard input can be read only once", partFlags[i].flag)
		}
	}
	data, err := a.readInput(cmd.Context(), path)
	if err != nil {
		return badInput(err)
	}
	cases, err := check.Parse(data)
	if err != nil {
		return usage("%s: %w", path, err)
	}
	l, err := a.look(cmd.Context(), t, &o.parts, inspect.Want{Full: o.full})
	if err != nil {
		return err
	}
	defer l.close()
	return a.judge(cmd.Context(), l, cases, path, o)
}

// check finds flags that make no sense.
func (o *checkOptions) check(cmd *cobra.Command) error {
	if err := firstError(o.out.check(checkForms...), o.parts.check(cmd.Flags())); err != nil {
		return err
	}
	if !(o.failUnder >= 0 && o.failUnder <= 100) {
		return usage("--fail-under %v: want a percentage from 0 to 100", o.failUnder)
	}
	return nil
}

// checkOwn judges the one case that a snapshot is with its parts request and want.
func (a *App) checkOwn(cmd *cobra.Command, t target, o *checkOptions) error {
	if err := o.check(cmd); err != nil {
		return err
	}
	l, err := a.look(cmd.Context(), t, &o.parts, inspect.Want{Full: o.full})
	if err != nil {
		return err
	}
	defer l.close()
	c, err := session.Case(l.reading)
	if err != nil {
		return usage("%s: %w", t.name, err)
	}
	return a.judge(cmd.Context(), l, []check.Case{c}, t.name, o)
}

func (a *App) judge(ctx context.Context, l *looked, cases []check.Case, path string, o *checkOptions) error {
	progress := newProgress(a)
	_, report, err := session.Check(ctx, l.pod, l.reading, cases, progress.tell)
	progress.clear()
	if err != nil {
		return cannot(prefixed(l.target, err))
	}
	switch o.out.form {
	case "json":
		a.Stdout.Write(render.CheckJSON(report))
	case "junit":
		a.Stdout.Write(render.CheckJUnit(report, path))
	default:
		fmt.Fprint(a.Stdout, render.Check(report))
	}
	covered, any := report.Covered()
	unsaid, under := o.failUnder > 0 && !any, any && covered < o.failUnder
	switch {
	case unsaid:
		a.say(fmt.Errorf("--fail-under %v: %s; give a target with Envoy's configuration, or leave the flag out", o.failUnder, render.NothingToCover))
	case under:
		a.say(fmt.Errorf("coverage is %.1f%%, under the %v%% asked for", covered, o.failUnder))
	}
	switch {
	case report.Count(check.NotMet) > 0 || under:
		return status(ExitNo)
	case report.Count(check.Unknown) > 0 || unsaid:
		return status(ExitUnknown)
	}
	return nil
}
