package policy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
)

// pushed is a connection on which one side sends all the time, and how the other fared.
type pushed struct {
	what string
	got  int // bytes
	err  error
}

// pushes are streams that go on until stop is closed.
type pushes struct {
	stop chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	all  []*pushed
}

// push starts a server of a user in one namespace and a client in another. The server sends
// without being asked: of an inbound connection the pod's own packet comes first.
func (p *pushes) push(t *testing.T, what string, from *netns.Space, at string, to *netns.Space, uid uint32) {
	t.Helper()
	var ln net.Listener
	if err := from.DoAs(lab.AppUID, lab.AppUID, func() (err error) {
		ln, err = net.Listen("tcp", at)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	p.wg.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
			}
			if _, err := c.Write(make([]byte, 100)); err != nil {
				return // the client tells
			}
		}
	})
	var c net.Conn
	if err := to.DoAs(uid, uid, func() (err error) {
		c, err = net.DialTimeout("tcp", ln.Addr().String(), 5*time.Second)
		return err
	}); err != nil {
		t.Fatal(what, err)
	}
	p.read(what, c)
}

// read counts what comes until the other side closes.
func (p *pushes) read(what string, c net.Conn) {
	one := &pushed{what: what}
	p.all = append(p.all, one)
	p.wg.Go(func() {
		defer c.Close()
		buf := make([]byte, 4096)
		for {
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := c.Read(buf)
			p.mu.Lock()
			one.got += n
			if err != nil && !errors.Is(err, io.EOF) {
				one.err = err
			}
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
}

// talk keeps a connection to the lab's echo server busy.
func (p *pushes) talk(t *testing.T, l *lab.Lab, what string) {
	t.Helper()
	var c net.Conn
	if err := l.PodSpace().DoAs(appUID, appUID, func() (err error) {
		c, err = net.DialTimeout("tcp", echo.String(), 5*time.Second)
		return err
	}); err != nil {
		t.Fatal(what, err)
	}
	p.wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				c.Close()
				return
			case <-tick.C:
			}
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		}
	})
	p.read(what, c)
}

// more waits until every stream has brought more bytes, and fails for one that does not.
func (p *pushes) more(t *testing.T, when string) {
	t.Helper()
	was := p.bytes()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		still := ""
		for i, n := range p.bytes() {
			if n < was[i]+10 {
				still += " " + p.all[i].what
			}
		}
		if still == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: nothing comes any more:%s", when, still)
		}
	}
}

func (p *pushes) bytes() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]int, len(p.all))
	for i, one := range p.all {
		out[i] = one.got
	}
	return out
}

// Streams that are open go on through every policy that is not asked to end them: what comes
// in, the loopback's, and the app's own; also where conntrack was idle, so that the first
// packet that it sees is the pod's own of an inbound stream.
func TestStreamsGoOn(t *testing.T) {
	for _, s := range scenes(lab.NFT) {
		t.Run(s.name, func(t *testing.T) {
			l := lab.New(t, s.opt)
			p := pod(t, l, local.Options{})
			out := space(t, l.Out())
			streams := &pushes{stop: make(chan struct{})}
			streams.push(t, "inbound", l.PodSpace(), lab.PodAddr+":9500", out, 0)
			streams.push(t, "inbound6", l.PodSpace(), "["+lab.PodAddr6+"]:9500", out, 0)
			streams.push(t, "loopback", l.PodSpace(), "127.0.0.1:9501", l.PodSpace(), appUID)
			if s.open {
				streams.talk(t, l, "outbound")
			}
			streams.more(t, "before")
			if n := tracked(t, l); !s.proxied && n != 0 {
				t.Errorf("conntrack holds %d connections already: this pod does not show what it is to show", n)
			}
			for _, c := range []flow.Change{change(flow.BlockAll), change(flow.BlockAll, func(c *flow.Change) { c.Strong = true }), change(flow.AllowAll)} {
				apply(t, p, flow.StateApplied, c)
				streams.more(t, c.Kind.String())
				apply(t, p, flow.StateNone, change(flow.Restore))
				streams.more(t, "restored")
			}
			close(streams.stop)
			streams.wg.Wait()
			for _, one := range streams.all {
				if one.err != nil && !errors.Is(one.err, net.ErrClosed) {
					t.Errorf("%s: %v", one.what, one.err)
				}
			}
		})
	}
}

func space(t *testing.T, name string) *netns.Space {
	t.Helper()
	s, err := netns.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// tracked is how many connections conntrack holds in the pod.
func tracked(t *testing.T, l *lab.Lab) (n int) {
	t.Helper()
	err := l.PodSpace().Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err == nil {
			_, err = fmt.Sscan(strings.TrimSpace(string(text)), &n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The strong block takes the proxy's own connections and UDP too; what comes in is still
// answered.
func TestStrong(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := pod(t, l, local.Options{})
	udp := flow.Request{Dst: at(echo, 7002), Proto: flow.UDP, UID: appUID, GID: appUID}
	if a, err := l.Send(t.Context(), udp); err != nil || a.TCP != flow.TCPOK {
		t.Fatalf("before: %+v, %v", a, err)
	}
	asks := udpClient(t, l)
	apply(t, p, flow.StateApplied, change(flow.BlockAll))
	if err := asks(); err != nil {
		t.Errorf("the plain block: a client outside gets no answer over UDP: %v", err)
	}
	apply(t, p, flow.StateNone, change(flow.Restore))
	got := apply(t, p, flow.StateApplied, change(flow.BlockAll, func(c *flow.Change) { c.Strong = true }))
	// As the plan says ("udp answers").
	if err := asks(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the strong block: a client outside was answered over UDP: %v", err)
	}
	if covers, _ := egress.Reach(got.Change); !slices.Contains(covers, flow.Reach{What: "udp answers"}) {
		t.Errorf("it does not say that: %v", covers)
	}
	if len(got.Proof) != 6 {
		t.Errorf("%+v", got.Proof)
	}
	for _, uid := range []uint32{appUID, lab.EnvoyUID, 0} {
		if a := ask(t, l, uid, web); a.TCP != flow.TCPRefused {
			t.Errorf("uid %d: %+v", uid, a)
		}
	}
	// The kernel tells the sender at once (EPERM): its own packet was dropped.
	if a, err := l.Send(t.Context(), udp); err != nil || a.TCP == flow.TCPOK || !strings.Contains(a.Err, "not permitted") {
		t.Errorf("UDP: %+v, %v", a, err)
	}
	in := flow.Request{Dir: flow.Inbound, Dst: netip.MustParseAddrPort(lab.PodAddr + ":8081"), Proto: flow.TCP, HTTP: &flow.HTTP{Authority: "app"}}
	if a, err := l.Send(t.Context(), in); err != nil || a.Code != 200 {
		t.Errorf("inbound: %+v, %v", a, err)
	}
	apply(t, p, flow.StateNone, change(flow.Restore))
	if a, err := l.Send(t.Context(), udp); err != nil || a.TCP != flow.TCPOK {
		t.Errorf("restored: %+v, %v", a, err)
	}
	if err := asks(); err != nil {
		t.Errorf("restored: a client outside gets no answer over UDP: %v", err)
	}
}

// udpClient is a client outside that asks a UDP server in the pod.
func udpClient(t *testing.T, l *lab.Lab) (asks func() error) {
	t.Helper()
	var server net.PacketConn
	if err := l.PodSpace().DoAs(lab.AppUID, lab.AppUID, func() (err error) {
		server, err = net.ListenPacket("udp", lab.PodAddr+":9600")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for buf := make([]byte, 100); ; {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return // the test is over
			}
			_, _ = server.WriteTo(buf[:n], from) // the client tells
		}
	}()
	var c net.Conn
	if err := space(t, l.Out()).Do(func() (err error) {
		c, err = net.Dial("udp", lab.PodAddr+":9600")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() error {
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		return err
	}
}
