package tui

import (
	"context"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
	"github.com/meshtop/meshtop/tui/style"
)

// A preset that says where its route leads goes there, with a request at hand and without.
func TestRoutePresetsLeadThere(t *testing.T) {
	made := 0
	for _, scene := range saved.Scenes() {
		opt := sceneOptions(t, scene.Name)
		r, err := opt.Source.Read(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, wanted := range [][]flow.Request{nil, {*opt.Request}} {
			for _, p := range makeSurvey(r.Snapshot, wanted).routes {
				_, to, ok := strings.Cut(p.text, style.Arrow+" ")
				if !ok {
					continue
				}
				made++
				tr := rules.Trace(r.Snapshot, *p.req)
				got := []string{tr.Outcome.Cluster}
				for _, v := range tr.Variants {
					got = append(got, v.Outcome.Cluster)
				}
				if !overlap(got, strings.Split(to, " | ")) {
					t.Errorf("%s: %q goes to %q: %+v", scene.Name, p.text, got, *p.req)
				}
			}
		}
	}
	if made < 10 {
		t.Errorf("%d presets, want 10 or more", made)
	}
}

func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y && x != "" {
				return true
			}
		}
	}
	return false
}

// Connections that are alike are one preset, and those to the admin interface none.
func TestLivePresetsOnce(t *testing.T) {
	c := conn{Conn: live.Conn{Src: addr("10.244.1.7:40000"), Dst: addr("10.107.42.16:80"), Proto: flow.TCP}}
	twin, other, admin := c, c, c
	twin.Src, other.UID, admin.admin = addr("10.244.1.7:40001"), 1337, true
	got := livePresets([]conn{c, twin, other, admin})
	if len(got) != 2 || got[0].req.UID != 0 || got[1].req.UID != 1337 {
		t.Errorf("%+v", got)
	}
}

// With no request at hand the form begins where it is to be filled; what is written there
// is an HTTP request, and a URL brings its own protocol.
func TestEmptyForm(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	opt.Request, opt.Requests = nil, nil
	d := drive(t, opt, 80, 24)
	d.keys("e")
	if !strings.Contains(d.frame(), "write into to") {
		t.Errorf("the empty form says not what to do:\n%s", d.frame())
	}
	d.keys(append(strings.Split("10.107.42.16:80", ""), "ctrl+r")...)
	if d.m.s.at != traceID || d.m.s.trace.Verdict != flow.Delivered || d.m.s.trace.Request.HTTP == nil {
		t.Errorf("%v %+v\n%s", d.m.s.trace.Verdict, d.m.s.trace.Request, d.frame())
	}
	d.keys("e")
	d.m.form.field(formRow{id: fTo}).set("")
	d.keys(append(strings.Split("https://10.107.42.16/x", ""), "ctrl+r")...)
	if r := d.m.s.trace.Request; r.TLS == nil || r.HTTP == nil || r.HTTP.Path != "/x" || r.Dst.Port() != 443 {
		t.Errorf("%+v %+v\n%s", r, r.HTTP, d.frame())
	}
}
