package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/netfilter"
)

// Event is one thing that the kernel says of a traced packet: a rule that it hit, or the
// policy of a base chain.
type Event struct {
	Legacy               bool // of iptables-legacy
	Family, Table, Chain string
	Rule                 int // from 1 in its chain; 0: not one that was read back
	Policy               bool
	Verdict              int32 // of nf_tables only (linux/netfilter.h NF_*, or NFT_*)
	Src, Dst             netip.AddrPort
	In, Out              uint32 // device numbers
	Mark                 uint32
}

// Subject is the rule's reference as a trace writes it.
func (e Event) Subject() string {
	s := fmt.Sprintf("%s %s %s %d", e.Family, e.Table, e.Chain, e.Rule)
	if e.Policy {
		s = fmt.Sprintf("%s %s %s policy", e.Family, e.Table, e.Chain)
	}
	if e.Legacy {
		return "legacy " + s
	}
	return s
}

// Seen is what the kernel did with one packet.
type Seen struct {
	Hits    []string // subjects of the rules that it hit, in order
	Fate    netfilter.Fate
	Out     string // device it left by
	Src     netip.AddrPort
	Dst     netip.AddrPort // at the end; zero where it was dropped
	Mark    uint32
	OrigDst netip.AddrPort // what SO_ORIGINAL_DST said; valid iff Accepted
	// Accepted says that a listener of the lab got the connection.
	Accepted bool
	Events   []Event
}

// Run sends one packet and says what the kernel did with it.
func (l *Lab) Run(p netfilter.Packet) (Seen, error) {
	if _, err := l.tracer.drain(l.index); err != nil {
		return Seen{}, err
	}
	sent, err := l.send(p)
	if err != nil {
		return Seen{}, fmt.Errorf("send %s>%s: %w", p.Src, p.Dst, err)
	}
	s := Seen{Fate: netfilter.FateDropped}
	if s.Events, err = l.tracer.drain(l.index); err != nil {
		return Seen{}, err
	}
	s.OrigDst, s.Accepted = l.accept()
	for _, e := range s.Events {
		s.take(e)
	}
	// A rejected packet ends with a drop verdict too: the sender's error tells. Without any
	// event the packet was never made, for want of a route.
	if s.Fate == netfilter.FateDropped && (len(s.Events) == 0 && sent != nil || errors.Is(sent, unix.ECONNREFUSED) || errors.Is(sent, unix.EHOSTUNREACH)) {
		s.Fate = netfilter.FateRejected
	}
	return s, nil
}

var devices = map[uint32]string{1: "lo", 2: "eth0", 3: "eth1"}

// take notes one event. The last chains see how a packet ends; one that lo carries comes
// in again.
func (s *Seen) take(e Event) {
	if e.Table != traceTable {
		if e.Rule > 0 {
			s.Hits = append(s.Hits, e.Subject())
		}
		return
	}
	if !e.Dst.IsValid() {
		return // only the first event of a chain carries the packet
	}
	switch {
	case e.Chain == "end-in":
		s.Fate, s.Out = netfilter.FateLocal, ""
	case e.Chain == "end-out" && e.Out != 1:
		s.Fate, s.Out = netfilter.FateWire, devices[e.Out]
		if e.In != 0 {
			s.Fate = netfilter.FateForward
		}
	default:
		return
	}
	s.Src, s.Dst, s.Mark = e.Src, e.Dst, e.Mark
}
