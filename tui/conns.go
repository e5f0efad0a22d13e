package tui

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// conn is a live connection as conntrack, or else the socket table, shows it.
type conn struct {
	dir      flow.Direction
	proto    flow.Proto
	src, dst netip.AddrPort // as its client made it
	to       netip.AddrPort // where it really went, after NAT
	state    string
	bytes    string // as conntrack counts them; empty: not counted
	uid      uint32
	known    bool // uid is
	process  string
	outcome  flow.Outcome // what a trace of it says
	traced   bool
	admin    bool // to Envoy's admin interface
}

// nat says whether its destination was changed.
func (c conn) nat() bool { return c.to.IsValid() && c.to != c.dst }

// request is the request that traces the connection's first packet.
func (c conn) request() flow.Request {
	return flow.Request{Dir: c.dir, Src: c.src, Dst: c.dst, Proto: c.proto, UID: c.uid}
}

// connections lists what is live, established connections first.
func connections(s *rules.Snapshot, own []netip.Addr) []conn {
	out := conntrack(s.Files["conntrack"], own)
	if len(out) == 0 {
		out = established(s, own)
	}
	users(s, out)
	sort.SliceStable(out, func(i, k int) bool { return rank(out[i]) < rank(out[k]) })
	return out
}

// rank puts what lives before what ends, and a pod's traffic before its loopback.
func rank(c conn) int {
	n := 0
	if c.state != "ESTABLISHED" && c.state != "ESTAB" && c.state != "" {
		n++
	}
	if c.src.Addr().IsLoopback() && c.dst.Addr().IsLoopback() {
		n += 2
	}
	return n
}

// conntrack reads lines as /proc/net/nf_conntrack and conntrack -L print them: the
// original tuple, then the reply's. A line that has no two tuples is passed over.
func conntrack(file []byte, own []netip.Addr) []conn {
	var out []conn
	for _, l := range strings.Split(string(file), "\n") {
		if c, ok := conntrackLine(l, own); ok {
			out = append(out, c)
		}
	}
	return out
}

func conntrackLine(l string, own []netip.Addr) (conn, bool) {
	var c conn
	var tuples [2][4]string // src dst sport dport
	names := []string{"src", "dst", "sport", "dport"}
	n := -1
	var bytes uint64
	for _, f := range strings.Fields(l) {
		k, v, pair := strings.Cut(f, "=")
		switch {
		case !pair && f == "tcp":
			c.proto = flow.TCP
		case !pair && f == "udp":
			c.proto = flow.UDP
		case !pair && n < 0 && strings.Trim(f, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "" && c.proto != 0:
			c.state = f
		case k == "bytes":
			b, _ := strconv.ParseUint(v, 10, 64)
			bytes += b
		case k == "src":
			n++
		}
		for i, name := range names {
			if pair && k == name && n >= 0 && n < 2 {
				tuples[n][i] = v
			}
		}
	}
	if n < 1 || c.proto == 0 {
		return c, false
	}
	var ok [4]bool
	c.src, ok[0] = tupleAddr(tuples[0][0], tuples[0][2])
	c.dst, ok[1] = tupleAddr(tuples[0][1], tuples[0][3])
	c.to, ok[2] = tupleAddr(tuples[1][0], tuples[1][2])
	if bytes > 0 {
		c.bytes = bytesWord(int64(min(bytes, 1<<62)))
	}
	c.dir = flow.Inbound
	if isOwn(c.src.Addr(), own) {
		c.dir = flow.Outbound
	}
	return c, ok[0] && ok[1] && ok[2]
}

func tupleAddr(a, port string) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(a)
	p, err2 := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(addr.WithZone(""), uint16(p)), err == nil && err2 == nil
}

// established are the connections of the socket table, where conntrack was not read.
func established(s *rules.Snapshot, own []netip.Addr) []conn {
	if s.Host == nil {
		return nil
	}
	listens := map[uint16]bool{}
	for _, k := range s.Host.Sockets {
		if strings.HasPrefix(k.State, "LISTEN") {
			listens[k.Local.Port()] = true
		}
	}
	var out []conn
	for _, k := range s.Host.Sockets {
		if !strings.HasPrefix(k.State, "ESTAB") {
			continue
		}
		c := conn{dir: flow.Outbound, proto: k.Proto, src: k.Local, dst: k.Peer, state: k.State, uid: k.UID, known: true, process: k.Process}
		if listens[k.Local.Port()] {
			c.dir, c.src, c.dst = flow.Inbound, k.Peer, k.Local
		}
		out = append(out, c)
	}
	return out
}

// users finds whose sockets the connections are.
func users(s *rules.Snapshot, list []conn) {
	if s.Host == nil {
		return
	}
	by := map[netip.AddrPort]int{}
	for i, k := range s.Host.Sockets {
		by[k.Local] = i
	}
	for i := range list {
		if k, ok := by[list[i].src]; ok && list[i].dir == flow.Outbound {
			list[i].uid, list[i].known, list[i].process = s.Host.Sockets[k].UID, true, s.Host.Sockets[k].Process
		}
	}
}

func isOwn(a netip.Addr, own []netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, o := range own {
		if o == a {
			return true
		}
	}
	return false
}
