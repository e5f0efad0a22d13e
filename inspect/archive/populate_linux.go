package archive

import "syscall"

// populateRead is MADV_POPULATE_READ of madvise(2), Linux 5.14; an older kernel refuses it,
// and the pages come when they are touched.
const populateRead = 22

func populate(b []byte) { _ = syscall.Madvise(b, populateRead) }
