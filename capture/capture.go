// Package capture watches a network namespace: packets by a ring that the kernel fills,
// conntrack events, sockets. What it sees becomes flow.Observation; what it missed becomes
// flow.Loss. It says nothing of what either means.
package capture

import (
	"net/netip"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// Endpoint is one side of the traffic to keep. An address that is not valid stands for
// any address, port 0 for any port.
type Endpoint struct {
	Addr netip.Addr
	Port uint16
}

// Filter says which packets to keep: TCP and UDP with one side among the endpoints. An
// empty filter keeps every IP packet.
type Filter []Endpoint

// FilterOf keeps what the legs of a trace can show: on each, the destination as its client
// dialled it and as its server got it.
func FilterOf(legs []flow.Leg) Filter {
	var f Filter
	add := func(a netip.AddrPort) {
		if !a.IsValid() || a.Port() == 0 {
			return
		}
		e := Endpoint{Addr: a.Addr().Unmap(), Port: a.Port()}
		if e.Addr.IsUnspecified() {
			e.Addr = netip.Addr{}
		}
		for _, have := range f {
			if have == e {
				return
			}
		}
		f = append(f, e)
	}
	for _, l := range legs {
		add(l.From.Dst)
		add(l.To.Dst)
	}
	return f
}

// Packet is one packet as the ring holds it. Data is valid until the next one is asked for.
type Packet struct {
	At     time.Time
	Device string
	Len    int    // bytes from the IP header on, as on the wire
	Data   []byte // from the IP header on, at most the snaplen
}

// DiagSize is how many bytes a socket's message of sock_diag(7) has before its attributes: struct
// inet_diag_msg (include/uapi/linux/inet_diag.h).
const DiagSize = 72
