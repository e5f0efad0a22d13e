package session

import (
	"bytes"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// Bounds of what a judgement keeps, so that a busy pod cannot fill the memory.
const (
	keptBurst = 16     // packets with payload of one direction of a connection, at once
	keptEvery = 10     // milliseconds after which it may be one more
	keptAcks  = 4      // its packets with neither payload nor a flag that opens or ends it
	keptLines = 10_000 // of access logs
	keptAll   = 40_000 // observations in all
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

func newKeeper() *keeper { return &keeper{each: map[flow.Tuple]*share{}} }

func (k *keeper) add(o flow.Observation) {
	if o.Kind == flow.SeenAccessLog {
		if k.lines++; k.lines > keptLines {
			return // a line that is missing proves nothing
		}
	}
	full := len(k.seen) >= keptAll
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
	return l
}
