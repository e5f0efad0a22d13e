package netfilter

import (
	"strings"
	"testing"
)

// taintedSave is what iptables-nft-save 1.8.9 prints of a table that nft gave a base chain
// of its own; taintedJSON is nft's list of it.
const taintedSave = "# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n" +
	"*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:TO - [0:0]\n-A OUTPUT -p udp -j DROP\n-A TO -p tcp -j DROP\nCOMMIT\n"

const taintedJSON = `{"nftables": [{"table": {"family": "ip", "name": "filter", "handle": 1}},
{"chain": {"family": "ip", "table": "filter", "name": "OUTPUT", "handle": 1, "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
{"chain": {"family": "ip", "table": "filter", "name": "TO", "handle": 2}},
{"chain": {"family": "ip", "table": "filter", "name": "mine", "handle": 4, "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
{"rule": {"family": "ip", "table": "filter", "chain": "OUTPUT", "handle": 3, "expr": [{"xt": {"type": "match", "name": "udp"}}, {"drop": null}]}},
{"rule": {"family": "ip", "table": "filter", "chain": "mine", "handle": 5, "expr": [{"jump": {"target": "TO"}}]}}]}`

// Base chains that nft put beside those of iptables run, though iptables-save leaves them
// out, and jump to iptables' chains. Without nft's list they are missing, and that is said.
func TestTaintedTable(t *testing.T) {
	files := map[string][]byte{"iptables-save": []byte(taintedSave), "nft.json": []byte(taintedJSON)}
	rs, gaps, err := Parse(files)
	if err != nil || len(gaps) > 0 {
		t.Fatal(gaps, err)
	}
	r := rs.Walk(nil, fuzzPackets()[0], nil)
	var subjects []string
	for _, s := range r.Steps {
		subjects = append(subjects, s.Subject)
		if strings.HasPrefix(s.Subject, "ip filter") && len(s.Assumed) > 0 {
			t.Errorf("%s: assumed %+v: the chains of one table are numbered", s.Subject, s.Assumed)
		}
	}
	if r.Fate != FateDropped || !strings.Contains(strings.Join(subjects, ", "), "ip filter mine 1, ip filter TO 1") {
		t.Errorf("fate %v by %q", r.Fate, subjects)
	}
	delete(files, "nft.json")
	if _, gaps, _ = Parse(files); len(gaps) != 1 || !strings.Contains(gaps[0].Reason, `table "filter" holds chains that only nft can print`) {
		t.Errorf("gaps %+v", gaps)
	}
}

// The chains of a dormant table are at no hook, whether nft or iptables made them.
func TestDormantTable(t *testing.T) {
	const list = `{"nftables": [{"table": {"family": "inet", "name": "d", "handle": 2FLAGS}},
{"chain": {"family": "inet", "table": "d", "name": "o", "handle": 1, "type": "filter", "hook": "output", "prio": 0, "policy": "drop"}}]}`
	const save = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n"
	for flags, want := range map[string]Fate{
		"": FateDropped, `, "flags": "d"`: FateWire, `, "flags": "dormant"`: FateWire, `, "flags": ["owner", "dormant"]`: FateWire, `, "flags": "owner"`: FateDropped,
	} {
		native := strings.Replace(list, "FLAGS", flags, 1)
		held := strings.NewReplacer(`"inet"`, `"ip"`, `"d"`+", \"handle", `"filter"`+", \"handle", `"table": "d"`, `"table": "filter"`, `"name": "o"`, `"name": "OUTPUT"`).Replace(native)
		for _, files := range []map[string][]byte{{"nft.json": []byte(native)}, {"nft.json": []byte(held), "iptables-save": []byte(save)}} {
			rs, gaps, err := Parse(files)
			if err != nil || len(gaps) > 0 {
				t.Fatal(gaps, err)
			}
			if r := rs.Walk(nil, fuzzPackets()[0], nil); (r.Fate == FateDropped) != (want == FateDropped) {
				t.Errorf("%s of %d parts: fate %v", flags, len(files), r.Fate)
			}
		}
	}
}

// What a garbled list of nft lost is said.
func TestGarbledNFT(t *testing.T) {
	for _, c := range []struct{ from, to, gap string }{
		{`"rule": {`, `"rul3": {`, `item 5: no object of nft: "rul3"`},
		{`"ip", "table": "filter", "name": "mine"`, `"ipp", "table": "filter", "name": "mine"`, `chain of item 4: family "ipp"`},
		{`"mine", "handle": 4, "type": "filter"`, `"mine", "handle": 4, "type": "natt"`, `chain ip filter mine: type "natt"`},
		{`"prio": 0, "policy": "accept"}},
{"rule"`, `"prio": 0, "policy": "dorp"}},
{"rule"`, `chain ip filter mine: policy "dorp"`},
		{`"table": "filter", "chain": "mine"`, `"table": "filtre", "chain": "mine"`, "rule 5: there is no table filtre"},
	} {
		text := strings.Replace(taintedJSON, c.from, c.to, 1)
		_, gaps, err := Parse(map[string][]byte{"nft.json": []byte(text)})
		found := false
		for _, g := range gaps {
			found = found || strings.Contains(g.Reason, c.gap)
		}
		if err != nil || !found || text == taintedJSON {
			t.Errorf("%s: gaps %+v, %v", c.gap, gaps, err)
		}
	}
}
