package tui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/tui/style"
)

var (
	randomFor  = flag.Duration("tui.for", 3*time.Second, "how long TestRandom types")
	randomSeed = flag.Uint64("tui.seed", 0, "seed of TestRandom; 0: of the clock")
)

// monkey hits keys at a model, resizes it, pastes and clicks, and lets answers come late and in
// any order.
type monkey struct {
	t      *testing.T
	r      *rand.Rand
	m      tea.Model
	w, h   int
	now    time.Time
	owed   []tea.Cmd    // not run yet
	asked  chan tea.Msg // answers of those that run
	keys   []tea.KeyPressMsg
	log    []string
	frames int
	seen   map[string]int // frames of each screen, and of each kind of dialog
}

// Whatever is typed, whatever size the terminal is given and in whichever order answers come:
// no panic, and each frame is exactly as large as the terminal.
func TestRandom(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	scenes := saved.Scenes()
	frames, seen := 0, map[string]int{}
	for end := time.Now().Add(*randomFor); time.Now().Before(end) && !t.Failed(); {
		k := &monkey{t: t, r: r, now: noon(), asked: make(chan tea.Msg, 1000), keys: everyKey(), w: 80, h: 24, seen: seen}
		ctx, stop := context.WithCancel(context.Background())
		if r.IntN(8) == 0 {
			k.m = newPicker(ctx, Options{Theme: "16"}, aCluster().ask(), noon())
		} else {
			k.m = k.screens(ctx, scenes[r.IntN(len(scenes))].Name)
		}
		k.play(end)
		stop()
		frames += k.frames
	}
	t.Logf("%d frames: %v", frames, seen)
	if *randomFor >= 2*time.Minute && len(seen) < 11 { // the picker, five screens, dialogs
		t.Error("it has not come everywhere")
	}
}

// screens are those of a scene that can be watched and changed, in some look.
func (k *monkey) screens(ctx context.Context, scene string) tea.Model {
	k.log = append(k.log, "scene "+scene)
	pod, _, err := saved.Demo(scene)
	if err != nil {
		k.t.Fatal(err)
	}
	opt := sceneOptions(k.t, scene)
	gate, _ := gated(k.t)
	if k.r.IntN(2) == 0 {
		opt.Source.Egress = oneByOne(*gate.Source.Egress)
	}
	if k.r.IntN(3) == 0 {
		opt.Request = nil
	}
	read, broken := opt.Source.Read, k.r.IntN(6) == 0
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		r, err := read(ctx, p)
		if broken {
			return Reading{}, errors.New("broken \x1b[31m pipe: " + strings.Repeat("界", 90))
		}
		r.Live, r.Taken = true, noon()
		return r, err
	}
	opt.Source.Confirm = func(ctx context.Context, in Reading, q flow.Request, w Watch) (Reading, confirm.Report, error) {
		r, rep, err := session.Confirm(ctx, pod, in.Reading, q, session.ConfirmOptions{Send: w.Send, Ready: w.Ready, Seen: w.Seen, Judged: w.Judged, Raw: true})
		return Reading{Reading: r}, rep, err
	}
	opt.Source.Export = func(flow.Trace, []flow.Observation, flow.Loss) (string, error) { return "meshtop-1.pcapng", nil }
	opt.Theme = style.Themes()[k.r.IntN(len(style.Themes()))]
	opt.ASCII = k.r.IntN(4) == 0
	m := newModel(ctx, opt, noon())
	m.tick = func() tea.Cmd { return nil }
	return m
}

// oneByOne lets one answer be made at a time: a test's gate is no pod.
func oneByOne(e Egress) *Egress {
	var mu sync.Mutex
	one := e
	one.Show = func(ctx context.Context) (flow.Policy, error) { mu.Lock(); defer mu.Unlock(); return e.Show(ctx) }
	one.Apply = func(ctx context.Context, c flow.Change) (flow.Policy, error) {
		mu.Lock()
		defer mu.Unlock()
		return e.Apply(ctx, c)
	}
	one.Plan = func(ctx context.Context, in Reading, ask egress.Ask, except []string) (Reading, flow.Change, error) {
		mu.Lock()
		defer mu.Unlock()
		return e.Plan(ctx, in, ask, except)
	}
	one.Restore = func(ctx context.Context, open bool) (flow.Policy, error) {
		mu.Lock()
		defer mu.Unlock()
		return e.Restore(ctx, open)
	}
	one.Renew = func(ctx context.Context, d time.Duration) error { mu.Lock(); defer mu.Unlock(); return e.Renew(ctx, d) }
	return &one
}

// play plays until the program ends, or the time is over.
func (k *monkey) play(end time.Time) {
	defer func() {
		if p := recover(); p != nil {
			k.t.Fatalf("panic: %v\n%s\n%s", p, k.story(), debug.Stack())
		}
	}()
	k.ask(k.m.Init())
	for range 250 {
		if time.Now().After(end) || k.t.Failed() || !k.turn() {
			return
		}
	}
}

// turn is one message, and the frame after it; false: the program has ended.
func (k *monkey) turn() bool {
	msg := k.message()
	if _, quit := msg.(tea.QuitMsg); quit {
		return false
	}
	if msg == nil {
		return true
	}
	k.log = append(k.log, fmt.Sprintf("%T %.80q", msg, fmt.Sprint(msg)))
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		k.w, k.h = size.Width, size.Height
	}
	var cmd tea.Cmd
	k.m, cmd = k.m.Update(msg)
	k.ask(cmd)
	k.exact()
	return true
}

// ask takes a command for later.
func (k *monkey) ask(cmd tea.Cmd) {
	if cmd != nil {
		k.owed = append(k.owed, cmd)
	}
}

// message is what comes next; nil: nothing does.
func (k *monkey) message() tea.Msg {
	switch n := k.r.IntN(100); {
	case n < 30:
		return k.answer()
	case n < 36:
		return tea.WindowSizeMsg{Width: 1 + k.r.IntN(210), Height: 1 + k.r.IntN(64)}
	case n < 39:
		return tea.PasteMsg{Content: []string{"curl http://10.107.42.16/x -H 'a: b'", "10.107.42.16:80", "\x1b[2J\x00\r\n\t界é́\u202e🇩🇪", strings.Repeat("long ", 500)}[k.r.IntN(4)]}
	case n < 43:
		return tea.MouseClickMsg{X: k.r.IntN(k.w + 3), Y: k.r.IntN(k.h + 3), Button: tea.MouseLeft}
	case n < 46:
		return tea.MouseWheelMsg{X: k.r.IntN(k.w), Y: k.r.IntN(k.h), Button: []tea.MouseButton{tea.MouseWheelUp, tea.MouseWheelDown}[k.r.IntN(2)]}
	case n < 49:
		k.now = k.now.Add(time.Duration(k.r.IntN(90)) * time.Second)
		return tickMsg(k.now)
	case n < 50:
		return tea.BackgroundColorMsg{}
	}
	return k.keys[k.r.IntN(len(k.keys))]
}

// answer starts one of the commands that are owed, and is what any of those that run has said.
func (k *monkey) answer() tea.Msg {
	if len(k.owed) > 0 {
		i := k.r.IntN(len(k.owed))
		cmd := k.owed[i]
		k.owed = append(k.owed[:i], k.owed[i+1:]...)
		go func() { k.asked <- cmd() }() // one that follows another's progress waits for that
	}
	select {
	case msg := <-k.asked:
		if all, ok := msg.(tea.BatchMsg); ok {
			for _, cmd := range all {
				k.ask(cmd)
			}
			return nil
		}
		return msg
	case <-time.After(2 * time.Millisecond):
		return nil
	}
}

// exact checks the frame's size by both ways in which terminals count.
func (k *monkey) exact() {
	k.frames++
	switch m := k.m.(type) {
	case *picker:
		k.seen["picker"]++
	case *model:
		k.seen[m.s.at.String()]++
		if m.dialog != nil {
			k.seen[fmt.Sprintf("%T", m.dialog)]++
		}
	}
	lines := strings.Split(k.m.View().Content, "\n")
	if len(lines) != k.h {
		k.t.Errorf("%d lines of %d\n%s", len(lines), k.h, k.story())
	}
	for i, l := range lines {
		if w, wc := ansi.StringWidth(l), ansi.StringWidthWc(l); w != k.w || wc != k.w {
			k.t.Errorf("line %d is %d columns, and %d by wcwidth, of %d: %q\n%s", i, w, wc, k.w, ansi.Strip(l), k.story())
			return
		}
	}
}

// story is what came last.
func (k *monkey) story() string {
	return k.log[0] + "\n" + strings.Join(k.log[max(len(k.log)-40, 0):], "\n")
}

// everyKey are the keys of every list, letters, and what else a terminal sends.
func everyKey() []tea.KeyPressMsg {
	seen := map[string]bool{}
	var out []tea.KeyPressMsg
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			out = append(out, key(s))
		}
	}
	for _, list := range tables() {
		for _, r := range list.rows {
			for _, k := range r.keys {
				if k != "q" && k != "ctrl+c" {
					add(k)
				}
			}
		}
	}
	for _, k := range strings.Split("0123456789abcxyzABCXYZ.:/-_!@ é界", "") {
		add(k)
	}
	for range 12 { // these lead somewhere
		for _, k := range []string{"enter", "esc", "tab", "j", "down", "y"} {
			out = append(out, key(k))
		}
	}
	return append(out, key("q"), key("ctrl+c"))
}
