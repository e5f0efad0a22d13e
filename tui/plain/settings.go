package plain

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/config"
	"github.com/spf13/cobra"
)

const configVariable = "MESHTOP_CONFIG"

// configPath is where the user's file would be: as MESHTOP_CONFIG says, else as the XDG base
// directory specification does. Empty: nowhere, since there is no home.
func (a *App) configPath() string {
	if p := a.env(configVariable); p != "" {
		return p
	}
	const below = "meshtop/config.yaml"
	if dir := a.env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) { // a relative one is to be ignored
		return filepath.Join(dir, below)
	}
	for _, home := range []string{"HOME", "USERPROFILE"} {
		if dir := a.env(home); dir != "" {
			return filepath.Join(dir, ".config", below)
		}
	}
	return ""
}

// settings reads the user's file, once. One that is not there is none, but a word is said where
// the environment names it.
func (a *App) settings() (config.Settings, error) {
	if a.read != nil {
		return *a.read, nil
	}
	s, err := readSettings(a.configPath())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
		if p := a.env(configVariable); p != "" {
			a.say(fmt.Errorf("%s=%s: there is no such file: going on with what is built in", configVariable, p))
		}
	}
	if err != nil {
		return s, err
	}
	a.read = &s
	return s, nil
}

// readSettings reads a file. What is wrong in it is told by its path and line.
func readSettings(path string) (config.Settings, error) {
	if path == "" {
		return config.BuiltIn(), nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config.BuiltIn(), err
	}
	if err != nil {
		return config.BuiltIn(), unusable(path, brief(path, err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, config.MaxBytes+1))
	if err != nil {
		return config.BuiltIn(), unusable(path, brief(path, err))
	}
	s, err := config.Parse(data)
	if err != nil {
		lines := strings.Split(err.Error(), "\n")
		for i := range lines {
			lines[i] = path + ": " + lines[i]
		}
		return s, unusable(path, errors.New(strings.Join(lines, "\n")))
	}
	return s, nil
}

// unusable is a file that cannot be used: nothing of it is, since a part would be believed to be
// all of it.
func unusable(path string, err error) error {
	return usage("%w\nnothing of it counts: mend it (meshtop config check), or go on without by %s=%s", err, configVariable, os.DevNull)
}

// danger says whether the target's context is marked as dangerous, and names it.
func (a *App) danger(t target) (context string, p config.Pattern, marked bool, err error) {
	s, err := a.settings()
	if err != nil || !t.ofCluster() || a.Cluster == nil || a.Cluster.Pods.Where == nil {
		return "", p, false, err
	}
	context, _ = a.Cluster.Pods.Where()
	p, marked = s.Dangerous(context)
	return context, p, marked, nil
}

// configActions are what the verb config does.
var configActions = []string{"show", "path", "check"}

func newConfig(app *App) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			args = []string{"show"}
		}
		if len(args) > 2 || len(args) == 2 && args[0] != "check" {
			return usage("config: too many words: %s", strings.Join(args[1:], " "))
		}
		switch args[0] {
		case "show":
			return app.showConfig()
		case "path":
			return app.pathOfConfig()
		case "check":
			return app.checkConfig(args[1:])
		}
		if near := nearest(args[0], configActions); near != "" {
			return usage("config: unknown action %q: was %s meant?", args[0], near)
		}
		return usage("config: unknown action %q: want %s", args[0], strings.Join(configActions, ", "))
	}}
	cmd.ValidArgs = configActions
	return cmd
}

func (a *App) pathOfConfig() error {
	path := a.configPath()
	if path == "" {
		return cannot(fmt.Errorf("config: there is no place for a file: neither %s, XDG_CONFIG_HOME nor HOME is set", configVariable))
	}
	fmt.Fprintln(a.Stdout, render.Clean(path))
	return nil
}

// showConfig prints what counts, as a file that says the same.
func (a *App) showConfig() error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	from := "nothing: there is no " + a.configPath()
	if _, err := os.Stat(a.configPath()); err == nil {
		from = a.configPath()
	}
	fmt.Fprintf(a.Stdout, "# What counts, read from %s\n%s", render.Clean(from), s.Show())
	return nil
}

// checkConfig judges a file, the user's if none is named.
func (a *App) checkConfig(args []string) error {
	path := a.configPath()
	if len(args) == 1 {
		path = args[0]
	}
	s, err := readSettings(path)
	if err != nil && errors.Is(err, fs.ErrNotExist) && len(args) == 0 {
		fmt.Fprintf(a.Stdout, "%s: not there, which is no mistake: what is built in counts\n", render.Clean(path))
		return nil
	}
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		return cannot(brief(path, err))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "%s: no mistake, %d patterns of dangerous contexts\n", render.Clean(path), len(s.Danger))
	return nil
}
