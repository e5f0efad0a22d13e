package plain

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/spf13/cobra"
)

func newSnapshot(app *App) *cobra.Command {
	var write string
	var full bool
	var p parts
	cmd := &cobra.Command{Use: "snapshot", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		t, err := parseTarget(args)
		if err != nil {
			return err
		}
		if t.kind == "" && !p.given() {
			return usage("snapshot: of what? want pod NAME, netns NAME, pid N or file PATH")
		}
		if write == "" {
			return usage("snapshot: where to? want -w FILE.zip, FILE.txtar or a new folder")
		}
		if err := p.check(cmd.Flags()); err != nil {
			return err
		}
		l, err := app.reach(cmd.Context(), t, &p)
		if err != nil {
			return err
		}
		defer l.close()
		err = l.read(cmd.Context(), inspect.Want{Full: full})
		var bad *session.BadPart
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		app.say(err) // what makes no sense is saved all the more: it is a bug report
		l.reading = l.reading.Named(session.Learn(cmd.Context(), l.pod, l.reading, session.Peers(l.reading)))
		return app.save(l, write)
	}}
	p.register(cmd.Flags())
	p.still = true
	cmd.Flags().StringVarP(&write, "write", "w", "", "where to: FILE.zip, FILE.txtar, FILE.txtar.gz or a new folder")
	cmd.Flags().BoolVar(&full, "full", false, "read the whole configuration, however large")
	return cmd
}

// save writes the reading without secrets, and says on stderr what was masked or left out.
func (a *App) save(l *looked, path string) error {
	s, err := session.Save(l.reading)
	if err != nil {
		return l.readError(err)
	}
	if err := archive.Write(path, s.Files); err != nil {
		return cannot(err)
	}
	for _, g := range s.Gaps {
		a.say(fmt.Errorf("%s: %s", g.Part, g.Reason))
	}
	for _, part := range slices.Sorted(maps.Keys(s.Masked)) {
		a.say(fmt.Errorf("%s: %d secrets masked", part, s.Masked[part]))
	}
	a.say(fmt.Errorf("wrote %d parts to %s", len(s.Files), path))
	return nil
}
