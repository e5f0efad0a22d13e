package doctor

import (
	"fmt"
	"strings"
	"testing"
)

// rulesOf makes a save of one table from rules of chain OUTPUT.
func natRules(lines ...string) string {
	return "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:USER - [0:0]\n-A " + strings.Join(lines, "\n-A ") + "\nCOMMIT\n"
}

// A rule is hidden when each test of an earlier one that takes the packet away follows
// from one of its own tests; both sides of each edge.
func TestShadowed(t *testing.T) {
	for _, c := range []struct {
		first, second string
		hidden        bool
	}{
		{"OUTPUT -p tcp -j RETURN", "OUTPUT -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 15001", true},
		{"OUTPUT -p tcp -m tcp --dport 80 -j RETURN", "OUTPUT -p tcp -j REDIRECT --to-ports 15001", false},
		{"OUTPUT -j ACCEPT", "OUTPUT -d 10.0.0.1/32 -j RETURN", true},
		{"OUTPUT -j USER", "OUTPUT -d 10.0.0.1/32 -j RETURN", false}, // comes back
		{"OUTPUT -g USER", "OUTPUT -d 10.0.0.1/32 -j RETURN", true},  // does not
		{"OUTPUT -j MARK --set-xmark 0x1/0xffffffff", "OUTPUT -j RETURN", false},
		{"OUTPUT -d 10.0.0.0/8 -j RETURN", "OUTPUT -d 10.1.0.0/16 -j RETURN", true},
		{"OUTPUT -d 10.1.0.0/16 -j RETURN", "OUTPUT -d 10.0.0.0/8 -j RETURN", false},
		{"OUTPUT ! -d 10.1.0.0/16 -j RETURN", "OUTPUT ! -d 10.0.0.0/8 -j RETURN", false}, // true in fact, but not claimed
		{"OUTPUT ! -d 10.1.0.0/16 -j RETURN", "OUTPUT ! -d 10.1.0.0/16 -p tcp -j RETURN", true},
		{"OUTPUT -s 10.1.0.0/16 -j RETURN", "OUTPUT -d 10.1.0.0/16 -j RETURN", false},
		{"OUTPUT -o eth+ -j RETURN", "OUTPUT -o eth0 -j RETURN", true},
		{"OUTPUT -o eth0 -j RETURN", "OUTPUT -o eth+ -j RETURN", false},
		{"OUTPUT -p tcp -m tcp --dport 80:90 -j RETURN", "OUTPUT -p tcp -m tcp --dport 90 -j RETURN", true},
		{"OUTPUT -p tcp -m tcp --dport 80:90 -j RETURN", "OUTPUT -p tcp -m tcp --dport 91 -j RETURN", false},
		{"OUTPUT -p tcp -m tcp --dport 80:90 -j RETURN", "OUTPUT -p tcp -m tcp --sport 85 -j RETURN", false},
		{"OUTPUT -p tcp -m tcp --dport :90 -j RETURN", "OUTPUT -p tcp -m tcp --dport 0:90 -j RETURN", true},
		{"OUTPUT -p tcp -m multiport --dports 80,1000:2000 -j RETURN", "OUTPUT -p tcp -m multiport --dports 1500,80 -j RETURN", true},
		{"OUTPUT -p tcp -m multiport --dports 80,1000:2000 -j RETURN", "OUTPUT -p tcp -m multiport --dports 81 -j RETURN", false},
		{"OUTPUT -p tcp -m tcp --dport 80 -j RETURN", "OUTPUT -p udp -m udp --dport 80 -j RETURN", false},
		{"OUTPUT -m owner --uid-owner 1337 -j RETURN", "OUTPUT -o lo -m owner --uid-owner 1337 -j RETURN", true},
		{"OUTPUT -m owner ! --uid-owner 1337 -j RETURN", "OUTPUT -m owner --uid-owner 1337 -j RETURN", false},
		// Chance, rates and marks may answer otherwise at the second rule.
		{"OUTPUT -m statistic --mode random --probability 0.5 -j RETURN", "OUTPUT -m statistic --mode random --probability 0.5 -j RETURN", false},
		{"OUTPUT -m mark --mark 0x1 -j RETURN", "OUTPUT -m mark --mark 0x1 -j RETURN", false},
		{"OUTPUT -m socket -j RETURN", "OUTPUT -p tcp -j RETURN", false},
		{`OUTPUT -m comment --comment "-j DROP \" it" -j RETURN`, "OUTPUT -p tcp -j RETURN", true},
		{"OUTPUT -p tcp -j RETURN", "PREROUTING -p tcp -j RETURN", false},
	} {
		got := ShadowedRules(map[string][]byte{"iptables-save": []byte(natRules(c.first, c.second))})
		if hidden := len(got) == 1 && got[0] == "ip nat OUTPUT 2"; hidden != c.hidden {
			t.Errorf("%s\n%s\nhidden %v (%q), want %v", c.first, c.second, hidden, got, c.hidden)
		}
	}
}

func TestShadowedNative(t *testing.T) {
	const doc = `{"nftables":[{"table":{"family":"inet","name":"m"}},{"chain":{"family":"inet","table":"m","name":"out","type":"nat","hook":"output","prio":-100}},
{"rule":{"family":"inet","table":"m","chain":"out","handle":3,"expr":[{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"tcp"}},{"counter":{"packets":1,"bytes":1}},%s]}},
{"rule":{"family":"inet","table":"m","chain":"out","handle":4,"expr":[{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"tcp"}},{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}},{"redirect":{"port":15001}}]}}]}`
	for verdict, want := range map[string]string{`{"return":null}`: "[inet m out 2]", `{"goto":{"target":"x"}}`: "[inet m out 2]", `{"jump":{"target":"x"}}`: "[]", `{"mangle":{}}`: "[]"} {
		if got := fmt.Sprint(ShadowedRules(map[string][]byte{"nft.json": fmt.Appendf(nil, doc, verdict)})); got != want {
			t.Errorf("%s: %s, want %s", verdict, got, want)
		}
	}
}

// The values that rules name part ports and addresses into runs.
func TestWords(t *testing.T) {
	b := read(map[string][]byte{
		"iptables-save": []byte(natRules("OUTPUT -d 10.0.0.0/8 -p tcp -m multiport --dports 80,1000:2000 -m owner --uid-owner 1337-1338 -j RETURN", "OUTPUT -m mark --mark 0x539/0xfff -j RETURN", "OUTPUT -p tcp -m tcp --dport 65535 -j RETURN")),
		"nft.json": []byte(`{"nftables":[{"set":{"family":"ip","table":"t","name":"s","elem":[{"range":[443,444]},{"prefix":{"addr":"192.168.0.0","len":16}},"1.2.3.4"]}},
			{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"match":{"op":"==","left":{"meta":{"key":"skuid"}},"right":5}},{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,{"range":[30,40]}]}}}]}}]}`),
	})
	w := b.words()
	if got, want := fmt.Sprint(w.ports), "[1 22 23 30 31 40 41 80 81 443 444 445 1000 1001 2000 2001 65535]"; got != want {
		t.Errorf("ports %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(w.addrs), "[1.2.3.4 1.2.3.5 10.0.0.0 11.0.0.0 192.168.0.0 192.169.0.0]"; got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(w.owners, w.marks), "map[uid:[5 1337 1338]] [1337]"; got != want {
		t.Errorf("owners %s, want %s", got, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(natRules("OUTPUT -p tcp -j RETURN", `OUTPUT -m comment --comment "x -j`), `{"nftables":[{"rule":{"family":"ip","expr":[{"jump":{}}]}}]}`)
	f.Add("*nat\n:\n-A\n-A OUTPUT !\n-A OUTPUT -m\n:X\n", `{"nftables":[{"set":{"elem":[[{"prefix":{"addr":1,"len":"x"}}]]}}]}`)
	f.Fuzz(func(t *testing.T, save, nft string) {
		files := map[string][]byte{"iptables-save": []byte(save), "nft.json": []byte(nft)}
		b := read(files)
		b.words()
		b.shadowed()
	})
}
