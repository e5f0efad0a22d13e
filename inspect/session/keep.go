package session

import (
	"bytes"

	"github.com/meshtop/meshtop/rules/flow"
)

// Bounds of what a judgement keeps, so that a busy pod cannot fill the memory.
const (
	keptEach = 8      // packets of one direction of a connection, beside those that open or end it
	keptAll  = 40_000 // observations in all
)

// keeper holds what a judgement needs of what a watch sees. Of a long connection the first
// packets each way are enough, and those that open or end it: every proof is one of them.
type keeper struct {
	seen []flow.Observation
	each map[flow.Tuple]int
	// past are packets that were let go though they might have proven something.
	past uint64
}

func newKeeper() *keeper { return &keeper{each: map[flow.Tuple]int{}} }

func (k *keeper) add(o flow.Observation) {
	if o.Kind == flow.SeenPacket && o.Flags&(flow.SYN|flow.FIN|flow.RST) == 0 && k.each[o.Tuple] >= keptEach {
		return
	}
	if len(k.seen) >= keptAll {
		k.past++
		return
	}
	if o.Kind == flow.SeenPacket {
		k.each[o.Tuple]++
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
