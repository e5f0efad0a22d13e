package netfilter

import (
	"math/bits"
	"strconv"
	"strings"
)

// ones is the length of a mask.
func ones(m ip) int { return bits.OnesCount64(m.hi) + bits.OnesCount64(m.lo) }

// protoNumbers are the names of protocols that iptables and nft print (/etc/protocols).
func protoNumber(s string) (uint8, bool) {
	switch s {
	case "tcp":
		return protoTCP, true
	case "udp":
		return protoUDP, true
	case "all":
		return 0, true
	case "icmp":
		return protoICMP, true
	case "ipv6-icmp", "icmpv6":
		return protoICMPv6, true
	case "sctp":
		return protoSCTP, true
	case "dccp":
		return protoDCCP, true
	case "udplite":
		return protoUDPLite, true
	case "esp":
		return 50, true
	case "ah":
		return 51, true
	case "gre":
		return 47, true
	case "igmp":
		return 2, true
	case "ipencap", "ipip", "ipv4":
		return 4, true
	case "ipv6":
		return 41, true
	case "comp", "ipcomp":
		return 108, true
	case "vrrp":
		return 112, true
	case "ospf":
		return 89, true
	case "pim":
		return 103, true
	case "ipv6-route":
		return 43, true
	case "ipv6-frag":
		return 44, true
	case "ipv6-nonxt":
		return 59, true
	case "ipv6-opts":
		return 60, true
	case "mobility-header", "ipv6-mh":
		return 135, true
	case "mptcp":
		return 0, false // 262 does not fit a header
	}
	n, err := strconv.ParseUint(s, 0, 8)
	return uint8(n), err == nil
}

// portNumber reads a port. Names of services are those that pods' rules were seen to use;
// iptables-save and nft print numbers.
func portNumber(s string) (uint16, bool) {
	n := uint32(0)
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' || i > 5 {
			return servicePort(s)
		}
		n = n*10 + uint32(s[i]-'0')
	}
	if s == "" || n > 65535 {
		return 0, false
	}
	return uint16(n), true
}

func servicePort(s string) (uint16, bool) {
	switch s {
	case "ssh":
		return 22, true
	case "domain":
		return 53, true
	case "http":
		return 80, true
	case "ntp":
		return 123, true
	case "https":
		return 443, true
	case "http-alt":
		return 8080, true
	}
	return 0, false
}

// parsePorts reads PORT or PORT<sep>PORT, where either side may be missing.
func parsePorts(s, sep string) (portRange, bool) {
	a, b, is := strings.Cut(s, sep)
	if !is {
		p, ok := portNumber(s)
		return portRange{p, p}, ok
	}
	r := portRange{0, 65535}
	ok := true
	if a != "" {
		r.from, ok = portNumber(a)
	}
	if b != "" {
		var more bool
		r.to, more = portNumber(b)
		ok = ok && more
	}
	return r, ok && r.from <= r.to
}

// parseMark reads VALUE or VALUE/MASK.
func parseMark(s string) (value, mask uint32, ok bool) {
	v, m, is := strings.Cut(s, "/")
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil {
		return 0, 0, false
	}
	mask = ^uint32(0)
	if is {
		k, err := strconv.ParseUint(m, 0, 32)
		if err != nil {
			return 0, 0, false
		}
		mask = uint32(k)
	}
	return uint32(n), mask, true
}

// parseIDs reads a user or group number, or a range.
func parseIDs(s string) (idRange, bool) {
	a, b, is := strings.Cut(s, "-")
	from, err := strconv.ParseUint(a, 10, 32)
	if a == "root" && !is {
		return idRange{}, true
	}
	if err != nil {
		return idRange{}, false
	}
	to := from
	if is {
		if to, err = strconv.ParseUint(b, 10, 32); err != nil {
			return idRange{}, false
		}
	}
	return idRange{uint32(from), uint32(to)}, from <= to
}
