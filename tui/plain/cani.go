package plain

import (
	"errors"
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/spf13/cobra"
)

var rightsForms = []string{"text", "json", "yaml"}

func newCanI(app *App) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: "can-i", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		t, err := parseTarget(args)
		if err != nil {
			return err
		}
		if err := out.check(rightsForms...); err != nil {
			return err
		}
		if t.kind != "pod" && t.kind != "deploy" {
			return usage("can-i: want pod NAME or deploy NAME: only a cluster gives rights")
		}
		return app.canI(cmd, t, out.form)
	}}
	out.register(cmd.Flags(), rightsForms...)
	return cmd
}

func (a *App) canI(cmd *cobra.Command, t target, form string) error {
	if a.Cluster == nil {
		return cannot(errors.New("can-i: this build has no cluster support"))
	}
	r, err := a.Cluster.CanI(cmd.Context(), t.kind, t.name)
	if err != nil {
		return cannot(err)
	}
	switch form {
	case "json":
		_, _ = a.Stdout.Write(render.RightsJSON(r))
	case "yaml":
		_, _ = a.Stdout.Write(render.FromJSON(render.RightsJSON(r)))
	default:
		fmt.Fprint(a.Stdout, render.RightsText(r))
	}
	if !r.Agent {
		return status(ExitNo)
	}
	return nil
}

// withWays adds to an error of opening a pod what can be done all the same, numbered.
func withWays(p inspect.Pod, err error) (inspect.Pod, error) {
	var stuck inspect.Stuck
	if !errors.As(err, &stuck) {
		return p, err
	}
	lines := []string{err.Error(), "ways on:"}
	for i, w := range stuck.WaysOn() {
		lines = append(lines, fmt.Sprintf("  %d  %s", i+1, w))
	}
	return p, &sentence{strings.Join(lines, "\n"), err}
}
