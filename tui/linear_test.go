package tui

import (
	"context"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/doctor"
	"github.com/meshtop/meshtop/rules/render"
)

// What the overview shows is there in lines: words alone, with each connection, way of the
// traffic and finding in a line of its own.
func TestLinearHoldsTheOverview(t *testing.T) {
	for _, sc := range saved.Scenes() {
		r, err := sceneOptions(t, sc.Name).Source.Read(context.Background(), func(inspect.Progress) {})
		if err != nil {
			t.Fatal(err)
		}
		text := Linear(r, "demo "+sc.Name, "demo "+sc.Name)
		count := map[string]int{}
		for _, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
			count[strings.TrimSpace(l[:10])]++
			for _, c := range l {
				if c > '~' || c < ' ' {
					t.Errorf("%s: %q is no word: %s", sc.Name, c, l)
				}
			}
		}
		v := makeSurvey(r.Snapshot, nil)
		if count["connection"] != max(len(v.conns), 1) || count["traffic"] != len(v.lanes) || count["finding"] != len(doctor.Examine(r.Snapshot)) {
			t.Errorf("%s: %v, want %d connections, %d ways, %d findings", sc.Name, count, len(v.conns), len(v.lanes), len(doctor.Examine(r.Snapshot)))
		}
		for _, want := range []string{"config     envoy 1.40.0, config ", "\naddress    ", "\nrules      ", "meshtop trace demo " + sc.Name + " --to "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", sc.Name, want, text)
			}
		}
	}
	opt := evilOptions(t)
	r, _ := opt.Source.Read(context.Background(), func(inspect.Progress) {})
	for _, l := range strings.Split(Linear(r, evil, evil), "\n") {
		if render.Clean(l) != l {
			t.Errorf("%q", l)
		}
	}
}
