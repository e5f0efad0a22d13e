package plain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// output is -o, which each verb has with forms of its own.
type output struct{ form string }

func (o *output) register(f *pflag.FlagSet, forms ...string) {
	f.StringVarP(&o.form, "output", "o", forms[0], strings.Join(forms, "|"))
}

func (o *output) check(forms ...string) error {
	if slices.Contains(forms, o.form) {
		return nil
	}
	if near := nearest(o.form, forms); near != "" {
		return usage("-o %s: was %s meant?", o.form, near)
	}
	return usage("-o %s: want %s", o.form, strings.Join(forms, ", "))
}

var traceForms = []string{"text", "short", "json", "yaml"}

// traceOptions are the flags of trace.
type traceOptions struct {
	request requestFlags
	parts   parts
	out     output
	why     bool
	full    bool
}

func newTrace(app *App) *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{Use: "trace", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		return app.trace(cmd, args, &o)
	}}
	f := cmd.Flags()
	o.request.register(f)
	o.parts.register(f)
	o.parts.still = true
	o.out.register(f, traceForms...)
	f.BoolVar(&o.why, "why", false, "show every loser")
	f.BoolVar(&o.full, "full", false, "read the whole configuration, however large")
	return cmd
}

func (a *App) trace(cmd *cobra.Command, args []string, o *traceOptions) error {
	if err := firstError(o.out.check(traceForms...), o.parts.check(cmd.Flags())); err != nil {
		return err
	}
	l, q, err := a.requested(cmd, args, &o.request, &o.parts, inspect.Want{Full: o.full})
	if err != nil {
		return err
	}
	defer l.close()
	t, err := l.trace(cmd.Context(), q)
	if err != nil {
		return err
	}
	if len(o.request.picks) > 0 {
		if err := rules.CheckPick(l.reading.Snapshot, q); err != nil {
			return usage("%w", err)
		}
	}
	if o.out.form != "short" { // which has no steps
		t = l.label(cmd.Context(), t)
	}
	a.print(l, t, o.out.form, o.why)
	return status(traceStatus(t))
}

// print writes a trace in the form that was asked for.
func (a *App) print(l *looked, t flow.Trace, form string, why bool) {
	switch form {
	case "json":
		a.Stdout.Write(render.JSON(t, why))
	case "yaml":
		a.Stdout.Write(render.YAML(t, why))
	case "short":
		fmt.Fprint(a.Stdout, render.Short(t))
	default:
		fmt.Fprint(a.Stdout, l.text(t, why))
	}
}

// traceStatus is the exit status that a trace means: what was only meant to be is not known.
func traceStatus(t flow.Trace) int {
	if len(t.Intent) > 0 {
		return ExitUnknown
	}
	return verdictStatus(t.Verdict)
}

// verdictStatus is the exit status that a verdict means.
func verdictStatus(v flow.Verdict) int {
	switch v {
	case flow.Delivered:
		return ExitOK
	case flow.Refused, flow.Dropped, flow.Looped:
		return ExitNo
	}
	return ExitUnknown
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
