package plain

import (
	"fmt"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/cobra"
)

// firstScene is what demo shows to somebody who names none.
const firstScene = "mesh"

func newDemo(app *App) *cobra.Command {
	var list, why bool
	var out output
	cmd := &cobra.Command{Use: "demo", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage("demo: one scene at a time, not %q", args[1])
		}
		if err := out.check(traceForms...); err != nil {
			return err
		}
		if list {
			app.listScenes()
			return nil
		}
		name := firstScene
		if len(args) == 1 {
			name = args[0]
		}
		return app.demo(cmd, name, out.form, why)
	}}
	var scenes []cobra.Completion
	for _, s := range saved.Scenes() {
		scenes = append(scenes, cobra.CompletionWithDesc(s.Name, s.About))
	}
	cmd.ValidArgsFunction = cobra.FixedCompletions(scenes, cobra.ShellCompDirectiveNoFileComp)
	cmd.Flags().BoolVar(&list, "list", false, "list the scenes")
	cmd.Flags().BoolVar(&why, "why", false, "show every loser")
	out.register(cmd.Flags(), traceForms...)
	return cmd
}

func (a *App) listScenes() {
	for _, s := range saved.Scenes() {
		fmt.Fprintf(a.Stdout, "%-15s %s\n", s.Name, s.About)
	}
}

func (a *App) demo(cmd *cobra.Command, name, form string, why bool) error {
	ctx := cmd.Context()
	l, err := a.look(ctx, target{kind: "demo", name: name}, &parts{}, inspect.Want{})
	if err != nil {
		return err
	}
	defer l.close()
	var requests []flow.Request
	for _, raw := range l.target.scene.Requests {
		q, err := request.Parse([]byte(raw))
		if err != nil {
			return cannot(fmt.Errorf("demo %s: %w", name, err))
		}
		requests = append(requests, q)
	}
	if a.Terminal && a.Screens != nil && !cmd.Flags().Changed("output") {
		return a.Screens(ctx, Screens{Pod: l.pod, Command: l.target.String(), Requests: requests, Read: l.reading})
	}
	if form == "text" {
		fmt.Fprintf(a.Stdout, "%s\n\n", l.target.scene.About)
	}
	for i, q := range requests {
		t, err := l.trace(ctx, q)
		if err != nil {
			return err
		}
		switch {
		case form != "text" && i > 0:
			return nil // programs get one object
		case i > 0:
			fmt.Fprintln(a.Stdout)
		}
		a.print(l, t, form, why)
	}
	if form == "text" {
		fmt.Fprintf(a.Stdout, "\ntry        meshtop trace demo %s --to ADDR[:PORT] --why\n", render.Clean(name))
	}
	return nil
}
