package tui

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/tui/style"
)

// Rules that could not be read are not rules that are not there: neither the diagram nor
// the verdict says so.
func TestUnreadRulesAreNoAnswer(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	whole, err := opt.Source.Read(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(whole.Files)
	var gaps []flow.Gap
	for _, p := range []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json"} {
		delete(files, p)
		gaps = append(gaps, flow.Gap{Part: p, Reason: "it needs root"})
	}
	opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) {
		return Reading{Reading: session.Parsed("demo mesh", time.Time{}, files, gaps, nil)}, nil
	}
	d := drive(t, opt, 140, 40)
	if got := d.frame(); !strings.Contains(got, "DELIVERED to 10.107.42.16:80 by cluster outbound|myngxsvc, if intercepted") {
		t.Errorf("the verdict says no if:\n%s", got)
	}
	d.keys("esc", "enter")
	got := d.frame()
	for _, want := range []string{"OUTPUT (not read)", "UDP egress: not known", "▸ Overview"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
	for _, lie := range []string{"no rule)", "through Envoy", "goes round", "skips Envoy"} {
		if strings.Contains(got, lie) {
			t.Errorf("%q is said of rules that were not read:\n%s", lie, got)
		}
	}
}

// What was only meant to be is never in the colour of a fact, and the screen says so.
func TestIntentIsNoFact(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	whole, err := opt.Source.Read(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(whole.Files)
	files["meta.json"] = []byte(`{"intent": ["iptables-save", "config_dump.json"]}`)
	opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) {
		return Reading{Reading: session.Parsed("pod x (by intent)", time.Time{}, files, nil, nil)}, nil
	}
	d := drive(t, opt, 140, 40)
	got := d.frame()
	for _, want := range []string{"BY INTENT", "DELIVERED to 10.107.42.16:80 by cluster outbound|myngxsvc, by intent"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
	if strings.Contains(got, style.MarkGoes+" DELIVERED") {
		t.Errorf("the verdict has the mark of a fact:\n%s", got)
	}
	st := d.m.s.legs()[0].Steps[0]
	if l := d.m.s.stepLine(d.m.s.legs()[0], st, 0); l.spans[0].ink != style.Depends {
		t.Errorf("a step has the ink %v", l.spans[0].ink)
	}
}
