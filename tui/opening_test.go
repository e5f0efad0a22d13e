package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// The first frame is there before anything was asked: a target that never answers takes nothing
// from it.
func TestFirstFrameWaitsForNothing(t *testing.T) {
	opt, _ := opens(t, sceneOptions(t, "mesh"))
	hangs := make(chan struct{})
	defer close(hangs)
	opt.Opener.Open = func(context.Context, Opening) (Opened, error) { <-hangs; return Opened{}, errors.New("never") }
	start := time.Now()
	m := newModel(t.Context(), opt, noon())
	cmd := m.Init()
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	if f := m.View().Content; !strings.Contains(f, "opening pod outpod") || cmd == nil {
		t.Errorf("the first frame is\n%s", f)
	}
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

// A digit does what stands behind it, and what was opened by is kept for the next.
func TestWaysOnWork(t *testing.T) {
	opt, asked := opens(t, sceneOptions(t, "mesh"), unpulled(), unpulled())
	d := drive(t, opt, 80, 24)
	d.has("✗ pod outpod: meshtop-x7k2aa did not start within 1m0s", "1  the agent's image", "--image IMAGE", "2  send the agent into", "401 Unauthorized", "NOT OPENED")
	d.keys("1")
	d.has("Open it again by --image")
	d.keys("enter")
	d.has("write what --image takes")
	d.keys(letters("reg.corp/a:1")...)
	d.keys("enter")
	if got := fmt.Sprint((*asked)[1]); got != "{[{image reg.corp/a:1}] }" {
		t.Errorf("opened by %s", got)
	}
	d.keys("3")
	if got := fmt.Sprint((*asked)[2]); got != "{[{image reg.corp/a:1} {via exec}] }" {
		t.Errorf("opened by %s", got)
	}
	d.has("demo mesh", "interception", "REDIRECT")
	d.hasNot("NOT OPENED")
}

// Whatever fails says what failed, what still works, a way on and the exact words, and c copies
// them.
func TestEveryTroubleSaysAll(t *testing.T) {
	for _, e := range troubles() {
		d := e.open(t, 140, 60).(*driver)
		d.press(strings.Fields(e.keys)...)
		p := d.m.trouble()
		switch {
		case p == nil:
			t.Errorf("%s is no trouble", e.name)
			continue
		case p.calm:
			continue // nothing has failed
		case d.m.dialog != nil:
			d.keys("esc")
		}
		frame := d.frame()
		for _, want := range []string{p.headline, "what you can do", "1  " + printable(p.ways[0].name), "what still works", p.works[0].name} {
			if !strings.Contains(dense(frame), dense(want)) {
				t.Errorf("%s: %q is missing:\n%s", e.name, want, frame)
			}
		}
		d.keys("c")
		told := append(slices.Clone(p.exact), p.headline)
		if len(p.exact) == 0 && p.kind != podLost { // a pod that ends gives no words
			t.Errorf("%s has no exact words:\n%s", e.name, frame)
		}
		for _, want := range told {
			if want == "" || !strings.Contains(d.copied, want) || !strings.Contains(dense(frame), dense(want)) {
				t.Errorf("%s: %q is not both shown and copied: %q\n%s", e.name, want, d.copied, frame)
			}
		}
	}
}

// printable is a text up to what no terminal may be given.
func printable(s string) string {
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return s[:i]
	}
	return s
}

// What is still being asked is no error.
func TestAskingIsNoError(t *testing.T) {
	d := drive(t, stuckOn(forbidden(), false)(t), 140, 40)
	d.m.s.open.asking = true
	d.has("rights asking what your account may do…")
	d.hasNot("error  asking", "nothing was told")
}

// dense is a text without what wrapping may put into it.
func dense(s string) string { return strings.Join(strings.Fields(s), "") }

// What failed again is told with the time of what is shown, if that is known, and takes nothing
// from what is shown.
func TestReadAgainFails(t *testing.T) {
	opt, _ := gated(t)
	d := drive(t, opt, 140, 40)
	d.keys("1")
	failsAgain(d)
	d.has("reading it again failed: what is shown is of 12:04:39", "NOT READ AGAIN")
	d.hasNot("PARTIAL")
	d.m.s.reading.Taken = time.Time{}
	d.has("reading it again failed: what is shown was read before")
}

// Of what is missing in a target that is open, another way is opened, and where that fails what
// was read stays in reach.
func TestAnotherWayThatFails(t *testing.T) {
	opt, asked := opens(t, partly(t, "mesh", "no process may read rules there (CAP_NET_ADMIN)", nil, ruleParts...), nil, errors.New("pod outpod: no route to host"))
	closed := 0
	open := opt.Opener.Open
	opt.Opener.Open = func(ctx context.Context, how Opening) (Opened, error) {
		o, err := open(ctx, how)
		o.Close = func() error { closed++; return nil }
		return o, err
	}
	d := drive(t, opt, 80, 24)
	d.has("no right to read the kernel's rules (NET_ADMIN)", "3  put the agent beside it   --via agent", "✗ rules", "✓ Envoy")
	d.keys("3")
	d.has("no route to host", "1  go on with what was read before")
	d.keys("1")
	d.has("no right to read the kernel's rules", "PARTIAL")
	d.keys("enter")
	d.has("interception", "(not read)")
	d.keys("r", "4")
	d.keys(letters("x.rules")...)
	d.keys("enter")
	if got := fmt.Sprint((*asked)[2]); got != "{[{iptables x.rules}] }" { // not --via agent, which failed
		t.Errorf("opened by %s", got)
	}
	if closed != 1 {
		t.Errorf("what was open before was closed %d times", closed)
	}
	if err := d.m.owner.wait(); err != nil || closed != 3 {
		t.Errorf("%v, closed %d times", err, closed)
	}
}

// Without rights the screen says which are lacking, what works, and copies the role to ask for.
func TestNoRights(t *testing.T) {
	opt, _ := opens(t, sceneOptions(t, "mesh"), forbidden())
	opt.Opener.Rights = func(context.Context) (flow.Rights, error) { return viewer(), nil }
	d := drive(t, opt, 80, 24)
	d.has("your account may not start a process in the pod, or add an ephemeral", "✗ add an ephemeral container", "patch", "pods/ephemeralcontainers", "no", "✓ see the pod", "--via forward")
	d.keys("G")
	d.has("what to ask for", "kind: RoleBinding")
	d.keys("c")
	for _, want := range []string{`User "dev@corp" cannot patch`, "kubectl create rolebinding", "kind: Role", "pods/ephemeralcontainers"} {
		if !strings.Contains(d.copied, want) {
			t.Errorf("%q is not in what was copied:\n%s", want, d.copied)
		}
	}
}

// While it is being opened what is done is shown, and once it takes long the other ways; esc ends
// the waiting.
func TestWhileItIsOpened(t *testing.T) {
	opt, _ := opens(t, sceneOptions(t, "mesh"))
	d := &driver{t: t, m: newModel(context.Background(), opt, noon())}
	d.m.tick = func() tea.Cmd { return nil }
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	d.m.Init() // its commands do not run: it goes on
	d.send(newsMsg{News{"looking for pod outpod", false}})
	d.has("opening pod outpod", "… looking for pod outpod")
	d.send(newsMsg{News{"pod outpod: put meshtop-x7k2aa beside it", true}})
	d.hasNot("looking for", "what you can do")
	d.send(tickMsg(noon().Add(12 * time.Second)))
	d.send(newsMsg{News{"pod outpod: meshtop-x7k2aa: Failed: unauthorized: authentication required", true}})
	d.has("opening pod outpod · 12 s", "unauthorized: authentication required", "1  the agent's image", "esc stop waiting")
	stopped := false
	stop := d.m.s.busy.stop
	d.m.s.busy.stop = func() { stopped = true; stop() }
	d.keys("esc")
	if !stopped {
		t.Error("esc did not stop it")
	}
	d.send(openedMsg{gen: d.m.s.gen, err: fmt.Errorf("pod outpod: %w", context.Canceled)})
	d.has("you stopped waiting for pod outpod", "unauthorized: authentication required")
	closed := false
	d.send(openedMsg{gen: d.m.s.gen - 1, opened: Opened{Close: func() error { closed = true; return nil }}})
	if !closed {
		t.Error("what nobody waits for any more was not closed")
	}
}

// A pod that has ended stays readable, the header says when, and r offers who stands in its place.
func TestPodGone(t *testing.T) {
	opt, asked := opens(t, sceneOptions(t, "mesh"))
	gone := make(chan struct{})
	open := opt.Opener.Open
	opt.Opener.Open = func(ctx context.Context, how Opening) (Opened, error) {
		o, err := open(ctx, how)
		o.Source.Successor = func(context.Context) (string, error) { return "outpod-2.default", nil }
		return o, err
	}
	d := drive(t, opt, 80, 24)
	d.m.s.opt.Source.Gone = gone
	close(gone)
	d.run(d.m.waitGone())
	d.has("POD GONE 12:04", "interception")
	d.keys("tab", "enter")
	d.has("▸ Trace", "POD GONE 12:04")
	d.keys("r")
	d.has("has ended (at 12:04)", "pod outpod-2.default, of the same owner", "1  open pod outpod-2.default", "✓ what was read")
	d.keys("2")
	d.has("▸ Trace", "step")
	d.keys("r", "1")
	if n := len(*asked); (*asked)[n-1].Other != "outpod-2.default" {
		t.Errorf("opened %+v", *asked)
	}
	d.has("pod outpod-2.default")
	d.hasNot("POD GONE")
}

// A read that says so, too, tells that the pod has ended.
func TestReadOfAPodThatIsGone(t *testing.T) {
	opt := meshOptions()
	d := drive(t, opt, 80, 24)
	d.m.s.opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) {
		return Reading{}, fmt.Errorf("pod outpod: %w", inspect.ErrGone)
	}
	d.keys("r")
	d.has("POD GONE 12:04", "DELIVERED")
	d.m.s.end = ending{}
	d.m.s.opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) {
		return Reading{}, errors.New("no route to host")
	}
	d.keys("r")
	d.has("NOT READ AGAIN", "DELIVERED")
	d.keys("1")
	d.has("reading it again failed", "no route to host", "1  go on with that")
}

// What cannot be opened and is left is the program's error; choosing another is told as that.
func TestRunTellsHowItWasLeft(t *testing.T) {
	for keys, want := range map[string]string{"q": "no route to host", "5": ErrChoose.Error()} {
		opt, _ := opens(t, sceneOptions(t, "mesh"), errors.New("pod outpod: no route to host"))
		tm := onTerminal(t, opt, 80, 24)
		tm.Sees("could not be opened", "choose another pod")
		tm.Types(keys)
		if err := tm.End(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", keys, err, want)
		}
		tm.GivenBack()
	}
}

// Keys that are typed while the target is being opened wait for it; of one that is not there they
// choose nothing.
func TestKeysBeforeItIsOpen(t *testing.T) {
	for _, fails := range []bool{false, true} {
		opt, asked := opens(t, sceneOptions(t, "mesh"))
		r := meshRequest()
		open := opt.Opener.Open
		opt.Opener.Open = func(ctx context.Context, how Opening) (Opened, error) {
			o, err := open(ctx, how)
			o.Request = r
			return o, err
		}
		d := &driver{t: t, m: newModel(context.Background(), opt, noon())}
		d.m.tick = func() tea.Cmd { return nil }
		d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
		d.m.Init()
		d.keys("j", "j", "1")
		if fails {
			d.send(openedMsg{gen: d.m.s.gen, err: unpulled()})
			d.has("did not start")
			if len(*asked) != 0 || d.m.dialog != nil {
				t.Error("a key that was meant for the target chose a way on")
			}
			continue
		}
		o, err := opt.Opener.Open(t.Context(), Opening{})
		d.send(openedMsg{gen: d.m.s.gen, opened: o, err: err})
		if d.has("▸ Overview"); d.m.trace.sel != 2 {
			t.Errorf("step %d is selected", d.m.trace.sel)
		}
	}
}
