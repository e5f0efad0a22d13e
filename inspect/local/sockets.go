package local

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// socket is one row of the pod's socket table.
type socket struct {
	proto       flow.Proto
	state       uint8 // TCP state (include/net/tcp_states.h); an unconnected UDP socket is closed
	recvQ       uint32
	sendQ       uint32
	local, peer netip.AddrPort
	uid, gid    uint32
	inode       uint32
	dual        bool // of IPv6 and takes IPv4 too
	v6          bool
	index       uint32 // of the device that it is bound to; 0: any
	device      string // bound to it; empty: any
	transparent bool   // IP_TRANSPARENT; valid iff options
	options     bool   // the kernel told the socket's options
	process     string
	pid, fd     int
}

const (
	stateEstablished = 1
	stateTimeWait    = 6
	stateClose       = 7
	stateListen      = 10
)

// stateNames are ss's words for the kernel's states.
var stateNames = [...]string{"UNKNOWN", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "NEW-SYN-RECV"}

// sockets reads the pod's sockets once for each Read: from the kernel by sock_diag(7), and
// their processes from /proc.
func (r *reading) sockets(ctx context.Context) ([]socket, error) {
	if r.table != nil {
		return r.table, nil
	}
	call := inspect.Call{What: "sock_diag: TCP and UDP sockets", Start: time.Now()}
	all, err := diagnose(r.pod.space)
	call.Took, call.Bytes = time.Since(call.Start), int64(len(all))*capture.DiagSize
	if err != nil {
		err = fmt.Errorf("sock_diag: %w", err)
		call.Err = err.Error()
	}
	r.out.Calls = append(r.out.Calls, call)
	if err != nil {
		return nil, err
	}
	if err := r.nameOwners(ctx, all); err != nil && r.wants("sockets") {
		r.gap("sockets", err)
	}
	sort.SliceStable(all, func(i, j int) bool { return less(all[i], all[j]) })
	r.table = all
	return all, nil
}

// less puts what listens first, then by address: the kernel's order is that of a hash.
func less(a, b socket) bool {
	if a.proto != b.proto {
		return a.proto < b.proto
	}
	if (a.state == stateListen) != (b.state == stateListen) {
		return a.state == stateListen
	}
	if c := a.local.Compare(b.local); c != 0 {
		return c < 0
	}
	if c := a.peer.Compare(b.peer); c != 0 {
		return c < 0
	}
	return a.inode < b.inode
}

// socketText writes sockets as `ss -tuanpeO --inet-sockopt` does, with the group of the
// process added, gid:N, and of the options only the one that TPROXY needs.
func socketText(all []socket) []byte {
	var b bytes.Buffer
	b.WriteString("Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n")
	for _, s := range all {
		fmt.Fprintf(&b, "%s %-10s %d %d %s %s", s.proto, stateName(s.state), s.recvQ, s.sendQ, s.text(s.local), s.text(s.peer))
		if s.process != "" {
			fmt.Fprintf(&b, ` users:(("%s",pid=%d,fd=%d))`, s.process, s.pid, s.fd)
		}
		if s.state != stateTimeWait {
			fmt.Fprintf(&b, " uid:%d", s.uid)
			if s.process != "" {
				fmt.Fprintf(&b, " gid:%d", s.gid)
			}
		}
		fmt.Fprintf(&b, " ino:%d", s.inode)
		if s.v6 && (s.state == stateListen || s.state == stateClose) {
			fmt.Fprintf(&b, " v6only:%d", map[bool]int{false: 1, true: 0}[s.dual])
		}
		b.WriteString(" <->")
		if s.options {
			fmt.Fprintf(&b, " inet-sockopt: (%s)", map[bool]string{false: "", true: " transparent"}[s.transparent])
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

func stateName(s uint8) string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return stateNames[0]
}

// text is an address as ss writes it: * for one that takes both families.
func (s socket) text(a netip.AddrPort) string {
	host, port := a.Addr().WithZone("").String(), "*"
	switch {
	case s.v6 && s.dual && a.Addr().IsUnspecified():
		host = "*"
	case a.Addr().Is6():
		host = "[" + host + "]"
	}
	if s.device != "" && a == s.local {
		host += "%" + s.device
	}
	if a.Port() != 0 {
		port = fmt.Sprint(a.Port())
	}
	return host + ":" + port
}

// cleanName makes a process name fit for a word in quotes: any process may call itself
// anything (prctl(2), PR_SET_NAME).
func cleanName(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == '"' || c == '\\' || c == 0x7f || c == '\uFFFD' {
			return '?'
		}
		return c
	}, strings.TrimSuffix(s, "\n"))
}
