package saved

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/rules/flow"
)

// Every scene has the parts that a trace needs, and sentences fit for a list.
func TestScenes(t *testing.T) {
	for _, s := range Scenes() {
		p, _, err := Demo(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		snap, err := p.Read(context.Background(), inspect.Want{})
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"iptables-save", "config_dump.json", "clusters.json", "addr.json", "route.json", "sockets", "server_info.json"} {
			if _, ok := snap.Files[part]; !ok {
				t.Errorf("%s has no %s", s.Name, part)
			}
		}
		if len(s.Requests) == 0 || !strings.HasSuffix(s.About, ".") || len(s.About) > 95 {
			t.Errorf("%s: %d requests, %q", s.Name, len(s.Requests), s.About)
		}
	}
	if _, _, err := Demo("nope"); !errors.Is(err, inspect.ErrNotFound) || !strings.Contains(err.Error(), "block-all") {
		t.Errorf("an unknown scene: %v", err)
	}
}

func TestPod(t *testing.T) {
	files := map[string][]byte{"iptables-save": []byte("*nat\nCOMMIT\n"), "config_dump/routes/a.json": []byte("{}"), "sockets": []byte("12345")}
	path := filepath.Join(t.TempDir(), "a.txtar")
	if err := archive.Write(path, files); err != nil {
		t.Fatal(err)
	}
	p, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	s, err := p.Read(context.Background(), inspect.Want{Parts: []string{"config_dump", "sockets"}, MaxBytes: 4, Progress: func(g inspect.Progress) { seen = append(seen, g.Part) }})
	if err != nil || len(s.Files) != 1 || len(s.Gaps) != 1 || s.Gaps[0].Part != "sockets" || !reflect.DeepEqual(seen, []string{"config_dump/routes/a.json"}) {
		t.Errorf("%v %v %v %v", s, err, s.Gaps, seen)
	}
	if _, err := p.Send(context.Background(), flow.Request{}); !errors.Is(err, inspect.ErrReadOnly) {
		t.Errorf("Send: %v", err)
	}
	if _, err := p.Observe(context.Background(), nil, inspect.ObserveOptions{}); !errors.Is(err, inspect.ErrReadOnly) {
		t.Errorf("Observe: %v", err)
	}
	if p.Name() != "file "+path || p.Close() != nil || p.Close() != nil {
		t.Error("name or close")
	}
}
