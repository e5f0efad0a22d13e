package live

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

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
	if a.Dir != flow.Outbound || a.Proto != flow.TCP || a.State != "ESTABLISHED" || a.Dst != addr("10.107.42.16:80") || a.To != addr("127.0.0.1:15001") || !a.NAT() || a.Bytes != 1200 {
		t.Errorf("%+v", a)
	}
	if b.Dir != flow.Inbound || b.Proto != flow.UDP || b.NAT() || b.Src != addr("10.244.1.1:5353") {
		t.Errorf("%+v", b)
	}
}

// A redirected connection has two sockets in the pod, the application's and the proxy's, and
// is one connection. What conntrack does not hold, since it was idle, stands in the socket
// table alone; what closes is not established.
func TestConnections(t *testing.T) {
	s, err := rules.ParseSnapshot(map[string][]byte{
		"addr.json": []byte(`[{"ifname":"lo","addr_info":[{"local":"127.0.0.1","scope":"host"}]},{"ifname":"eth0","addr_info":[{"local":"10.244.1.7","scope":"global"},{"local":"fe80::1","scope":"link"}]}]`),
		"conntrack": []byte("tcp 6 431999 ESTABLISHED src=10.244.1.7 dst=10.107.42.16 sport=41822 dport=80 src=127.0.0.1 dst=10.244.1.7 sport=15001 dport=41822 [ASSURED]\n" +
			"tcp 6 100 TIME_WAIT src=10.244.1.7 dst=10.107.42.16 sport=41800 dport=80 src=127.0.0.1 dst=10.244.1.7 sport=15001 dport=41800 [ASSURED]\n"),
		"sockets": []byte(`LISTEN 0 4096 0.0.0.0:15001 0.0.0.0:* users:(("envoy",pid=7,fd=21)) uid:1337 ino:1
ESTAB 0 0 10.244.1.7:41822 10.107.42.16:80 users:(("curl",pid=9,fd=5)) uid:1000 ino:2
ESTAB 0 0 127.0.0.1:15001 10.244.1.7:41822 users:(("envoy",pid=7,fd=30)) uid:1337 ino:3
ESTAB 0 0 10.244.1.7:50000 10.9.9.9:443 users:(("java",pid=8,fd=6)) uid:101 ino:4
`),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := Connections(s)
	want := []Conn{
		{Proto: flow.TCP, Src: addr("10.244.1.7:41822"), Dst: addr("10.107.42.16:80"), To: addr("127.0.0.1:15001"), State: "ESTABLISHED", UID: 1000, Known: true, Process: "curl"},
		{Proto: flow.TCP, Src: addr("10.244.1.7:50000"), Dst: addr("10.9.9.9:443"), State: "ESTAB", UID: 101, Known: true, Process: "java"},
		{Proto: flow.TCP, Src: addr("10.244.1.7:41800"), Dst: addr("10.107.42.16:80"), To: addr("127.0.0.1:15001"), State: "TIME_WAIT"},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("connection %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if !got[1].Established() || got[2].Established() {
		t.Error("what is established")
	}
}

func FuzzConntrack(f *testing.F) {
	f.Add("tcp 6 431999 ESTABLISHED src=10.244.1.7 dst=10.107.42.16 sport=41822 dport=80 src=127.0.0.1 dst=10.244.1.7 sport=15001 dport=41822")
	f.Add("udp src= dst= src= dst=")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range conntrack([]byte(s), nil) {
			if !c.Src.IsValid() || !c.Dst.IsValid() || !c.To.IsValid() {
				t.Errorf("%+v", c)
			}
		}
		_ = Addresses([]byte(s))
	})
}
