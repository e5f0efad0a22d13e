package capture

import "time"

// RingOptions size a ring. The zero value is what meshtop uses.
type RingOptions struct {
	Snaplen   uint32        // bytes kept of each packet; 0: DefaultSnaplen
	BlockSize uint32        // bytes of a block, a power of two of pages; 0: 256 KiB
	Blocks    uint32        // 0: 64
	Timeout   time.Duration // after which a block that is not full is handed over; 0: 20 ms
}

// DefaultSnaplen keeps the headers and the beginning of an HTTP message's head.
const DefaultSnaplen = 256

func (o RingOptions) defaults() RingOptions {
	if o.Snaplen == 0 {
		o.Snaplen = DefaultSnaplen
	}
	if o.BlockSize == 0 {
		o.BlockSize = 256 << 10
	}
	if o.Blocks == 0 {
		o.Blocks = 64
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Millisecond
	}
	return o
}
