package policy

import (
	"net"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

// draining is a connection that came in to a server that has closed its listener since: its two
// ends.
func draining(t *testing.T, l *lab.Lab, at string) (client, server net.Conn) {
	t.Helper()
	var ln net.Listener
	if err := l.PodSpace().DoAs(lab.AppUID, lab.AppUID, func() (err error) {
		ln, err = net.Listen("tcp", at)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := space(t, l.Out()).Do(func() (err error) {
		client, err = net.DialTimeout("tcp", at, 5*time.Second)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// goesOn sends a byte from the server to the client.
func goesOn(client, server net.Conn) error {
	if _, err := server.Write([]byte("x")); err != nil {
		return err
	}
	_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := client.Read(make([]byte, 1))
	return err
}

// from opens a connection out of the pod, past the proxy, from a port.
func from(t *testing.T, l *lab.Lab, port int) opened {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(lab.PodAddr), Port: port}, Timeout: 5 * time.Second}
	var c net.Conn
	if err := l.PodSpace().DoAs(appUID, appUID, func() (err error) {
		c, err = d.Dial("tcp", web.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return opened{"outbound", c}
}

// What came in goes on though nobody listens any more, as with a server that drains: conntrack
// knows who began, whatever the ports are; where it does not, the port range does.
func TestCloseOpenLeavesDraining(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  lab.Options
		// in are servers' ends, out is the port of a connection that leaves.
		in  []string
		out int
		// late: conntrack begins once the connections are there.
		late bool
	}{
		{"tracked", lab.Options{Scene: "mesh"}, []string{lab.PodAddr + ":9500", lab.PodAddr + ":40500", "[" + lab.PodAddr6 + "]:9501"}, 20001, false},
		{"untracked", lab.Options{Scene: "auth", NoEnvoy: true}, []string{lab.PodAddr + ":9500", "[" + lab.PodAddr6 + "]:9501"}, 40601, false},
		{"tracked from the middle", lab.Options{Scene: "auth", NoEnvoy: true}, []string{lab.PodAddr + ":9500"}, 40601, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lab.New(t, c.opt)
			p := pod(t, l, local.Options{})
			if c.opt.Scene == "mesh" {
				if _, err := l.InPod("iptables-nft", "-t", "nat", "-I", "OUTPUT", "-d", web.Addr().String(), "-j", "RETURN"); err != nil {
					t.Fatal(err)
				}
			}
			ends := map[string][2]net.Conn{}
			for _, at := range c.in {
				client, server := draining(t, l, at)
				ends[at] = [2]net.Conn{client, server}
			}
			out := from(t, l, c.out)
			if c.late {
				if _, err := l.InPod("iptables-nft", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "RETURN"); err != nil {
					t.Fatal(err)
				}
			}
			for at, e := range ends {
				if err := goesOn(e[0], e[1]); err != nil {
					t.Fatalf("before: %s: %v", at, err)
				}
			}
			if n := tracked(t, l); (n > 0) != (c.name != "untracked") {
				t.Fatalf("conntrack holds %d connections: this pod does not show what it is to show", n)
			}
			got := apply(t, p, flow.StateApplied, change(flow.BlockAll, func(c *flow.Change) { c.CloseOpen = true })).Open
			if got != (flow.OpenCount{Before: 1, Closed: 1}) {
				t.Errorf("ended %+v, not the one that leaves", got)
			}
			if over(out.conn) == "" {
				t.Error("the connection that leaves lives")
			}
			for at, e := range ends {
				if err := goesOn(e[0], e[1]); err != nil {
					t.Errorf("inbound to %s ended: %v", at, err)
				}
			}
		})
	}
}
