package rules

import (
	"fmt"
	"testing"
)

// The proxy's group is its process's where the reader shows it, not the number of its uid:
// Istio's TPROXY mode runs Envoy as root with a group of its own.
func TestProxyGroup(t *testing.T) {
	const row = "tcp LISTEN 0 4096 0.0.0.0:15001 0.0.0.0:* users:((\"envoy\",pid=7,fd=21)) uid:0%s ino:5 <->\n"
	for name, c := range map[string]struct {
		gid  string
		want uint32
	}{"shown": {" gid:1337", 1337}, "not shown": {"", 0}, "no number": {" gid:x", 0}} {
		sockets := "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n" + row
		s, err := ParseSnapshot(map[string][]byte{"sockets": []byte(fmt.Sprintf(sockets, c.gid))}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if o := s.owner; !o.known || o.uid != 0 || o.gid != c.want {
			t.Errorf("%s: %+v, want gid %d", name, o, c.want)
		}
	}
}
