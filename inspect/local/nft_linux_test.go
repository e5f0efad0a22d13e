package local

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect"
)

// within runs a program in the pod's namespace.
func within(t testing.TB, p *Pod, stdin string, argv ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
	err := p.space.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, stderr.String())
	}
	return out.String()
}

// byChain are the lines of a save: declared chains, and the rules of each chain in order.
func byChain(save string) (map[string][]string, []string) {
	rules, declared := map[string][]string{}, []string(nil)
	table := ""
	for l := range strings.Lines(save) {
		l = strings.TrimRight(l, " \n")
		switch {
		case strings.HasPrefix(l, "*"):
			table = l
		case strings.HasPrefix(l, ":"):
			declared = append(declared, table+l)
		case strings.HasPrefix(l, "["):
			chain := table + " " + strings.Fields(l)[2]
			rules[chain] = append(rules[chain], l)
		}
	}
	slices.Sort(declared)
	return rules, declared
}

// What is read from the kernel is, rule by rule, what iptables-nft-save prints, or is left
// to it: for the rule sets of real meshes, and for rules of every kind that is known.
func TestBigIsTheSave(t *testing.T) {
	power.Root(t)
	power.Tools(t, "iptables-nft-save", "iptables-nft-restore", "ip6tables-nft-restore", "nft")
	p := live(t, lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true}))
	known, all := 0, 0
	for name, text := range bigSets(t) {
		for _, v6 := range []bool{false, true} {
			if v6 != strings.Contains(name, ".v6.") {
				continue
			}
			all++
			tool, family := "iptables-nft", uint8(2)
			if v6 {
				tool, family = "ip6tables-nft", 10
			}
			within(t, p, "", "nft", "flush", "ruleset")
			within(t, p, text, tool+"-restore")
			b, err := readBig(p.space, 1<<20, 0)
			if errors.Is(err, errNotKnown) && strings.HasPrefix(name, "real ") {
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			known++
			rules, declared := byChain(string(b.text[family]))
			want, wantDeclared := byChain(within(t, p, "", tool+"-save", "-c"))
			if fmt.Sprint(rules) != fmt.Sprint(want) || !slices.Equal(declared, wantDeclared) {
				t.Errorf("%s:\n got %q\n     %q\nwant %q\n     %q", name, rules, declared, want, wantDeclared)
			}
		}
	}
	t.Logf("%d of %d rule sets are read without the tool", known, all)
	if known < all/3 {
		t.Error("too few rule sets are read")
	}
}

const knownRules = `*nat
:OTHER - [0:0]
-A PREROUTING -p tcp -m comment --comment "it's \"a\" \\ b" -j OTHER
-A PREROUTING -p udp -m comment --comment plain_0-Z -g OTHER
-A OUTPUT -p tcp -m tcp --sport 1:1023 --dport 80 -j REDIRECT --to-ports 15001
-A OUTPUT -p udp -m udp ! --dport 53 -j REDIRECT --to-ports 1000-2000
-A OUTPUT -p udp -m comment --comment x -m udp --dport 53 -j REDIRECT
-A OTHER ! -i lo -m mark --mark 0x1/0xff -j RETURN
-A OTHER -i eth+ -m mark ! --mark 0x2a -j ACCEPT
-A OTHER -m addrtype ! --dst-type LOCAL
-A OTHER -m addrtype --src-type LOCAL -j RETURN
-A OTHER -m conntrack ! --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED,SNAT,DNAT -j ACCEPT
-A OTHER -m statistic --mode random --probability 0.33333333349 -p tcp -j DNAT --to-destination ADDR1
-A OTHER -p tcp -j DNAT --to-destination ADDR2
-A POSTROUTING -m owner --uid-owner 1337 ! --gid-owner 5-7 -j MASQUERADE
-A POSTROUTING -p tcp -j MASQUERADE --to-ports 7-9 --random-fully
COMMIT
*filter
:INPUT DROP [0:0]
-A OUTPUT NETS -o lo -j DROP
-A OUTPUT -m mark --mark 0x0 -j MARK --set-xmark 0x4000/0xffffffff
COMMIT
*mangle
-A FORWARD ! -p tcp -j MARK --set-xmark 0x1/0x3
COMMIT
`

// bigSets are the rules of real meshes, and rules of every kind that is known.
func bigSets(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	four := strings.NewReplacer("ADDR1", "10.0.0.1", "ADDR2", "10.0.0.1:8080")
	six := strings.NewReplacer("ADDR1", "fd00::1", "ADDR2", "[fd00::1]:8080")
	for i, nets := range []string{"-s 10.1.2.3/32 -d 10.0.0.0/8", "! -s 10.128.0.0/9", "-d 10.1.0.0/16 -p tcp", "-s 10.1.2.0/24", "-d 10.1.2.128/25"} {
		out[fmt.Sprint("known ", i)] = four.Replace(strings.Replace(knownRules, "NETS", nets, 1))
	}
	for i, nets := range []string{"-s fd00::1/128 -d fd00::/8", "! -s fd00::/9 -d fd00:1::/64", "-d fd00::7/127 -p tcp"} {
		out[fmt.Sprint("known.v6.", i)] = six.Replace(strings.Replace(knownRules, "NETS", nets, 1))
	}
	for i, f := range packed.Files(t, "../../rules/netfilter/testdata/kernel.txtar.gz") {
		if strings.HasSuffix(f.Name, ".nft.save") && i%3 == 0 && !bytes.Contains(f.Data, []byte("--match-set")) {
			out["real "+f.Name] = string(f.Data)
		}
	}
	return out
}

// Many rules are read from the kernel, and the parts say the same as those of the tools.
func TestBigRead(t *testing.T) {
	power.Root(t)
	power.Tools(t, "iptables-nft-save", "iptables-nft-restore", "nft")
	p := live(t, lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true}))
	var b strings.Builder
	b.WriteString("*nat\n:TO - [0:0]\n")
	for i := range largeRules {
		fmt.Fprintf(&b, "-A OUTPUT -d 10.7.%d.%d/32 -p tcp -m tcp --dport 80 -j TO\n", i>>8, i&255)
	}
	b.WriteString("COMMIT\n")
	within(t, p, b.String(), "iptables-nft-restore")
	within(t, p, "add table inet own\nadd chain inet own o { type filter hook output priority 5; }\nadd rule inet own o counter\n", "nft", "-f", "-")
	s := read(t, p, inspect.Want{})
	rules, declared := byChain(string(s.Files["iptables-save"]))
	want, wantDeclared := byChain(within(t, p, "", "iptables-nft-save", "-c"))
	if fmt.Sprint(rules) != fmt.Sprint(want) || !slices.Equal(declared, wantDeclared) {
		t.Errorf("%d and %d rules of OUTPUT, chains %q and %q", len(rules["*nat OUTPUT"]), len(want["*nat OUTPUT"]), declared, wantDeclared)
	}
	nft := string(s.Files["nft.json"])
	if strings.Contains(nft, `"rule":{"family":"ip"`) || !strings.Contains(nft, `"counter"`) || !strings.Contains(nft, `"prio":-100`) {
		t.Errorf("nft.json: %.600s", nft)
	}
	if data, ok := s.Files["ip6tables-save"]; !ok || len(data) > 0 {
		t.Errorf("ip6tables-save: %v %q", ok, data)
	}
}

// Rules that nft put into a table of iptables are left to the tool where they do what
// iptables' do not: a text of them would say something else.
func TestBigLeavesNativeRules(t *testing.T) {
	power.Root(t)
	power.Tools(t, "nft")
	p := live(t, lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true}))
	for rule, known := range map[string]bool{
		`ip daddr 10.0.0.0/8 drop`: true, `ip daddr & 255.0.0.0 == 10.1.1.1 drop`: false, `oifname "eth+" drop`: false, `oifname "eth*" drop`: true, `oifname "INVAL/D" drop`: false,
		`ip ttl set 5 drop`: false, `meta mark set 1 drop`: false, `tcp dport { 80, 81 } drop`: false, `ip daddr 1.2.3.4 ip daddr 1.2.3.5 drop`: false, `udp length 5 drop`: false,
	} {
		within(t, p, "flush ruleset\nadd table ip filter\nadd chain ip filter OUTPUT { type filter hook output priority 0; }\nadd rule ip filter OUTPUT "+rule+"\n", "nft", "-f", "-")
		b, err := readBig(p.space, 1<<20, 0)
		if (err == nil) != known {
			t.Errorf("%s: %v %q", rule, err, b.text[2])
		}
	}
	within(t, p, "flush ruleset\ntable ip filter {\nflags dormant\n}\n", "nft", "-f", "-")
	if b, err := readBig(p.space, 1<<20, 0); err != nil || len(b.tables) != 1 || !b.tables[0].dormant {
		t.Errorf("a dormant table: %+v %v", b, err)
	}
}

// FuzzNFTRule: no bytes from the kernel make the writer panic, or write two lines.
func FuzzNFTRule(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add([]byte("\x14\x00\x01\x80\x0c\x00\x01\x00counter\x00\x04\x00\x02\x80"), true)
	f.Add([]byte("\x2c\x00\x01\x80\x0e\x00\x01\x00immediate\x00\x00\x00\x1c\x00\x02\x80\x08\x00\x01\x00\x00\x00\x00\x00\x10\x00\x02\x80\x0c\x00\x02\x80\x08\x00\x01\x00\x00\x00\x00\x01"), false)
	f.Add([]byte("\x24\x00\x01\x80\x09\x00\x01\x00meta\x00\x00\x00\x00\x14\x00\x02\x80\x08\x00\x02\x00\x00\x00\x00\x06\x08\x00\x01\x00\x00\x00\x00\x01"+
		"\x2c\x00\x01\x80\x08\x00\x01\x00cmp\x00\x20\x00\x02\x80\x08\x00\x01\x00\x00\x00\x00\x01\x08\x00\x02\x00\x00\x00\x00\x00\x0c\x00\x03\x80\x07\x00\x01\x00et\n\x00"), false)
	f.Fuzz(func(t *testing.T, exprs []byte, v6 bool) {
		r := nftRule{v6: v6}
		out, err := r.line(nil, "OUTPUT", exprs)
		if err == nil && bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%q", out)
		}
	})
}
