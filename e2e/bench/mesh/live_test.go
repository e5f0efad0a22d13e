package mesh

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// What a real Envoy is given is JSON, holds nothing that only Istio's own knows, and is the
// same mesh: its resources bear the names of the dump's.
func TestLive(t *testing.T) {
	l, err := NewLive(Mesh{Seed: 1, Services: 60})
	if err != nil {
		t.Fatal(err)
	}
	h := l.Handler()
	ask := func(kind, name string, code int) (names []string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/v3/discovery:"+kind, strings.NewReader(`{"resource_names": ["`+name+`"]}`)))
		var out struct {
			Resources []struct {
				Name        string
				ClusterName string `json:"cluster_name"`
			}
		}
		text := w.Body.String()
		if w.Code != code || code == 200 && json.Unmarshal(w.Body.Bytes(), &out) != nil {
			t.Fatalf("%s %s: %d %.200s", kind, name, w.Code, text)
		}
		for _, bad := range []string{`"name": "istio.`, `"ads"`, "sds_config", "TypedStruct"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s %s holds %s", kind, name, bad)
			}
		}
		for _, r := range out.Resources {
			names = append(names, r.Name+r.ClusterName)
		}
		return names
	}
	var listeners, clusters []string
	l.listeners(func(name string, _ obj) { listeners = append(listeners, name) })
	l.clusters(func(c obj) { clusters = append(clusters, c[3].(string)) })
	for kind, want := range map[string][]string{"listeners": listeners, "clusters": clusters} {
		if got := ask(kind, "", 200); strings.Join(got, " ") != strings.Join(want, " ") || len(got) < 30 {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	for kind, name := range map[string]string{"routes": "80", "endpoints": externalCluster(1)} {
		if got := ask(kind, name, 200); len(got) != 1 || got[0] != name {
			t.Errorf("%s: %q, want %q", kind, got, name)
		}
		ask(kind, "nowhere", 404)
	}
	if !json.Valid(l.Bootstrap(9901, 18000)) {
		t.Error("the bootstrap is no JSON")
	}
}
