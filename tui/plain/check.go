package plain

import (
	"fmt"
	"math"

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
	t, err := parseTarget(args[:len(args)-1])
	if err != nil {
		return err
	}
	if err := firstError(o.out.check(checkForms...), o.parts.check(cmd.Flags())); err != nil {
		return err
	}
	if t.kind == "" && !o.parts.given() {
		return usage("check: of what? want a target before %s (netns NAME, pid N, file PATH), or --iptables or --config-dump with a file", path)
	}
	if !(o.failUnder >= 0 && o.failUnder <= 100) || math.IsNaN(o.failUnder) {
		return usage("--fail-under %v: want a percentage from 0 to 100", o.failUnder)
	}
	for i, p := range o.parts.paths {
		if p == "-" && path == "-" {
			return usage("--%s - and cases from -: standard input can be read only once", partFlags[i].flag)
		}
	}
	data, err := readInput(a.Stdin, path)
	if err != nil {
		return usage("%w", err)
	}
	cases, err := check.Parse(data)
	if err != nil {
		return usage("%s: %w", path, err)
	}
	return a.judge(cmd, t, cases, path, o)
}

func (a *App) judge(cmd *cobra.Command, t target, cases []check.Case, path string, o *checkOptions) error {
	ctx := cmd.Context()
	l, err := a.look(ctx, t, &o.parts, inspect.Want{Full: o.full})
	if err != nil {
		return err
	}
	defer l.close()
	progress := newProgress(a)
	_, report, err := session.Check(ctx, l.pod, l.reading, cases, progress.tell)
	progress.clear()
	if err != nil {
		return cannot(prefixed(t, err))
	}
	switch o.out.form {
	case "json":
		a.Stdout.Write(render.CheckJSON(report))
	case "junit":
		a.Stdout.Write(render.CheckJUnit(report, path))
	default:
		fmt.Fprint(a.Stdout, render.Check(report))
	}
	if report.Covered() < o.failUnder {
		a.say(fmt.Errorf("coverage is %.1f%%, under the %v%% asked for", report.Covered(), o.failUnder))
	}
	switch {
	case report.Count(check.NotMet) > 0 || report.Covered() < o.failUnder:
		return status(ExitNo)
	case report.Count(check.Unknown) > 0:
		return status(ExitUnknown)
	}
	return nil
}
