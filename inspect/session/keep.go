package session

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// Bounds of what a judgement keeps, so that a busy pod cannot fill the memory.
const (
	keptBurst = 16     // packets with payload of one direction of a connection, at once
	keptEvery = 10     // milliseconds after which it may be one more
	keptAcks  = 4      // its packets with neither payload nor a flag that opens or ends it
	keptLines = 10_000 // of access logs
	keptAll   = 40_000 // observations of the trace's addresses
	keptOther = 10_000 // new flows to other addresses
)

// keeper holds what a judgement needs of what a watch sees. Of a connection that carries a lot
// some packets are enough, with those that open or end it: a proof is that there is traffic
// after a request began, on one that was open before too, and none needs every packet. What
// says that there was no other request does: the packet before those that were let go bears it.
type keeper struct {
	seen []flow.Observation
	each map[flow.Tuple]*share
	// lines are those of access logs so far.
	lines int
	// ours are the trace's addresses, and other the flows to others so far.
	ours  map[netip.AddrPort]bool
	other uint64
	// past are packets that were let go though they might have proven something.
	past uint64
}

// share is what one direction of a connection may still have kept.
type share struct {
	acks, data int
	since      time.Time // of the last refill
	last       int       // where the newest one that was kept stands
}

// takes says whether a packet is kept.
func (s *share) takes(o *flow.Observation) bool {
	switch {
	case o.Flags&(flow.SYN|flow.FIN|flow.RST) != 0:
		return true
	case o.Len == 0:
		s.acks--
		return s.acks >= 0
	}
	if n := int(o.At.Sub(s.since).Milliseconds()) / keptEvery; n > 0 {
		s.data, s.since = min(s.data+n, keptBurst), o.At
	}
	if s.data == 0 {
		return false
	}
	s.data--
	return true
}

func newKeeper(legs []flow.Leg) *keeper {
	k := &keeper{ours: map[netip.AddrPort]bool{}, each: map[flow.Tuple]*share{}}
	for _, l := range legs {
		k.ours[anywhere(l.From.Dst)], k.ours[anywhere(l.To.Dst)] = true, true
	}
	delete(k.ours, netip.AddrPort{}) // a destination that is not known
	return k
}

// anywhere is an address as it is, or, unspecified, its port at any.
func anywhere(a netip.AddrPort) netip.AddrPort {
	switch {
	case a.Port() == 0:
		return netip.AddrPort{}
	case a.Addr().IsUnspecified():
		return netip.AddrPortFrom(netip.Addr{}, a.Port())
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (k *keeper) holds(t flow.Tuple) bool {
	for _, a := range [...]netip.AddrPort{t.Src, t.Dst} {
		if k.ours[a] || k.ours[netip.AddrPortFrom(netip.Addr{}, a.Port())] {
			return true
		}
	}
	return false
}

// foreign says whether a flow is to other addresses than the trace's. A watch tells of each new
// one, and of a busy pod's there are many: they must not take the room of what the trace needs.
func (k *keeper) foreign(o *flow.Observation) bool {
	return (o.Kind == flow.SeenConntrack || o.Kind == flow.SeenSocket) && !k.holds(o.Tuple) && !k.holds(o.Reply)
}

func (k *keeper) add(o flow.Observation) {
	if o.Kind == flow.SeenAccessLog {
		if k.lines++; k.lines > keptLines {
			return // a line that is missing proves nothing
		}
	}
	if k.foreign(&o) {
		if k.other++; k.other > keptOther {
			return
		}
	}
	full := len(k.seen) >= keptAll+int(min(k.other, keptOther))
	if o.Kind == flow.SeenPacket {
		s := k.each[o.Tuple]
		if s == nil && !full {
			s = &share{acks: keptAcks, data: keptBurst, since: o.At}
			k.each[o.Tuple] = s
		}
		if s != nil && !s.takes(&o) {
			k.seen[s.last].Thinned = k.seen[s.last].Thinned || o.Len > 0
			return
		}
		if s != nil && !full {
			s.last = len(k.seen)
		}
	}
	if full {
		k.past++
		return
	}
	o.Raw = nil                  // that is for a file
	o.Head = bytes.Clone(o.Head) // it is only lent
	k.seen = append(k.seen, o)
}

// loss is what was not seen, and what was and could not be kept.
func (k *keeper) loss(l flow.Loss) flow.Loss {
	l.Dropped += k.past
	l.Foreign += k.other - min(k.other, keptOther)
	return l
}
