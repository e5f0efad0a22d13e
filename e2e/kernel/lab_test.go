package kernel

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

const seedRules = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -j REDIRECT --to-ports 15006
-A OUTPUT -m owner --uid-owner 1337 -j RETURN
-A OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001
COMMIT
`

// The lab itself, on rules whose answers everybody knows, by both back ends.
func TestLab(t *testing.T) {
	l := New(t)
	at := netip.MustParseAddrPort
	for _, set := range []struct {
		name, prefix string
		text         Text
	}{{"nft", "", Text{V4: seedRules}}, {"legacy", "legacy ", Text{Legacy: seedRules}}} {
		t.Run(set.name, func(t *testing.T) {
			if _, err := l.Load(set.text); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				name string
				p    netfilter.Packet
				hits string
				fate netfilter.Fate
				dst  string
			}{
				{"app", netfilter.Packet{Src: at("0.0.0.0:20001"), Dst: at("10.107.42.16:80"), Proto: flow.TCP, UID: 1000}, "ip nat OUTPUT 2", netfilter.FateLocal, "127.0.0.1:15001"},
				{"proxy", netfilter.Packet{Src: at("0.0.0.0:20002"), Dst: at("10.107.42.16:80"), Proto: flow.TCP, UID: 1337}, "ip nat OUTPUT 1", netfilter.FateWire, "10.107.42.16:80"},
				{"loopback", netfilter.Packet{Src: at("0.0.0.0:20003"), Dst: at("127.0.0.1:80"), Proto: flow.TCP}, "", netfilter.FateLocal, "127.0.0.1:80"},
				{"datagram", netfilter.Packet{Src: at("0.0.0.0:20004"), Dst: at("10.107.42.16:53"), Proto: flow.UDP}, "", netfilter.FateWire, "10.107.42.16:53"},
				{"inbound", netfilter.Packet{Dir: flow.Inbound, In: "eth0", Src: at("10.107.42.16:20005"), Dst: at("10.244.1.8:80"), Proto: flow.TCP}, "ip nat PREROUTING 1", netfilter.FateLocal, "10.244.1.7:15006"},
				{"to nowhere", netfilter.Packet{Dir: flow.Inbound, In: "eth1", Src: at("10.9.0.1:20006"), Dst: at("10.96.0.1:80"), Proto: flow.UDP}, "", netfilter.FateDropped, ""},
			} {
				got, err := l.Run(c.p)
				if err != nil {
					t.Fatal(err)
				}
				hits := strings.ReplaceAll(strings.Join(got.Hits, ";"), "legacy ", "")
				if set.prefix != "" && len(got.Hits) > 0 && !strings.HasPrefix(got.Hits[0], set.prefix) {
					t.Errorf("%s: %q is not of the legacy back end", c.name, got.Hits)
				}
				dst := ""
				if got.Dst.IsValid() {
					dst = got.Dst.String()
				}
				if hits != c.hits || got.Fate != c.fate || dst != c.dst {
					t.Errorf("%s: got %q, fate %d, %s; want %q, fate %d, %s", c.name, hits, got.Fate, dst, c.hits, c.fate, c.dst)
				}
				if got.Accepted && got.OrigDst != c.p.Dst {
					t.Errorf("%s: SO_ORIGINAL_DST is %s, want %s", c.name, got.OrigDst, c.p.Dst)
				}
			}
		})
	}
}
