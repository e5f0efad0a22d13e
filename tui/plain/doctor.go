package plain

import (
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/doctor"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/spf13/cobra"
)

var doctorForms = []string{"text", "json", "yaml"}

func newDoctor(app *App) *cobra.Command {
	var out output
	var full bool
	var p parts
	cmd := &cobra.Command{Use: "doctor", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		t, err := parseTarget(args)
		if err != nil {
			return err
		}
		if err := firstError(out.check(doctorForms...), p.check(cmd.Flags())); err != nil {
			return err
		}
		if t.kind == "" && !p.given() {
			return usage("doctor: of what? want pod NAME, netns NAME, pid N or file PATH, or --iptables with a file")
		}
		l, err := app.look(cmd.Context(), t, &p, inspect.Want{Full: full})
		if err != nil {
			return err
		}
		defer l.close()
		return app.examine(l, out.form)
	}}
	p.register(cmd.Flags())
	p.still = true
	out.register(cmd.Flags(), doctorForms...)
	cmd.Flags().BoolVar(&full, "full", false, "read the whole configuration, however large")
	return cmd
}

func (a *App) examine(l *looked, form string) error {
	found := session.Doctor(l.reading)
	switch form {
	case "json", "yaml":
		out, err := render.DoctorJSON(found)
		if err != nil {
			return cannot(err)
		}
		if form == "yaml" {
			out = render.FromJSON(out)
		}
		a.Stdout.Write(out)
	default:
		fmt.Fprint(a.Stdout, render.DoctorText(found))
	}
	if intent := l.reading.Snapshot.Meta.Intent; len(intent) > 0 {
		a.say(fmt.Errorf("by intent: %s: what was meant to be; what is was not looked at", strings.Join(intent, ", ")))
		return status(ExitUnknown)
	}
	return status(doctorStatus(found))
}

// doctorStatus: a problem or a warning is a finding; notes are what somebody meant; what
// cannot be told is neither.
func doctorStatus(found []doctor.Finding) int {
	worst := ExitOK
	for _, f := range found {
		switch f.Severity {
		case doctor.Problem, doctor.Warning:
			return ExitNo
		case doctor.Unknown:
			worst = ExitUnknown
		}
	}
	return worst
}
