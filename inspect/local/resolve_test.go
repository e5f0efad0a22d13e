package local

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
	"golang.org/x/net/dns/dnsmessage"
)

func TestResolvConf(t *testing.T) {
	c := resolvConf([]byte("# x\nnameserver 10.96.0.10\nnameserver bad\nsearch a.svc.cluster.local svc.cluster.local.\noptions ndots:5 edns0\n"))
	if len(c.servers) != 1 || c.servers[0].String() != "10.96.0.10" || c.ndots != 5 {
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
	if c := resolvConf([]byte("options ndots:99\n")); c.ndots != 15 || len(c.candidates("x")) != 1 {
		t.Errorf("%+v", c)
	}
}

// The pod's own name server is asked, from inside the namespace, with the pod's search
// domains; its hosts file goes first.
func TestResolve(t *testing.T) {
	power.Root(t)
	power.Tools(t, "ip")
	name := "mt-dns-" + strconv.Itoa(os.Getpid())
	for _, args := range [][]string{{"netns", "add", name}, {"-n", name, "link", "set", "lo", "up"}} {
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
	for file, data := range map[string]string{"hosts": "10.0.0.1 one\n", "resolv.conf": "nameserver 127.0.0.53\nsearch ns.svc\noptions ndots:2\n"} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Named(name, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var server net.PacketConn
	if err := p.space.Do(func() (err error) {
		server, err = net.ListenPacket("udp4", "127.0.0.53:53")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 64)
	done := make(chan struct{})
	go func() { defer close(done); answer(server, asked) }()
	for host, want := range map[string]string{"one": "10.0.0.1", "web": "10.107.42.16", "web.ns.svc": "10.107.42.16"} {
		if got, err := p.Resolve(context.Background(), host); err != nil || !slices.Contains(got, netip.MustParseAddr(want)) {
			t.Errorf("%s is %v, %v, want %s", host, got, err, want)
		}
	}
	if got, err := p.Resolve(context.Background(), "nowhere"); err == nil {
		t.Errorf("nowhere is %v", got)
	}
	server.Close()
	<-done
	close(asked)
	var all []string
	for q := range asked {
		all = append(all, q)
	}
	if !slices.Contains(all, "web.ns.svc.") || !slices.Contains(all, "nowhere.") || slices.Contains(all, "one.") {
		t.Errorf("asked for %v", all)
	}
}

// answer is a name server that knows web.ns.svc. It ends when its socket is closed.
func answer(c net.PacketConn, asked chan<- string) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		asked <- q.Name.String()
		m.Response, m.Additionals = true, nil
		switch known := q.Name.String() == "web.ns.svc."; {
		case !known:
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{10, 107, 42, 16}}}}
		}
		if out, err := m.Pack(); err == nil {
			_, _ = c.WriteTo(out, from)
		}
	}
}
