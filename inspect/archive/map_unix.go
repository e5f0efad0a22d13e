//go:build unix

package archive

import (
	"os"
	"syscall"
)

// mapFile maps a file, and asks for all its pages at once: to fault them in one by one
// takes ten times as long.
func mapFile(f *os.File, size int64) ([]byte, error) {
	b, err := syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err == nil {
		populate(b)
	}
	return b, err
}

func unmapFile(b []byte) error { return syscall.Munmap(b) }
