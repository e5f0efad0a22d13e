package tui

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func TestConntrack(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("10.244.1.7")}
	file := "tcp      6 431999 ESTABLISHED src=10.244.1.7 dst=10.107.42.16 sport=41822 dport=80 packets=5 bytes=400 src=127.0.0.1 dst=10.244.1.7 sport=15001 dport=41822 packets=4 bytes=800 [ASSURED] mark=0 use=1\n" +
		"ipv4     2 udp      17 20 src=10.244.1.1 dst=10.244.1.7 sport=5353 dport=53 [UNREPLIED] src=10.244.1.7 dst=10.244.1.1 sport=53 dport=5353 mark=0\n" +
		"conntrack v1.4.7: 2 flow entries\nicmp 1 29 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=1 src=2.2.2.2 dst=1.1.1.1 type=0 code=0 id=1\ntcp 6 1 SYN_SENT src=bad\n"
	got := conntrack([]byte(file), own)
	if len(got) != 2 {
		t.Fatalf("%d connections: %+v", len(got), got)
	}
	a, b := got[0], got[1]
	if a.dir != flow.Outbound || a.proto != flow.TCP || a.state != "ESTABLISHED" || a.dst != addr("10.107.42.16:80") || a.to != addr("127.0.0.1:15001") || !a.nat() || a.bytes != "1 kB" {
		t.Errorf("%+v", a)
	}
	if b.dir != flow.Inbound || b.proto != flow.UDP || b.nat() || b.src != addr("10.244.1.1:5353") {
		t.Errorf("%+v", b)
	}
}

func FuzzConntrack(f *testing.F) {
	f.Add("tcp 6 431999 ESTABLISHED src=10.244.1.7 dst=10.107.42.16 sport=41822 dport=80 src=127.0.0.1 dst=10.244.1.7 sport=15001 dport=41822")
	f.Add("udp src= dst= src= dst=")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range conntrack([]byte(s), nil) {
			if !c.src.IsValid() || !c.dst.IsValid() || !c.to.IsValid() {
				t.Errorf("%+v", c)
			}
			_ = connLine(c, 80)
		}
		_, _ = addresses([]byte(s))
	})
}
