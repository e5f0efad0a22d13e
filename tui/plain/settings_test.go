package plain

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/tui"
	"github.com/meshtop/meshtop/tui/style"
	"github.com/spf13/pflag"
)

// home is a home with a file of settings.
func home(t *testing.T, text string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".config", "meshtop"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".config", "meshtop", "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"HOME": dir, "LANG": "C.UTF-8"}
}

// screensOf are the options with which the screens of a scene are shown; nil: they are not.
func screensOf(t *testing.T, env map[string]string, args ...string) (*tui.Options, int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	var shown *tui.Options
	app := App{Stdout: &out, Stderr: &errs, Terminal: true, Getenv: func(name string) string { return env[name] },
		Screens: func(_ context.Context, opt tui.Options) error { shown = &opt; return nil }}
	code := Run(context.Background(), app, append([]string{"demo"}, args...))
	return shown, code, errs.String()
}

// The command line decides before the file, and NO_COLOR before both.
func TestSettingsReachTheScreens(t *testing.T) {
	file := "theme: cvd\ncolor: auto\nascii: true\nmouse: false\nkeys: {zoom: Z}\n"
	for _, c := range []struct {
		name, file string
		env        map[string]string
		args       []string
		want       tui.Options
	}{
		{name: "nothing", want: tui.Options{Theme: style.Auto}},
		{name: "file", file: file, want: tui.Options{Theme: style.ColourBlind, ASCII: true, NoMouse: true}},
		{name: "command line", file: file, args: []string{"--theme", "16", "--ascii=false", "--no-mouse=false", "--color", "never"}, want: tui.Options{Theme: style.Sixteen, NoColor: true}},
		{name: "the default said", file: file, args: []string{"--theme", "auto"}, want: tui.Options{Theme: style.Auto, ASCII: true, NoMouse: true}},
		{name: "NO_COLOR", file: file, env: map[string]string{"NO_COLOR": "1"}, args: []string{"--color", "auto"}, want: tui.Options{Theme: style.ColourBlind, ASCII: true, NoMouse: true, NoColor: true}},
		{name: "locale", env: map[string]string{"LANG": "C"}, want: tui.Options{Theme: style.Auto, ASCII: true}},
		{name: "locale, file", file: "ascii: false\n", env: map[string]string{"LANG": "C"}, want: tui.Options{Theme: style.Auto}},
		{name: "colour in the file", file: "color: never\n", want: tui.Options{Theme: style.Auto, NoColor: true}},
	} {
		env := home(t, c.file)
		for k, v := range c.env {
			env[k] = v
		}
		got, code, errs := screensOf(t, env, c.args...)
		if got == nil || code != ExitOK || errs != "" {
			t.Errorf("%s: exit %d, %s", c.name, code, errs)
			continue
		}
		if got.Theme != c.want.Theme || got.ASCII != c.want.ASCII || got.NoColor != c.want.NoColor || got.NoMouse != c.want.NoMouse {
			t.Errorf("%s: theme %s ascii %v nocolor %v nomouse %v", c.name, got.Theme, got.ASCII, got.NoColor, got.NoMouse)
		}
		zoom := "z"
		if c.file == file {
			zoom = "Z"
		}
		if !slices.ContainsFunc(got.Keys.Acts(), func(a tui.Act) bool { return a.Name == "zoom" && a.Keys[0] == zoom }) {
			t.Errorf("%s: zoom is not on %s", c.name, zoom)
		}
	}
}

// A file that is not there is none; one that makes no sense stops what uses it, with its line.
func TestSettingsFile(t *testing.T) {
	if got, code, errs := screensOf(t, map[string]string{"HOME": t.TempDir(), "LANG": "C.UTF-8"}); got == nil || code != ExitOK || errs != "" {
		t.Errorf("no file: exit %d, %s", code, errs)
	}
	got, code, errs := screensOf(t, map[string]string{"MESHTOP_CONFIG": "nowhere.yaml", "LANG": "C.UTF-8"})
	if got == nil || code != ExitOK || !strings.Contains(errs, "meshtop: MESHTOP_CONFIG=nowhere.yaml: there is no such file: going on") {
		t.Errorf("named and not there: exit %d, %s", code, errs)
	}
	bad := home(t, "theme: cvd\nkeys:\n  zoom: c\n")
	got, code, errs = screensOf(t, bad)
	if got != nil || code != ExitUsage || !strings.Contains(errs, "config.yaml: line 3: the key c is both copy (built in) and zoom (line 3) on the screen Overview") ||
		!strings.Contains(errs, "MESHTOP_CONFIG="+os.DevNull) {
		t.Errorf("exit %d, %s", code, errs)
	}
	if got, code, _ := screensOf(t, bad, "--plain"); got != nil || code != ExitOK {
		t.Errorf("text needs no keys: exit %d", code)
	}
	bad["MESHTOP_CONFIG"] = os.DevNull
	if got, code, errs := screensOf(t, bad); got == nil || code != ExitOK {
		t.Errorf("without the file: exit %d, %s", code, errs)
	}
	folder := map[string]string{"MESHTOP_CONFIG": t.TempDir()}
	if got, code, errs := screensOf(t, folder); got != nil || code != ExitUsage || !strings.Contains(errs, "is a directory") {
		t.Errorf("a folder: exit %d, %s", code, errs)
	}
}

func TestConfigVerb(t *testing.T) {
	env := home(t, "theme: cvd\nkeys: {variant: []}\n")
	file := filepath.Join(env["HOME"], ".config", "meshtop", "config.yaml")
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := Run(context.Background(), App{Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return env[name] }}, append([]string{"config"}, args...))
		return code, out.String(), errs.String()
	}
	if code, out, errs := run("path"); code != ExitOK || out != file+"\n" {
		t.Errorf("path: %d %q %s", code, out, errs)
	}
	code, shown, errs := run()
	if code != ExitOK || !strings.Contains(shown, "read from "+file) || !strings.Contains(shown, "theme: cvd ") || !strings.Contains(shown, "  variant: [] ") {
		t.Errorf("show: %d %s %s", code, shown, errs)
	}
	if code, out, errs := run("check"); code != ExitOK || !strings.Contains(out, "no mistake") {
		t.Errorf("check: %d %q %s", code, out, errs)
	}
	if err := os.WriteFile(file, []byte(shown), 0o600); err != nil { // what is shown is a file
		t.Fatal(err)
	}
	if code, again, errs := run("show"); code != ExitOK || again != shown {
		t.Errorf("again: %d %s %s", code, again, errs)
	}
	env["XDG_CONFIG_HOME"] = "/elsewhere"
	if _, out, _ := run("path"); out != "/elsewhere/meshtop/config.yaml\n" {
		t.Errorf("XDG: %q", out)
	}
	env["XDG_CONFIG_HOME"] = "relative"
	if _, out, _ := run("path"); out != file+"\n" {
		t.Errorf("a relative XDG_CONFIG_HOME counts: %q", out)
	}
	if code, _, errs := run("check", "nowhere"); code != ExitUnknown || !strings.Contains(errs, "nowhere: no such file") {
		t.Errorf("check nowhere: %d %s", code, errs)
	}
	if err := os.WriteFile(file, []byte("them: x\ncolor: y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run("check"); code != ExitUsage || !strings.Contains(errs, ": line 1: ") || !strings.Contains(errs, ": line 2: color") {
		t.Errorf("check: %d %s", code, errs)
	}
	for _, args := range [][]string{{"shwo"}, {"show", "x"}, {"check", "a", "b"}} {
		if code, _, errs := run(args...); code != ExitUsage {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}

// Where a context is marked as dangerous, --yes alone changes nothing, and neither does it with
// the name of another.
func TestPolicyInDanger(t *testing.T) {
	env := home(t, "danger: [prod-*]\n")
	at := "prod-eu"
	p := newHeldPod(t, "mesh")
	run := func(typed string, args ...string) (int, string) {
		var out, errs bytes.Buffer
		app := p.app(&out, &errs, typed)
		app.ErrTerminal = true
		app.Getenv = func(name string) string { return env[name] }
		app.Cluster = &Cluster{Register: func(*pflag.FlagSet) {}, Pods: tui.Pods{Where: func() (string, string) { return at, "default" }},
			Open: func(context.Context, string, string, func(string, bool)) (inspect.Pod, error) { return p, nil }}
		code := Run(context.Background(), app, append([]string{"policy", "block-all", "pod", "web"}, args...))
		return code, errs.String()
	}
	for _, c := range []struct {
		context string
		args    []string
		code    int
		says    string
	}{
		{"prod-eu", []string{"--yes"}, ExitUsage, "marked as dangerous (prod-* in line 1 of "},
		{"prod-eu", []string{"--yes", "--danger", "prod-us"}, ExitUsage, `--danger prod-us: the context is "prod-eu"`},
		{"staging", []string{"--yes", "--danger", "prod-eu"}, ExitUsage, `--danger prod-eu: the context is "staging"`},
		{"prod-eu", []string{"--dry-run"}, ExitOK, ""},
	} {
		at = c.context
		if code, errs := run("", c.args...); code != c.code || !strings.Contains(errs, c.says) || p.kind() != flow.NoPolicy {
			t.Errorf("%s %v: exit %d, %s, in force %v", c.context, c.args, code, errs, p.kind())
		}
	}
	at = "prod-eu"
	if code, errs := run("y\n"); code != ExitUnknown || !strings.Contains(errs, "DANGER: this is the context prod-eu\nType web to apply it:") || p.kind() != flow.NoPolicy {
		t.Errorf("y: exit %d, %s", code, errs)
	}
	for _, c := range []struct {
		context string
		args    []string
	}{{"prod-eu", []string{"--yes", "--danger", "prod-eu"}}, {"staging", []string{"--yes"}}, {"staging", []string{"--yes", "--danger", "staging"}}} {
		at, p.held = c.context, flow.Policy{}
		if code, errs := run("", c.args...); code != ExitOK || p.kind() != flow.BlockAll {
			t.Errorf("%s %v: exit %d, %s", c.context, c.args, code, errs)
		}
	}
	if err := os.WriteFile(filepath.Join(env["HOME"], ".config", "meshtop", "config.yaml"), []byte("danger: [[prod]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.held = flow.Policy{}
	if code, errs := run("", "--yes"); code != ExitUsage || !strings.Contains(errs, "line 1: danger: a list") || p.kind() != flow.NoPolicy {
		t.Errorf("a broken file: exit %d, %s", code, errs)
	}
}
