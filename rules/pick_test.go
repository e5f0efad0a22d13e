package rules

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// A pin that decides nothing is told, with the choices that there are.
func TestCheckPick(t *testing.T) {
	snapshot := func(rule string) *Snapshot {
		s, err := ParseSnapshot(map[string][]byte{"iptables-save": []byte("*filter\n:OUTPUT ACCEPT [0:0]\n" + rule + "COMMIT\n"),
			"addr.json": []byte(`[{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.244.1.7","prefixlen":24}]}]`)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	open, closed := snapshot("-A OUTPUT -p tcp -m bpf --object-pinned /x -j DROP\n"), snapshot("")
	for _, c := range []struct {
		s          *Snapshot
		ref, value string
		want       string
	}{
		{open, "ip filter OUTPUT 1", "match", ""},
		{open, "random", "0.3", ""},
		{closed, "random", "0.3", ""},
		{open, "ip filter OUTPUT 2", "match", `--pick "ip filter OUTPUT 2": this trace has no such choice; it has "ip filter OUTPUT 1" (match, no-match)`},
		{open, "ip filter OUTPUT 1", "mach", `--pick "ip filter OUTPUT 1": it takes no "mach", but match, no-match`},
		{closed, "x", "y", `--pick "x": this trace leaves no choice open`},
	} {
		req := flow.Request{Dst: netip.MustParseAddrPort("10.0.0.9:443"), Proto: flow.TCP, Pick: flow.Pick{c.ref: c.value}}
		got := ""
		if err := CheckPick(c.s, req); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s=%s: %s\nwant %s", c.ref, c.value, got, c.want)
		}
	}
}
