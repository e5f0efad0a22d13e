package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// cluster is a cluster whose every answer is given.
type cluster struct {
	context, namespace string
	pods               map[string][]inspect.Candidate
	denied             error
}

func (c *cluster) ask() Pods {
	return Pods{
		Where:    func() (string, string) { return c.context, c.namespace },
		Contexts: func() []string { return []string{"prod-eu", "staging"} },
		Use: func(context, namespace string) {
			if context != "" {
				c.context, c.namespace = context, "default"
			}
			if namespace != "" {
				c.namespace = namespace
			}
		},
		List: func(_ context.Context, namespace string) ([]inspect.Candidate, error) {
			if namespace == everySpace {
				return append(append([]inspect.Candidate{}, c.pods["default"]...), c.pods["shop"]...), c.denied
			}
			return append([]inspect.Candidate{}, c.pods[namespace]...), c.denied
		},
		Namespaces: func(context.Context) ([]string, error) { return []string{"default", "shop"}, c.denied },
	}
}

func aCluster() *cluster {
	old := func(d time.Duration) time.Time { return noon().Add(-d) }
	return &cluster{context: "prod-eu", namespace: "default", pods: map[string][]inspect.Candidate{
		"default": {
			{Namespace: "default", Name: "router-0", Ready: "1/1", State: "Running", Created: old(9 * 24 * time.Hour)},
			{Namespace: "default", Name: "outpod", Ready: "2/2", State: "Running", Proxy: "envoy 1.21.0", Created: old(3 * 24 * time.Hour)},
			{Namespace: "default", Name: "batch-28811520-x7x2k", Ready: "0/1", State: "Completed", Created: old(time.Hour), Closed: "it does not run any more (Succeeded)"},
			{Namespace: "default", Name: "outbox-6f9c7bd5c8-2xk9p", Ready: "2/2", State: "Running", Proxy: "istio 1.24.1", Created: old(5 * time.Hour)},
		},
		"shop": {{Namespace: "shop", Name: "注文-" + strings.Repeat("x", 300), Ready: "2/2", State: "CrashLoopBackOff", Proxy: "kuma\x1b[31m 2.9", Created: old(2 * time.Minute)}},
	}}
}

// picking drives the picker as driver drives the screens.
type picking struct {
	t    *testing.T
	p    *picker
	quit bool
}

func pick(t *testing.T, c *cluster, w, h int) *picking {
	d := &picking{t: t, p: newPicker(context.Background(), Options{Theme: "16"}, c.ask(), noon())}
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	d.run(d.p.Init())
	return d
}

func (d *picking) send(msg tea.Msg) {
	_, cmd := d.p.Update(msg)
	d.run(cmd)
}

func (d *picking) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case tea.BatchMsg:
		for _, c := range msg {
			d.run(c)
		}
	case tea.QuitMsg:
		d.quit = true
	default:
		d.send(msg)
	}
}

func (d *picking) keys(list string) *picking {
	for _, k := range strings.Fields(list) {
		d.send(key(k))
	}
	return d
}

func (d *picking) frame() string {
	b := uv.NewScreenBuffer(d.p.s.w, d.p.s.h)
	uv.NewStyledString(d.p.View().Content).Draw(b, b.Bounds())
	return b.String()
}

// What is chosen is what is attached to; pods with a proxy come first.
func TestPick(t *testing.T) {
	for keys, want := range map[string]string{
		"enter":                                   "default/outbox-6f9c7bd5c8-2xk9p",
		"j enter":                                 "default/outpod",
		"G enter":                                 "default/router-0",
		"/ o u t p enter enter":                   "default/outpod",
		"/ ! i s t i o enter enter":               "default/outpod",
		"n j backspace enter enter":               "default/outbox-6f9c7bd5c8-2xk9p", // a chooser takes j as text
		"n down enter enter":                      "shop/" + aCluster().pods["shop"][0].Name,
		": n s space s h o p enter enter":         "shop/" + aCluster().pods["shop"][0].Name,
		": p o d space n o b o d y enter":         "default/nobody",
		": c t x space s t a g i n g enter enter": "default/outbox-6f9c7bd5c8-2xk9p",
		"a j j enter":                             "shop/" + aCluster().pods["shop"][0].Name,
		"o o enter":                               "", // the newest is over
		"j j enter":                               "", // so is this one
		"q":                                       "",
		": q enter":                               "",
	} {
		d := pick(t, aCluster(), 80, 24).keys(keys)
		got := ""
		if d.p.picked != nil {
			got = d.p.picked.Namespace + "/" + d.p.picked.Name
		}
		if got != want {
			t.Errorf("%q: %q, want %q\n%s", keys, got, want, d.frame())
		}
		if left := want != "" || strings.HasPrefix(keys, "q") || keys == ": q enter"; d.quit != left {
			t.Errorf("%q: quit is %v", keys, d.quit)
		}
	}
}

// Without the right to list, a name still leads to a pod.
func TestPickDenied(t *testing.T) {
	c := aCluster()
	c.pods, c.denied = nil, errors.New(`pods is forbidden: User "dev" cannot list resource "pods" in the namespace "default"`)
	d := pick(t, c, 80, 24)
	for _, want := range []string{"could not be listed", `User "dev" cannot list`, ":pod NAME"} {
		if !strings.Contains(d.frame(), want) {
			t.Errorf("%q is not in\n%s", want, d.frame())
		}
	}
	d.keys("n")
	if !strings.Contains(d.frame(), ":ns NAME") {
		t.Errorf("the namespaces may not be listed either, and nothing says what to type\n%s", d.frame())
	}
	if d.keys(": p o d space x enter"); d.p.picked == nil || d.p.picked.Name != "x" {
		t.Errorf("a typed name was not taken: %+v", d.p.picked)
	}
}

// An answer to a question that is no longer asked changes nothing.
func TestPickLate(t *testing.T) {
	d := pick(t, aCluster(), 80, 24)
	d.keys(": n s space s h o p enter")
	d.send(candidatesMsg{gen: d.p.gen - 1, rows: aCluster().pods["default"]})
	if len(d.p.rows) != 1 {
		t.Errorf("an old answer's rows are shown\n%s", d.frame())
	}
}

func TestPickFrames(t *testing.T) {
	for _, sz := range append(sizes, [2]int{200, 60}, [2]int{1, 1}, [2]int{20, 3}) {
		for _, keys := range []string{"", "a", "a G", "?", "n", "x", "/ z z", ": n s", "@ down", "told"} {
			d := pick(t, aCluster(), sz[0], sz[1])
			for range 210 {
				d.send(toldMsg{text: "open https://注文." + strings.Repeat("x", 90) + " and enter K7QX-PLMN", at: noon()})
			}
			if keys != "told" {
				d.keys(keys)
			} else {
				d.p.anew() // and no answer
			}
			if f := d.frame(); sz == [2]int{80, 24} && (keys == "told" || keys == "@ down") && strings.Count(f, "K7QX-PLMN") < 4 {
				t.Errorf("what was told is not shown:\n%s", f)
			}
			lines := strings.Split(d.p.View().Content, "\n")
			if len(lines) != sz[1] {
				t.Errorf("%v %q: %d lines", sz, keys, len(lines))
			}
			for i, l := range lines {
				if ansi.StringWidth(l) != sz[0] || ansi.StringWidthWc(l) != sz[0] {
					t.Errorf("%v %q: line %d is %d columns: %q", sz, keys, i, ansi.StringWidth(l), ansi.Strip(l))
				}
			}
		}
	}
	for _, sz := range [][2]int{{80, 24}, {140, 40}} {
		d := pick(t, aCluster(), sz[0], sz[1])
		golden(t, fmt.Sprintf("pick-%dx%d", sz[0], sz[1]), d.frame(), d.p.View().Content)
	}
}

// What a pod's record tells of its policy stands beside it, with the time that is left; of the
// selected one by whom and until when. Time that is over is no policy, and none told of no fact.
func TestPickSeesPolicies(t *testing.T) {
	c := aCluster()
	rows := c.pods["default"]
	told := func(k flow.PolicyKind, left time.Duration) flow.Policy {
		return flow.Policy{Change: flow.Change{Kind: k, By: "ana\x1b[31m@corp", Reason: "INC-4711", Since: noon()}, Expires: noon().Add(left)}
	}
	rows[3].Policy = told(flow.BlockAll, 8*time.Minute)
	rows[1].Policy = told(flow.AllowAll, 30*time.Second)
	rows[0].Policy = told(flow.BlockAll, -time.Second)
	for _, w := range []int{80, 120} {
		d := pick(t, c, w, 24)
		f := d.frame()
		for _, want := range []string{"egress", "BLOCKED 8 m", "OPENED <1m", "its Lease tells of block-all until ", "by ana", "INC-4711"} {
			if !strings.Contains(f, want) {
				t.Errorf("%d: no %q in\n%s", w, want, f)
			}
		}
		if strings.Count(f, "BLOCKED") != 1 || strings.Contains(d.p.View().Content, "\x1b[31m@corp") {
			t.Errorf("%d:\n%s", w, f)
		}
		d.keys("a")
		for i, l := range strings.Split(d.p.View().Content, "\n") {
			if ansi.StringWidth(l) != w {
				t.Errorf("%d: line %d is %d columns: %q", w, i, ansi.StringWidth(l), ansi.Strip(l))
			}
		}
		if f := d.frame(); !strings.Contains(f, "BLOCKED 8 m") || !strings.Contains(f, "outbox") {
			t.Errorf("all, %d:\n%s", w, f)
		}
	}
	for i := range rows {
		rows[i].Policy, rows[i].Untold = flow.Policy{}, "leases is forbidden"
	}
	if f := pick(t, c, 120, 24).frame(); !strings.Contains(f, "who blocks what is not known: leases is forbidden") || strings.Contains(f, "BLOCKED") {
		t.Errorf("untold:\n%s", f)
	}
}
