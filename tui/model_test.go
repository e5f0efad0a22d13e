package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

func (d *driver) has(texts ...string) {
	d.t.Helper()
	f := d.frame()
	for _, s := range texts {
		if !strings.Contains(f, s) {
			d.t.Errorf("%q is not on the screen:\n%s", s, f)
		}
	}
}

func (d *driver) hasNot(texts ...string) {
	d.t.Helper()
	f := d.frame()
	for _, s := range texts {
		if strings.Contains(f, s) {
			d.t.Errorf("%q is on the screen:\n%s", s, f)
		}
	}
}

// A request that is asked for before anything was read is traced once that is: the reading that is
// under way is not given up, and one that failed is made again.
func TestRequestBeforeTheReading(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	req := *opt.Request
	opt.Request = nil
	reads, read := 0, opt.Source.Read
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		if reads++; reads == 2 {
			return Reading{}, errors.New("broken pipe")
		}
		return read(ctx, p)
	}
	for i := range 2 {
		d := &driver{t: t, m: newModel(context.Background(), opt, noon())}
		d.m.tick = func() tea.Cmd { return nil }
		d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
		reading := d.m.Init()
		if i == 1 {
			d.run(reading)
			reading = nil
		}
		d.run(d.m.traceNow(req, ""))
		d.run(reading)
		d.has("DELIVERED to 10.107.42.16:80")
	}
	if reads != 3 {
		t.Errorf("read %d times, want 3", reads)
	}
}

// An answer to an older question is dropped, whatever order answers come in.
func TestOlderAnswersAreDropped(t *testing.T) {
	d := drive(t, meshOptions(), 80, 24)
	old := d.m.s.gen
	d.m.traceRequest(d.m.s.req) // asked, not answered yet
	late := meshTrace()
	late.Verdict = flow.Dropped
	d.send(tracedMsg{gen: old, reading: meshReading(), trace: late})
	d.has("DELIVERED")
	d.send(readingMsg{gen: old, err: errors.New("late")})
	d.hasNot("late")
	d.send(tracedMsg{gen: d.m.s.gen, reading: meshReading(), trace: late})
	d.has("DROPPED")
}

// A refresh keeps the step that is selected, also where its number changes.
func TestRefreshKeepsTheSelection(t *testing.T) {
	opt := meshOptions()
	shorter := false
	opt.Source.Trace = func(_ context.Context, in Reading, req flow.Request, _ func(inspect.Progress)) (Reading, flow.Trace, error) {
		tr := meshTrace()
		tr.Request = req
		if shorter {
			tr.Legs[0].Steps = tr.Legs[0].Steps[1:]
		}
		return in, tr, nil
	}
	d := drive(t, opt, 80, 24)
	d.keys("j", "j", "j")
	d.has("step 4 handoff")
	shorter = true
	d.keys("r")
	d.has("step 3 handoff", "13 steps")
}

// A read that goes on shows how far it is, leaves the old screen in use, and esc cancels.
func TestReadingShowsProgressAndCancels(t *testing.T) {
	d := drive(t, meshOptions(), 80, 24)
	ctx, gen, ch := d.m.begin("Reading netns outpod")
	defer close(ch)
	ch2 := make(chan inspect.Progress)
	close(ch2)
	d.send(progressMsg{gen, inspect.Progress{Part: "config_dump.json", Bytes: 61_400_000, Total: 104_000_000}, ch2})
	d.send(progressMsg{gen, inspect.Progress{Part: "iptables-save", Bytes: 412, Done: true}, ch2})
	d.hasNot("config_dump.json") // not at once: most reads are over before
	d.send(tickMsg(noon().Add(7 * time.Second)))
	d.has("Reading netns outpod", "config_dump.json", "61.4 MB", "of 104.0 MB", "1 of 2 parts", "esc cancel")
	d.golden("busy-80x24")
	d.keys("j")
	if d.m.trace.sel != 1 {
		t.Error("the screen below does not get its keys")
	}
	d.keys("esc")
	if ctx.Err() == nil {
		t.Error("esc did not cancel")
	}
}

// What could not be read is a state of the screen with the exact words and the ways on.
func TestFailedReads(t *testing.T) {
	for _, c := range []struct {
		name  string
		read  func() (Reading, error)
		wants []string
	}{
		{"nothing", func() (Reading, error) {
			return Reading{}, fmt.Errorf("netns outpod: %w", inspect.ErrNotFound)
		}, []string{"netns outpod could not be read", "netns outpod: not found", "what you can do", "1  try again"}},
		{"no-envoy", func() (Reading, error) {
			files := map[string][]byte{"iptables-save": meshFiles()["iptables-save"]}
			gaps := []flow.Gap{{Part: "config_dump.json", Reason: "Get \"http://127.0.0.1:9901/config_dump\": dial tcp 127.0.0.1:9901: connect: connection refused"}}
			snap, err := rules.ParseSnapshot(files, gaps)
			return Reading{Live: true, Reading: session.Reading{Taken: noon(), Files: files, Gaps: gaps, Snapshot: snap,
				Calls: []inspect.Call{{What: "iptables-save -c", Start: noon(), Bytes: 412}, {What: "GET 127.0.0.1:9901/config_dump", Start: noon(), Err: "connection refused"}}}}, err
		}, []string{"Envoy's configuration could not be read", "what was tried", "connection refused", "✓ rules", "✗ Envoy", "--config-dump FILE", "PARTIAL"}},
	} {
		for _, sz := range sizes {
			opt := meshOptions()
			opt.Request = nil
			opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) { return c.read() }
			d := drive(t, opt, sz[0], sz[1])
			d.exact(c.name)
			if sz == [2]int{80, 24} {
				d.has(c.wants...)
				d.golden("failed-" + c.name + "-80x24")
				d.keys("c")
				if !strings.Contains(d.copied, c.wants[0]) {
					t.Errorf("copied %q", d.copied)
				}
				d.keys("?", "esc", "enter")
				d.exact(c.name)
			}
		}
	}
}

// A part that came to nothing does not take the trace away, and going on is remembered
// until the next read.
func TestGoingOnWithAPartialReading(t *testing.T) {
	opt := meshOptions()
	gaps := []flow.Gap{{Part: "config_dump.json", Reason: "admin answered 503"}}
	r := meshReading()
	r.Snapshot = &rules.Snapshot{Files: meshFiles(), Gaps: gaps}
	opt.Source = source(r, meshTrace())
	d := drive(t, opt, 80, 24)
	d.has("DELIVERED", "PARTIAL")
	d.keys("1")
	d.has("what was tried", "admin answered 503")
	d.keys("enter")
	d.has("interception")
	d.keys("r")
	d.has("what was tried")
}

// Mouse: a click selects a step, one on the footer presses the key, the wheel scrolls
// the pane below it.
func TestMouse(t *testing.T) {
	d := drive(t, meshOptions(), 80, 24)
	d.send(tea.MouseClickMsg{X: 45, Y: 5, Button: tea.MouseLeft})
	if d.m.trace.sel != 8 {
		t.Errorf("step %d is selected", d.m.trace.sel)
	}
	d.send(tea.MouseClickMsg{X: 76, Y: 23, Button: tea.MouseLeft})
	x := strings.Index(strings.Split(d.frame(), "\n")[23], "? help")
	d.send(tea.MouseClickMsg{X: x, Y: 23, Button: tea.MouseLeft})
	d.has("Help: Trace")
	d.keys("esc")
	d.keys("g", "j")
	d.send(tea.MouseWheelMsg{X: 5, Y: 5, Button: tea.MouseWheelDown})
	if d.m.trace.sel != 2 {
		t.Errorf("the wheel over the rail left step %d", d.m.trace.sel)
	}
	d.keys("k")
	top := d.m.trace.first.off
	d.send(tea.MouseWheelMsg{X: 5, Y: 18, Button: tea.MouseWheelDown})
	if d.m.trace.sel != 1 || d.m.trace.first.off < top {
		t.Errorf("the wheel over the evidence: step %d, top %d", d.m.trace.sel, d.m.trace.first.off)
	}
	d.send(tea.MouseClickMsg{X: 200, Y: 99, Button: tea.MouseLeft}) // nowhere
	d.keys("m")
	if d.m.View().MouseMode != tea.MouseModeNone {
		t.Error("m did not give the mouse back")
	}
}

// Esc leads back the way one came, and dialogs run what is chosen.
func TestGettingAbout(t *testing.T) {
	d := drive(t, sceneOptions(t, "mesh"), 80, 24)
	d.keys("j", "j", "enter")
	d.has("▸ Config", "iptables-save", "◂ step 3")
	d.keys("esc")
	d.has("▸ Trace", "step 3")
	d.keys("1")
	d.has("▸ Overview", "interception", "REDIRECT")
	d.keys("esc", ":")
	d.keys(strings.Split("cluster allow", "")...)
	d.keys("enter")
	d.has("▸ Config", "AllowAll")
	d.keys("3", "?")
	d.keys(strings.Split("edit", "")...)
	d.keys("enter")
	d.has("▸ Request", "10.107.42.16")
	d.keys("esc", "q")
	if !d.quit {
		t.Error("q did not quit")
	}
}

// No fact is told by colour alone: without colours and without characters beyond ASCII
// the frames say the same.
func TestASCIIAndNoColour(t *testing.T) {
	opt := sceneOptions(t, "block-all")
	opt.ASCII, opt.NoColor = true, true
	d := drive(t, opt, 80, 24)
	content := d.m.View().Content
	for _, r := range content {
		if r > 0x7e {
			t.Fatalf("%q in an ASCII frame", r)
		}
	}
	for _, s := range sgr.FindAllString(content, -1) {
		for _, n := range strings.Split(strings.Trim(s, "\x1b[m"), ";") {
			if len(n) == 2 && (n[0] == '3' || n[0] == '4' || n[0] == '9') {
				t.Errorf("colour %q with NoColor", s)
			}
		}
	}
	d.has("x REFUSED")
	d.golden("ascii-block-all-80x24")
}
