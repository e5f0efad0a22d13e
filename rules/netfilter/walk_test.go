package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// way is where a walk ends, in a line.
func way(r Result) string {
	names := [...]string{"unknown", "local", "wire", "forward", "dropped", "rejected"}
	s := names[r.Fate]
	switch r.Fate {
	case FateLocal:
		s += " " + r.To.Dst.String()
	case FateWire, FateForward:
		s += " " + r.To.Out + " " + r.To.Src.Addr().String() + ">" + r.To.Dst.String()
	}
	return s
}

// save is a text of iptables-save: tables with their rules; chains are declared by use.
func save(tables map[string][]string) []byte {
	var b strings.Builder
	for _, name := range []string{"raw", "mangle", "nat", "filter", "security"} {
		rules, ok := tables[name]
		if !ok {
			continue
		}
		b.WriteString("*" + name + "\n")
		for _, r := range rules {
			if strings.HasPrefix(r, ":") {
				b.WriteString(r + "\n")
			}
		}
		seen := map[string]bool{}
		for _, r := range rules {
			if chain, _, _ := strings.Cut(r, " "); !strings.HasPrefix(r, ":") && !seen[chain] {
				seen[chain] = true
				fmt.Fprintf(&b, ":%s %s [0:0]\n", chain, map[bool]string{true: "ACCEPT", false: "-"}[slices.Contains(hookNames[:], chain)])
			}
		}
		for _, r := range rules {
			if !strings.HasPrefix(r, ":") {
				b.WriteString("-A " + r + "\n")
			}
		}
		b.WriteString("COMMIT\n")
	}
	return []byte(b.String())
}

type tables = map[string][]string

func must(t testing.TB, files map[string][]byte) *Ruleset {
	t.Helper()
	rs, gaps, err := Parse(files)
	if err != nil || len(gaps) > 0 {
		t.Fatal(gaps, err)
	}
	return rs
}

// What the kernel does on a packet's way, beyond single matches; each row names the fact.
func TestWays(t *testing.T) {
	h := host(t, someHost)
	seed := tables{"nat": {"OUTPUT -m owner --uid-owner 1337 -j RETURN", "OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001"}}
	for _, c := range []struct {
		fact  string
		rules tables
		p     Packet
		hits  string
		want  string
	}{
		{"the app is captured", seed, out("10.107.42.16:80"), "nat OUTPUT 2", "local 127.0.0.1:15001"},
		{"the proxy leaves", seed, out("10.107.42.16:80", uid(1337)), "nat OUTPUT 1", "wire eth0 10.244.1.7>10.107.42.16:80"},
		{"UDP leaves", seed, out("10.107.42.16:80", udp), "", "wire eth0 10.244.1.7>10.107.42.16:80"},
		{"127.0.0.1 is one address: 127.0.0.2 is captured too", seed, out("127.0.0.2:80"), "nat OUTPUT 2", "local 127.0.0.1:15001"},
		{"own address", seed, out("10.244.1.7:80"), "nat OUTPUT 2", "local 127.0.0.1:15001"},
		{"IPv6 is not seen by rules of IPv4", seed, out("[2001:db8::1]:80"), "", "wire eth0 fd00:1::7>[2001:db8::1]:80"},
		{"connect() to 0.0.0.0 means this host", seed, out("0.0.0.0:80"), "", "local 127.0.0.1:80"},
		{"-o names the first device for the whole of OUTPUT, and lo from POSTROUTING on",
			tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 1"}, "filter": {"OUTPUT -d 127.0.0.1 -o eth0", "OUTPUT -o lo"}, "mangle": {"POSTROUTING -o lo", "POSTROUTING -o eth0"}},
			out("9.9.9.9:80"), "nat OUTPUT 1; filter OUTPUT 1; mangle POSTROUTING 1", "local 127.0.0.1:1"},
		{"lo keeps conntrack and mark, without a socket; nat PREROUTING and INPUT never see it",
			tables{"raw": {"PREROUTING -m conntrack --ctstate NEW", "OUTPUT -m conntrack --ctstate INVALID"}, "mangle": {"OUTPUT -j MARK --set-xmark 0x5/0xffffffff", "INPUT -m mark --mark 0x5"}, "nat": {"PREROUTING -p tcp -j REDIRECT --to-ports 1", "INPUT -j RETURN"}},
			out("127.0.0.1:80"), "raw OUTPUT 1; mangle OUTPUT 1; raw PREROUTING 1; mangle INPUT 1", "local 127.0.0.1:80"},
		{"notrack skips nat; on lo it comes too late",
			tables{"raw": {"OUTPUT -p udp -j CT --notrack", "PREROUTING -j CT --notrack"}, "nat": {"OUTPUT -p udp -j REDIRECT --to-ports 1"}, "filter": {"OUTPUT -m conntrack --ctstate UNTRACKED", "INPUT -m conntrack --ctstate UNTRACKED", "INPUT -m connmark ! --mark 0x9"}},
			out("127.0.0.1:53", udp), "raw OUTPUT 1; filter OUTPUT 1; raw PREROUTING 1; filter INPUT 1", "local 127.0.0.1:53"},
		{"a mark set in mangle OUTPUT is routed again, one set in filter is not",
			tables{"mangle": {"OUTPUT -d 9.9.9.9 -j MARK --set-xmark 0x7000/0xffffffff"}, "filter": {"OUTPUT -d 8.8.8.8 -j MARK --set-xmark 0x7000/0xffffffff"}},
			out("9.9.9.9:80"), "mangle OUTPUT 1", "local 9.9.9.9:80"},
		{"", tables{"filter": {"OUTPUT -d 8.8.8.8 -j MARK --set-xmark 0x7000/0xffffffff"}}, out("8.8.8.8:80"), "filter OUTPUT 1", "wire eth0 10.244.1.7>8.8.8.8:80"},
		{"a source of loopback may not leave: dropped at the reroute", tables{"nat": {"OUTPUT -p tcp -j DNAT --to-destination 9.9.9.9:80"}}, out("127.0.0.1:80"), "nat OUTPUT 1", "dropped"},
		{"unless route_localnet is on for the device", tables{"nat": {"OUTPUT -p tcp -j DNAT --to-destination 10.9.9.9:80"}}, out("127.0.0.1:80"), "nat OUTPUT 1", "wire eth1 127.0.0.1>10.9.9.9:80"},
		{"DNAT to an own address comes back by lo", tables{"nat": {"OUTPUT -p tcp -j DNAT --to-destination 10.9.0.7:81"}}, out("9.9.9.9:80"), "nat OUTPUT 1", "local 10.9.0.7:81"},
		{"DNAT to another device", tables{"nat": {"OUTPUT -p tcp -j DNAT --to-destination 10.9.3.3"}}, out("9.9.9.9:80"), "nat OUTPUT 1", "wire eth1 10.244.1.7>10.9.3.3:80"},
		{"DNAT to where it goes anyway leaves the bit unset", tables{"nat": {"OUTPUT -p tcp -j DNAT --to-destination 9.9.9.9:80"}, "filter": {"OUTPUT -m conntrack --ctstate DNAT"}}, out("9.9.9.9:80"), "nat OUTPUT 1", "wire eth0 10.244.1.7>9.9.9.9:80"},
		{"and another port sets it", tables{"nat": {"OUTPUT -p tcp -j DNAT --to-destination 9.9.9.9:81"}, "filter": {"OUTPUT -m conntrack --ctstate DNAT"}}, out("9.9.9.9:80"), "nat OUTPUT 1; filter OUTPUT 1", "wire eth0 10.244.1.7>9.9.9.9:81"},
		{"a port inside the range is kept", tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 80-90"}}, out("9.9.9.9:90"), "nat OUTPUT 1", "local 127.0.0.1:90"},
		{"and one beyond gets the first", tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 80-90"}}, out("9.9.9.9:91"), "nat OUTPUT 1", "local 127.0.0.1:80"},
		{"without a port the port stays", tables{"nat": {"OUTPUT -p tcp -j REDIRECT"}}, out("9.9.9.9:91"), "nat OUTPUT 1", "local 127.0.0.1:91"},
		{"MASQUERADE takes the device's first address in the next hop's network", tables{"nat": {"POSTROUTING -o eth1 -j MASQUERADE"}}, out("10.9.9.9:80", from("10.244.1.8:40000")), "nat POSTROUTING 1", "wire eth1 10.9.0.7>10.9.9.9:80"},
		{"SNAT is seen by what comes out of lo", tables{"nat": {"POSTROUTING -j SNAT --to-source 10.9.0.7"}, "filter": {"INPUT -s 10.9.0.7"}}, out("127.0.0.1:80"), "nat POSTROUTING 1; filter INPUT 1", "local 127.0.0.1:80"},
		{"no route: connect() fails", nil, out("10.66.0.1:80"), "", "rejected"},
		{"REJECT answers", tables{"filter": {"OUTPUT -p tcp -j REJECT --reject-with tcp-reset"}}, out("9.9.9.9:80"), "filter OUTPUT 1", "rejected"},
		{"a policy drops", tables{"filter": {":OUTPUT DROP [0:0]", "OUTPUT -p udp -j ACCEPT"}}, out("9.9.9.9:80"), "", "dropped"},
		{"ACCEPT ends one chain only", tables{"mangle": {"OUTPUT -j ACCEPT", "OUTPUT -j DROP"}, "filter": {"OUTPUT -j DROP"}}, out("9.9.9.9:80"), "mangle OUTPUT 1; filter OUTPUT 1", "dropped"},
		// chains
		{"RETURN goes back to behind the jump", tables{"filter": {"OUTPUT -j X", "OUTPUT -j Y", "X -j RETURN", "X -j DROP", "Y -p tcp"}}, out("9.9.9.9:80"), "filter OUTPUT 1; filter X 1; filter OUTPUT 2; filter Y 1", "wire eth0 10.244.1.7>9.9.9.9:80"},
		{"after goto, back to behind the last jump", tables{"filter": {"OUTPUT -j X", "OUTPUT -p tcp", "X -g Y", "X -j DROP", "Y -p tcp"}}, out("9.9.9.9:80"), "filter OUTPUT 1; filter X 1; filter Y 1; filter OUTPUT 2", "wire eth0 10.244.1.7>9.9.9.9:80"},
		{"after goto out of the base chain, its policy", tables{"filter": {":OUTPUT DROP [0:0]", "OUTPUT -g Y", "OUTPUT -j ACCEPT", "Y -p tcp"}}, out("9.9.9.9:80"), "filter OUTPUT 1; filter Y 1", "dropped"},
		{"RETURN in a base chain is its policy", tables{"filter": {":OUTPUT DROP [0:0]", "OUTPUT -j RETURN", "OUTPUT -j ACCEPT"}}, out("9.9.9.9:80"), "filter OUTPUT 1", "dropped"},
		// marks
		{"MARK clears mask, flips value; CONNMARK saves and restores by masks",
			tables{"mangle": {"OUTPUT -j MARK --set-xmark 0x10/0xf0", "OUTPUT -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff", "OUTPUT -m connmark --mark 0x15", "OUTPUT -j MARK --set-xmark 0x0/0xffffffff", "OUTPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xf", "OUTPUT -m mark --mark 0x5"}, "nat": {"OUTPUT -d 1.1.1.1 -j RETURN"}},
			out("9.9.9.9:80", mark(0xa5)), "mangle OUTPUT 1; mangle OUTPUT 2; mangle OUTPUT 3; mangle OUTPUT 4; mangle OUTPUT 5; mangle OUTPUT 6", "wire eth0 10.244.1.7>9.9.9.9:80"},
		{"CONNMARK before conntrack does nothing", tables{"raw": {"OUTPUT -j CONNMARK --set-xmark 0x5/0xffffffff"}, "filter": {"OUTPUT -m connmark --mark 0x5"}}, out("9.9.9.9:80"), "raw OUTPUT 1", "wire eth0 10.244.1.7>9.9.9.9:80"},
		// from the wire
		{"REDIRECT takes the device's first address, whichever was asked for", tables{"nat": {"PREROUTING -p tcp -j REDIRECT --to-ports 15006"}}, in("10.244.1.8:80"), "nat PREROUTING 1", "local 10.244.1.7:15006"},
		{"of the device it came in by", tables{"nat": {"PREROUTING -p tcp -j REDIRECT --to-ports 15006"}}, in("10.244.1.7:80", dev("eth1"), from("10.9.0.1:9")), "nat PREROUTING 1", "local 10.9.0.7:15006"},
		{"DNAT to 127.0.0.1 is dropped without route_localnet", tables{"nat": {"PREROUTING -p tcp -j DNAT --to-destination 127.0.0.1:80"}}, in("10.244.1.7:80"), "nat PREROUTING 1", "dropped"},
		{"and comes in with it", tables{"nat": {"PREROUTING -p tcp -j DNAT --to-destination 127.0.0.1:80"}}, in("10.9.0.7:80", dev("eth1"), from("10.9.0.1:9")), "nat PREROUTING 1", "local 127.0.0.1:80"},
		{"forwarded", tables{"filter": {"FORWARD -i eth0 -o eth1", "INPUT -j DROP"}}, in("10.9.9.9:80"), "filter FORWARD 1", "forward eth1 10.244.1.1>10.9.9.9:80"},
		{"no route for a forwarded packet: answered", nil, in("10.66.0.1:80"), "", "rejected"},
		{"IPv6 does not forward here", nil, in("[2001:db8::1]:80"), "", "dropped"},
		{"own source from outside", nil, in("10.244.1.7:80", from("10.9.0.7:9")), "", "dropped"},
		{"reverse path filter of eth1", nil, in("10.9.0.7:80", dev("eth1"), from("9.9.9.9:9")), "", "dropped"},
		{"none of eth0", nil, in("10.244.1.7:80", from("10.9.3.3:9")), "", "local 10.244.1.7:80"},
		// TPROXY
		{"TPROXY to a transparent listener", tables{"mangle": {"PREROUTING -p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x1/0xffffffff"}, "filter": {"INPUT -m mark --mark 0x1"}}, in("10.244.1.7:80"), "mangle PREROUTING 1; filter INPUT 1", "local 10.244.1.7:80"},
		{"to one that is not: dropped", tables{"mangle": {"PREROUTING -p tcp -j TPROXY --on-port 15001"}}, in("10.244.1.7:80"), "mangle PREROUTING 1", "dropped"},
		{"to nothing: dropped", tables{"mangle": {"PREROUTING -p tcp -j TPROXY --on-port 15007"}}, in("10.244.1.7:80"), "mangle PREROUTING 1", "dropped"},
		{"a foreign address needs the mark's route", tables{"mangle": {"PREROUTING -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x7000/0xffffffff"}}, in("8.8.8.8:80"), "mangle PREROUTING 1", "local 8.8.8.8:80"},
		{"without it: dropped", tables{"mangle": {"PREROUTING -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x1/0xffffffff"}}, in("8.8.8.8:80"), "mangle PREROUTING 1", "dropped"},
	} {
		for _, back := range []struct{ part, prefix string }{{"iptables-save", "ip "}, {"iptables-legacy-save", "legacy ip "}} {
			want := ""
			if c.hits != "" {
				want = back.prefix + strings.ReplaceAll(c.hits, "; ", "; "+back.prefix)
			}
			ch := &flow.Choices{}
			r := must(t, map[string][]byte{back.part: save(c.rules)}).Walk(h, c.p, ch)
			if got := strings.Join(hits(r), "; "); got != want || way(r) != c.want || len(ch.Made()) > 0 {
				t.Errorf("%s (%s):\n got %s: %s %v\nwant %s: %s", c.fact, back.part, got, way(r), ch.Made(), want, c.want)
			}
		}
	}
}

// The same code walks IPv6; what differs is the kernel's.
func TestWays6(t *testing.T) {
	h := host(t, someHost)
	for _, c := range []struct {
		fact  string
		rules tables
		p     Packet
		want  string
	}{
		{"REDIRECT at OUTPUT goes to ::1", tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 15001"}}, out("[2001:db8::1]:80"), "local [::1]:15001"},
		{"at PREROUTING to the device's first address of fitting scope", tables{"nat": {"PREROUTING -p tcp -j REDIRECT --to-ports 15006"}}, in("[fd00:1::7]:80"), "local [fd00:1::7]:15006"},
		{"of link scope", tables{"nat": {"PREROUTING -p tcp -j REDIRECT --to-ports 15006"}}, in("[fe80::7]:80"), "local [fe80::7]:15006"},
		{"DNAT with brackets", tables{"nat": {"OUTPUT -p tcp -j DNAT --to-destination [fd00:1::9]:81"}}, out("[2001:db8::1]:80"), "wire eth0 fd00:1::7>[fd00:1::9]:81"},
		{"SNAT without", tables{"nat": {"POSTROUTING -j SNAT --to-source fe80::7"}}, out("[2001:db8::1]:80"), "wire eth0 fe80::7>[2001:db8::1]:80"},
	} {
		r := must(t, map[string][]byte{"ip6tables-save": save(c.rules)}).Walk(h, c.p, nil)
		if way(r) != c.want {
			t.Errorf("%s: %s, want %s", c.fact, way(r), c.want)
		}
	}
}

// security stands at 50 in legacy and at 150 in iptables-nft, around nat's source side.
func TestSecurityPriority(t *testing.T) {
	h := host(t, someHost)
	rules := save(tables{"nat": {"INPUT -j SNAT --to-source 10.9.0.7"}, "security": {"INPUT -j ACCEPT"}})
	for part, want := range map[string]string{
		"iptables-save":        "ip nat INPUT 1; ip security INPUT 1",
		"iptables-legacy-save": "legacy ip security INPUT 1; legacy ip nat INPUT 1",
	} {
		if got := strings.Join(hits(must(t, map[string][]byte{part: rules}).Walk(h, in("10.244.1.7:80"), nil)), "; "); got != want {
			t.Errorf("%s: %s, want %s", part, got, want)
		}
	}
}

// SO_ORIGINAL_DST asks conntrack in the default zone of the reply's direction.
func TestOriginalDst(t *testing.T) {
	h := host(t, someHost)
	redirect := "OUTPUT -p tcp -j REDIRECT --to-ports 15001"
	for _, c := range []struct {
		rules tables
		p     Packet
		want  string
		trk   flow.Answer
	}{
		{tables{"nat": {redirect}}, out("9.9.9.9:80"), "9.9.9.9:80", yes},
		{nil, out("127.0.0.1:80"), "invalid AddrPort", no},
		{tables{"nat": {redirect}, "raw": {"OUTPUT -j CT --zone 1"}}, out("9.9.9.9:80"), "invalid AddrPort", yes},
		{tables{"nat": {redirect}, "raw": {"OUTPUT -j CT --zone-orig 1"}}, out("9.9.9.9:80"), "9.9.9.9:80", yes},
		{tables{"nat": {redirect}, "raw": {"OUTPUT -j CT --zone-reply 1"}}, out("9.9.9.9:80"), "invalid AddrPort", yes},
		{tables{"nat": {"OUTPUT -p udp -j REDIRECT --to-ports 53"}}, out("9.9.9.9:53", udp), "invalid AddrPort", yes},
		{tables{"filter": {"INPUT -j ACCEPT"}}, in("10.244.1.7:80"), "invalid AddrPort", no},
		{tables{"filter": {"INPUT -m conntrack --ctstate NEW"}}, in("10.244.1.7:80"), "10.244.1.7:80", yes},
	} {
		r := must(t, map[string][]byte{"iptables-save": save(c.rules)}).Walk(h, c.p, nil)
		if r.OrigDst.String() != c.want || r.Tracked != c.trk {
			t.Errorf("%v: original %s tracked %v, want %s %v", c.rules, r.OrigDst, r.Tracked, c.want, c.trk)
		}
	}
}

// Two back ends at one priority: the order is a choice where it matters, and none where
// it does not.
func TestTwoBackEnds(t *testing.T) {
	h := host(t, someHost)
	both := func(nft, legacy tables) *Ruleset {
		return must(t, map[string][]byte{"iptables-save": save(nft), "iptables-legacy-save": save(legacy)})
	}
	rs := both(tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 1"}}, tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 2"}})
	var ways []string
	for ch := (&flow.Choices{}); ch != nil; ch = ch.Next() {
		r := rs.Walk(h, out("9.9.9.9:80"), ch)
		ways = append(ways, ch.Made()[0].Choice.Ref+"="+ch.Made()[0].Option().Value+" "+way(r))
		if a := r.Steps[1].Assumed; len(a) != 1 || a[0].Reason.Kind != flow.WhyOrder {
			t.Errorf("assumed %+v", a)
		}
	}
	if want := []string{"order ip nat OUTPUT=nft-first local 127.0.0.1:1", "order ip nat OUTPUT=legacy-first local 127.0.0.1:2"}; !slices.Equal(ways, want) {
		t.Errorf("%q, want %q", ways, want)
	}
	// RETURN in one does not protect from the other: both orders end alike, but not by the
	// same rules; where one of them has nothing to say, there is no choice.
	for _, c := range []struct {
		nft, legacy tables
		choices     int
		want        string
	}{
		{tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 1"}}, tables{"nat": {"OUTPUT -p udp -j REDIRECT --to-ports 2"}}, 0, "local 127.0.0.1:1"},
		{tables{"nat": {"OUTPUT -p tcp -j REDIRECT --to-ports 1"}}, tables{"nat": {"OUTPUT -m owner --uid-owner 1000 -j RETURN"}}, 1, "local 127.0.0.1:1"},
		{tables{"filter": {"OUTPUT -p udp -j DROP"}}, tables{"filter": {"OUTPUT -p tcp -j ACCEPT"}}, 0, "wire eth0 10.244.1.7>9.9.9.9:80"},
	} {
		ch := &flow.Choices{}
		r := both(c.nft, c.legacy).Walk(h, out("9.9.9.9:80"), ch)
		if way(r) != c.want || len(ch.Made()) != c.choices {
			t.Errorf("%v and %v: %s, choices %v", c.nft, c.legacy, way(r), ch.Made())
		}
	}
}

// A draw is a choice with its odds; a state is one with its condition.
func TestChances(t *testing.T) {
	h := host(t, someHost)
	rs := must(t, map[string][]byte{"iptables-save": save(tables{"nat": {
		"OUTPUT -p tcp -m statistic --mode random --probability 0.25000000000 -j REDIRECT --to-ports 1",
		"OUTPUT -p tcp -m limit --limit 5/sec -j REDIRECT --to-ports 2"}})})
	var got []string
	for ch := (&flow.Choices{}); ch != nil; ch = ch.Next() {
		r := rs.Walk(h, out("9.9.9.9:80"), ch)
		s := way(r)
		for _, m := range ch.Made() {
			s += fmt.Sprintf(" | %s %s=%s %d %s", m.Choice.Kind, m.Choice.Ref, m.Option().Value, m.Option().Weight, m.Option().When)
		}
		got = append(got, s)
	}
	want := []string{
		"local 127.0.0.1:1 | chance ip nat OUTPUT 1=match 536870912 ",
		"local 127.0.0.1:2 | chance ip nat OUTPUT 1=no-match 1610612736  | condition ip nat OUTPUT 2=match 0 ",
		"wire eth0 10.244.1.7>9.9.9.9:80 | chance ip nat OUTPUT 1=no-match 1610612736  | condition ip nat OUTPUT 2=no-match 0 limit exceeded",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	// The second leg's references are its own, and so are those of a second visit.
	p := out("9.9.9.9:80")
	p.Ref = "leg 2 "
	ch := &flow.Choices{}
	rs.Walk(h, p, ch)
	if ref := ch.Made()[0].Choice.Ref; ref != "leg 2 ip nat OUTPUT 1" {
		t.Errorf("reference %q", ref)
	}
	again := must(t, map[string][]byte{"iptables-save": save(tables{"mangle": {"OUTPUT -j X", "POSTROUTING -j X", "X -m u32 --u32 0=0"}})})
	ch = &flow.Choices{}
	again.Walk(h, out("9.9.9.9:80"), ch)
	if m := ch.Made(); len(m) != 2 || m[1].Choice.Ref != "ip mangle X 1 visit 2" {
		t.Errorf("choices %+v", m)
	}
}

// A step keeps the rules that were passed over since the last one, with what failed; one
// that failed a single condition is near.
func TestLosers(t *testing.T) {
	h := host(t, someHost)
	rs := must(t, map[string][]byte{"iptables-save": save(tables{"nat": {
		"OUTPUT -m owner --uid-owner 1337 -j RETURN", "OUTPUT -d 10.0.0.0/8 -p udp -j RETURN", "OUTPUT -j X", "OUTPUT -p tcp -m tcp --dport 81 -j REDIRECT", "X -o lo -j RETURN"}})})
	r := rs.Walk(h, out("9.9.9.9:80"), nil)
	var got []string
	for _, s := range r.Steps {
		for _, m := range s.Passed {
			e := s.Explain.Explain(m)
			got = append(got, fmt.Sprintf("%s < %s %v %q", s.Subject, e.Ref, m.Near, e.Reason.Args[:2]))
		}
		if s.PassedTotal != len(s.Passed) {
			t.Errorf("%s: %d of %d", s.Subject, len(s.Passed), s.PassedTotal)
		}
	}
	want := []string{
		`ip nat OUTPUT 3 < ip nat OUTPUT 1 true ["-m owner --uid-owner 1337" "1000"]`,
		`ip nat OUTPUT 3 < ip nat OUTPUT 2 false ["-d 10.0.0.0/8" "9.9.9.9"]`,
		`ip nat OUTPUT policy < ip nat X 1 true ["-o lo" "eth0"]`,
		`ip nat OUTPUT policy < ip nat OUTPUT 4 true ["--dport 81" "80"]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// Without routes, what is not local leaves by the only device that is not lo; without
// anything read, by eth0; and the trace says what it took for granted.
func TestUnreadHost(t *testing.T) {
	rs := must(t, map[string][]byte{"iptables-save": save(tables{"nat": {"OUTPUT -m addrtype ! --dst-type LOCAL -p tcp -j REDIRECT --to-ports 15001", "OUTPUT -s 10.0.0.0/8 -j RETURN", "OUTPUT -o eth0", "PREROUTING -p tcp -j REDIRECT --to-ports 15006"}})})
	addrs := map[string][]byte{"addr.json": truthHost["addr.json"]}
	for _, c := range []struct {
		name string
		h    *Host
		p    Packet
		want string
		kind flow.ReasonKind
	}{
		{"addresses only", host(t, addrs), out("9.9.9.9:80", udp), "wire eth0 10.244.1.7>9.9.9.9:80", flow.WhyOnlyDevice},
		{"addresses only, to the pod", host(t, addrs), in("10.244.1.7:80", dev("")), "local 10.244.1.7:15006", 0},
		{"all read, but neither end is known", host(t, truthHost), in("10.107.42.31:80", dev(""), from("0.0.0.0:0")), "local 10.244.1.7:15006", flow.WhyInDevice},
		{"nothing read", nil, in("10.244.1.7:80", dev("")), "local 10.244.1.7:15006", flow.WhyAddrAssumed},
		{"nothing read, own", nil, out("127.0.0.1:80"), "local 127.0.0.1:80", 0},
	} {
		r := rs.Walk(c.h, c.p, nil)
		if way(r) != c.want {
			t.Errorf("%s: %s, want %s", c.name, way(r), c.want)
		}
		found := c.kind == 0
		for _, s := range r.Steps {
			for _, a := range s.Assumed {
				found = found || a.Reason.Kind == c.kind
			}
		}
		if !found {
			t.Errorf("%s: nothing assumed: %+v", c.name, r.Steps)
		}
	}
	// Nobody knows whether the address is local: the rule is a choice.
	ch := &flow.Choices{}
	rs.Walk(nil, out("9.9.9.9:80"), ch)
	if m := ch.Made(); len(m) == 0 || m[0].Choice.Ref != "ip nat OUTPUT 1" {
		t.Errorf("choices %+v", m)
	}
}

// Chains that jump in circles, which no kernel loads, end the walk Unknown.
func TestCircles(t *testing.T) {
	for _, rules := range [][]string{{"OUTPUT -j X", "X -j X"}, {"OUTPUT -g X", "X -g Y", "Y -g X"}, {"OUTPUT -j X", "X -j Y", "X -j Y", "Y -j Z", "Y -j Z", "Z -j X"}} {
		if r := must(t, map[string][]byte{"iptables-save": save(tables{"filter": rules})}).Walk(nil, out("127.0.0.1:80"), nil); r.Fate != FateUnknown {
			t.Errorf("%v ends %s", rules, way(r))
		}
	}
}

func TestListening(t *testing.T) {
	h := host(t, someHost)
	for at, want := range map[string]string{
		"10.244.1.7:15006": "0.0.0.0:15006 yes", "127.0.0.1:8080": "127.0.0.1:8080 yes", "10.244.1.7:8080": "invalid AddrPort no", "10.244.1.7:9000": "[::]:9000 yes", "[fd00:1::7]:9000": "[::]:9000 yes", "[fd00:1::7]:15006": "invalid AddrPort no",
	} {
		s, a := h.Listening(flow.TCP, netip.MustParseAddrPort(at))
		if got := s.Local.String() + " " + a.String(); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	if _, a := (*Host)(nil).Listening(flow.TCP, netip.MustParseAddrPort("1.1.1.1:1")); a != flow.Maybe {
		t.Errorf("not read: %v", a)
	}
	if s := h.Sockets[0]; s.Process != "envoy" || s.PID != 7 || s.UID != 1337 || !s.Owned || s.Transparent != flow.Yes {
		t.Errorf("socket %+v", s)
	}
	for a, want := range map[string]flow.Answer{"10.244.1.8": yes, "10.244.1.9": no, "127.9.9.9": yes, "::1": yes, "fd00:1::7": yes, "fd00:1::8": no} {
		if got := h.IsLocal(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is local: %v, want %v", a, got, want)
		}
	}
	if a := (*Host)(nil).IsLocal(netip.MustParseAddr("10.0.0.1")); a != flow.Maybe {
		t.Errorf("not read: %v", a)
	}
}
