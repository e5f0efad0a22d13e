package policy

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

// opened is a connection that an app holds open.
type opened struct {
	what string
	conn net.Conn
}

// holdOpen opens n connections of a kind as the app's user.
func holdOpen(t *testing.T, l *lab.Lab, n int, what string, dst netip.AddrPort, warm func(net.Conn) (net.Conn, error)) []opened {
	t.Helper()
	var out []opened
	for range n {
		var c net.Conn
		if err := l.PodSpace().DoAs(appUID, appUID, func() (err error) {
			c, err = net.DialTimeout("tcp", dst.String(), 5*time.Second)
			return err
		}); err != nil {
			t.Fatal(what, err)
		}
		t.Cleanup(func() { c.Close() })
		if warm != nil {
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			w, err := warm(c)
			if err != nil {
				t.Fatal(what, err)
			}
			_ = c.SetDeadline(time.Time{})
			c = w
		}
		out = append(out, opened{what, c})
	}
	return out
}

// get sends a request over a connection that stays open, and wants an answer.
func get(c net.Conn) (net.Conn, error) {
	_, err := status(c)
	return c, err
}

// status is the status of the answer to a request over a connection that stays open.
func status(c net.Conn) (int, error) {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: 10.107.42.16\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

func secure(c net.Conn) (net.Conn, error) {
	s := tls.Client(c, &tls.Config{ServerName: "secure.lab", InsecureSkipVerify: true})
	return s, s.Handshake()
}

// echoed sends a byte and wants it back.
func echoed(c net.Conn) (net.Conn, error) {
	if _, err := c.Write([]byte("x")); err != nil {
		return nil, err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return c, err
}

// over says how a connection ended; empty: it has not, within a second.
func over(c net.Conn) string {
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	_, err := io.Copy(io.Discard, c)
	switch {
	case err == nil:
		return "EOF"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ""
	}
	return err.Error()
}

// ends says of each connection how it ended.
func ends(all []opened) map[opened]string {
	out := map[opened]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, o := range all {
		wg.Go(func() {
			how := over(o.conn)
			mu.Lock()
			defer mu.Unlock()
			out[o] = how
		})
	}
	wg.Wait()
	return out
}

// mixed are 50 connections out of a mesh pod, of which 10 bypass the proxy.
func mixed(t *testing.T, l *lab.Lab) []opened {
	t.Helper()
	if _, err := l.InPod("iptables-nft", "-t", "nat", "-I", "OUTPUT", "-d", web.Addr().String(), "-j", "RETURN"); err != nil {
		t.Fatal(err)
	}
	out := holdOpen(t, l, 10, "idle", echo, nil)
	out = append(out, holdOpen(t, l, 10, "active", echo, echoed)...)
	out = append(out, holdOpen(t, l, 10, "HTTP", svc, get)...)
	out = append(out, holdOpen(t, l, 10, "TLS", netip.MustParseAddrPort("10.0.0.9:443"), secure)...)
	out = append(out, holdOpen(t, l, 5, "direct", web, nil)...)
	return append(out, holdOpen(t, l, 5, "direct over IPv6", web6, nil)...)
}

// busy keeps the active ones busy until they end.
func busy(all []opened) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, o := range all {
		if o.what == "active" {
			wg.Go(func() {
				for {
					if _, err := o.conn.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
	}
	return &wg
}

// Without being asked a block lets every open connection go on, and says how many they are.
// With --close-open none of 50 lives, the proxy has no socket left of them, and those of an
// exception, what came in and the loopback's go on.
func TestCloseOpen(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := pod(t, l, local.Options{})
	all := mixed(t, l)
	kept := holdOpen(t, l, 2, "excepted, through the proxy", at(echo, 7001), nil)
	kept = append(kept, holdOpen(t, l, 2, "excepted, direct", at(web, 15001), nil)...)
	kept = append(kept, holdOpen(t, l, 2, "loopback", netip.MustParseAddrPort("127.0.0.1:8081"), nil)...)
	var in net.Conn
	if err := space(t, l.Out()).Do(func() (err error) {
		in, err = net.Dial("tcp", lab.PodAddr+":8081")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, opened{"inbound", in})
	working := busy(all)
	except := func(c *flow.Change) {
		c.Except = []flow.Hole{{Prefix: netip.PrefixFrom(echo.Addr(), 32), Port: 7001}, {Prefix: netip.PrefixFrom(web.Addr(), 32), Port: 15001}}
	}
	if got := apply(t, p, flow.StateApplied, change(flow.BlockAll, except)).Open; got != (flow.OpenCount{Before: 50, Left: 50}) {
		t.Errorf("counted %+v", got)
	}
	for _, o := range all {
		if o.what == "idle" || o.what == "HTTP" {
			if _, err := map[string]func(net.Conn) (net.Conn, error){"idle": echoed, "HTTP": get}[o.what](o.conn); err != nil {
				t.Errorf("%s does not go on: %v", o.what, err)
			}
		}
	}
	apply(t, p, flow.StateNone, change(flow.Restore))
	got := apply(t, p, flow.StateApplied, change(flow.BlockAll, except, func(c *flow.Change) { c.CloseOpen = true })).Open
	if got != (flow.OpenCount{Before: 50, Closed: 50}) {
		t.Errorf("ended %+v", got)
	}
	awaitNone(t, l)
	for o, how := range ends(all) {
		if how == "" {
			t.Errorf("%s lives", o.what)
		}
	}
	working.Wait()
	for o, how := range ends(kept) {
		if how != "" {
			t.Errorf("%s ended: %s", o.what, how)
		}
	}
	apply(t, p, flow.StateNone, change(flow.Restore))
}

// What came in through the proxy goes on when what goes out is ended, and so does what a
// client outside opened to the app itself.
func TestCloseOpenLeavesInbound(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "both", Backend: lab.Legacy})
	p := pod(t, l, local.Options{})
	var in []opened
	for _, dst := range []string{lab.PodAddr + ":80", lab.PodAddr + ":8081"} {
		if err := space(t, l.Out()).Do(func() error {
			c, err := net.Dial("tcp", dst)
			in = append(in, opened{dst, c})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := get(in[0].conn); err != nil { // by Envoy, which keeps the connection
		t.Fatal(err)
	}
	out := holdOpen(t, l, 3, "outbound", echo, nil)
	got := apply(t, p, flow.StateApplied, change(flow.BlockAll, func(c *flow.Change) { c.CloseOpen = true })).Open
	if got != (flow.OpenCount{Before: 3, Closed: 3}) {
		t.Errorf("%+v", got)
	}
	for o, how := range ends(out) {
		if how == "" {
			t.Errorf("%s lives", o.what)
		}
	}
	for _, o := range in {
		if _, err := get(o.conn); err != nil {
			t.Errorf("inbound to %s: %v", o.what, err)
		}
	}
}

// awaitNone waits at most a second until the proxy has no socket of a connection out of the
// pod, but those of the exception.
func awaitNone(t *testing.T, l *lab.Lab) {
	t.Helper()
	for end := time.Now().Add(time.Second); ; time.Sleep(5 * time.Millisecond) {
		out, err := l.InPod("ss", "-Htn", "state", "connected", "sport", "=", ":15001")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out, "\n"); n == 2 {
			return
		} else if time.Now().After(end) {
			t.Fatalf("the proxy has %d sockets:\n%s", n, out)
		}
	}
}

// Connections that allow-all let around the proxy are ended when it is restored, if that is
// asked for, so that they enter it anew; those through it are not.
func TestRestoreClosesWhatWentAround(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := pod(t, l, local.Options{})
	proxied := holdOpen(t, l, 3, "proxied", echo, echoed)
	open := func(c *flow.Change) {
		c.All, c.Open = false, []flow.Hole{{Prefix: netip.PrefixFrom(web.Addr(), 32)}}
	}
	apply(t, p, flow.StateApplied, change(flow.AllowAll, open))
	around := holdOpen(t, l, 3, "around", web, nil)
	got := apply(t, p, flow.StateNone, change(flow.Restore, func(c *flow.Change) { c.CloseOpen = true })).Open
	if got != (flow.OpenCount{Before: 3, Closed: 3}) {
		t.Errorf("%+v", got)
	}
	for o, how := range ends(around) {
		if how == "" {
			t.Errorf("%s lives", o.what)
		}
	}
	for _, o := range proxied {
		if _, err := echoed(o.conn); err != nil {
			t.Errorf("%s: %v", o.what, err)
		}
	}
	if a := ask(t, l, appUID, web); a.Code != 200 || direct(a) {
		t.Errorf("restored: %+v", a)
	}
}

// A port that is used anew at once after allow-all takes the new way: where Envoy reset the
// connection, the entry that conntrack keeps of it for 10 s would lead the next one to Envoy
// again (nf_conntrack_proto_tcp.c: only who sent the reset itself begins anew).
func TestPortsUsedAnew(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "block-all"})
	p := pod(t, l, local.Options{})
	for range 5 {
		for port := uint16(45001); port < 45021; port++ {
			if peer := fromPort(t, l, port); peer != "" {
				t.Fatalf("blocked, and port %d got an answer from %s", port, peer)
			}
		}
		apply(t, p, flow.StateApplied, change(flow.AllowAll))
		for port := uint16(45001); port < 45021; port++ {
			if peer := fromPort(t, l, port); peer != fmt.Sprintf("%s:%d", lab.PodAddr, port) {
				t.Errorf("opened, and port %d got an answer from %q", port, peer)
			}
		}
		apply(t, p, flow.StateNone, change(flow.Restore))
	}
}

// fromPort sends a request from a port, and gives the client that the server saw; empty:
// there was no answer.
func fromPort(t *testing.T, l *lab.Lab, port uint16) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(lab.PodAddr), Port: int(port)}, Timeout: 5 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}}
	var c net.Conn
	if err := l.PodSpace().DoAs(appUID, appUID, func() (err error) {
		c, err = d.Dial("tcp", web.String())
		return err
	}); errors.Is(err, syscall.ECONNRESET) {
		return "" // Envoy was quicker
	} else if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetLinger(0) // no TIME_WAIT of ours: the port can be used at once
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	var seen lab.Seen
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
		return ""
	} else if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil {
		t.Fatal(err)
	}
	return seen.Peer
}
