package netfilter

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// A port that some rule captures to is known as such in every form that a rule can have, from
// the first port of a range to its last, and no other is.
func TestCaptures(t *testing.T) {
	save := func(rules ...string) map[string][]byte {
		return map[string][]byte{"iptables-save": []byte("*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n")}
	}
	mangle := func(rule string) map[string][]byte {
		return map[string][]byte{"iptables-save": []byte("*mangle\n:PREROUTING ACCEPT [0:0]\n" + rule + "\nCOMMIT\n")}
	}
	nft := func(family, expr string) map[string][]byte {
		return map[string][]byte{"nft.json": []byte(`{"nftables": [{"table": {"family": "` + family + `", "name": "t", "handle": 1}},
{"chain": {"family": "` + family + `", "table": "t", "name": "o", "handle": 1, "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
{"rule": {"family": "` + family + `", "table": "t", "chain": "o", "handle": 2, "expr": [` + expr + `]}}]}`)}
	}
	const tcp = `{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, `
	const byPort = `{"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[80, 15001], [443, 15003]]}}}`
	legacy := save("-A OUTPUT -p tcp -j REDIRECT --to-ports 15001")
	legacy["iptables-legacy-save"] = legacy["iptables-save"]
	delete(legacy, "iptables-save")
	for _, c := range []struct {
		what    string
		files   map[string][]byte
		yes, no []uint16
	}{
		{"REDIRECT", save("-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"), []uint16{15001}, []uint16{15000, 15002}},
		{"legacy", legacy, []uint16{15001}, []uint16{15000}},
		{"a range", save("-A OUTPUT -p tcp -j REDIRECT --to-ports 15001-15006"), []uint16{15001, 15003, 15006}, []uint16{15000, 15007}},
		{"REDIRECT to the same port", save("-A OUTPUT -p tcp --dport 80 -j REDIRECT"), nil, []uint16{80}},
		{"DNAT to loopback", save("-A OUTPUT -p tcp -j DNAT --to-destination 127.0.0.1:15001"), []uint16{15001}, []uint16{80}},
		{"DNAT elsewhere", save("-A OUTPUT -p tcp -j DNAT --to-destination 10.0.0.1:15001"), nil, []uint16{15001}},
		{"TPROXY", mangle("-A PREROUTING -p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1"), []uint16{15006}, []uint16{15005}},
		{"nft redirect", nft("inet", tcp+`{"redirect": {"port": 15001}}`), []uint16{15001}, []uint16{15002}},
		{"nft redirect to a range", nft("ip", tcp+`{"redirect": {"port": {"range": [15001, 15003]}}}`), []uint16{15001, 15003}, []uint16{15000, 15004}},
		{"nft redirect by a map", nft("ip", tcp+`{"redirect": {"port": `+byPort+`}}`), []uint16{15001, 15003}, []uint16{80, 15002}},
		{"nft redirect that also counts", nft("ip", tcp+`{"counter": {"packets": 0, "bytes": 0}}, {"redirect": {"port": 15001}}`), []uint16{15001}, []uint16{15002}},
		{"nft tproxy", nft("ip", tcp+`{"tproxy": {"addr": "127.0.0.1", "port": 15006}}`), []uint16{15006}, []uint16{15005}},
		{"nft dnat to loopback", nft("ip", tcp+`{"dnat": {"addr": "127.0.0.1", "port": 15001}}`), []uint16{15001}, []uint16{15002}},
		{"nft dnat elsewhere", nft("ip", tcp+`{"dnat": {"addr": "10.0.0.1", "port": 15001}}`), nil, []uint16{15001}},
		{"nft snat", nft("ip", tcp+`{"snat": {"addr": "127.0.0.1", "port": 15001}}`), nil, []uint16{15001}},
	} {
		rs, gaps, err := Parse(c.files)
		if err != nil || len(gaps) > 0 {
			t.Errorf("%s: %v %v", c.what, gaps, err)
			continue
		}
		for _, p := range c.yes {
			if got := rs.Captures(p); got != flow.Yes {
				t.Errorf("%s: port %d: %v, want yes", c.what, p, got)
			}
		}
		for _, p := range c.no {
			if got := rs.Captures(p); got != flow.No {
				t.Errorf("%s: port %d: %v, want no", c.what, p, got)
			}
		}
	}
}
