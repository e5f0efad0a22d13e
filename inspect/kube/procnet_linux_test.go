package kube

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// The kernel's own text of a socket that listens, one that is connected and one of UDP.
func TestProcSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	six, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var text strings.Builder
	for _, f := range []string{"tcp", "tcp6", "udp", "udp6"} {
		raw, err := os.ReadFile("/proc/self/net/" + f)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("== " + f + "\n" + string(raw))
	}
	out, both, err := procSockets(text.String())
	if err != nil || !both {
		t.Fatalf("%v, both families %v", err, both)
	}
	for _, want := range []string{
		fmt.Sprintf("tcp LISTEN 0 0 %s 0.0.0.0:* uid:%d ino:", l.Addr(), os.Getuid()),
		fmt.Sprintf("tcp LISTEN 0 0 *:%d *:* uid:%d ino:", six.Addr().(*net.TCPAddr).Port, os.Getuid()),
		fmt.Sprintf("tcp ESTAB 0 0 %s %s uid:%d ino:", c.LocalAddr(), c.RemoteAddr(), os.Getuid()),
		fmt.Sprintf("udp UNCONN 0 0 %s 0.0.0.0:* uid:%d ino:", udp.LocalAddr(), os.Getuid()),
	} {
		if !strings.Contains(string(out), "\n"+want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, bad := range []string{"", "== tcp\n 0: 0100007F:ZZ 00000000:0000 0A 0:0 0:0 0 0 0 1\n", "== tcp\n 0: 01:0050 00000000:0000 0A 0:0 0:0 0 0 0 1\n"} {
		if out, _, err := procSockets(bad); err == nil {
			t.Errorf("%q: %s", bad, out)
		}
	}
}
