package plain

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/meshtop/meshtop/tui"
	"github.com/spf13/cobra"
)

// opener opens a target for the screens, which are shown meanwhile: nothing is written beside them.
type opener struct {
	app    *App
	cmd    *cobra.Command
	opt    *attachOptions
	target target
	files  inspect.Files
	draft  request.Draft

	mu  sync.Mutex        // one at a time: they share the flags
	was map[string]string // flags that were changed, as the command line had them
}

// seat shows the screens at once and opens the target inside them.
func (a *App) seat(cmd *cobra.Command, t target, o *attachOptions, d request.Draft) error {
	files, err := o.parts.read(cmd.Context(), a)
	if err != nil {
		return err
	}
	opt, err := a.dressed(&o.screens)
	if err != nil {
		return err
	}
	a.news = &news{line: newProgress(a)}
	told, over := a.news.show()
	defer over()
	s := &opener{app: a, cmd: cmd, opt: o, target: t, files: files, draft: d, was: map[string]string{}}
	opt.Target, opt.Command, opt.News = t.String(), t.String(), told
	if opt.Context, _, _, err = a.danger(t); err != nil {
		return err
	}
	opt.Opener = &tui.Opener{Open: s.open}
	if t.ofCluster() && a.Cluster != nil {
		opt.Opener.Waiting, opt.Opener.Rights, opt.Opener.Others = a.Cluster.Waiting, s.rights, a.picks(&o.screens)
	}
	err = a.Screens(cmd.Context(), opt)
	switch {
	case errors.Is(err, tui.ErrChoose):
		if err := s.flags(nil); err != nil {
			return err
		}
		if t, err = a.pick(cmd.Context(), &o.screens); err != nil || t.kind == "" {
			return err
		}
		over()
		return a.seat(cmd, t, o, d)
	case err != nil && cmd.Context().Err() == nil:
		var f *failure
		if errors.As(err, &f) {
			return err
		}
		return cannot(err)
	}
	return nil
}

// open opens the target in the way that the screens ask for.
func (s *opener) open(ctx context.Context, how tui.Opening) (tui.Opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return tui.Opened{}, err
	}
	files, err := s.take(ctx, how.Flags)
	if err != nil {
		return tui.Opened{}, err
	}
	t := s.target
	if how.Other != "" {
		t = target{kind: "pod", name: how.Other}
	}
	under, err := s.app.open(ctx, &t, s.opt.parts.at)
	if err != nil {
		return tui.Opened{}, err
	}
	out, err := s.opened(ctx, t, s.opt.parts.pod(files, under))
	if err != nil {
		return out, errors.Join(err, under.Close())
	}
	if l, ok := under.(inspect.Limited); ok {
		out.Limit = l.Limit().Error()
	}
	if m, ok := under.(inspect.Mortal); ok {
		out.Source.Gone = m.Gone()
	}
	if n, ok := under.(inspect.Succeeded); ok {
		out.Source.Successor = n.Successor
	}
	return out, nil
}

// opened is what the screens need of a pod that is open.
func (s *opener) opened(ctx context.Context, t target, pod inspect.Pod) (tui.Opened, error) {
	out := tui.Opened{Target: pod.Name(), Command: t.String(), Close: pod.Close}
	out.Source = s.app.sources(t, pod, s.opt.full, s.opt.screens.allowPolicy)
	out.NoRules, out.NoEnvoy = missing(t)
	if !s.opt.request.given() {
		return out, nil
	}
	l := &looked{app: s.app, target: t, pod: pod}
	if s.draft.Host != "" || s.opt.request.container != "" { // they are looked up in what was read
		var err error
		if l.reading, err = session.Read(ctx, pod, inspect.Want{Full: s.opt.full}); err != nil {
			return out, l.readError(err)
		}
	}
	q, err := l.request(ctx, &s.opt.request, s.draft)
	if err != nil {
		return out, err
	}
	out.Request = &q
	return out, nil
}

// missing are the ways on where the kernel's half could not be read, or the proxy's.
func missing(t target) (rules, envoy []inspect.WayOn) {
	by := func(text, flag, value string) inspect.WayOn {
		return inspect.WayOn{Text: text, Flags: []inspect.Flag{{Name: flag, Value: value}}}
	}
	rules = []inspect.WayOn{by("rules that somebody else has saved (iptables-save)", "iptables", "")}
	envoy = []inspect.WayOn{by("a configuration that somebody else has saved", "config-dump", "")}
	switch {
	case t.local():
		envoy = append([]inspect.WayOn{by("Envoy's admin interface is elsewhere", "admin", "")}, envoy...)
		rules = append(rules, inspect.WayOn{Command: "sudo meshtop attach " + t.String(), Text: "as root, who has NET_ADMIN and NET_RAW"})
	case t.ofCluster():
		rules = append([]inspect.WayOn{by("put the agent beside it: a debug container with NET_ADMIN and NET_RAW, for which the namespace's pod security must be privileged", "via", "agent"),
			by("an agent in a pod on its node, in a namespace that admits it", "via", "node")}, rules...)
		envoy = append([]inspect.WayOn{by("ask Envoy by a port-forward", "via", "forward"), by("ask Envoy by what the images of its containers hold", "via", "exec"),
			by("the configuration as its object and ConfigMaps have it", "via", "intent")}, envoy...)
	}
	return rules, envoy
}

func (s *opener) rights(ctx context.Context) (flow.Rights, error) {
	return s.app.Cluster.CanI(ctx, s.target.kind, s.target.name)
}

// take sets the flags, and gives the files that are then named.
func (s *opener) take(ctx context.Context, flags []inspect.Flag) (inspect.Files, error) {
	if err := s.flags(flags); err != nil {
		return nil, err
	}
	files := maps.Clone(s.files)
	for i, pf := range partFlags {
		for _, f := range flags {
			if f.Name != pf.flag {
				continue
			}
			data, err := s.app.readInput(ctx, s.opt.parts.paths[i])
			if err != nil {
				return nil, badInput(brief("--"+pf.flag, err))
			}
			files[pf.part] = data
		}
	}
	return files, nil
}

// flags makes the command line's flags those of the command line and these.
func (s *opener) flags(list []inspect.Flag) error {
	set := s.cmd.Flags()
	for name, value := range s.was {
		f := set.Lookup(name)
		if err := f.Value.Set(value); err != nil {
			return usage("--%s %s: %w", name, value, err)
		}
		f.Changed = value != ""
	}
	clear(s.was)
	s.opt.parts.at = netip.AddrPort{} // check reads it again
	for _, one := range list {
		f := set.Lookup(one.Name)
		if f == nil {
			return usage("--%s: there is no such flag", one.Name)
		}
		s.was[one.Name] = f.Value.String()
		if err := set.Set(one.Name, one.Value); err != nil {
			return usage("--%s %s: %w", one.Name, one.Value, err)
		}
	}
	return s.opt.parts.check(set)
}
