package flow

import (
	"net/netip"
	"time"
)

// ObservationKind says what kind of thing was seen.
type ObservationKind uint8

const (
	SeenNothing   ObservationKind = iota
	SeenPacket                    // a packet on a device
	SeenConntrack                 // a conntrack event with both tuples
	SeenSocket                    // a row of the socket table
	SeenCounter                   // a counter's delta: rule, Envoy statistic, per-host counter
	SeenAccessLog                 // a line of an access log
	SeenAnswer                    // what a request that meshtop sent got
)

// Tuple is one direction of a flow.
type Tuple struct {
	Src, Dst netip.AddrPort
	Proto    Proto
}

// Observation is one thing seen of the traffic. It says nothing of what it means.
type Observation struct {
	Kind ObservationKind
	At   time.Time
	// Ref points at it: packet number, conntrack id, counter name.
	Ref string

	// Of a packet.
	Device  string
	Tuple   Tuple
	Flags   TCPFlags
	Seq     uint32
	Ack     uint32
	Len     int    // payload bytes on the wire
	Head    []byte // payload kept, at most the snaplen
	Raw     []byte // from the IP header on, where the whole packet was asked for; at most the snaplen
	Headers int    // of Raw are before the payload
	Whole   int    // bytes of the packet from the IP header on, as on the wire
	// Thinned says that packets with payload came after it in its direction and were let go.
	Thinned bool

	// Of a conntrack event.
	Event       string // NEW, UPDATE, DESTROY
	Reply       Tuple  // Tuple holds the original direction
	State       string // TCP state as conntrack prints it
	ConntrackID uint32

	// Of a socket: Tuple is local (Src) and peer (Dst).
	UID uint32

	// Of a counter: Name grew from Before to After. Readings are when it was read; nil: not known.
	Name          string
	Before, After uint64
	Readings      *Readings

	// Of an access log line: its fields by name. One that was not taken apart by the configured
	// format yet comes as it is, and Name is the file; empty: a recording of any.
	Fields map[string]string
	Line   string
}

// Readings are when a counter was read the first time, and when the second, by the clock of the
// machine that its pod is on.
type Readings struct{ Before, After Interval }

// Interval is a time with a beginning and an end.
type Interval struct{ Begin, End time.Time }

// TCPFlags are the low bits of the TCP header's flags (RFC 9293, 3.1).
type TCPFlags uint8

const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Loss says how much of the traffic was not seen.
type Loss struct {
	Seen, Dropped uint64
	Late          bool // the watch began after the connection did
	// Blind are the sources that could not be read, with the reason.
	Blind []Gap
	// Foreign are new flows to other addresses than the trace's that were let go: there were too
	// many. What is the trace's was kept.
	Foreign uint64
	// Logs are the access logs that are read, and Unread those that are configured and were not
	// read whole, with the reason.
	// They take nothing away: a line that is missing proves nothing.
	Logs   []string
	Unread []Gap
	// Devices share out Seen and Dropped, in the order in which they were opened; empty: not known.
	Devices []DeviceLoss
}

// DeviceLoss are the packets of one device that passed the filter, and those of them for
// which there was no room.
type DeviceLoss struct {
	Name          string
	Seen, Dropped uint64
	Frozen        uint64 // how often its ring was full; what comes then is dropped
}
