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
	var screens screenFlags
	cmd := &cobra.Command{Use: "demo", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage("demo: one scene at a time, not %q", args[1])
		}
		if err := firstError(out.check(traceForms...), screens.check()); err != nil {
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
		if cmd.Flags().Changed("output") {
			screens.plain = true
		}
		return app.demo(cmd, name, out.form, why, &screens)
	}}
	var scenes []cobra.Completion
	for _, s := range saved.Scenes() {
		scenes = append(scenes, cobra.CompletionWithDesc(s.Name, s.About))
	}
	cmd.ValidArgsFunction = cobra.FixedCompletions(scenes, cobra.ShellCompDirectiveNoFileComp)
	cmd.Flags().BoolVar(&list, "list", false, "list the scenes")
	cmd.Flags().BoolVar(&why, "why", false, "show every loser")
	out.register(cmd.Flags(), traceForms...)
	screens.register(cmd)
	return cmd
}

func (a *App) listScenes() {
	for _, s := range saved.Scenes() {
		fmt.Fprintf(a.Stdout, "%-15s %s\n", s.Name, s.About)
	}
}

func (a *App) demo(cmd *cobra.Command, name, form string, why bool, screens *screenFlags) error {
	ctx := cmd.Context()
	l, err := a.reach(ctx, target{kind: "demo", name: name}, &parts{})
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
	if a.wanted(screens) {
		return a.show(ctx, l.target, l.pod, requests, false, screens)
	}
	if err := l.read(ctx, inspect.Want{}); err != nil {
		return err
	}
	if form != "text" {
		requests = requests[:1] // programs get one object
	} else {
		fmt.Fprintf(a.Stdout, "%s\n\n", l.target.scene.About)
	}
	for i, q := range requests {
		if i > 0 {
			fmt.Fprintln(a.Stdout)
		}
		t, err := l.trace(ctx, q)
		if err != nil {
			return err
		}
		a.print(l, t, form, why)
	}
	if form == "text" {
		fmt.Fprintf(a.Stdout, "\nnext      %s --why\n", render.Command("demo "+name, requests[0]))
	}
	return nil
}
