package netfilter

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
)

// num is any value that nft compares, up to 128 bits: an address, a port, a mark, or a
// device's name as bytes.
type num = ip

// nftType is the type of a value; it says how its words are read (nft(8), "Data types").
type nftType uint8

const (
	tOther nftType = iota // values of it cannot be read
	tIPv4
	tIPv6
	tPort
	tProto
	tInteger
	tDevice // name
	tCtState
	tCtStatus
	tCtDir
	tFibType
	tTCPFlags
	tICMP
	tICMPv6
	tNFProto
	tEtherType
	tBool
	tPktType
	tARPHRD
)

// namedTypes are the types of named sets.
func namedType(s string) nftType {
	switch s {
	case "ipv4_addr":
		return tIPv4
	case "ipv6_addr":
		return tIPv6
	case "inet_service":
		return tPort
	case "inet_proto":
		return tProto
	case "mark", "integer", "uid", "gid", "ct_id":
		return tInteger
	case "ifname", "iface_index":
		return tDevice
	case "ct_state":
		return tCtState
	case "ct_status":
		return tCtStatus
	case "ct_dir":
		return tCtDir
	case "fib_addrtype":
		return tFibType
	case "tcp_flag":
		return tTCPFlags
	case "icmp_type":
		return tICMP
	case "icmpv6_type":
		return tICMPv6
	case "nf_proto":
		return tNFProto
	case "ether_type":
		return tEtherType
	case "boolean":
		return tBool
	case "pkt_type":
		return tPktType
	}
	return tOther
}

// deviceNum packs a device's name; full says that only that name is meant.
func deviceNum(s string) num {
	var b [16]byte
	copy(b[:], s)
	return toIP16(b)
}

func toIP16(b [16]byte) ip {
	a := netip.AddrFrom16(b).As16()
	var n ip
	for i := range 8 {
		n.hi = n.hi<<8 | uint64(a[i])
		n.lo = n.lo<<8 | uint64(a[i+8])
	}
	return n
}

// words of the flag types and enumerations, as nft prints them.
func constWord(t nftType, s string) (num, bool) {
	var list []string
	var values []uint64
	switch t {
	case tCtState:
		list, values = []string{"invalid", "established", "related", "new", "untracked"}, []uint64{1, 2, 4, 8, 64}
	case tCtStatus:
		list = []string{"expected", "seen-reply", "assured", "confirmed", "snat", "dnat", "dying"}
		values = []uint64{statusExpected, statusSeenReply, statusAssured, statusConfirmed, statusSNAT, statusDNAT, 1 << 9}
	case tCtDir:
		list, values = []string{"original", "reply"}, []uint64{0, 1}
	case tFibType:
		list = []string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit"}
		values = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8}
	case tTCPFlags:
		list, values = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"}, []uint64{1, 2, 4, 8, 16, 32, 64, 128}
	case tNFProto:
		list, values = []string{"ipv4", "ipv6"}, []uint64{2, 10}
	case tEtherType:
		list, values = []string{"ip", "ip6", "arp", "vlan"}, []uint64{0x0800, 0x86dd, 0x0806, 0x8100}
	case tPktType:
		list, values = []string{"host", "unicast", "broadcast", "multicast", "other"}, []uint64{0, 0, 1, 2, 3}
	case tARPHRD:
		list, values = []string{"ether", "loopback", "ppp", "ipip", "ipip6", "sit", "ipgre"}, []uint64{1, 772, 512, 768, 769, 776, 778}
	}
	for i, w := range list {
		if w == s {
			return num{0, values[i]}, true
		}
	}
	return num{}, false
}

// constant reads one word of a type.
func constant(t nftType, s string) (num, bool) {
	switch t {
	case tIPv4:
		return parseAddr(s, false)
	case tIPv6:
		return parseAddr(s, true)
	case tPort:
		p, ok := portNumber(s)
		return num{0, uint64(p)}, ok
	case tProto:
		n, ok := protoNumber(s)
		return num{0, uint64(n)}, ok
	case tDevice:
		return deviceNum(s), len(s) < 16
	case tICMP, tICMPv6:
		if n, ok := icmpWord(s, t == tICMPv6); ok {
			return num{0, uint64(n)}, true
		}
	}
	if n, ok := constWord(t, s); ok {
		return n, true
	}
	if t == tOther {
		return num{}, false
	}
	n, err := strconv.ParseUint(s, 0, 64)
	return num{0, n}, err == nil
}

// icmpWord reads the types that nft names.
func icmpWord(s string, v6 bool) (uint8, bool) {
	names4 := map[string]uint8{"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8, "router-advertisement": 9,
		"router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14}
	names6 := map[string]uint8{"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128, "echo-reply": 129,
		"mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132, "nd-router-solicit": 133, "nd-router-advert": 134,
		"nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137}
	n, ok := names4[s]
	if v6 {
		n, ok = names6[s]
	}
	return n, ok
}

// span is a closed range of values.
type span struct{ from, to num }

func (s span) has(n num) bool { return n.within(s.from, s.to) }
func (s span) one() bool      { return s.from == s.to }

// readSpan reads a value, a range or a prefix of a type. A list is the flags of all its
// words together.
func readSpan(t nftType, v any) (span, bool) {
	switch x := v.(type) {
	case string:
		if t == tDevice && strings.HasSuffix(x, "*") {
			return devicesFrom(strings.TrimSuffix(x, "*"))
		}
		n, ok := constant(t, x)
		return span{n, n}, ok
	case json.Number:
		n, err := strconv.ParseUint(string(x), 0, 64)
		return span{num{0, n}, num{0, n}}, err == nil && t != tOther && t != tIPv6
	case bool:
		n := num{0, uint64(boolInt(x))}
		return span{n, n}, true
	case []any:
		return readFlags(t, x)
	case map[string]any:
		return readSpanObject(t, x)
	}
	return span{}, false
}

// devicesFrom are all names that begin alike.
func devicesFrom(prefix string) (span, bool) {
	if len(prefix) > 15 {
		return span{}, false
	}
	var last [16]byte
	for i := range last {
		last[i] = 0xff
	}
	copy(last[:], prefix)
	return span{deviceNum(prefix), toIP16(last)}, true
}

func readFlags(t nftType, list []any) (span, bool) {
	var all num
	for _, w := range list {
		s, ok := readSpan(t, w)
		if !ok || !s.one() {
			return span{}, false
		}
		all = all.or(s.from)
	}
	return span{all, all}, true
}

func readSpanObject(t nftType, m map[string]any) (span, bool) {
	if r, ok := m["range"].([]any); ok && len(r) == 2 {
		a, ok1 := readSpan(t, r[0])
		b, ok2 := readSpan(t, r[1])
		return span{a.from, b.to}, ok1 && ok2 && !b.to.less(a.from)
	}
	if p, ok := m["prefix"].(map[string]any); ok {
		a, ok1 := readSpan(t, p["addr"])
		bits, ok2 := number(p["len"])
		if !ok1 || !ok2 || bits < 0 || bits > 128 {
			return span{}, false
		}
		v6 := t == tIPv6
		mask := maskOf(bits, v6)
		if t != tIPv4 && t != tIPv6 {
			return span{}, false
		}
		return span{a.from.and(mask), a.from.or(mask.not().and(allOnes(v6)))}, true
	}
	if list, ok := m["|"].([]any); ok {
		return readFlags(t, list)
	}
	if e, ok := m["elem"].(map[string]any); ok {
		return readSpan(t, e["val"])
	}
	return span{}, false
}

func number(v any) (int, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.ParseInt(string(n), 0, 64)
	return int(i), err == nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
