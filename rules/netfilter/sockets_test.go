package netfilter

import "testing"

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
