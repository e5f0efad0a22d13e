package tui

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// changing are screens on a pod that is as mesh until change is called, and then as block-all.
func changing(t *testing.T) (opt Options, change func()) {
	t.Helper()
	now, after := sceneOptions(t, "mesh"), sceneOptions(t, "block-all")
	src := now.Source
	now.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) { return src.Read(ctx, p) }
	now.Source.Trace = func(ctx context.Context, in Reading, q flow.Request, p func(inspect.Progress)) (Reading, flow.Trace, error) {
		return src.Trace(ctx, in, q, p)
	}
	return now, func() { src = after.Source }
}

// Before and after a block: what has changed is marked for two seconds, and d shows both beside
// each other with the first difference in words.
func TestBeforeAndAfter(t *testing.T) {
	for _, sz := range [][2]int{{80, 24}, {140, 40}, {100, 30}, {60, 16}} {
		opt, change := changing(t)
		d := drive(t, opt, sz[0], sz[1])
		d.keys("d")
		d.has("nothing to compare with yet")
		d.send(tickMsg(noon().Add(time.Minute)))
		change()
		d.keys("r")
		name := fmt.Sprintf("%dx%d", sz[0], sz[1])
		if sz[1] >= 24 {
			d.has(" 7*handoff")
		}
		d.shot("changed-" + name)
		d.send(tickMsg(noon().Add(time.Minute + 3*time.Second)))
		if strings.Contains(d.frame(), " 7*handoff") {
			t.Errorf("%s: still marked:\n%s", name, d.frame())
		}
		d.keys("d")
		d.has("Compare with", "12:04:39")
		d.keys("enter")
		d.exact("beside " + name)
		d.has("A 12:04:39 ✓ DELIVERED", "B 12:05:39 ✗ REFUSED", "first difference at step 7, handoff", "FIRST", "10.107.42.16_80", "no listener fits")
		d.golden("beside-" + name)
		for _, k := range strings.Fields("j k G g ctrl+d ctrl+u s s S a G g") {
			d.keys(k)
			d.exact("beside " + name + " after " + k)
		}
		d.shot("beside-all-" + name)
		d.keys("c")
		if !strings.Contains(d.copied, "differs   at step 7, handoff") {
			t.Errorf("%s: copied %q", name, d.copied)
		}
		d.keys("a", "g", "s", "s", "enter")
		d.has("evidence")
		if d.m.trace.sel != 7 {
			t.Errorf("%s: enter goes to step %d, want 8", name, d.m.trace.sel+1)
		}
	}
}

// A what-if beside the original; ways of one trace beside each other; and no more than a dozen
// are kept.
func TestCompareWithWhat(t *testing.T) {
	d := drive(t, sceneOptions(t, "mesh"), 140, 40)
	d.keys("s", "i", "d")
	d.has("Compare with", "uid 1000")
	d.keys("enter")
	d.has("uid 1000", "uid 1337", "first difference at step 3, nat OUTPUT: A: #2 REDIRECT :15001", "B: #1 RETURN")
	d.shot("beside-whatif-140x40")
	d.keys("esc")
	for range 30 {
		d.keys("r")
	}
	if n := len(d.m.s.past); n != mostPast {
		t.Errorf("%d are kept", n)
	}
	if d.m.s.changed.steps != nil {
		t.Error("a reading that is the same is marked as changed")
	}
	d = drive(t, sceneOptions(t, "weights"), 140, 40)
	d.keys("d")
	d.has("Compare with", "the way ")
	d.keys("enter")
	d.has("first difference")
	d.exact("ways")
}
