package kube

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// tcpStates are ss's words for the kernel's states (include/net/tcp_states.h).
var tcpStates = []string{"", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "NEW-SYN-RECV"}

// procSockets writes what /proc/net/tcp, tcp6, udp and udp6 hold, each behind a line "== NAME",
// as ss -tuane prints it. both: some listen on any IPv6 address, and whether for IPv4 too is not
// told.
func procSockets(text string) (out []byte, both bool, err error) {
	var b strings.Builder
	b.WriteString("Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n")
	name, seen := "", 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "==":
			name = f[1]
		case len(f) < 10 || !strings.HasSuffix(f[0], ":"):
			// the header
		default:
			row, wild, err := procSocket(name, f)
			if err != nil {
				return nil, false, fmt.Errorf("/proc/net/%s: %q: %w", name, strings.TrimSpace(line), err)
			}
			both = both || wild
			seen++
			b.WriteString(row)
		}
	}
	if name == "" {
		return nil, false, errors.New("/proc/net: nothing of it could be read")
	}
	return []byte(b.String()), both, nil
}

// procSocket is one line (proc(5), /proc/net/tcp): sl local peer state queues timer retransmits
// uid timeout inode.
func procSocket(name string, f []string) (row string, wild bool, err error) {
	local, err1 := procAddr(f[1])
	peer, err2 := procAddr(f[2])
	state, err3 := strconv.ParseUint(f[3], 16, 8)
	uid, err4 := strconv.ParseUint(f[7], 10, 32)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return "", false, oneLine(err)
	}
	word := "UNKNOWN"
	if int(state) < len(tcpStates) && state > 0 {
		word = tcpStates[state]
	}
	proto := strings.TrimSuffix(name, "6")
	idle := word == "LISTEN" || proto == "udp" && word == "UNCONN"
	wild = idle && local.Addr() == netip.IPv6Unspecified()
	owner := " uid:" + strconv.FormatUint(uid, 10)
	if word == "TIME-WAIT" { // its socket is gone, and 0 is no owner
		owner = ""
	}
	return fmt.Sprintf("%s %s 0 0 %s %s%s ino:%s\n", proto, word, ssAddr(local), ssAddr(peer), owner, f[9]), wild, nil
}

// ssAddr is an address as ss prints it: * is IPv6's any for both families, port 0 is any.
func ssAddr(a netip.AddrPort) string {
	port := "*"
	if a.Port() != 0 {
		port = strconv.Itoa(int(a.Port()))
	}
	switch {
	case a.Addr() == netip.IPv6Unspecified():
		return "*:" + port
	case a.Addr().Is6():
		return "[" + a.Addr().String() + "]:" + port
	}
	return a.Addr().String() + ":" + port
}

// procAddr reads ADDRESS:PORT in hexadecimal: each 32 bits of the address in the byte order of
// the machine, which is little-endian on all that Kubernetes runs on but s390x.
func procAddr(s string) (netip.AddrPort, error) {
	host, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("no address: %q", s)
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	a, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("no address: %q", s)
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}
