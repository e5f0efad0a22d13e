package local

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/flow"
	"golang.org/x/net/dns/dnsmessage"
)

var _ inspect.Resolver = (*Pod)(nil)

// resolveWait bounds the look-up of one name with all its search domains.
const resolveWait = 15 * time.Second

// Resolve is what a process of the pod would get for a name: from its hosts file, else from
// its name servers, asked from inside the namespace by sockets of that user. The order of the
// addresses is nearly that of RFC 6724, section 6, which clients sort by.
func (p *Pod) Resolve(ctx context.Context, name string, uid, gid uint32) (flow.Named, error) {
	n := flow.Named{Name: name}
	if file, err := p.etc("hosts"); err == nil {
		if n.Addrs = hosts(file, name); len(n.Addrs) > 0 {
			n.By, n.Where = flow.NamedHosts, "/etc/hosts"
			p.order(ctx, &n)
			return n, nil
		}
	}
	file, err := p.etc("resolv.conf")
	if err != nil {
		return n, fmt.Errorf("/etc/hosts of the pod does not have it, and who its name servers are cannot be read: %w", err)
	}
	conf := resolvConf(file)
	if len(conf.servers) == 0 {
		return n, errors.New("/etc/hosts of the pod does not have it, and its /etc/resolv.conf names no name server")
	}
	ctx, stop := context.WithTimeout(ctx, resolveWait)
	defer stop()
	a := &asking{pod: p, conf: conf, uid: uid, gid: gid}
	var none []string
	for _, full := range conf.candidates(name) {
		got, err := a.both(ctx, full)
		if err != nil {
			return n, fmt.Errorf("ask for %s: %w", full, err)
		}
		if len(got.addrs) == 0 {
			none = append(none, full)
			continue
		}
		n.By, n.Full, n.Addrs, n.Server, n.Where = flow.NamedServer, got.name, got.addrs, got.server, got.server.String()
		n.UID, n.GID = a.uid, a.gid
		p.order(ctx, &n)
		return n, nil
	}
	return n, fmt.Errorf("%w: /etc/hosts of the pod does not have it, and its name server %s has no address for %s",
		inspect.ErrNotFound, conf.servers[0], strings.Join(none, ", "))
}

// order sorts the addresses as a client tries them: those with a route first, and of these by
// the precedence of RFC 6724, section 2.1. A datagram's socket is connected to learn of a
// route, which sends nothing.
func (p *Pod) order(ctx context.Context, n *flow.Named) {
	for i, a := range n.Addrs {
		n.Addrs[i] = a.Unmap()
	}
	routed := map[netip.Addr]bool{}
	for _, a := range n.Addrs {
		conn, err := p.dialIn(ctx, "udp", netip.AddrPortFrom(a, 53))
		if routed[a] = err == nil; err == nil {
			_ = conn.Close()
		}
	}
	rank := func(a netip.Addr) int {
		switch {
		case !routed[a]:
			return 3
		case a.Is6() && a.IsPrivate(): // fc00::/7
			return 2
		case a.Is4():
			return 1
		}
		return 0
	}
	slices.SortStableFunc(n.Addrs, func(a, b netip.Addr) int { return cmp.Compare(rank(a), rank(b)) })
	for _, a := range n.Addrs {
		if !routed[a] {
			n.NoRoute++
		}
	}
}

// dialIn opens a connection inside the namespace.
func (p *Pod) dialIn(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	err := p.space.Do(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, to.String())
		return err
	})
	return conn, err
}

// asking is the look-up of one name.
type asking struct {
	pod      *Pod
	conf     conf
	uid, gid uint32 // of the sockets; our own where we may not become another
}

// answered is what a server said of one name.
type answered struct {
	name   string // behind its aliases
	addrs  []netip.Addr
	server netip.AddrPort
}

// both asks for the IPv4 and the IPv6 addresses of one full name.
func (a *asking) both(ctx context.Context, full string) (answered, error) {
	var out answered
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		got, err := a.servers(ctx, full, kind)
		if err != nil {
			return out, err
		}
		if len(got.addrs) > 0 && out.name == "" {
			out.name, out.server = got.name, got.server
		}
		out.addrs = append(out.addrs, got.addrs...)
	}
	return out, nil
}

// servers asks one server after the other, as often as resolv.conf says (resolv.conf(5)).
func (a *asking) servers(ctx context.Context, full string, kind dnsmessage.Type) (answered, error) {
	var said []string
	for range a.conf.attempts {
		for _, s := range a.conf.servers {
			at := netip.AddrPortFrom(s, 53)
			got, err := a.exchange(ctx, at, full, kind)
			if err == nil {
				return got, nil
			}
			if ctx.Err() != nil {
				return got, fmt.Errorf("no answer within %s: %s", resolveWait, strings.Join(append(said, err.Error()), "; "))
			}
			if line := err.Error(); !slices.Contains(said, line) {
				said = append(said, line)
			}
		}
	}
	return answered{}, errors.New(strings.Join(said, "; "))
}

// exchange asks one server, by a datagram and, where its answer was cut, by a stream.
func (a *asking) exchange(ctx context.Context, at netip.AddrPort, full string, kind dnsmessage.Type) (answered, error) {
	name, err := dnsmessage.NewName(full)
	if err != nil {
		return answered{}, fmt.Errorf("%q is no name of DNS: %w", full, err)
	}
	q := dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	ctx, stop := context.WithTimeout(ctx, a.conf.timeout)
	defer stop()
	for _, network := range []string{"udp", "tcp"} {
		conn, err := a.dial(ctx, network, at)
		if err != nil {
			return answered{}, fmt.Errorf("name server %s: %w", at, err)
		}
		m, err := ask(ctx, conn, network == "tcp", q)
		_ = conn.Close()
		if err != nil {
			return answered{}, fmt.Errorf("name server %s: %w", at, a.mute(err))
		}
		if m.Truncated && network == "udp" {
			continue
		}
		switch m.RCode {
		case dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError:
			got := follow(m, name, kind)
			got.server = at
			return got, nil
		}
		return answered{}, fmt.Errorf("name server %s answers %s", at, strings.TrimPrefix(m.RCode.String(), "RCode"))
	}
	return answered{}, fmt.Errorf("name server %s: its answer is cut off", at)
}

// mute words why nothing came, without the ports, which are others each time.
func (a *asking) mute(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer within %s", a.conf.timeout)
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// dial opens the socket that asks as the user who would ask, or, without the power to, as our own.
func (a *asking) dial(ctx context.Context, network string, at netip.AddrPort) (conn net.Conn, err error) {
	dial := func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, at.String())
		return err
	}
	err = a.pod.space.DoAs(a.uid, a.gid, dial)
	if conn == nil && errors.Is(err, netns.ErrNoPower) {
		a.uid, a.gid = uint32(os.Geteuid()), uint32(os.Getegid())
		err = a.pod.space.Do(dial)
	}
	return conn, err
}

// etc is a file of the pod's /etc: of a process that in its own root, of a named namespace
// that in /etc/netns/NAME where there is one (ip-netns(8)), else the machine's. In a container
// the machine's are the pod's: kubelet and the runtime write them into each.
func (p *Pod) etc(file string) ([]byte, error) {
	if pid, ok := strings.CutPrefix(p.name, "pid "); ok {
		return os.ReadFile(filepath.Join("/proc", pid, "root/etc", file))
	}
	if name, ok := strings.CutPrefix(p.name, "netns "); ok {
		if data, err := os.ReadFile(filepath.Join("/etc/netns", name, file)); err == nil {
			return data, nil
		}
	}
	return os.ReadFile(filepath.Join("/etc", file))
}

// hosts are the addresses that a hosts file has for a name (hosts(5)).
func hosts(file []byte, name string) []netip.Addr {
	var out []netip.Addr
	sc := bufio.NewScanner(bytes.NewReader(file))
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		for i := 1; i < len(f); i++ {
			a, err := netip.ParseAddr(f[0])
			if err == nil && strings.EqualFold(f[i], strings.TrimSuffix(name, ".")) && !slices.Contains(out, a) {
				out = append(out, a)
				break
			}
		}
	}
	return out
}

// conf is what of resolv.conf(5) decides which names are asked for, and whom.
type conf struct {
	servers  []netip.Addr // three at most
	search   []string
	ndots    int
	timeout  time.Duration // of one question
	attempts int           // how often each server is asked
}

// resolvConf reads resolv.conf(5), with glibc's bounds and defaults.
func resolvConf(file []byte) conf {
	c := conf{ndots: 1, timeout: 5 * time.Second, attempts: 2}
	sc := bufio.NewScanner(bytes.NewReader(file))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(c.servers) < 3 {
				c.servers = append(c.servers, a)
			}
		case "search", "domain": // the last one counts
			c.search = f[1:]
		case "options":
			for _, o := range f[1:] {
				c.option(o)
			}
		}
	}
	return c
}

func (c *conf) option(o string) {
	key, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	if err != nil {
		return
	}
	switch key {
	case "ndots":
		c.ndots = min(max(n, 0), 15)
	case "timeout":
		c.timeout = time.Duration(min(max(n, 1), 30)) * time.Second
	case "attempts":
		c.attempts = min(max(n, 1), 5)
	}
}

// candidates are the full names to ask for, in order: with at least ndots dots the name
// itself first, with fewer last.
func (c conf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var out []string
	for _, s := range c.search {
		if s != "." {
			out = append(out, name+"."+strings.Trim(s, ".")+".")
		}
	}
	if strings.Count(name, ".") >= c.ndots {
		return append([]string{name + "."}, out...)
	}
	return append(out, name+".")
}
