package netfilter

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// garbledSaves are texts that can only be read in part; gap is said about each.
var garbledSaves = []struct{ name, text, gap string }{
	{"a port that is none", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --dport 8O -j RETURN\nCOMMIT\n", `line 3: port "8O": invalid syntax in `},
	{"a port too large", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --dport 65536 -j RETURN\nCOMMIT\n", `line 3: port "65536": invalid syntax`},
	{"a range turned round", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --dport 90:80 -j RETURN\nCOMMIT\n", `line 3: port "90:80": invalid syntax`},
	{"an address of the other family", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d fd00::1 -j RETURN\nCOMMIT\n", `line 3: address "fd00::1": invalid syntax`},
	{"an octet too large", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 10.0.0.256/32 -j RETURN\nCOMMIT\n", `line 3: address "10.0.0.256/32": invalid syntax`},
	{"cut off behind -j", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j", `line 3: option "-j" without its argument`},
	{"cut off inside a comment", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m comment --comment \"half", `line 3: a quote is left open`},
	{"to-destination empty", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j DNAT --to-destination --random\nCOMMIT\n", `line 3: to-destination "": invalid syntax`},
	{"to-destination for a second time", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j DNAT --to-destination 10.0.0.1:80 --persistent --to-destination 10.0.0.2\nCOMMIT\n", `line 3: to-destination "given twice"`},
	{"to-destination without a port", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j DNAT --to-destination :0 --persistent --to-destination :0 --persistent --to-destination 0.0.0.0\nCOMMIT\n", `line 3: to-destination "given twice"`},
	{"a target that is no chain", "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j NOWHERE\nCOMMIT\n", `line 3: no chain or known target "NOWHERE"`},
	{"a rule before any table", "-A OUTPUT -j ACCEPT\n*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", `line 1: a rule before any table`},
	{"a line of something else", "*nat\nhello\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", `line 2: no line of iptables-save: "hello"`},
	{"a policy that is none", "*filter\n:OUTPUT MAYBE [0:0]\nCOMMIT\n", `line 2: policy "MAYBE" of chain "OUTPUT"`},
	{"a table that only nft can print", "# Table `nat' is incompatible, use 'nft' tool.\n*filter\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", `table "nat" holds rules that only nft can print`},
	{"a chain that is not declared", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPTU -j DROP\nCOMMIT\n", `line 3: a rule of chain "OUTPTU", which is not declared`},
	{"a table that iptables has not", "*filtre\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", `line 1: no table of iptables: "filtre"`},
	{"cut off before COMMIT", "*nat\n:OUTPUT ACCEPT [0:0]\n*filter\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", `line 3: table "nat" has no COMMIT`},
	{"COMMIT of nothing", "COMMIT\n*nat\nCOMMIT\n", `line 1: COMMIT without a table`},
	{"a policy of a chain that has none", "*filter\n:OUTPTU ACCEPT [0:0]\nCOMMIT\n", `line 2: policy "ACCEPT" of chain "OUTPTU"`},
	{"no policy of a chain that has one", "*filter\n:OUTPUT - [0:0]\nCOMMIT\n", `line 2: policy "-" of chain "OUTPUT"`},
	{"a ! before a target", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp ! -j DROP\nCOMMIT\n", `line 3: ! "-j": invalid syntax`},
	{"a ! at the end", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j DROP !\nCOMMIT\n", `line 3: ! "": invalid syntax`},
	{"a device without a name", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -o \"\" -j DROP\nCOMMIT\n", `line 3: device "": invalid syntax`},
	{"a device whose name is too long", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -o seventeen-letters -j DROP\nCOMMIT\n", `line 3: device "seventeen-letters"`},
	{"users turned round", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m owner --uid-owner 10-1 -j DROP\nCOMMIT\n", `line 3: uid-owner "10-1": invalid syntax`},
	{"a user that is no number", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m owner --uid-owner 13O7 -j DROP\nCOMMIT\n", `line 3: uid-owner "13O7": invalid syntax`},
	{"a mode that is none", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m statistic --mode randm --probability 0.5 -j DROP\nCOMMIT\n", `line 3: mode "randm": invalid syntax`},
	{"odds that are not there", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m statistic --mode nth -j DROP\nCOMMIT\n", `line 3: statistic without its "odds"`},
	{"a side of a set that is none", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m set --match-set a dst,srcc -j DROP\nCOMMIT\n", `line 3: match-set "srcc": invalid syntax`},
	{"an answer that is none", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REJECT --reject-with tcp-rset\nCOMMIT\n", `line 3: reject-with "tcp-rset": invalid syntax`},
	{"no address to go to", "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j DNAT\nCOMMIT\n", `line 3: target "without an address"`},
	{"counters alone", "*nat\n:OUTPUT ACCEPT [0:0]\n[1:60]\nCOMMIT\n", `line 3: counters without a rule`},
}

// What cannot be read is said with its line and its cause, and the rest stays readable.
func TestGarbledSave(t *testing.T) {
	for _, c := range garbledSaves {
		t.Run(c.name, func(t *testing.T) {
			// A second table shows that the rest is read.
			text := c.text + "\n*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j DROP\nCOMMIT\n"
			rs, gaps, err := Parse(map[string][]byte{"iptables-save": []byte(text)})
			if err != nil || len(gaps) == 0 || !strings.Contains(gaps[0].Reason, c.gap) || gaps[0].Part != "iptables-save" {
				t.Fatalf("gaps %+v, error %v; want %q", gaps, err, c.gap)
			}
			r := rs.Walk(nil, Packet{Dst: fuzzPackets()[0].Dst, Proto: flow.UDP}, nil)
			if r.Fate != FateDropped {
				t.Errorf("the rest was not read: %+v", r.Steps)
			}
		})
	}
}

// A rule that could not be read in full decides nothing: it is a choice that the trace
// names, and stays Unknown while both ways differ.
func TestGarbledRuleIsUnknown(t *testing.T) {
	for _, c := range []struct{ rule, options string }{
		{"-A OUTPUT -p tcp -m tcp --dport 8O -j DROP", "match no-match"},
		{"-A OUTPUT -p tcp -m u32 --u32 0x0=0x1 -j DROP", "match no-match"},
		{"-A OUTPUT -p tcp -m owner --uid-owner envoy -j DROP", "match no-match"},
		{"-A OUTPUT -p tcp -m set --match-set gone dst -j DROP", "match no-match"},
		{"-A OUTPUT -p tcp -m tcp --frobnicate 5 -j DROP", "match no-match"},
		{"-A OUTPUT -p tcp -j NFQUEUE --queue-num 1", "unknown no-match accept drop"},
		{"-A OUTPUT -p tcp -j NOWHERE", "unknown no-match accept drop"},
	} {
		rs, _, err := Parse(map[string][]byte{"iptables-save": []byte("*filter\n:OUTPUT ACCEPT [0:0]\n" + c.rule + "\nCOMMIT\n")})
		if err != nil {
			t.Fatal(err)
		}
		ch := &flow.Choices{}
		r := rs.Walk(nil, fuzzPackets()[0], ch)
		made := ch.Made()
		if len(made) != 1 || made[0].Choice.Kind != flow.Unmodelled || made[0].Choice.Ref != "ip filter OUTPUT 1" {
			t.Errorf("%s: choices %+v", c.rule, made)
			continue
		}
		var values []string
		for _, o := range made[0].Choice.Options {
			values = append(values, o.Value)
		}
		if strings.Join(values, " ") != c.options {
			t.Errorf("%s: options %v, want %s", c.rule, values, c.options)
		}
		last := r.Steps[len(r.Steps)-1]
		if len(last.Assumed) == 0 || !strings.HasPrefix(last.Assumed[0].Flag, `--pick "ip filter OUTPUT 1"=`) || last.Evidence[0].Text != c.rule {
			t.Errorf("%s: last step %+v", c.rule, last)
		}
		pinned := rs.Walk(nil, fuzzPackets()[0], &flow.Choices{Pick: flow.Pick{"ip filter OUTPUT 1": "no-match"}})
		if pinned.Fate != FateWire {
			t.Errorf("%s: pinned to no-match it ends %v", c.rule, pinned.Fate)
		}
	}
}

// A file that is none of iptables-save's is an error in one sentence.
func TestNoSave(t *testing.T) {
	for _, c := range []struct{ part, text string }{
		{"iptables-save", "<html>404</html>"}, {"ip6tables-legacy-save", "iptables: command not found\n"},
		{"nft.json", `{"nftables": [`}, {"nft.json", ""}, {"nft.json", "# a warning\n"}, {"nft.json", `{"configs": []}`},
	} {
		_, _, err := Parse(map[string][]byte{c.part: []byte(c.text)})
		if err == nil || !strings.HasPrefix(err.Error(), c.part+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %q: error %v", c.part, c.text, err)
		}
	}
	for _, empty := range []string{"", "\n", "# Generated by iptables-save v1.8.9 on Mon Nov 23\n# Completed\n"} {
		if _, gaps, err := Parse(map[string][]byte{"iptables-save": []byte(empty)}); err != nil || len(gaps) > 0 {
			t.Errorf("%q: %v %v", empty, gaps, err)
		}
	}
}

// Counters stand before a rule (-c), and `iptables -S` prints chains and policies its own
// way; line numbers count from 1.
func TestSaveForms(t *testing.T) {
	plain := "*nat\n:OUTPUT ACCEPT [0:0]\n:X - [0:0]\n-A OUTPUT -j X\n-A X -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"
	counted := "# Generated\n*nat\n:OUTPUT ACCEPT [53:3248]\n:X - [0:0]\n[9:540] -A OUTPUT -j X\n[0:0] -A X -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"
	listed := "*nat\n-P OUTPUT ACCEPT\n-N X\n-A OUTPUT -c 9 540 -j X\n-A X -p tcp -c 0 0 -j REDIRECT --to-ports 15001\nCOMMIT\n"
	crlf := strings.ReplaceAll(plain, "\n", "\r\n")
	for i, text := range []string{plain, counted, listed, crlf} {
		rs, gaps, err := Parse(map[string][]byte{"iptables-save": []byte(text)})
		if err != nil || len(gaps) > 0 {
			t.Fatalf("form %d: %v %v", i, gaps, err)
		}
		r := rs.Walk(nil, fuzzPackets()[0], nil)
		if got := strings.Join(hits(r), "; "); got != "ip nat OUTPUT 1; ip nat X 1" || r.To.Dst.String() != "127.0.0.1:15001" {
			t.Errorf("form %d: %s to %s", i, got, r.To.Dst)
		}
	}
	rs, _, _ := Parse(map[string][]byte{"iptables-save": []byte(counted)})
	if e := rs.Walk(nil, fuzzPackets()[0], nil).Steps[1].Evidence[0]; e.Source != "iptables-save" || e.Ref != "ip nat OUTPUT 1" || e.Text != "[9:540] -A OUTPUT -j X" {
		t.Errorf("evidence %+v", e)
	}
}

// Comments hold anything; only double quotes quote, and only a backslash inside escapes.
func TestWords(t *testing.T) {
	for line, want := range map[string]string{
		`-A X -m comment --comment "two words"`:        `-A|X|-m|comment|--comment|two words`,
		`--comment "it\'s -j \"DROP\" \\ x" -j RETURN`: `--comment|it's -j "DROP" \ x|-j|RETURN`,
		`--comment it's\ not quoted`:                   `--comment|it's\|not|quoted`,
		`--log-prefix "a b " -j`:                       `--log-prefix|a b |-j`,
		`a"b c"d  e`:                                   `ab cd|e`,
		"a\tb":                                         `a|b`,
		`""`:                                           ``,
	} {
		words, open := splitWords(line, nil)
		var got []string
		for _, w := range words {
			got = append(got, w.s)
		}
		if strings.Join(got, "|") != want || open {
			t.Errorf("%s: %q (open %v), want %s", line, got, open, want)
		}
	}
}

// A ! in quotes is a comment's, not a negation.
func TestCommentIsNoNegation(t *testing.T) {
	rs, gaps, err := Parse(map[string][]byte{"iptables-save": []byte("*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m comment --comment \"!\" -j DROP\nCOMMIT\n")})
	if err != nil || len(gaps) > 0 {
		t.Fatal(gaps, err)
	}
	if r := rs.Walk(nil, fuzzPackets()[0], nil); r.Fate != FateDropped {
		t.Errorf("fate %v", r.Fate)
	}
}
