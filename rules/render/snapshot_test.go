package render

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func TestSnapshotLine(t *testing.T) {
	save := []byte("*nat\n:OUTPUT ACCEPT [0:0]\n[9:540] -A OUTPUT -j RETURN\n-A OUTPUT -j ACCEPT\n\nCOMMIT\n")
	for want, files := range map[string]map[string][]byte{
		"x, no rules read, no Envoy configuration read":          {},
		"x, nftables rules, no Envoy configuration read":         {"nft.json": []byte("{}")},
		"x, 2 iptables rules, envoy configuration of 3 B":        {"iptables-save": save, "config_dump.json": []byte("123")},
		"x, 4 iptables rules, envoy 1.40.0 configuration of 2 B": {"iptables-save": save, "ip6tables-save": save, "config_dump/a/b.json": []byte("{}"), "server_info.json": []byte(`{"version":"abc/1.40.0/Clean/RELEASE/BoringSSL"}`)},
	} {
		if got := Snapshot("x", "", files); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	noneHidden(t, []byte(Snapshot(hostile, hostile, map[string][]byte{"config_dump.json": {1}, "server_info.json": []byte(`{"version":"a/\u001b[31m/c"}`)})))
	noneHidden(t, []byte(Parts(hostile, map[string][]byte{hostile: nil}, []flow.Gap{{Part: hostile, Reason: hostile}}, []flow.NotModelled{{Type: hostile, Name: hostile}})))
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 139129: "139 kB", 999499: "999 kB", 999500: "1.0 MB", 194e6: "194 MB", 5e12: "5000 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
