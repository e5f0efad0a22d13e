package capture

import "time"

// RingOptions size a ring. The zero value is what meshtop uses.
type RingOptions struct {
	Snaplen   uint32        // bytes kept of each packet; 0: DefaultSnaplen
	BlockSize uint32        // bytes of a block, a power of two of pages; 0: 1 MiB
	Blocks    uint32        // 0: 32, and fewer of each where there are many devices
	Timeout   time.Duration // after which a block that is not full is handed over; 0: 20 ms
}

// DefaultSnaplen keeps the headers and the beginning of an HTTP message's head.
const DefaultSnaplen = 256

// Bounds of a ring's blocks where nothing is asked for. 32 MiB hold 100,000 packets, which
// is what a second brings when the reader gets no processor for so long; all rings of a watch
// together hold allBlocks at most, since the kernel cannot swap them.
const (
	minBlocks = 4
	maxBlocks = 32
	allBlocks = 64
)

// among are the options of each of n devices.
func (o RingOptions) among(n int) RingOptions {
	if o.Blocks == 0 {
		o.Blocks = uint32(min(maxBlocks, max(minBlocks, allBlocks/max(1, n))))
	}
	return o
}

func (o RingOptions) defaults() RingOptions {
	if o.Snaplen == 0 {
		o.Snaplen = DefaultSnaplen
	}
	if o.BlockSize == 0 {
		o.BlockSize = 1 << 20
	}
	if o.Blocks == 0 {
		o.Blocks = maxBlocks
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Millisecond
	}
	return o
}
