package netfilter

import (
	"github.com/meshtop/meshtop/rules/flow"
)

// got says what an expression found.
type got uint8

const (
	gotUnknown got = iota // the snapshot does not say
	gotNone               // the packet has no such thing: the rule does not match
	gotValue
)

// field is something of a packet that an expression reads (nft(8), "Expressions"; the
// kernel's net/netfilter/nft_meta.c, nft_payload.c, nft_ct.c, nft_fib.c, nft_socket.c).
type field struct {
	typ nftType
	get func(p *packet) (num, got)
	// name and next are this field and the one behind it in the header; valid for ports.
	name, next string
	source     bool // the packet's source address
}

func small(n uint64) (num, got) { return num{0, n}, gotValue }
func none() (num, got)          { return num{}, gotNone }
func unknown() (num, got)       { return num{}, gotUnknown }

// when answers n where ok, and nothing else.
func when(ok bool, n uint64) (num, got) {
	if !ok {
		return none()
	}
	return small(n)
}

// metaField reads {"meta": {"key": ...}}.
func metaField(key string) (field, bool) {
	switch key {
	case "l4proto":
		return field{typ: tProto, get: func(p *packet) (num, got) { return small(uint64(p.proto)) }}, true
	case "nfproto":
		return field{typ: tNFProto, get: func(p *packet) (num, got) { return small(pick(p.v6, 10, 2)) }}, true
	case "protocol":
		return field{typ: tEtherType, get: func(p *packet) (num, got) { return small(pick(p.v6, 0x86dd, 0x0800)) }}, true
	case "mark":
		return field{typ: tInteger, get: func(p *packet) (num, got) { return small(uint64(p.mark)) }}, true
	case "iifname", "iif":
		return field{typ: tDevice, get: func(p *packet) (num, got) { return deviceNum(p.in), gotValue }}, true
	case "oifname", "oif":
		return field{typ: tDevice, get: func(p *packet) (num, got) { return deviceNum(p.out), gotValue }}, true
	case "iiftype":
		return field{typ: tARPHRD, get: func(p *packet) (num, got) { return deviceType(p.in) }}, true
	case "oiftype":
		return field{typ: tARPHRD, get: func(p *packet) (num, got) { return deviceType(p.out) }}, true
	case "skuid":
		return field{typ: tInteger, get: func(p *packet) (num, got) { return p.ownerID(true) }}, true
	case "skgid":
		return field{typ: tInteger, get: func(p *packet) (num, got) { return p.ownerID(false) }}, true
	case "pkttype":
		return field{typ: tPktType, get: func(*packet) (num, got) { return small(0) }}, true
	case "nftrace":
		return field{typ: tInteger, get: func(*packet) (num, got) { return small(0) }}, true
	case "secpath", "ipsec":
		return field{typ: tBool, get: func(*packet) (num, got) { return small(0) }}, true
	}
	return field{}, false
}

func pick(yes bool, a, b uint64) uint64 {
	if yes {
		return a
	}
	return b
}

func deviceType(name string) (num, got) {
	switch name {
	case "":
		return none()
	case loopback:
		return small(772)
	}
	return unknown()
}

// ownerID is the owner of the packet's socket. Without one the expression breaks off the
// rule, also where it is negated (nft_meta.c, nft_meta_get_eval_skugid).
func (p *packet) ownerID(uid bool) (num, got) {
	switch {
	case p.assigned.IsValid(): // TPROXY gave it the listener's socket
		if uid && p.listener.Owned {
			return small(uint64(p.listener.UID))
		}
		return unknown()
	case p.sock != fileSocket:
		return none()
	case uid:
		return small(uint64(p.uid))
	}
	return small(uint64(p.gid))
}

// payloadField reads {"payload": {"protocol": ..., "field": ...}}. A field of another
// protocol than the packet's breaks off the rule: nft puts a test of the protocol before
// it, which the JSON does not show.
func payloadField(proto, name string) (field, bool) {
	switch proto {
	case "ip", "ip6":
		return networkField(proto == "ip6", name)
	case "tcp", "udp", "sctp", "dccp", "udplite", "th":
		return transportField(proto, name)
	case "icmp", "icmpv6":
		six := proto == "icmpv6"
		is := func(p *packet) bool { return p.proto == uint8(pick(six, protoICMPv6, protoICMP)) && p.v6 == six }
		t := tICMP
		if six {
			t = tICMPv6
		}
		switch name {
		case "type":
			return field{typ: t, get: func(p *packet) (num, got) { return when(is(p), pick(six, 128, 8)) }}, true
		case "code":
			return field{typ: tOther, get: func(p *packet) (num, got) { return when(is(p), 0) }}, true
		}
	}
	return field{}, false
}

func networkField(six bool, name string) (field, bool) {
	typ := tIPv4
	if six {
		typ = tIPv6
	}
	switch name {
	case "saddr":
		return field{typ: typ, source: true, get: func(p *packet) (num, got) {
			if p.v6 != six {
				return none()
			}
			if p.srcUnknown {
				return unknown()
			}
			return p.src, gotValue
		}}, true
	case "daddr":
		return field{typ: typ, get: func(p *packet) (num, got) {
			if p.v6 != six {
				return none()
			}
			return p.dst, gotValue
		}}, true
	case "protocol", "nexthdr":
		return field{typ: tProto, get: func(p *packet) (num, got) { return when(p.v6 == six, uint64(p.proto)) }}, true
	case "version":
		return field{typ: tInteger, get: func(p *packet) (num, got) { return when(p.v6 == six, pick(six, 6, 4)) }}, true
	case "hdrlength":
		return field{typ: tInteger, get: func(p *packet) (num, got) { return when(!p.v6, 5) }}, true
	}
	// Other fields are there; what they hold the request does not say.
	return field{typ: tInteger, get: func(p *packet) (num, got) {
		if p.v6 != six {
			return none()
		}
		return unknown()
	}}, true
}

func transportField(proto, name string) (field, bool) {
	n, _ := protoNumber(proto)
	is := func(p *packet) bool { return proto == "th" && p.hasPorts() || p.proto == n && proto != "th" }
	port := func(src bool) func(p *packet) (num, got) {
		return func(p *packet) (num, got) {
			v := p.dport
			if src {
				v = p.sport
			}
			switch {
			case proto == "th" && !p.hasPorts(), is(p) && v == 0:
				return unknown()
			}
			return when(is(p), uint64(v))
		}
	}
	switch name {
	case "sport":
		return field{typ: tPort, get: port(true), name: proto + " sport", next: proto + " dport"}, true
	case "dport":
		return field{typ: tPort, get: port(false), name: proto + " dport"}, true
	case "flags":
		return field{typ: tTCPFlags, get: func(p *packet) (num, got) { return when(p.proto == protoTCP, uint64(p.tcpFlags)) }}, true
	}
	return field{typ: tInteger, get: func(p *packet) (num, got) {
		if !is(p) {
			return none()
		}
		return unknown()
	}}, true
}

// rawField reads {"payload": {"base": "th", "offset": 0, "len": 16}} where it names a
// field that is known.
func rawField(base string, offset, length int) (field, bool) {
	switch {
	case base == "th" && length == 16 && offset == 0:
		return transportField("th", "sport")
	case base == "th" && length == 16 && offset == 16:
		return transportField("th", "dport")
	case base == "th" && length == 32 && offset == 0: // both ports at once
		return field{typ: tInteger, get: func(p *packet) (num, got) {
			if !p.hasPorts() || p.sport == 0 {
				return unknown()
			}
			return small(uint64(p.sport)<<16 | uint64(p.dport))
		}}, true
	}
	return field{typ: tInteger, get: func(*packet) (num, got) { return unknown() }}, true
}

// ctField reads {"ct": {"key": ..., "dir": ...}}. Only the state can be asked for without a
// connection (nft_ct.c, nft_ct_get_eval).
func ctField(key, dir string) (field, bool) {
	if key == "state" {
		return field{typ: tCtState, get: func(p *packet) (num, got) {
			switch p.ct.state {
			case untracked:
				return small(64)
			case noConn:
				return small(1)
			}
			return small(8)
		}}, true
	}
	f, ok := ctValue(key, dir)
	return field{typ: f.typ, get: func(p *packet) (num, got) {
		// A template that CT --zone left is none (since 2025, when reading one was found to
		// go wrong).
		if p.ct.state != newConn {
			return none()
		}
		return f.get(p)
	}}, ok
}

func ctValue(key, dir string) (field, bool) {
	switch key {
	case "mark":
		return field{typ: tInteger, get: func(p *packet) (num, got) { return small(uint64(p.ct.mark)) }}, true
	case "status":
		return field{typ: tCtStatus, get: func(p *packet) (num, got) { return small(uint64(p.statusBits())) }}, true
	case "direction":
		return field{typ: tCtDir, get: func(*packet) (num, got) { return small(0) }}, true
	case "zone":
		return field{typ: tInteger, get: func(p *packet) (num, got) {
			switch dir {
			case "original":
				return small(uint64(p.ct.zoneOrig))
			case "reply":
				return small(uint64(p.ct.zoneRepl))
			}
			return small(uint64(max(p.ct.zoneOrig, p.ct.zoneRepl))) // a zone of one direction is the connection's all the same (nft_ct.c)
		}}, true
	case "l3proto":
		return field{typ: tNFProto, get: func(p *packet) (num, got) { return small(pick(p.v6, 10, 2)) }}, true
	case "protocol":
		return field{typ: tProto, get: func(p *packet) (num, got) { return small(uint64(p.connProto())) }}, true
	}
	return ctTupleField(key, dir == "reply")
}

func ctTupleField(key string, reply bool) (field, bool) {
	of := func(p *packet) tuple { return p.direction(reply) }
	port := func(p *packet, n uint16) (num, got) {
		if n == 0 && p.ct.state == newConn {
			return unknown()
		}
		return small(uint64(n))
	}
	addr := func(src bool, six, both bool) func(p *packet) (num, got) {
		return func(p *packet) (num, got) {
			switch {
			case !both && p.v6 != six:
				return none()
			case p.srcUnknown && src != reply && p.ct.state == newConn:
				return unknown()
			case src:
				return of(p).src, gotValue
			}
			return of(p).dst, gotValue
		}
	}
	switch key {
	case "proto-src":
		return field{typ: tPort, get: func(p *packet) (num, got) { return port(p, of(p).sport) }}, true
	case "proto-dst":
		return field{typ: tPort, get: func(p *packet) (num, got) { return port(p, of(p).dport) }}, true
	case "ip saddr", "ip daddr":
		return field{typ: tIPv4, get: addr(key[3] == 's', false, false)}, true
	case "ip6 saddr", "ip6 daddr":
		return field{typ: tIPv6, get: addr(key[4] == 's', true, false)}, true
	case "saddr", "daddr":
		return field{typ: tIPv4, get: addr(key[0] == 's', false, true)}, true
	}
	return field{}, false
}

// fibField reads {"fib": {"result": ..., "flags": [...]}}.
func fibField(result string, flags []string) (field, bool) {
	has := func(w string) bool {
		for _, f := range flags {
			if f == w {
				return true
			}
		}
		return false
	}
	q := fibQuery{src: has("saddr"), mark: has("mark"), in: has("iif"), out: has("oif")}
	switch result {
	case "type":
		return field{typ: tFibType, get: q.kind}, true
	case "oif", "oifname":
		return field{typ: tDevice, get: q.device}, true
	}
	return field{}, false
}

type fibQuery struct{ src, mark, in, out bool }

func (q fibQuery) addr(p *packet) (a ip, dev string, known bool) {
	a = p.dst
	if q.src {
		a = p.src
	}
	if q.in {
		dev = p.in
	} else if q.out {
		dev = p.out
	}
	return a, dev, !(q.src && p.srcUnknown)
}

// kind is the type of an address (nft_fib_ipv4.c, nft_fib_ipv6.c).
func (q fibQuery) kind(p *packet) (num, got) {
	a, dev, known := q.addr(p)
	if !known || p.host.unread(a, p.v6) == flow.Maybe {
		return unknown()
	}
	if !p.v6 {
		return small(typeIndex(p.host.type4(a, dev)))
	}
	if t := p.host.type6(a, dev); t != 0 {
		return small(typeIndex(t))
	}
	if a.hi>>56 == 0xff {
		return small(5)
	}
	return small(1)
}

// typeIndex is the number of a type's bit.
func typeIndex(bit uint16) uint64 {
	n := uint64(0)
	for bit > 1 {
		bit >>= 1
		n++
	}
	return n
}

// device is the device that a route to the address leaves by; none is an empty name. At
// PREROUTING and INPUT of lo it is lo, unless TPROXY gave the packet a socket
// (include/net/netfilter/nft_fib.h, nft_fib_can_skip).
func (q fibQuery) device(p *packet) (num, got) {
	a, dev, known := q.addr(p)
	if !known || p.host.unread(a, p.v6) == flow.Maybe {
		return unknown()
	}
	if (p.hook == prerouting || p.hook == input) && p.in == loopback && !p.assigned.IsValid() {
		return deviceNum(loopback), gotValue
	}
	find := query{dst: a, src: p.dst}
	if !q.src {
		find.src = p.src
	}
	if q.mark {
		find.mark = p.mark
	}
	r := p.host.lookup(find, p.v6)
	if r.kind != typeUnicast || dev != "" && r.dev != dev {
		return num{}, gotValue
	}
	return deviceNum(r.dev), gotValue
}

// socketField reads {"socket": {"key": ...}}: of the socket that would get the packet.
func socketField(key string) (field, bool) {
	return field{typ: tInteger, get: func(p *packet) (num, got) {
		s, found := p.receiver()
		if p.hook == output {
			return unknown()
		}
		switch found {
		case flow.No:
			return none()
		case flow.Maybe:
			return unknown()
		}
		switch {
		case key == "wildcard":
			return small(pick(s.Local.Addr().IsUnspecified(), 1, 0))
		case key == "transparent" && s.Transparent != flow.Maybe:
			return small(pick(s.Transparent == flow.Yes, 1, 0))
		}
		return unknown()
	}}, true
}
