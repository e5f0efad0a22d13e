package plain

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/meshtop/meshtop/tui"
	"github.com/meshtop/meshtop/tui/style"
	"github.com/spf13/cobra"
)

// screenFlags say how screens look.
type screenFlags struct {
	plain, ascii, noMouse bool
	theme, color          string
	allowPolicy           bool
	said                  func(flag string) bool // the command line says it
}

func (s *screenFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	s.said = f.Changed
	f.BoolVar(&s.plain, "plain", false, "text instead of screens")
	f.BoolVar(&s.ascii, "ascii", false, "screens of ASCII characters only")
	f.BoolVar(&s.noMouse, "no-mouse", false, "leave the mouse to the terminal")
	f.StringVar(&s.theme, "theme", "auto", "auto, 16, hi-contrast, cvd or mono")
	f.StringVar(&s.color, "color", "auto", "auto or never")
}

func (s *screenFlags) check() error {
	if _, err := style.ParseTheme(s.theme); err != nil {
		return usage("--%w", err)
	}
	if s.color != "auto" && s.color != "never" {
		return usage("--color %s: want auto or never", s.color)
	}
	return nil
}

// wanted says whether screens are to be shown, and can be.
func (a *App) wanted(s *screenFlags) bool { return a.Terminal && a.Screens != nil && !s.plain }

// show shows the pod on screens until the user quits.
func (a *App) show(ctx context.Context, t target, pod inspect.Pod, requests []flow.Request, full bool, s *screenFlags) error {
	opt, err := a.dressed(s)
	if err != nil {
		return err
	}
	told, over := a.news.show()
	defer over()
	opt.Target, opt.Command, opt.Requests = pod.Name(), t.String(), requests
	if opt.Context, _, _, err = a.danger(t); err != nil {
		return err
	}
	opt.Source, opt.News = a.sources(t, pod, full, s.allowPolicy), told
	if len(requests) > 0 {
		opt.Request, opt.Requests = &requests[0], requests[1:]
	}
	if err := a.Screens(ctx, opt); err != nil && ctx.Err() == nil {
		return cannot(err)
	}
	return nil
}

// sources are what the screens ask of a pod.
func (a *App) sources(t target, pod inspect.Pod, full, allow bool) tui.Source {
	src := &source{pod: pod, live: t.live(), full: full}
	return tui.Source{Read: src.read, Trace: src.trace, Resolve: src.resolve, Names: src.names, Confirm: src.confirm, Export: a.export, Egress: a.egress(t, pod, allow)}
}

// dressed is how screens look and which keys they have: what the command line says, else the
// user's file, else what is built in.
func (a *App) dressed(s *screenFlags) (tui.Options, error) {
	set, err := a.settings()
	if err != nil {
		return tui.Options{}, err
	}
	if s.said("theme") {
		if set.Theme, err = style.ParseTheme(s.theme); err != nil {
			return tui.Options{}, usage("--%w", err)
		}
	}
	if s.said("color") {
		set.Color = s.color
	}
	ascii, noMouse := set.ASCII == "true" || set.ASCII == "auto" && !a.utf8(), !set.Mouse
	if s.said("ascii") {
		ascii = s.ascii
	}
	if s.said("no-mouse") {
		noMouse = s.noMouse
	}
	marked := func(context string) bool { _, yes := set.Dangerous(context); return yes }
	return tui.Options{ASCII: ascii, NoColor: set.Color == "never" || a.env("NO_COLOR") != "", NoMouse: noMouse, Theme: set.Theme, Keys: set.Keys, Danger: marked, Copy: a.copy, Pager: a.pager}, nil
}

// picks says whether the user can be asked for a pod.
func (a *App) picks(s *screenFlags) bool {
	return a.wanted(s) && a.InTerminal && a.Pick != nil && a.Cluster != nil && a.Cluster.Configured != nil && a.Cluster.Configured()
}

// pick is the pod that the user chooses; an empty target: none was.
func (a *App) pick(ctx context.Context, s *screenFlags) (target, error) {
	opt, err := a.dressed(s)
	if err != nil {
		return target{}, err
	}
	c, err := a.Pick(ctx, opt, a.Cluster.Pods)
	if err != nil && ctx.Err() == nil {
		return target{}, cannot(err)
	}
	if c == nil {
		return target{}, nil
	}
	a.Cluster.Pods.Use("", c.Namespace)
	return target{kind: "pod", name: c.Name}, nil
}

func (a *App) env(name string) string {
	if a.Getenv == nil {
		return ""
	}
	return a.Getenv(name)
}

// utf8 says whether the locale's characters are UTF-8: the first of these that is set
// decides (locale(7)).
func (a *App) utf8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(a.env(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// source gives the screens readings and traces of one pod.
type source struct {
	pod        inspect.Pod
	live, full bool
}

func (s *source) read(ctx context.Context, progress func(inspect.Progress)) (tui.Reading, error) {
	r, err := session.Read(ctx, s.pod, inspect.Want{Full: s.full, Progress: progress})
	return s.give(r), err
}

func (s *source) trace(ctx context.Context, in tui.Reading, q flow.Request, progress func(inspect.Progress)) (tui.Reading, flow.Trace, error) {
	r, t, err := session.Trace(ctx, s.pod, in.Reading, q, progress)
	return s.give(r), t, err
}

func (s *source) resolve(ctx context.Context, in tui.Reading, d request.Draft) (flow.Request, error) {
	return session.Resolve(ctx, s.pod, in.Reading, d)
}

func (s *source) names(ctx context.Context, in tui.Reading, addrs []netip.Addr) (flow.Names, []inspect.Call) {
	return session.Learn(ctx, s.pod, in.Reading, addrs)
}

func (s *source) confirm(ctx context.Context, in tui.Reading, q flow.Request, w tui.Watch) (tui.Reading, confirm.Report, error) {
	r, rep, err := session.Confirm(ctx, s.pod, in.Reading, q, session.ConfirmOptions{Send: w.Send, Ready: w.Ready, Seen: w.Seen, Judged: w.Judged, Raw: true})
	return s.give(r), rep, err
}

// export writes packets that screens show to a new file in the working folder.
func (a *App) export(t flow.Trace, seen []flow.Observation, loss flow.Loss) (string, error) {
	name := "meshtop-" + time.Now().Format("20060102-150405.000") + ".pcapng"
	w, done, err := a.create(name)
	if err != nil {
		return "", err
	}
	err = errors.Join(session.Export(w, t, seen, loss, "meshtop "+a.Version), done())
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return name, err
}

// give is the reading as screens hold it: of a recording, with the time of the recording.
func (s *source) give(r session.Reading) tui.Reading {
	if !s.live {
		r.Taken = session.TakenAt(r)
	}
	return tui.Reading{Reading: r, Live: s.live}
}
