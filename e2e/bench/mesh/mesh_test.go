package mesh

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/envoy"
	rules "github.com/meshtop/meshtop/rules/envoy"
)

// The dump is JSON, loads whole, and is the same each time.
func TestDump(t *testing.T) {
	m := Mesh{Seed: 1, Services: 60}
	text := func() []byte {
		var b bytes.Buffer
		if err := m.Dump(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	dump := text()
	if !json.Valid(dump) || !bytes.Equal(dump, text()) {
		t.Fatal("the dump is no JSON, or another each time")
	}
	cfg, gaps, err := rules.Load(map[string][]byte{"config_dump.json": dump})
	if err != nil || len(gaps) > 0 {
		t.Fatalf("%v, gaps %v", err, gaps)
	}
	if dropped, err := envoy.Dropped(dump, cfg); err != nil || len(dropped) > 0 {
		t.Errorf("%v, dropped %v", err, dropped)
	}
	if s := cfg.Summary(); s.Listeners < 30 || s.Clusters < 80 || s.Endpoints < 80 {
		t.Errorf("%+v", s)
	}
}

// Every answer names things that the dump holds.
func TestRequests(t *testing.T) {
	m := Mesh{Seed: 1, Services: 60}
	var b bytes.Buffer
	if err := m.Dump(&b); err != nil {
		t.Fatal(err)
	}
	dump := b.String()
	web := 0
	for _, q := range m.Requests(200) {
		for _, name := range append(q.Expect.Clusters, q.Expect.Listener) {
			if !strings.Contains(dump, `"name": "`+name+`"`) {
				t.Errorf("request %d: %q is not in the dump", q.N, name)
			}
		}
		if q.Authority != "" {
			web++
			if !strings.Contains(dump, `"name": "`+q.Expect.VHost+`"`) {
				t.Errorf("request %d: %q is not in the dump", q.N, q.Expect.VHost)
			}
		}
	}
	if web < 80 || web > 180 {
		t.Errorf("%d of 200 requests are HTTP", web)
	}
}
