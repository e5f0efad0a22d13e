//go:build !unix

package spool

import (
	"io"
	"os"
)

// mapFile reads the file: this system has no mmap that Go knows of.
func mapFile(f *os.File, size int64) ([]byte, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(io.NewSectionReader(f, 0, size), b)
	return b, err
}

func unmapFile([]byte) error { return nil }
