package tui

import (
	"io"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
)

// A frame of the largest size in use, after a key.
func BenchmarkFrame140x40(b *testing.B) {
	d := drive(&testing.T{}, sceneOptions(b, "mesh"), 140, 40)
	down, up := key("j"), key("k")
	for i := 0; b.Loop(); i++ {
		var k tea.Msg = down
		if i%2 == 1 {
			k = up
		}
		d.m.Update(k)
		_ = d.m.View()
	}
}

// What opening the viewer on a large dump costs, by megabyte.
func BenchmarkBigDump(b *testing.B) {
	part := `{"name":"listener","address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"filter_chains":[{"filters":[{"name":"hcm","typed_config":{"stat_prefix":"x"}}]}]}`
	dump := []byte(`{"configs":[` + strings.Repeat(part+",", 100000) + part + `]}`)
	b.SetBytes(int64(len(dump)))
	for b.Loop() {
		d, err := newDoc("config_dump.json", "", dump)
		if err != nil {
			b.Fatal(err)
		}
		d.root.unfold(d.data, 400)
		d.layOut()
	}
}

// The first frame of the demo, from the start of the program on.
func BenchmarkFirstFrame(b *testing.B) {
	for b.Loop() {
		start := time.Now()
		opt := sceneOptions(b, "mesh")
		m := newModel(b.Context(), opt, start)
		m.Update(tea.WindowSizeMsg{Width: 140, Height: 40})
		_, _ = io.WriteString(io.Discard, m.View().Content)
	}
}
