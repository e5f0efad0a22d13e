package netfilter

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// fuzzPackets are packets of every kind that a fuzzed rule set meets.
func fuzzPackets() []Packet {
	at := netip.MustParseAddrPort
	return []Packet{
		{Dst: at("10.107.42.16:80"), Proto: flow.TCP, UID: 1000},
		{Dst: at("10.244.1.7:8080"), Proto: flow.TCP, UID: 1337, GID: 1337, Mark: 0x539},
		{Dst: at("127.0.0.2:53"), Src: at("127.0.0.1:0"), Proto: flow.UDP, NoSocket: true},
		{Dst: at("[fd00:107::16]:443"), Proto: flow.TCP},
		{Dst: at("0.0.0.0:0"), Proto: 1},
		{Dir: flow.Inbound, Src: at("10.244.1.1:40000"), Dst: at("10.244.1.7:80"), Proto: flow.TCP},
		{Dir: flow.Inbound, Dst: at("[fd00:1::7]:80"), In: "eth0", Proto: flow.UDP},
		{Dir: flow.Inbound, Src: at("127.0.0.1:1"), Dst: at("10.9.9.9:80"), In: "nope", Proto: 132},
		{},
	}
}

// lawsOfWalk checks what holds for any input: Walk twice is the same, every way ends, a
// step names what it is, and every loser can be explained.
func lawsOfWalk(t *testing.T, rs *Ruleset, h *Host) {
	t.Helper()
	for _, p := range fuzzPackets() {
		ways := 0
		for ch := (&flow.Choices{}); ch != nil && ways < 6; ch = ch.Next() {
			ways++
			again := *ch
			a, b := rs.Walk(h, p, ch), rs.Walk(h, p, &again)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("Walk twice is not the same for %+v:\n%+v\n%+v", p, a, b)
			}
			if len(a.Steps) == 0 {
				t.Fatalf("no step for %+v", p)
			}
			for _, s := range a.Steps {
				if s.Stage == flow.StageNone || s.Subject == "" || (s.Explain == nil) != (len(s.Passed) == 0) {
					t.Fatalf("step %+v", s)
				}
				for _, m := range s.Passed[:min(len(s.Passed), 4)] {
					if e := s.Explain.Explain(m); e.Ref == "" {
						t.Fatalf("loser %+v of %s has no name", m, s.Subject)
					}
				}
			}
		}
	}
}

func fuzzHost(t testing.TB) *Host {
	h, _, err := ParseHost(truthHost)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// FuzzParseSave: no text makes Parse or Walk panic or hang, and what could not be read is
// said.
func FuzzParseSave(f *testing.F) {
	for name, data := range kernelSets(f) {
		if strings.HasSuffix(name, ".save") {
			f.Add(data)
		}
	}
	for _, s := range garbledSaves {
		f.Add([]byte(s.text))
	}
	h := fuzzHost(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, part := range []string{"iptables-save", "ip6tables-legacy-save"} {
			rs, _, err := Parse(map[string][]byte{part: data, "ipset": data})
			if err == nil {
				lawsOfWalk(t, rs, h)
			}
		}
	})
}

// FuzzParseNFT is the same for the JSON of nft.
func FuzzParseNFT(f *testing.F) {
	for name, data := range kernelSets(f) {
		if strings.HasSuffix(name, ".json") && len(data) < 20_000 {
			f.Add(data)
		}
	}
	c := readCorpus(f)
	for _, r := range c.Rules {
		f.Add(c.doc(f, r.Chain, r.Expr))
	}
	h := fuzzHost(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		rs, _, err := Parse(map[string][]byte{"nft.json": data})
		if err == nil {
			lawsOfWalk(t, rs, h)
		}
	})
}

// FuzzHost is the same for the parts of the host.
func FuzzHost(f *testing.F) {
	for _, part := range []string{"addr.json", "route.json", "sysctl", "sockets"} {
		f.Add(truthHost[part])
	}
	f.Add([]byte("net.ipv4.conf.all.route_localnet =\nnet.ipv4.conf.lo.rp_filter = x\n"))
	f.Add([]byte(someRules))
	f.Add([]byte(someRoutes))
	rs, _, err := Parse(map[string][]byte{"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m addrtype ! --dst-type LOCAL -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n*mangle\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp -m socket -j TPROXY --on-port 15006\nCOMMIT\n")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, part := range []string{"addr.json", "route.json", "route6.json", "rule.json", "rule6.json", "sysctl", "sockets", "conntrack"} {
			files := map[string][]byte{"addr.json": truthHost["addr.json"]}
			files[part] = data
			h, _, err := ParseHost(files)
			if err != nil {
				continue
			}
			lawsOfWalk(t, rs, h)
		}
	})
}
