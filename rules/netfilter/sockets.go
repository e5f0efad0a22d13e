package netfilter

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Socket is one socket of the namespace (ss(8)).
type Socket struct {
	Proto       flow.Proto
	Local, Peer netip.AddrPort // address unspecified: any; port 0: any
	Dual        bool           // an IPv6 wildcard socket that takes IPv4 too
	State       string         // LISTEN, ESTAB, UNCONN ...
	Device      string         // bound to this device (SO_BINDTODEVICE); empty: any
	UID, GID    uint32
	Owned       bool   // UID was shown (ss -e); without, it is 0
	Grouped     bool   // GID was shown, the process's: meshtop's own reader adds it
	Process     string // empty: not shown
	PID         int
	Transparent flow.Answer // IP_TRANSPARENT (ip(7)); Maybe: not shown (ss --inet-sockopt)
}

// readSockets reads what ss prints: with or without the column Netid, each socket on one
// line or with indented lines after it.
func (h *Host) readSockets(data []byte) error {
	h.socketsRead = true
	var last *Socket
	var b lines
	for i, l := range strings.Split(string(data), "\n") {
		if l = strings.TrimRight(l, "\r"); l == "" {
			continue
		}
		if l[0] == ' ' || l[0] == '\t' {
			if last != nil {
				last.more(l)
			}
			continue
		}
		s, ok := parseSocket(l)
		if !ok {
			last = nil
			if alienSocket(l) {
				b.bad(i+1, l)
			}
			continue // the header, or a socket of another kind (unix, netlink)
		}
		h.Sockets = append(h.Sockets, s)
		last = &h.Sockets[len(h.Sockets)-1]
	}
	if err := b.err("no socket as ss prints it"); err != nil {
		h.socketsLost = true // the one that listens may be among them
		return err
	}
	return nil
}

func parseSocket(l string) (Socket, bool) {
	f := strings.Fields(l)
	s := Socket{Proto: flow.TCP}
	if len(f) > 0 {
		switch f[0] {
		case "tcp":
			f = f[1:]
		case "udp":
			s.Proto, f = flow.UDP, f[1:]
		case "UNCONN":
			s.Proto = flow.UDP // without a column Netid only UDP has it
		}
	}
	if len(f) < 5 || !digits(f[1]) || !digits(f[2]) {
		return s, false
	}
	s.State = f[0]
	var ok1, ok2 bool
	s.Local, s.Device, s.Dual, ok1 = socketAddr(f[3])
	s.Peer, _, _, ok2 = socketAddr(f[4])
	if !ok1 || !ok2 {
		return s, false
	}
	if s.Dual && s.Peer.Addr().IsUnspecified() && s.Peer.Port() == 0 && f[4] != "*:*" {
		s.Dual = f[4] != "[::]:*"
	}
	s.more(strings.Join(f[5:], " "))
	return s, true
}

func digits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// socketAddr reads ADDR:PORT, [ADDR]:PORT, *:PORT, ADDR%DEVICE:PORT. ss prints * for an
// IPv6 socket that takes both families and [::] for one that is IPV6_V6ONLY.
func socketAddr(s string) (a netip.AddrPort, device string, dual, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return a, "", false, false
	}
	host, port := s[:i], uint16(0)
	if p := s[i+1:]; p != "*" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return a, "", false, false
		}
		port = uint16(n)
	}
	if j := strings.IndexByte(host, '%'); j >= 0 {
		host, device = host[:j], strings.TrimSuffix(host[j+1:], "]") // [fe80::1]%eth0, or [fe80::1%eth0]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "*" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port), device, true, true
	}
	addr, err := netip.ParseAddr(host)
	return netip.AddrPortFrom(addr.Unmap(), port), device, false, err == nil
}

// more reads what follows the addresses: users:(("envoy",pid=7,fd=18)) uid:1337 ino:5
// inet-sockopt:( ... transparent ...).
func (s *Socket) more(l string) {
	if _, rest, ok := strings.Cut(l, "users:((\""); ok {
		if name, rest, ok := strings.Cut(rest, "\",pid="); ok {
			end := 0
			for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
				end++
			}
			s.Process = name
			s.PID, _ = strconv.Atoi(rest[:end])
		}
		if i := strings.LastIndex(l, "))"); i >= 0 {
			l = l[i+2:]
		}
	}
	_, opts, has := strings.Cut(l, "inet-sockopt:")
	for _, w := range strings.Fields(l) {
		if v, ok := strings.CutPrefix(w, "uid:"); ok {
			n, _ := strconv.ParseUint(v, 10, 32)
			s.UID = uint32(n)
		}
		if v, ok := strings.CutPrefix(w, "gid:"); ok {
			n, err := strconv.ParseUint(v, 10, 32)
			s.GID, s.Grouped = uint32(n), err == nil
		}
		s.Owned = s.Owned || strings.HasPrefix(w, "ino:")
	}
	if has {
		s.Transparent = flow.No
		for _, w := range strings.FieldsFunc(opts, func(r rune) bool { return r == ' ' || r == '(' || r == ')' }) {
			if w == "transparent" {
				s.Transparent = flow.Yes
			}
		}
	}
}

// Listening finds the socket that gets a new packet to an address and port: Yes, No, or
// Maybe where sockets were not read. The most exact address wins, as in the kernel
// (net/ipv4/inet_hashtables.c, compute_score).
func (h *Host) Listening(p flow.Proto, at netip.AddrPort) (Socket, flow.Answer) {
	if h == nil || !h.socketsRead {
		return Socket{}, flow.Maybe
	}
	addr := at.Addr().Unmap()
	best, score := -1, 0
	for i := range h.Sockets {
		s := &h.Sockets[i]
		if s.Proto != p || s.Local.Port() != at.Port() || p == flow.TCP && s.State != "LISTEN" || p != flow.TCP && s.State != "UNCONN" {
			continue
		}
		n := 0
		switch own := s.Local.Addr(); {
		case own == addr:
			n = 4
		case own.IsUnspecified() && own.Is4() == addr.Is4():
			n = 3
		case s.Dual:
			n = 2
		default:
			continue
		}
		if s.Device != "" && s.Device != loopback {
			n = 1
		}
		if n > score {
			best, score = i, n
		}
	}
	if best < 0 {
		if h.socketsLost {
			return Socket{}, flow.Maybe
		}
		return Socket{}, flow.No
	}
	if score == 1 {
		return h.Sockets[best], flow.Maybe
	}
	return h.Sockets[best], flow.Yes
}
