package netfilter

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// The forms of an address that ss and meshtop's own reader write, and what belongs to a row.
func TestParseSocket(t *testing.T) {
	for row, want := range map[string]Socket{
		`tcp LISTEN 0 4096 0.0.0.0:15001 0.0.0.0:* users:(("envoy",pid=7,fd=21)) uid:1337 gid:1338 ino:5 <->`: {Process: "envoy", PID: 7, UID: 1337, GID: 1338, Owned: true, Grouped: true},
		`LISTEN 0 5 0.0.0.0%eth0:80 0.0.0.0:* ino:5`:                                                          {Device: "eth0", Owned: true},
		`tcp LISTEN 0 5 [::]%eth0:80 [::]:* uid:0 ino:5`:                                                      {Device: "eth0", Owned: true},
		`tcp LISTEN 0 5 [fe80::1%eth0]:80 [::]:* ino:5`:                                                       {Device: "eth0", Owned: true},
		`tcp LISTEN 0 5 *:80 *:* uid:0 ino:5 v6only:0`:                                                        {Dual: true, Owned: true},
		`tcp LISTEN 0 5 [::]:80 [::]:* uid:0 ino:5`:                                                           {Owned: true},
		`udp UNCONN 0 0 127.0.0.53:53 0.0.0.0:* uid:0`:                                                        {},
		`tcp LISTEN 0 5 0.0.0.0:80 0.0.0.0:* gid:x ino:5`:                                                     {Owned: true},
	} {
		s, ok := parseSocket(row)
		if !ok {
			t.Errorf("%s: not read", row)
			continue
		}
		got := Socket{Process: s.Process, PID: s.PID, UID: s.UID, GID: s.GID, Owned: s.Owned, Grouped: s.Grouped, Device: s.Device, Dual: s.Dual}
		if got != want {
			t.Errorf("%s:\n%+v\nwant %+v", row, got, want)
		}
	}
}

// What no socket and no connection is, is a gap with its line; the rest is read, and a
// socket that is not among it may be among what was lost.
func TestGarbledHost(t *testing.T) {
	const good = "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\nu_str ESTAB 0 0 * 5 * 6\ntcp LISTEN 0 5 0.0.0.0:80 0.0.0.0:* ino:5\n\tcubic\n"
	const entry = "ipv4 2 tcp 6 107 TIME_WAIT src=127.0.0.6 dst=10.244.0.5 sport=1 dport=2 src=10.244.0.5 dst=127.0.0.6 sport=2 dport=1 mark=0 use=1\n"
	for _, c := range []struct{ part, text, want string }{
		{"sockets", good, ""},
		{"sockets", good + "tcp LISTEN 0 5 0.0.0.0:8O 0.0.0.0:*\r\nhello\n", `line 5: no socket as ss prints it: "tcp LISTEN 0 5 0.0.0.0:8O 0.0.0.0:*", and 1 more such lines`},
		{"sockets", good + "tcp LIS", `line 5: no socket as ss prints it: "tcp LIS"`},
		{"conntrack", "conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.\n" + entry, ""},
		{"conntrack", entry + "\x00\x01\n", `line 2: no line of conntrack: "\x00\x01"`},
		{"conntrack", entry + entry[:70] + "\n", `line 2: no line of conntrack: "` + entry[:70] + `"`},
	} {
		h, gaps, err := ParseHost(map[string][]byte{c.part: []byte(c.text)})
		got := ""
		for _, g := range gaps {
			got += g.Reason
			if g.Part != c.part || !g.Broken {
				t.Errorf("gap %+v", g)
			}
		}
		if err != nil || got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
		if c.part != "sockets" {
			continue
		}
		none := flow.No
		if c.want != "" {
			none = flow.Maybe
		}
		for port, want := range map[string]flow.Answer{"10.0.0.1:80": flow.Yes, "10.0.0.1:81": none} {
			if _, got := h.Listening(flow.TCP, netip.MustParseAddrPort(port)); got != want {
				t.Errorf("%q: listening at %s: %v, want %v", c.text, port, got, want)
			}
		}
	}
}
