package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
)

var _ inspect.Resolver = (*Pod)(nil)

// resolveWait bounds the look-up of one name with all its search domains.
const resolveWait = 5 * time.Second

// Resolve is what the pod's own processes would get for a name: its hosts file, then its
// name servers, asked from inside the namespace.
func (p *Pod) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	if file, err := p.etc("hosts"); err == nil {
		if found := hosts(file, name); len(found) > 0 {
			return found, nil
		}
	}
	file, err := p.etc("resolv.conf")
	if err != nil {
		return nil, fmt.Errorf("no name servers: %w", err)
	}
	conf := resolvConf(file)
	if len(conf.servers) == 0 {
		return nil, errors.New("resolv.conf names no name server")
	}
	ctx, stop := context.WithTimeout(ctx, resolveWait)
	defer stop()
	r := net.Resolver{PreferGo: true, StrictErrors: true, Dial: p.dialServer(conf.servers[0])}
	for _, full := range conf.candidates(name) {
		var found []netip.Addr
		if found, err = r.LookupNetIP(ctx, "ip", full); err == nil && len(found) > 0 {
			return found, nil
		}
		var de *net.DNSError
		if !errors.As(err, &de) || !de.IsNotFound {
			return nil, err
		}
	}
	return nil, err
}

// dialServer opens the connection to the pod's name server inside the namespace, whatever
// server this machine's own configuration would name.
func (p *Pod) dialServer(server netip.Addr) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var conn net.Conn
		err := p.space.Do(func() error {
			var d net.Dialer
			var err error
			conn, err = d.DialContext(ctx, network, netip.AddrPortFrom(server, 53).String())
			return err
		})
		return conn, err
	}
}

// etc is a file of the pod's /etc: of a process that in its own root, of a named namespace
// that in /etc/netns/NAME where there is one (ip-netns(8)), else the machine's.
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
			if a, err := netip.ParseAddr(f[0]); err == nil && strings.EqualFold(f[i], strings.TrimSuffix(name, ".")) {
				out = append(out, a)
				break
			}
		}
	}
	return out
}

// conf is what of resolv.conf(5) decides which names are asked for, and whom.
type conf struct {
	servers []netip.Addr
	search  []string
	ndots   int
}

func resolvConf(file []byte) conf {
	c := conf{ndots: 1}
	sc := bufio.NewScanner(bytes.NewReader(file))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				c.servers = append(c.servers, a)
			}
		case "search", "domain": // the last one counts
			c.search = f[1:]
		case "options":
			for _, o := range f[1:] {
				if v, ok := strings.CutPrefix(o, "ndots:"); ok {
					if n, err := strconv.Atoi(v); err == nil {
						c.ndots = min(max(n, 0), 15) // as glibc bounds it
					}
				}
			}
		}
	}
	return c
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
