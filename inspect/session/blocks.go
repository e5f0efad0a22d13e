package session

import (
	"encoding/binary"
	"io"
)

// blocks gathers the blocks of a pcapng file and writes them together, so that a packet is
// not a system call. When the disk is full, a file is cut after its last whole block: what
// was written stays readable.
type blocks struct {
	w    io.Writer
	buf  []byte
	done int64 // bytes of whole blocks that were written
}

// maxPending is how much is gathered at most.
const maxPending = 64 << 10

// Write takes one block.
func (b *blocks) Write(p []byte) (int, error) {
	b.buf = append(b.buf, p...)
	if len(b.buf) >= maxPending {
		if err := b.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush writes what was gathered.
func (b *blocks) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	n, err := b.w.Write(b.buf)
	if err == nil {
		b.done += int64(n)
		b.buf = b.buf[:0]
		return nil
	}
	// Each block has its length after its type (pcapng, section 3.1).
	whole := 0
	for n-whole >= 8 {
		size := int(binary.LittleEndian.Uint32(b.buf[whole+4:]))
		if size < 12 || size > n-whole {
			break
		}
		whole += size
	}
	b.done += int64(whole)
	b.buf = nil
	if f, ok := b.w.(interface{ Truncate(int64) error }); ok {
		_ = f.Truncate(b.done) // a pipe cannot be cut
	}
	return err
}
