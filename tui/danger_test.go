package tui

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/flow"
)

// dangerous are gated screens in a context that is marked.
func dangerous(t *testing.T) (Options, *gate) {
	opt, g := gated(t)
	opt.Context, opt.Danger = "prod-eu", func(c string) bool { return strings.HasPrefix(c, "prod-") }
	return opt, g
}

// The header says where one is, in words, on every screen and at every size.
func TestDangerIsInEveryHeader(t *testing.T) {
	for _, sz := range sizes {
		opt, _ := dangerous(t)
		d := drive(t, opt, sz[0], sz[1])
		for _, screen := range []string{"1", "2", "esc", "3", "4", "5", "?"} {
			d.keys(screen)
			d.exact(fmt.Sprintf("danger %v %s", sz, screen))
			if top := strings.SplitN(d.frame(), "\n", 2)[0]; !strings.Contains(top, "DANGER prod-eu") {
				t.Errorf("%v, screen %s: %q", sz, screen, top)
			}
		}
		d.shot(fmt.Sprintf("danger-%dx%d", sz[0], sz[1]))
		if title := d.m.View().WindowTitle; !strings.HasPrefix(title, "DANGER ") {
			t.Errorf("title %q", title)
		}
	}
	opt, _ := dangerous(t)
	opt.Context = "staging"
	if d := drive(t, opt, 80, 24); strings.Contains(d.frame(), "DANGER") {
		t.Errorf("staging is no danger:\n%s", d.frame())
	}
}

// In a dangerous context y is no yes, for none of the three keys that change something.
func TestDangerWantsTheName(t *testing.T) {
	opt, g := dangerous(t)
	d := drive(t, opt, 80, 24)
	d.keys("p")
	d.has("Type web to apply")
	d.keys("enter", "y", "enter")
	d.has("type web to apply")
	if len(g.applied) > 0 {
		t.Fatal("carried out by a y")
	}
	d.keys("backspace")
	d.keys(letters("web")...)
	d.keys("enter", "enter")
	if len(g.applied) != 1 {
		t.Fatal("not carried out by the name")
	}
	end := g.held.Expires
	d.keys("+")
	d.has("Extend the egress policy by 10m?", "DANGER", "prod-eu is marked as dangerous")
	d.exact("extend in danger")
	d.keys("y", "enter", "esc")
	if !g.held.Expires.Equal(end) {
		t.Error("extended without the name")
	}
	d.keys("+")
	d.send(tea.PasteMsg{Content: "web"})
	if d.keys("enter"); !g.held.Expires.Equal(end.Add(10 * time.Minute)) {
		t.Errorf("not extended by the name: %v", g.held.Expires)
	}
	d.keys("u", "y", "enter")
	d.has("Take back the egress policy?", "type web:")
	d.shot("danger-undo-80x24")
	if g.held.Change.Kind != flow.BlockAll {
		t.Fatal("taken back by a y")
	}
	d.keys("backspace")
	d.keys(letters("web")...)
	if d.keys("enter"); g.held.Change.Kind != flow.NoPolicy {
		t.Error("not taken back by the name")
	}
}

// Elsewhere y is enough, and the name still is one.
func TestYesIsEnoughElsewhere(t *testing.T) {
	for _, typed := range []string{"y", "web"} {
		opt, g := gated(t)
		d := drive(t, opt, 80, 24)
		d.keys("p", "enter")
		d.keys(letters(typed)...)
		if d.keys("enter"); len(g.applied) != 1 {
			t.Errorf("%q carries nothing out", typed)
		}
	}
}

// The list of pods says it too, and follows the context.
func TestDangerInThePicker(t *testing.T) {
	c := aCluster()
	p := newPicker(context.Background(), Options{Theme: "16", Danger: func(c string) bool { return c == "prod-eu" }}, c.ask(), noon())
	d := &picking{t: t, p: p}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	d.run(d.p.Init())
	if top := strings.SplitN(d.frame(), "\n", 2)[0]; !strings.Contains(top, "DANGER prod-eu  ▸ choose a pod") {
		t.Errorf("%q", top)
	}
	d.keys(": c t x space s t a g i n g enter")
	if top := strings.SplitN(d.frame(), "\n", 2)[0]; strings.Contains(top, "DANGER") || !strings.Contains(top, "staging ▸ choose a pod") {
		t.Errorf("%q", top)
	}
}
