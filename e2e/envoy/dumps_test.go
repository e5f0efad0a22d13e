package envoy

import (
	"io/fs"
	"testing"

	"github.com/meshtop/meshtop/rules/envoy"
)

// Dumps that others have published load, and lose nothing: of Istio 1.18, Envoy Gateway
// (printed anew by egctl) and Open Service Mesh (with fields that are gone since).
func TestPublicDumps(t *testing.T) {
	fsys, err := OpenTar("testdata/dumps.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(fsys, "*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no dumps: %v", err)
	}
	for _, n := range names {
		b, err := fs.ReadFile(fsys, n)
		if err != nil {
			t.Fatal(err)
		}
		cfg, gaps, err := envoy.Load(map[string][]byte{"config_dump.json": b})
		if err != nil || len(gaps) > 0 {
			t.Errorf("%s: %v, gaps %v", n, err, gaps)
			continue
		}
		dropped, err := Dropped(b, cfg)
		if err != nil || len(dropped) > 0 {
			t.Errorf("%s: %v, dropped in silence: %v", n, err, dropped)
		}
		s := cfg.Summary()
		if s.Listeners+s.Clusters == 0 {
			t.Errorf("%s: nothing was loaded", n)
		}
		t.Logf("%s: %+v", n, s)
	}
}
