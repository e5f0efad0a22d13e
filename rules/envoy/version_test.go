package envoy

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// An Envoy that is older or newer than what was measured, or whose version nobody can tell,
// counts as the nearest measured one, and the listener's step of a trace says so.
func TestVersionTaken(t *testing.T) {
	for _, c := range []struct {
		version, want string
		said          bool
	}{
		{"abc/1.40.0/Clean/RELEASE/BoringSSL", "", false},
		{"abc/1.40.9/Clean/RELEASE/BoringSSL", "", false},
		{"abc/1.36.0/Clean/RELEASE/BoringSSL", "", false},
		{"abc/1.35.9/Clean/RELEASE/BoringSSL", "1.35.9", true},
		{"abc/1.31.2-dev/Clean/RELEASE/BoringSSL", "1.31.2", true},
		{"abc/1.41.0-dev/Clean/RELEASE/BoringSSL", "1.41.0", true},
		{"abc/2.0.0/Clean/RELEASE/BoringSSL", "2.0.0", true},
		{"abc/next/Clean", "abc/next/Clean", true},
		{"", "", true},
	} {
		cfg := httpDump(t, oneHost(answering("r", `"prefix":"/"`)))
		cfg.version = Version{}
		if err := cfg.readServerInfo("server_info.json", []byte(`{"version":"`+c.version+`"}`)); err != nil {
			t.Fatal(err)
		}
		rs, _ := variants(cfg, sent("GET", "/", "a"), nil)
		var got []flow.Assumption
		for _, s := range rs[0].Steps {
			for _, a := range s.Assumed {
				if a.Reason.Kind == flow.WhyVersionTaken {
					got = append(got, a)
				}
			}
		}
		want := flow.Because(flow.WhyVersionTaken, c.want, "1.36", "1.40")
		if c.said != (len(got) == 1) || len(got) > 1 || c.said && got[0].Reason != want {
			t.Errorf("%q: %+v", c.version, got)
		}
	}
}
