package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/nameserver"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

func TestResolvConf(t *testing.T) {
	c := resolvConf([]byte("# x\nnameserver 10.96.0.10\nnameserver bad\nsearch a.svc.cluster.local svc.cluster.local.\noptions ndots:5 edns0 timeout:1 attempts:9\n"))
	if len(c.servers) != 1 || c.servers[0].String() != "10.96.0.10" || c.ndots != 5 || c.timeout != time.Second || c.attempts != 5 {
		t.Errorf("%+v", c)
	}
	for name, want := range map[string]string{
		"web":          "web.a.svc.cluster.local. web.svc.cluster.local. web.",
		"a.b.c.d.e.f":  "a.b.c.d.e.f. a.b.c.d.e.f.a.svc.cluster.local. a.b.c.d.e.f.svc.cluster.local.",
		"example.org.": "example.org.",
	} {
		if got := strings.Join(c.candidates(name), " "); got != want {
			t.Errorf("%s is asked for as %s, want %s", name, got, want)
		}
	}
	if c := resolvConf([]byte("options ndots:99\n")); c.ndots != 15 || len(c.candidates("x")) != 1 || c.attempts != 2 {
		t.Errorf("%+v", c)
	}
	if c := resolvConf([]byte(strings.Repeat("nameserver 10.0.0.1\n", 5))); len(c.servers) != 3 {
		t.Errorf("%d servers: resolv.conf(5) has three at most", len(c.servers))
	}
}

// dnsPod is a namespace with a route for 10.0.0.0/8, none for IPv6, and a hosts file and
// resolv.conf of its own.
func dnsPod(t *testing.T, resolv string) *Pod {
	power.Root(t)
	power.Tools(t, "ip", "iptables")
	name := fmt.Sprintf("mt-dns-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	for _, args := range [][]string{{"netns", "add", name}, {"-n", name, "link", "set", "lo", "up"}, {"-n", name, "route", "add", "10.0.0.0/8", "dev", "lo"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v %s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	etc := filepath.Join("/etc/netns", name)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(etc); _ = os.Remove("/etc/netns") })
	for file, data := range map[string]string{"hosts": "10.0.0.1 one\n", "resolv.conf": resolv} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Named(name, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// serve has a name server in the pod, at port 53 unless another is said.
func (p *Pod) serve(t *testing.T, zone nameserver.Zone, port int, stream bool) *nameserver.Server {
	t.Helper()
	var packets net.PacketConn
	var streams net.Listener
	if err := p.space.Do(func() (err error) {
		at := net.JoinHostPort("127.0.0.53", strconv.Itoa(port))
		if packets, err = net.ListenPacket("udp4", at); err == nil && stream {
			streams, err = net.Listen("tcp4", at)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s := nameserver.Serve(zone, packets, streams)
	t.Cleanup(s.Close)
	return s
}

const dnsConf = "nameserver 127.0.0.53\nsearch ns.svc\noptions ndots:2 timeout:1 attempts:1\n"

// The pod's own name server is asked, from inside the namespace, with the pod's search
// domains; its hosts file goes first. What has no route comes last.
func TestResolve(t *testing.T) {
	p := dnsPod(t, dnsConf)
	s := p.serve(t, nameserver.Zone{
		"web.ns.svc.": {"2001:db8::1", "10.107.42.16", "10.107.42.17", "192.0.2.1"}, "alias.ns.svc.": {"other.svc."}, "other.svc.": {"10.1.1.1"},
		"sick.ns.svc.": {"broken"}, "sick.": {"10.9.9.9"}, "one.ns.svc.": {"10.9.9.9"},
	}, 53, false)
	for host, want := range map[string]struct {
		by      flow.NamedBy
		full    string
		addrs   string
		noRoute int
	}{
		"one":        {flow.NamedHosts, "", "10.0.0.1", 0},
		"web":        {flow.NamedServer, "web.ns.svc.", "10.107.42.16 10.107.42.17 192.0.2.1 2001:db8::1", 2},
		"web.ns.svc": {flow.NamedServer, "web.ns.svc.", "10.107.42.16 10.107.42.17 192.0.2.1 2001:db8::1", 2},
		"alias":      {flow.NamedServer, "other.svc.", "10.1.1.1", 0},
	} {
		n, err := p.Resolve(t.Context(), host, 0, 0)
		var got []string
		for _, a := range n.Addrs {
			got = append(got, a.String())
		}
		if err != nil || n.By != want.by || n.Full != want.full || strings.Join(got, " ") != want.addrs || n.NoRoute != want.noRoute {
			t.Errorf("%s is %+v, %v, want %+v", host, n, err, want)
		}
	}
	if n, err := p.Resolve(t.Context(), "nowhere", 0, 0); !errors.Is(err, inspect.ErrNotFound) || !strings.Contains(err.Error(), "127.0.0.53 has no address for nowhere.ns.svc., nowhere.") {
		t.Errorf("nowhere is %v, %v", n, err)
	}
	// What a sick server would have said is not known: the next name's answer is not it.
	if n, err := p.Resolve(t.Context(), "sick", 0, 0); err == nil || errors.Is(err, inspect.ErrNotFound) || !strings.Contains(err.Error(), "ask for sick.ns.svc.: name server 127.0.0.53:53 answers ServerFailure") {
		t.Errorf("sick is %v, %v", n, err)
	}
	asked := s.Asked()
	if !slices.Contains(asked, "A web.ns.svc.") || !slices.Contains(asked, "AAAA nowhere.") || slices.Contains(asked, "A one.ns.svc.") || slices.Contains(asked, "A sick.") {
		t.Errorf("asked for %v", asked)
	}
}

// A server that does not answer is named, and the next one asked; an answer that was cut comes
// by a stream.
func TestResolveOtherwise(t *testing.T) {
	p := dnsPod(t, "nameserver 127.0.0.52\n"+dnsConf)
	p.serve(t, nameserver.Zone{"web.ns.svc.": {"10.107.42.16"}}, 53, true)
	n, err := p.Resolve(t.Context(), "web", 0, 0)
	if err != nil || n.Server.String() != "127.0.0.53:53" || n.Where != "127.0.0.53:53" || len(n.Addrs) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	dead := dnsPod(t, "nameserver 127.0.0.52\noptions timeout:1 attempts:1\n")
	if _, err := dead.Resolve(t.Context(), "web", 0, 0); err == nil || !strings.Contains(err.Error(), "ask for web.: name server 127.0.0.52:53: read: connection refused") {
		t.Errorf("%v", err)
	}
}

// Whose question the rules bring elsewhere gets what is answered there, as with a mesh's own
// name server.
func TestResolveAsUser(t *testing.T) {
	p := dnsPod(t, dnsConf)
	rule := []string{"netns", "exec", strings.TrimPrefix(p.Name(), "netns "), "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-m", "owner", "--uid-owner", "1000", "-j", "DNAT", "--to-destination", "127.0.0.53:15053"}
	if out, err := exec.Command("ip", rule...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.serve(t, nameserver.Zone{"web.ns.svc.": {"10.0.0.1"}}, 53, false)
	p.serve(t, nameserver.Zone{"web.ns.svc.": {"240.240.0.1"}}, 15053, false)
	for uid, want := range map[uint32]string{0: "10.0.0.1", 1000: "240.240.0.1"} {
		n, err := p.Resolve(t.Context(), "web", uid, 0)
		if err != nil || !slices.Equal(n.Addrs, []netip.Addr{netip.MustParseAddr(want)}) || n.UID != uid {
			t.Errorf("uid %d gets %+v, %v, want %s", uid, n, err, want)
		}
	}
}
