// Package live lists the connections that a pod had open when a snapshot was taken, as
// conntrack and the socket table show them.
package live

import (
	"encoding/json"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// Conn is one connection.
type Conn struct {
	Dir      flow.Direction
	Proto    flow.Proto
	Src, Dst netip.AddrPort // as its client made it
	To       netip.AddrPort // where it really went, after NAT; zero: not known
	State    string
	Bytes    uint64 // as conntrack counts them; 0: not counted
	UID, GID uint32
	Known    bool   // UID is
	Process  string // empty: not known
}

// NAT says whether its destination was changed.
func (c Conn) NAT() bool { return c.To.IsValid() && c.To != c.Dst }

// Established says whether both ends hold it: what ends or has not begun is not.
func (c Conn) Established() bool { return strings.HasPrefix(c.State, "ESTAB") }

// Request is the request that traces the connection's first packet.
func (c Conn) Request() flow.Request {
	return flow.Request{Dir: c.Dir, Src: c.Src, Dst: c.Dst, Proto: c.Proto, UID: c.UID, GID: c.GID}
}

// Connections lists what conntrack has, and of the socket table what it has not: a namespace
// whose rules need no conntrack tracks nothing. Established ones come first.
func Connections(s *rules.Snapshot) []Conn {
	own := Addresses(s.Files["addr.json"])
	out := conntrack(s.Files["conntrack"], own)
	users(s, out)
	out = append(out, untracked(s, out)...)
	sort.SliceStable(out, func(i, k int) bool { return rank(out[i]) < rank(out[k]) })
	return out
}

// rank puts what lives before what ends, and a pod's traffic before its loopback.
func rank(c Conn) int {
	n := 0
	if c.State != "" && !c.Established() {
		n++
	}
	if c.Src.Addr().IsLoopback() && c.Dst.Addr().IsLoopback() {
		n += 2
	}
	return n
}

// Addresses are those that `ip -j addr` lists, loopback and link-local ones left out.
func Addresses(raw []byte) []netip.Addr {
	var list []struct {
		Addrs []struct {
			Local string `json:"local"`
			Scope string `json:"scope"`
		} `json:"addr_info"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var own []netip.Addr
	for _, d := range list {
		for _, x := range d.Addrs {
			if a, err := netip.ParseAddr(x.Local); err == nil && !a.IsLoopback() && x.Scope != "link" {
				own = append(own, a)
			}
		}
	}
	return own
}

// Own says whether an address is the pod's own: one of these, or loopback.
func Own(a netip.Addr, own []netip.Addr) bool {
	for _, o := range own {
		if o == a {
			return true
		}
	}
	return a.IsLoopback()
}

// conntrack reads lines as /proc/net/nf_conntrack and conntrack -L print them: the
// original tuple, then the reply's. A line that has no two tuples is passed over.
func conntrack(file []byte, own []netip.Addr) []Conn {
	var out []Conn
	for _, l := range strings.Split(string(file), "\n") {
		if c, ok := conntrackLine(l, own); ok {
			out = append(out, c)
		}
	}
	return out
}

func conntrackLine(l string, own []netip.Addr) (Conn, bool) {
	var c Conn
	var tuples [2][4]string // src dst sport dport
	names := []string{"src", "dst", "sport", "dport"}
	n := -1
	for _, f := range strings.Fields(l) {
		k, v, pair := strings.Cut(f, "=")
		switch {
		case !pair && f == "tcp":
			c.Proto = flow.TCP
		case !pair && f == "udp":
			c.Proto = flow.UDP
		case !pair && n < 0 && strings.Trim(f, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "" && c.Proto != 0:
			c.State = f
		case k == "bytes":
			b, _ := strconv.ParseUint(v, 10, 64)
			c.Bytes += b
		case k == "src":
			n++
		}
		for i, name := range names {
			if pair && k == name && n >= 0 && n < 2 {
				tuples[n][i] = v
			}
		}
	}
	if n < 1 || c.Proto == 0 {
		return c, false
	}
	var ok [3]bool
	c.Src, ok[0] = tupleAddr(tuples[0][0], tuples[0][2])
	c.Dst, ok[1] = tupleAddr(tuples[0][1], tuples[0][3])
	c.To, ok[2] = tupleAddr(tuples[1][0], tuples[1][2])
	c.Dir = flow.Inbound
	if Own(c.Src.Addr(), own) {
		c.Dir = flow.Outbound
	}
	return c, ok[0] && ok[1] && ok[2]
}

func tupleAddr(a, port string) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(a)
	p, err2 := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(addr.WithZone(""), uint16(p)), err == nil && err2 == nil
}

// pair is both ends of a connection as one side's socket table has them.
type pair struct{ src, dst netip.AddrPort }

// untracked are the connections of the socket table that are not among those.
func untracked(s *rules.Snapshot, tracked []Conn) []Conn {
	if s.Host == nil {
		return nil
	}
	seen := map[pair]bool{}
	for _, c := range tracked {
		seen[pair{c.Src, c.Dst}], seen[pair{c.Src, c.To}] = true, true
	}
	listens := map[uint16]bool{}
	for _, k := range s.Host.Sockets {
		if strings.HasPrefix(k.State, "LISTEN") {
			listens[k.Local.Port()] = true
		}
	}
	var out []Conn
	for _, k := range s.Host.Sockets {
		if !strings.HasPrefix(k.State, "ESTAB") {
			continue
		}
		c := Conn{Dir: flow.Outbound, Proto: k.Proto, Src: k.Local, Dst: k.Peer, State: k.State, UID: k.UID, GID: k.GID, Known: k.Owned, Process: k.Process}
		if listens[k.Local.Port()] {
			c.Dir, c.Src, c.Dst = flow.Inbound, k.Peer, k.Local
		}
		if !seen[pair{c.Src, c.Dst}] {
			out = append(out, c)
		}
	}
	return out
}

// users finds whose sockets the connections are.
func users(s *rules.Snapshot, list []Conn) {
	if s.Host == nil {
		return
	}
	by := map[pair]int{}
	for i, k := range s.Host.Sockets {
		by[pair{k.Local, k.Peer}] = i
	}
	for i := range list {
		c := &list[i]
		if k, ok := by[pair{c.Src, c.Dst}]; ok && c.Dir == flow.Outbound {
			from := s.Host.Sockets[k]
			c.UID, c.GID, c.Known, c.Process = from.UID, from.GID, from.Owned, from.Process
		}
	}
}
