//go:build !unix

package archive

import (
	"errors"
	"os"
)

// mapFile: this system has no mmap that Go knows of; the file is copied.
func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }
