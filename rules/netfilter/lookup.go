package netfilter

import (
	"math/bits"

	"github.com/meshtop/meshtop/rules/flow"
)

// ready is the host, or one of which nothing was read where there is none. It must not
// change a host that others use.
func (h *Host) ready() *Host {
	if h != nil && h.families[0].rules != nil {
		return h
	}
	c := &Host{}
	if h != nil {
		c.Sockets, c.socketsRead, c.socketsLost = h.Sockets, h.socketsRead || h.Sockets != nil, h.socketsLost
	}
	c.complete()
	return c
}

// complete makes routes and rules of what was read where they were not: addresses are
// local, their networks are linked, and everything else leaves by the only other device.
func (h *Host) complete() {
	for i := range h.families {
		v6 := i == 1
		f := &h.families[i]
		if f.rules == nil {
			f.rules = []routeRule{{table: "local", suppress: -1}, {prio: 32766, table: "main", suppress: -1}, {prio: 32767, table: "default", suppress: -1}}
		}
		if f.tables == nil {
			f.tables = map[string][]route{}
		}
		if len(f.tables["local"]) == 0 {
			f.tables["local"] = h.localRoutes(v6)
		}
		if !f.read {
			f.tables["main"] = h.linkRoutes(v6)
		}
	}
}

func (h *Host) localRoutes(v6 bool) []route {
	one := allOnes(v6)
	out := []route{{kind: typeLocal, net: loopbackIP(v6), mask: one, bits: ones(one), dev: loopback, table: "local"}}
	if !v6 {
		out = append(out, route{kind: typeLocal, net: ip{0, 127 << 24}, mask: maskOf(8, false), bits: 8, dev: loopback, table: "local", src: loopbackIP(false), hasSrc: true})
	}
	for _, d := range h.devices {
		for _, a := range d.addrs {
			if a.v6 == v6 && !(d.loopback && a.addr == loopbackIP(v6)) {
				out = append(out, route{kind: typeLocal, net: a.addr, mask: one, bits: ones(one), dev: d.name, table: "local"})
			}
		}
	}
	return out
}

func (h *Host) linkRoutes(v6 bool) []route {
	var out []route
	var others []string
	for _, d := range h.devices {
		if d.loopback {
			continue
		}
		others = append(others, d.name)
		for _, a := range d.addrs {
			if m := maskOf(a.bits, v6); a.v6 == v6 && !(v6 && a.scope == 253) {
				out = append(out, route{kind: typeUnicast, net: a.addr.and(m), mask: m, bits: a.bits, dev: d.name, table: "main", guess: true})
			}
		}
	}
	if len(others) == 0 && h.devices == nil {
		others = []string{"eth0"}
	}
	def := route{kind: typeUnicast, table: "main", guess: true}
	for _, d := range others {
		def.hops = append(def.hops, routeHop{dev: d, weight: 1})
	}
	if len(others) > 0 {
		def.dev = others[0]
		out = append(out, def)
	}
	return out
}

// query is what a route is looked up by.
type query struct {
	src, dst     ip
	mark         uint32
	in           string // device it came in by; empty: made here
	uid          uint32
	proto        uint8
	sport, dport uint16
}

// lookup finds the route for a packet (net/core/fib_rules.c, net/ipv4/fib_trie.c).
func (h *Host) lookup(q query, v6 bool) route {
	f := &h.families[famIndex(v6)]
	strict := ""
	if v6 && q.in != "" && (scope6(q.dst) != 0 || q.dst.hi>>56 == 0xff) {
		strict = q.in // net/ipv6/route.c, rt6_need_strict: not beyond the device
	}
	at := 0
	for i := range f.rules {
		r := &f.rules[i]
		if r.prio < at || !r.fits(&q) {
			continue
		}
		switch {
		case r.jump > r.prio:
			at = r.jump
		case r.kind != 0:
			return route{kind: r.kind, table: "rule"}
		default:
			found := longest(f.tables[r.table], q.dst, strict)
			if found == nil || found.kind == typeThrow || r.suppress >= 0 && found.bits <= r.suppress {
				continue
			}
			out := *found
			out.viaRuleGuess = r.guess
			return out
		}
	}
	return route{}
}

func (r *routeRule) fits(q *query) bool {
	in := q.in
	if in == "" {
		in = loopback // packets made here look as if they came from lo (FLOWI_FLAG)
	}
	ok := q.src.and(r.srcMask) == r.src && q.dst.and(r.dstMask) == r.dst &&
		(!r.hasMark || (q.mark^r.mark)&r.mask == 0) &&
		(r.in == "" || r.in == in) && r.out == "" && !r.tos &&
		(r.proto == 0 || r.proto == q.proto) &&
		(!r.hasSport || r.sport.has(q.sport)) && (!r.hasDport || r.dport.has(q.dport)) &&
		(!r.hasUIDs || r.uids.has(q.uid))
	return ok != r.not
}

// longest is the most specific route, and of those the one of the lowest metric; dev, if
// not empty, is the only device that counts.
func longest(table []route, dst ip, dev string) *route {
	var best *route
	for i := range table {
		r := &table[i]
		if dev != "" && r.dev != dev {
			continue
		}
		if dst.and(r.mask) == r.net && (best == nil || r.bits > best.bits || r.bits == best.bits && r.metric < best.metric) {
			best = r
		}
	}
	return best
}

// hasType says whether an address is of one of the types, limited to a device if dev is
// not empty (xt_addrtype.c, match_type and match_type6).
func (h *Host) hasType(a ip, v6 bool, dev string, types uint16) flow.Answer {
	if v6 {
		return h.hasType6(a, dev, types)
	}
	return flow.Is(h.type4(a, dev)&types != 0).Or(h.unread(a, false))
}

// unread is Maybe for an address that could be the host's own and was not looked up.
func (h *Host) unread(a ip, v6 bool) flow.Answer {
	if h.devices != nil || h.families[famIndex(v6)].read {
		return flow.No
	}
	if !v6 && a.lo>>24 == 127 || v6 && a == loopbackIP(true) {
		return flow.No
	}
	return flow.Maybe
}

// type4 is the type of an IPv4 address (net/ipv4/fib_frontend.c, __inet_dev_addr_type).
func (h *Host) type4(a ip, dev string) uint16 {
	switch {
	case a.lo>>24 == 0, a.lo == 0xffffffff:
		return typeBroadcast
	case a.lo>>28 == 0xe:
		return typeMulticast
	}
	r := longest(h.families[0].tables["local"], a, "")
	if r == nil || dev != "" && dev != r.dev {
		return typeUnicast
	}
	return r.kind
}

func (h *Host) hasType6(a ip, dev string, types uint16) flow.Answer {
	multicast := a.hi>>56 == 0xff
	if types&typeMulticast != 0 && !multicast || types&typeUnicast != 0 && (multicast || a.zero()) || types&typeUnspec != 0 && !a.zero() {
		return flow.No
	}
	const looked = typeLocal | typeAnycast | typeUnreachable
	if types&looked == 0 {
		return flow.Yes
	}
	return flow.Is(types&h.type6(a, dev) != 0).Or(h.unread(a, true))
}

// type6 is what a route look-up says of an IPv6 address.
func (h *Host) type6(a ip, dev string) uint16 {
	out := uint16(0)
	if d := h.device(dev); d != nil {
		for _, x := range d.addrs {
			if x.v6 && x.addr == a {
				out |= typeLocal
			}
		}
	}
	switch r := h.lookup(query{dst: a}, true); {
	case r.kind == 0, r.kind == typeUnreachable, r.kind == typeBlackhole, r.kind == typeProhibit:
		out |= typeUnreachable
	case r.kind == typeLocal && dev == "":
		out |= typeLocal
	case r.kind == typeAnycast:
		out |= typeAnycast
	}
	return out
}

// sourceFor is the source address that the kernel chooses on a device towards dst.
func (h *Host) sourceFor(dev string, gw, dst ip, v6 bool) (ip, flow.Answer) {
	if h.devices == nil {
		return ip{}, flow.Maybe
	}
	if v6 {
		return h.source6(dev, dst)
	}
	// net/ipv4/devinet.c, inet_select_addr: of the device's primary addresses the one
	// whose network holds the next hop, else the first; else one of another device.
	var addr ip
	found := flow.No
	if d := h.device(dev); d != nil {
		for _, a := range d.addrs {
			if a.v6 || a.secondary || a.scope > 0 {
				continue
			}
			if m := maskOf(a.bits, false); gw.and(m) == a.addr.and(m) {
				return a.addr, flow.Yes
			}
			if found == flow.No {
				addr, found = a.addr, flow.Yes
			}
		}
	}
	if found == flow.Yes {
		return addr, found
	}
	for _, d := range h.devices {
		for _, a := range d.addrs {
			if !a.v6 && !a.secondary && a.scope == 0 {
				return a.addr, flow.Yes
			}
		}
	}
	return ip{}, flow.No
}

// source6 chooses by RFC 6724 as far as a pod's addresses differ: the address itself, a
// fitting scope, not deprecated, of the device, of the same kind, the longest prefix
// (net/ipv6/addrconf.c, ipv6_dev_get_saddr).
func (h *Host) source6(dev string, dst ip) (ip, flow.Answer) {
	var best [6]int
	var addr ip
	found := flow.No
	near := reach6(dst) <= 2 || dst.hi>>56 == 0xff
	for _, d := range h.devices {
		if near && d.name != dev {
			continue
		}
		for _, a := range d.addrs {
			if !a.v6 || a.tentative {
				continue
			}
			s := score6(a, dst, d.name == dev)
			if found == flow.No || better(s, best) {
				best, addr, found = s, a.addr, flow.Yes
			}
		}
	}
	return addr, found
}

func score6(a devAddr, dst ip, same bool) [6]int {
	is := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	want, has := reach6(dst), reach6(a.addr)
	scope := -has // larger than needed: the smaller the better
	if has < want {
		scope = has - 100 // too small: the larger the better, and worse than any that fits
	}
	common := bits.LeadingZeros64(a.addr.hi ^ dst.hi)
	if common == 64 {
		common += bits.LeadingZeros64(a.addr.lo ^ dst.lo)
	}
	return [6]int{is(a.addr == dst), scope, is(!a.deprecated), is(same), is(label6(a.addr) == label6(dst)), min(common, a.bits)}
}

func better(a, b [6]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return false
}

// reach6 is how far an address reaches: the scopes of RFC 4291.
func reach6(a ip) int {
	switch scope6(a) {
	case 0x10, 0x20:
		return 2 // ::1 reaches as far as the link (net/ipv6/addrconf_core.c)
	case 0x40:
		return 5
	}
	if a.hi>>56 == 0xff {
		return int(a.hi >> 48 & 0xf)
	}
	return 14
}

// label6 is the policy table's label (net/ipv6/addrlabel.c).
func label6(a ip) int {
	switch {
	case a == ip{0, 1}:
		return 0
	case a.hi == 0 && a.lo>>32 == 0xffff:
		return 4
	case a.hi == 0 && a.lo>>32 == 0:
		return 3
	case a.hi>>57 == 0xfc>>1:
		return 5
	case a.hi>>48 == 0x2002:
		return 2
	case a.hi>>32 == 0x20010000:
		return 6
	case a.hi>>36 == 0x2001001:
		return 7
	}
	return 1
}
