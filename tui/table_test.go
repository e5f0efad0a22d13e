package tui

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// entry is a screen, dialog or state of the table of all of them: what is true of every frame is
// tested on each.
type entry struct {
	name string
	open func(t *testing.T, w, h int) sitting
	keys string // that lead there
	// walk are keys after which what does not fit a small frame was in sight; each is pressed and
	// the frame looked at. Empty: nothing needs any.
	walk string
	// again: another entry is the same screen, and shows that nothing in it is out of reach.
	again bool
	// verdict: the frame is of a trace, whose verdict must be in sight.
	verdict bool
}

// look is how a frame is to be dressed.
type look struct {
	w, h        int
	ascii, mono bool
}

// sitting are the screens of an entry: those of a pod, or the picker.
type sitting interface {
	press(keys ...string)
	view() tea.View
	plain() string
	dress(ascii, mono bool)
	where() sight
}

// sight is what is in sight: which screen, dialog and problem.
type sight struct {
	screen  string
	dialog  string
	problem string
}

func (d *driver) press(keys ...string) { d.keys(keys...) }
func (d *driver) view() tea.View       { return d.m.View() }
func (d *driver) plain() string        { return trimmed(d.frame()) }

func (d *driver) dress(ascii, mono bool) {
	d.m.s.opt.ASCII, d.m.s.opt.NoColor = ascii, mono
	d.m.s.dress()
}

// trimmed is a frame without the blanks at the end of its rows.
func trimmed(frame string) string {
	var out []string
	for _, l := range strings.Split(frame, "\n") {
		out = append(out, strings.TrimRight(l, " "))
	}
	return strings.Join(out, "\n")
}

func (d *driver) where() sight {
	s := sight{screen: d.m.s.at.String()}
	if d.m.dialog != nil {
		s.dialog = strings.TrimPrefix(fmt.Sprintf("%T", d.m.dialog), "*tui.")
	}
	if p := d.m.trouble(); p != nil {
		s.problem = fmt.Sprint(p.kind)
	}
	return s
}

func (d *picking) press(keys ...string) { d.keys(strings.Join(keys, " ")) }
func (d *picking) view() tea.View       { return d.p.View() }
func (d *picking) plain() string        { return trimmed(d.frame()) }

func (d *picking) dress(ascii, mono bool) {
	d.p.s.opt.ASCII, d.p.s.opt.NoColor = ascii, mono
	d.p.s.dress()
}

func (d *picking) where() sight {
	s := sight{screen: "picker"}
	if d.p.dialog != nil {
		s.dialog = strings.TrimPrefix(fmt.Sprintf("%T", d.p.dialog), "*tui.")
	}
	return s
}

// on are the screens of a pod with what options say.
func on(options func(t *testing.T) Options, then ...func(d *driver)) func(t *testing.T, w, h int) sitting {
	return func(t *testing.T, w, h int) sitting {
		d := drive(t, options(t), w, h)
		for _, f := range then {
			f(d)
		}
		return d
	}
}

func scene(name string) func(t *testing.T) Options {
	return func(t *testing.T) Options { return sceneOptions(t, name) }
}

// replaying are the screens on a recording, which confirm replays.
func replaying(name string) func(t *testing.T) Options {
	return func(t *testing.T) Options {
		pod, _, err := saved.Demo(name)
		if err != nil {
			t.Fatal(err)
		}
		opt := sceneOptions(t, name)
		opt.Source.Confirm = func(ctx context.Context, in Reading, q flow.Request, w Watch) (Reading, confirm.Report, error) {
			r, rep, err := session.Confirm(ctx, pod, in.Reading, q, session.ConfirmOptions{Send: w.Send, Ready: w.Ready, Seen: w.Seen, Judged: w.Judged, Raw: true})
			in.Reading = r
			return in, rep, err
		}
		return opt
	}
}

// stuckOn are the screens of a target that could not be opened.
func stuckOn(err error, rights bool) func(t *testing.T) Options {
	return func(t *testing.T) Options {
		opt, _ := opens(t, sceneOptions(t, "mesh"), err)
		if rights {
			opt.Opener.Rights = func(context.Context) (flow.Rights, error) { return viewer(), nil }
		}
		return opt
	}
}

// without are the screens of a target that is open, and of which parts could not be read.
func without(reason string, calls []inspect.Call, parts ...string) func(t *testing.T) Options {
	return func(t *testing.T) Options {
		opt, _ := opens(t, partly(t, "mesh", reason, calls, parts...))
		return opt
	}
}

func locked(t *testing.T) Options {
	opt, _ := gated(t)
	return opt
}

func marked(t *testing.T) Options {
	opt, _ := dangerous(t)
	return opt
}

// blocked are the screens on a recording of a pod whose egress was blocked.
func blocked(t *testing.T) Options {
	opt, _ := gatedOn(t, "block-all")
	return opt
}

var envoyParts = []string{"config_dump.json", "clusters.json", "listeners.json", "server_info.json", "certs.json", "runtime.json", "stats"}

// around walks through the overview: the connections, the interception with each finding, the pod.
const around = "z ctrl+d ctrl+d ctrl+d ctrl+d ctrl+d ctrl+d ctrl+d ctrl+d tab G enter esc k enter esc k enter esc k enter esc g ctrl+d ctrl+d tab g ctrl+d ctrl+d"

// steps looks at the whole evidence of a step.
const steps = "tab g ctrl+d ctrl+d ctrl+d ctrl+d tab "

// entries hold every screen, every dialog and every problem; TestTableIsWhole says what is not there.
func entries() []entry {
	down := func(key string, n int) string { return strings.Repeat(key+" ", n) }
	path := down(steps+"j", 20)
	refused := func(d *driver) { d.keys("p", "enter", "w", "e", "b", "enter", "enter") }
	all := []entry{
		{name: "pick", open: picks(aCluster), walk: "j j j"},
		{name: "pick-all", open: picks(aCluster), keys: "a", walk: "j j j j"},
		{name: "pick-denied", open: picks(deniedCluster)},
		{name: "pick-help", open: picks(aCluster), keys: "?", walk: down("down", 20)},
		{name: "pick-namespace", open: picks(aCluster), keys: "n"},
		{name: "overview", open: on(scene("mesh")), keys: "1", walk: around},
		{name: "overview-both", open: on(scene("both")), keys: "1", walk: around},
		{name: "request", open: on(scene("header-match")), keys: "2", walk: down("down", 20) + "ctrl+p " + down("down", 60)},
		{name: "trace", open: on(scene("mesh")), verdict: true, walk: path},
		{name: "trace-output", open: on(scene("mesh")), keys: "s", verdict: true, walk: "g " + path},
		{name: "trace-route", open: on(scene("header-match")), keys: "s", verdict: true, walk: "g " + path},
		{name: "trace-weights", open: on(scene("weights")), verdict: true, walk: down(steps+"j", 24) + "v esc z G"},
		{name: "trace-banner", open: on(blocked, refused), keys: "3", verdict: true, walk: path},
		{name: "trace-block-all", open: on(scene("block-all")), keys: "G", verdict: true, walk: "g " + path},
		{name: "trace-zoom", open: on(scene("mesh")), keys: "s z", verdict: true, walk: "G z g " + path},
		{name: "config", open: on(scene("mesh")), keys: "s s s s enter", walk: "g " + down("j", 60)},
		{name: "config-wrapped", open: on(scene("mesh")), keys: "s s s s enter W", again: true},
		{name: "confirm", open: on(replaying("mesh")), keys: "w w", verdict: true, walk: down("j enter enter ", 20) + "tab " + down("j", 20) + "tab z g ctrl+f ctrl+f"},
		{name: "confirm-idle", open: on(replaying("mesh")), keys: "w", verdict: true, walk: "j tab " + down("j", 20)},
		{name: "trace-confirmed", open: on(replaying("mesh")), keys: "w w t", verdict: true, walk: path + "5 " + down("j enter enter ", 20)},
		{name: "palette", open: on(scene("mesh")), keys: ": c l u s", walk: down("down", 20)},
		{name: "help", open: on(scene("mesh")), keys: "?", walk: down("down", 40)},
		{name: "variants", open: on(scene("weights")), keys: "v", walk: "down down"},
		{name: "copy-as", open: on(scene("mesh")), keys: "C"},
		{name: "activity", open: on(without("connection refused", someCalls(), envoyParts...)), keys: "@"},
		{name: "policy", open: on(locked), keys: "p", walk: down("pgdown", 6)},
		{name: "policy-result", open: on(locked), keys: "p enter w e b enter", walk: down("pgdown", 6)},
		{name: "undo", open: on(locked, refused), keys: "u"},
		{name: "finding", open: on(scene("both")), keys: "1 tab G enter"},
		{name: "beside", open: beside, walk: down("j", 20) + "a g " + down("j", 40)},
		{name: "danger", open: on(marked, refused), keys: "u"},
		{name: "send", open: on(confirmingLive), keys: "w s"},
		{name: "busy", open: on(scene("mesh"), reads), verdict: true, walk: path},
		{name: "stale", open: on(locked, after(3*time.Minute)), verdict: true, walk: path},
		{name: "gone", open: on(scene("mesh"), goes), verdict: true, walk: path},
		{name: "lost-link", open: on(scene("mesh"), loses), verdict: true, walk: path},
		{name: "both-backends", open: on(bothBackends), keys: "1", walk: around},
	}
	for name, keys := range map[string]string{"overview": "1", "trace": "s", "trace-zoom": "G z", "config": "s s s enter", "palette": ": c l u s", "request": "2", "variants": "C", "finding": "1 tab G enter"} {
		all = append(all, entry{name: "names-" + name, open: on(renamed), keys: keys, again: true}, entry{name: "evil-" + name, open: on(evilOptions), keys: keys, again: true})
	}
	return append(all, troubles()...)
}

// renamed are the screens on a recording whose names are long, and wide.
func renamed(t *testing.T) Options {
	opt := sceneOptions(t, "mesh")
	whole, err := opt.Source.Read(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(whole.Files)
	for n, data := range files {
		s := strings.NewReplacer("myngxsvc", strings.Repeat("注文服务", 75), "virtualOutbound", "v"+strings.Repeat("-long", 60), "AllowAll", strings.Repeat("한글", 20)).Replace(string(data))
		files[n] = []byte(s)
	}
	pod := saved.New("pod "+strings.Repeat("注文", 150), files)
	opt.Target = pod.Name()
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		r, err := session.Read(ctx, pod, inspect.Want{Progress: p})
		r.Taken = noon()
		return Reading{Reading: r, Live: true}, err
	}
	opt.Source.Trace = func(ctx context.Context, in Reading, req flow.Request, p func(inspect.Progress)) (Reading, flow.Trace, error) {
		r, tr, err := session.Trace(ctx, pod, in.Reading, req, p)
		return Reading{Reading: r, Live: true}, tr, err
	}
	return opt
}

// troubles are the problems.
func troubles() []entry {
	walk := strings.Repeat("j ", 40)
	return []entry{
		{name: "no-admin", open: on(without(`Get "http://127.0.0.1:9901/config_dump": dial tcp 127.0.0.1:9901: connect: connection refused`, someCalls(), envoyParts...)), walk: walk},
		{name: "no-power", open: on(without("no process may read rules there (CAP_NET_ADMIN): container nginx runs as uid 101; container envoy runs as uid 1337", someCalls(), ruleParts...)), walk: walk},
		{name: "no-half", open: on(without("the connection to the pod was lost", someCalls(), append(ruleParts[:5:5], envoyParts...)...)), walk: walk},
		{name: "no-rights", open: on(stuckOn(forbidden(), true)), walk: walk},
		{name: "no-image", open: on(stuckOn(unpulled(), false)), walk: walk},
		{name: "no-image-asks", open: on(stuckOn(unpulled(), false)), keys: "1"},
		{name: "not-there", open: on(stuckOn(fmt.Errorf(`pod outpod: pods "outpod" not found: %w`, inspect.ErrNotFound), false)), walk: walk},
		{name: "opening", open: opening12, walk: walk},
		{name: "evil-open", open: on(stuckOn(&stuckAt{errors.New(evil), []inspect.WayOn{way(evil, "via", "exec"), {Command: evil, Text: evil}}}, false)), walk: walk},
		{name: "evil-rights", open: on(evilRights), walk: walk},
		{name: "evil-parts", open: on(without(evil, []inspect.Call{{What: evil, Err: evil}}, envoyParts...)), walk: walk},
		{name: "nothing-read", open: on(unread(errors.New("netns web: no such file or directory"))), walk: walk},
		{name: "bad-part", open: on(garbled), walk: walk},
		{name: "read-again", open: on(scene("mesh"), failsAgain), keys: "1", walk: walk},
		{name: "pod-lost", open: on(scene("mesh"), goes), keys: "r", walk: walk},
	}
}

func someCalls() []inspect.Call {
	return []inspect.Call{{What: "iptables-save -c", Start: noon(), Took: 3 * time.Millisecond, Bytes: 412}, {What: "GET 127.0.0.1:9901/listeners?format=json", Start: noon(), Took: time.Millisecond, Err: "connection refused"}}
}

func picks(c func() *cluster) func(t *testing.T, w, h int) sitting {
	return func(t *testing.T, w, h int) sitting {
		d := &picking{t: t, p: newPicker(context.Background(), Options{Theme: "16"}, c().ask(), noon())}
		d.send(tea.WindowSizeMsg{Width: w, Height: h})
		d.run(d.p.Init())
		return d
	}
}

func deniedCluster() *cluster {
	c := aCluster()
	c.pods, c.denied = nil, errors.New(`pods is forbidden: User "dev" cannot list resource "pods" in the namespace "default"`)
	return c
}

// reads is a read that goes on for seven seconds.
func reads(d *driver) {
	_, gen, ch := d.m.begin("Reading demo mesh")
	close(ch)
	over := make(chan inspect.Progress)
	close(over)
	d.send(progressMsg{gen, inspect.Progress{Part: "config_dump.json", Bytes: 61_400_000, Total: 104_000_000}, over})
	d.send(progressMsg{gen, inspect.Progress{Part: "iptables-save", Bytes: 412, Done: true}, over})
	d.send(tickMsg(noon().Add(7 * time.Second)))
}

func after(by time.Duration) func(d *driver) {
	return func(d *driver) { d.send(tickMsg(noon().Add(by))) }
}

func goes(d *driver) {
	gone := make(chan struct{})
	close(gone)
	d.m.s.opt.Source.Gone = gone
	d.m.s.opt.Source.Successor = func(context.Context) (string, error) { return "outpod-2.default", nil }
	d.run(d.m.waitGone())
}

func loses(d *driver) {
	d.send(newsMsg{News{"demo mesh: reconnecting ... 3 s: dial tcp 10.0.0.1:6443: connect: no route to host", false}})
}

func unread(err error) func(t *testing.T) Options {
	return func(t *testing.T) Options {
		opt := sceneOptions(t, "mesh")
		opt.Request = nil
		opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) { return Reading{}, err }
		return opt
	}
}

func failsAgain(d *driver) {
	d.m.s.opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) {
		return Reading{}, errors.New("demo mesh: the stream to the agent has ended")
	}
	d.keys("r")
}

// evilRights are those of a cluster that says what it likes.
func evilRights(t *testing.T) Options {
	opt := stuckOn(forbidden(), true)(t)
	opt.Opener.Rights = func(context.Context) (flow.Rights, error) {
		r := viewer()
		r.User, r.Pod, r.Namespace = evil, evil, evil
		for i := range r.List {
			for k := range r.List[i].Verbs {
				r.List[i].Verbs[k].Why = evil
			}
		}
		return r, nil
	}
	return opt
}

// beside are two traces of a request, before a change and after it.
func beside(t *testing.T, w, h int) sitting {
	opt, change := changing(t)
	d := drive(t, opt, w, h)
	d.send(tickMsg(noon().Add(time.Minute)))
	change()
	d.keys("r")
	d.send(tickMsg(noon().Add(time.Minute + 3*time.Second)))
	d.keys("d", "enter")
	return d
}

// opening12 is a target that is being opened for twelve seconds.
func opening12(t *testing.T, w, h int) sitting {
	opt, _ := opens(t, sceneOptions(t, "mesh"))
	d := &driver{t: t, m: newModel(context.Background(), opt, noon())}
	d.m.tick = func() tea.Cmd { return nil }
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	d.m.Init() // its commands do not run: it goes on
	d.send(newsMsg{News{"pod outpod: put meshtop-x7k2aa beside it: a debug container, which ends when nobody needs it; its entry stays until the pod is deleted", true}})
	d.send(tickMsg(noon().Add(2 * time.Second)))
	d.send(newsMsg{News{`pod outpod: meshtop-x7k2aa: Failed: Failed to pull image "registry.corp/agent:0.3": unauthorized: authentication required`, true}})
	d.send(tickMsg(noon().Add(12 * time.Second)))
	d.send(newsMsg{News{"pod outpod: meshtop-x7k2aa: ImagePullBackOff", false}})
	return d
}

// garbled are the screens on a recording with a part that makes no sense.
func garbled(t *testing.T) Options {
	opt := partly(t, "mesh", "", nil)
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		whole, err := sceneOptions(t, "mesh").Source.Read(ctx, p)
		if err != nil {
			return whole, err
		}
		pod := saved.Over(saved.New("netns web", whole.Files), map[string][]byte{"meta.json": []byte("{")})
		r, err := session.Read(ctx, pod, inspect.Want{})
		r.Taken = noon()
		return Reading{Reading: r, Live: true}, err
	}
	return opt
}

// bothBackends are the screens on a pod with rules of nft and of the old tables.
func bothBackends(t *testing.T) Options {
	opt := sceneOptions(t, "mesh")
	read := opt.Source.Read
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		whole, err := read(ctx, p)
		if err != nil {
			return whole, err
		}
		pod := saved.Over(saved.New("netns web", whole.Files), map[string][]byte{"iptables-legacy-save": whole.Files["iptables-save"]})
		r, err := session.Read(ctx, pod, inspect.Want{})
		return Reading{Reading: r}, err
	}
	return opt
}

// confirmingLive are the screens on a recording as if it were live: a request can be sent.
func confirmingLive(t *testing.T) Options {
	opt := replaying("mesh")(t)
	read := opt.Source.Read
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		r, err := read(ctx, p)
		r.Live, r.Taken = true, noon()
		return r, err
	}
	trace := opt.Source.Trace
	opt.Source.Trace = func(ctx context.Context, in Reading, req flow.Request, p func(inspect.Progress)) (Reading, flow.Trace, error) {
		r, t, err := trace(ctx, in, req, p)
		r.Live, r.Taken = true, noon()
		return r, t, err
	}
	return opt
}
