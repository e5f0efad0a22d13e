package tui

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
)

// What was read and is not modelled, or is odd, stands on the overview, in a small frame too.
func TestOverviewTellsWhatIsSkipped(t *testing.T) {
	for _, c := range []struct {
		more string // in the dump's list
		want [2]string
	}{
		{"", [2]string{"", ""}},
		{`, {"@type": "type.googleapis.com/acme.v1.AcmeConfigDump", "name": "ours"}`, [2]string{"skipped 1 object not modelled: acme.v1.AcmeConfigDump ours", "skipped  ? 1 object not modelled"}},
		{`, {"a": 1, "a": 2}`, [2]string{"odd: config_dump.json · skipped: 1 kind of objects, such as a section", "odd      ? config_dump.json: byte"}},
	} {
		opt := sceneOptions(t, "mesh")
		whole, err := opt.Source.Read(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		files := maps.Clone(whole.Files)
		dump := string(files["config_dump.json"])
		end := strings.LastIndexByte(dump, ']')
		files["config_dump.json"] = []byte(dump[:end] + c.more + dump[end:])
		opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) {
			return Reading{Reading: session.Parsed("demo mesh", time.Time{}, files, nil, nil)}, nil
		}
		for i, size := range [][2]int{{80, 24}, {140, 40}} {
			d := drive(t, opt, size[0], size[1])
			d.keys("esc", "enter", "1")
			got := d.frame()
			if c.more == "" && (strings.Contains(got, "skipped") || strings.Contains(got, "odd")) || !strings.Contains(strings.ReplaceAll(got, "…", ""), c.want[i]) {
				t.Errorf("%v: %q is missing of %q:\n%s", size, c.want[i], c.more, got)
			}
		}
	}
}
