package netfilter

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
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
		"": FateDropped, `, "flags": "dormant"`: FateWire, `, "flags": ["owner", "dormant"]`: FateWire, `, "flags": "owner"`: FateDropped,
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

// iptables-nft-save prints a rule of nft's own without what it has no word for: then nft's
// list is believed, rule by rule.
func TestNativeRuleInHeldTable(t *testing.T) {
	const save = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j DROP\n-A OUTPUT -p tcp -j DROP\nCOMMIT\n"
	const list = `{"nftables": [{"table": {"family": "ip", "name": "filter", "handle": 1}},
{"chain": {"family": "ip", "table": "filter", "name": "OUTPUT", "handle": 1, "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
{"rule": {"family": "ip", "table": "filter", "chain": "OUTPUT", "handle": 2, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "udp"}}, {"drop": null}]}},
{"rule": {"family": "ip", "table": "filter", "chain": "OUTPUT", "handle": 3, "expr": [MATCH, {"drop": null}]}}]}`
	port := uint16(fuzzPackets()[0].Dst.Port())
	match := func(left, right string) string {
		return `{"match": {"op": "==", "left": ` + left + `, "right": ` + right + `}}`
	}
	dport := `{"payload": {"protocol": "tcp", "field": "dport"}}`
	for name, c := range map[string]struct {
		match string
		want  Fate
	}{
		"in a set":              {match(dport, `{"set": [`+portWord(port)+`, 7]}`), FateDropped},
		"not in a set":          {match(dport, `{"set": [6, 7]}`), FateWire},
		"two that exclude":      {match(dport, "6") + "," + match(dport, "7"), FateWire},
		"what iptables can say": {match(`{"meta": {"key": "l4proto"}}`, `"tcp"`), FateDropped},
	} {
		rs, gaps, err := Parse(map[string][]byte{"iptables-save": []byte(save), "nft.json": []byte(strings.Replace(list, "MATCH", c.match, 1))})
		if err != nil || len(gaps) > 0 {
			t.Fatal(name, gaps, err)
		}
		if r := rs.Walk(nil, fuzzPackets()[0], nil); (r.Fate == FateDropped) != (c.want == FateDropped) {
			t.Errorf("%s: fate %v", name, r.Fate)
		}
	}
	short := strings.Replace(save, "-A OUTPUT -p udp -j DROP\n", "", 1)
	_, gaps, _ := Parse(map[string][]byte{"iptables-save": []byte(short), "nft.json": []byte(strings.Replace(list, "MATCH", match(dport, `{"set": [6]}`), 1))})
	if len(gaps) != 1 || !strings.Contains(gaps[0].Reason, "iptables-save has 1 rules and nft 2") {
		t.Errorf("gaps %+v", gaps)
	}
}

// A member with "wildcard" is of all devices that begin so.
func TestIPSetWildcard(t *testing.T) {
	for opts, want := range map[string]bool{" wildcard": true, "": false} {
		sets, bad := parseSets("create w hash:net,iface family inet\nadd w 10.0.0.0/8,eth" + opts + "\n")
		p := &packet{out: "eth0", tuple: tuple{dst: toIP(netip.MustParseAddr("10.1.1.1"))}}
		if len(bad) > 0 || (sets["w"].has(p, []bool{false, false}) == flow.Yes) != want {
			t.Errorf("%q: %v", opts, bad)
		}
	}
}

// A nat chain and a plain chain of two tables at one priority follow the tables' numbers,
// and that is said; those of one table are numbered.
func TestNATOrderIsSaid(t *testing.T) {
	const list = `{"nftables": [{"table": {"family": "ip", "name": "a", "handle": 1}}, {"table": {"family": "ip", "name": "b", "handle": 2}},
{"chain": {"family": "ip", "table": "a", "name": "n", "handle": 1, "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
{"rule": {"family": "ip", "table": "a", "chain": "n", "handle": 9, "expr": [{"redirect": {"port": 15001}}]}},
{"chain": {"family": "ip", "table": "OTHER", "name": "f", "handle": 3, "type": "filter", "hook": "output", "prio": -100, "policy": "accept"}},
{"rule": {"family": "ip", "table": "OTHER", "chain": "f", "handle": 4, "expr": [{"counter": {"packets": 0, "bytes": 0}}]}}]}`
	for other, want := range map[string]bool{"a": false, "b": true} {
		rs, gaps, err := Parse(map[string][]byte{"nft.json": []byte(strings.ReplaceAll(list, "OTHER", other))})
		if err != nil || len(gaps) > 0 {
			t.Fatal(gaps, err)
		}
		said := false
		for _, s := range rs.Walk(nil, fuzzPackets()[0], nil).Steps {
			said = said || slices.ContainsFunc(s.Assumed, func(a flow.Assumption) bool { return a.Reason.Kind == flow.WhyOrderByAge })
		}
		if said != want {
			t.Errorf("table %s: said %v", other, said)
		}
	}
}

// nft 1.0.6 garbles the flags of a table: then both ways are followed.
func TestGarbledFlags(t *testing.T) {
	const list = `{"nftables": [{"table": {"family": "inet", "name": "m", "handle": 2, "flags": "m"}},
{"chain": {"family": "inet", "table": "m", "name": "o", "handle": 1, "type": "filter", "hook": "output", "prio": 0, "policy": "drop"}}]}`
	rs, gaps, err := Parse(map[string][]byte{"nft.json": []byte(list)})
	if err != nil || len(gaps) != 1 || !strings.Contains(gaps[0].Reason, "may be dormant") {
		t.Fatal(gaps, err)
	}
	for value, dropped := range map[string]bool{"no": true, "yes": false} {
		ch := &flow.Choices{Pick: map[string]string{"dormant inet m o": value}}
		if r := rs.Walk(nil, fuzzPackets()[0], ch); (r.Fate == FateDropped) != dropped {
			t.Errorf("%s: fate %v", value, r.Fate)
		}
	}
	ch := &flow.Choices{}
	rs.Walk(nil, fuzzPackets()[0], ch)
	if made := ch.Made(); len(made) != 1 || made[0].Choice.Kind != flow.Unmodelled {
		t.Errorf("choices %+v", made)
	}
}

// nft takes some tests for what the next one needs and leaves them out of its list: where a
// rule may have held one, it matches perhaps; where its own tests fail, it fails.
func TestUnlistedTests(t *testing.T) {
	const (
		port    = `{"match": {"op": "==", "left": {"payload": {"protocol": "th", "field": "dport"}}, "right": 80}}`
		either  = `{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}}}`
		ct      = `{"match": {"op": "==", "left": {"ct": {"key": "protocol"}}, "right": "tcp"}}`
		nfproto = `{"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv4"}}`
		family  = `{"match": {"op": "==", "left": {"meta": {"key": "protocol"}}, "right": "ip"}}`
		verdict = `{"vmap": {"key": {"payload": {"protocol": "th", "field": "dport"}}, "data": {"set": [[80, {"drop": null}]]}}}`
	)
	yes, no, maybe := flow.Yes, flow.No, flow.Maybe
	for _, c := range []struct {
		family string
		expr   []string
		dst    string
		want   flow.Answer
	}{
		{"inet", []string{port}, "9.9.9.9:80", maybe}, {"inet", []string{port}, "9.9.9.9:81", no}, {"ip", []string{port}, "9.9.9.9:80", maybe},
		{"inet", []string{either, port}, "9.9.9.9:80", yes}, {"inet", []string{family, port}, "9.9.9.9:80", maybe},
		{"inet", []string{verdict}, "9.9.9.9:80", maybe}, {"inet", []string{either, verdict}, "9.9.9.9:80", yes},
		{"inet", []string{ct}, "9.9.9.9:80", maybe}, {"ip", []string{ct}, "9.9.9.9:80", yes}, {"inet", []string{nfproto, ct}, "9.9.9.9:80", yes},
	} {
		rule := strings.Join(c.expr, ", ")
		if c.expr[len(c.expr)-1] != verdict {
			rule += `, {"drop": null}`
		}
		rs, gaps, err := Parse(map[string][]byte{"nft.json": []byte(strings.ReplaceAll(`{"nftables": [{"table": {"family": "FAM", "name": "x", "handle": 1}},
{"chain": {"family": "FAM", "table": "x", "name": "out", "handle": 1, "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
{"rule": {"family": "FAM", "table": "x", "chain": "out", "handle": 2, "expr": [`+rule+`]}}]}`, "FAM", c.family))})
		if err != nil || len(gaps) > 0 {
			t.Fatal(rule, gaps, err)
		}
		ch := &flow.Choices{}
		got := flow.Is(rs.Walk(nil, out(c.dst), ch).Fate == FateDropped)
		if len(ch.Made()) > 0 {
			got = maybe
		}
		if got != c.want {
			t.Errorf("%s %s to %s: %v, want %v", c.family, rule, c.dst, got, c.want)
		}
	}
}
