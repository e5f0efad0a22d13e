package tui

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// A name in the form is looked up: one answer of the pod's own is traced at once, of several, or
// of one that the pod did not give, the user chooses.
func TestNameIsLookedUp(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	answers := map[string]flow.Named{
		"web":      {By: flow.NamedServer, Where: "10.96.0.10:53", Addrs: []netip.Addr{netip.MustParseAddr("10.107.42.16")}},
		"many":     {By: flow.NamedServer, Where: "10.96.0.10:53", Addrs: []netip.Addr{netip.MustParseAddr("10.107.42.16"), netip.MustParseAddr("10.107.42.17"), netip.MustParseAddr("fd00::1")}, NoRoute: 1},
		"declared": {By: flow.NamedService, Where: "Service \x1b[31mx/y", Addrs: []netip.Addr{netip.MustParseAddr("10.107.42.16")}},
	}
	opt.Source.Resolve = func(_ context.Context, _ Reading, d request.Draft) (flow.Request, error) {
		n, ok := answers[d.Host]
		if !ok {
			return d.Request, errors.New("there is none")
		}
		n.Name = d.Host
		return d.Named(n), nil
	}
	to := func(name string) *driver {
		d := drive(t, opt, 80, 24)
		d.keys("e", "down")
		d.m.form.form.text[fTo].set("http://" + name + ":80/a")
		return d.keys("ctrl+r")
	}
	if d := to("web"); d.m.s.at != traceID || d.m.s.trace.Request.Dst.String() != "10.107.42.16:80" || d.m.s.trace.Request.Named == nil || d.m.dialog != nil {
		t.Errorf("one answer: %v, %+v", d.m.s.at, d.m.s.trace.Request)
	}
	d := to("many")
	for _, want := range []string{"many is", "10.107.42.16", "name server 10.96.0.10:53", "fd00::1", "no route from the pod"} {
		if !strings.Contains(d.frame(), want) {
			t.Errorf("many: no %q in\n%s", want, d.frame())
		}
	}
	d.exact("many")
	d.keys("down", "enter")
	if q := d.m.s.trace.Request; q.Dst.String() != "10.107.42.17:80" || q.Named == nil || !q.Named.Picked {
		t.Errorf("chosen: %+v", q)
	}
	d = to("declared")
	if f := d.frame(); !strings.Contains(f, "x/y, by the API server") || !strings.Contains(f, "the pod's resolver was not asked") || strings.Contains(d.m.View().Content, "\x1b[31mx/y") {
		t.Errorf("declared:\n%s", f)
	}
	if d := to("gone"); !strings.Contains(d.frame(), "there is none") || d.m.s.at != requestID {
		t.Errorf("none:\n%s", d.frame())
	}
	opt.Source.Resolve = nil
	if d := to("web"); !strings.Contains(d.frame(), "web is a name, and this target has nobody to ask") {
		t.Errorf("nobody to ask:\n%s", d.frame())
	}
}

// Names of the cluster come after the trace, and stand then in its evidence, at the connections
// and in what is saved; what they hold is hostile.
func TestNamesComeLater(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	asked := 0
	opt.Source.Names = func(_ context.Context, in Reading, addrs []netip.Addr) (flow.Names, []inspect.Call) {
		asked++
		return flow.Names{Labels: map[netip.Addr][]flow.Label{netip.MustParseAddr("10.107.42.16"): {{Kind: "Service", Namespace: "shop", Name: "web\x1b[2J"}}}}, []inspect.Call{{What: "GET services"}}
	}
	d := drive(t, opt, 160, 40)
	if asked == 0 || !strings.Contains(d.frame(), "10.107.42.16:80 is Service shop/web") || strings.Contains(d.m.View().Content, "web\x1b[2J") {
		t.Errorf("asked %d times:\n%s", asked, d.frame())
	}
	if !strings.Contains(string(d.m.s.reading.Files["names.json"]), "shop") {
		t.Error("the reading does not keep the names")
	}
	d.keys("1")
	d.exact("overview")
	if !strings.Contains(d.frame(), "shop/web") {
		t.Errorf("overview:\n%s", d.frame())
	}
}
