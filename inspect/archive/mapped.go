package archive

import (
	"fmt"
	"os"
)

// mapFrom is the size from which a file is mapped: below it copying is as cheap.
const mapFrom = 1 << 20

// Mapped is a file whose bytes were not copied: a configuration of 200 MB costs pages that
// the kernel may take back, and no heap. The file can change under it. What is then read
// beyond its end is a fault, see runtime/debug.SetPanicOnFault.
type Mapped struct {
	Bytes  []byte
	name   string
	was    os.FileInfo
	mapped bool
}

// Map opens a file of at most MaxBytes. A small one, or one that cannot be mapped, is
// copied.
func Map(name string) (*Mapped, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m := &Mapped{name: name, was: st}
	if st.Size() > MaxBytes {
		return nil, fmt.Errorf("%s: %d bytes, more than the %d that are read", name, st.Size(), MaxBytes)
	}
	if st.Mode().IsRegular() && st.Size() >= mapFrom {
		if m.Bytes, err = mapFile(f, st.Size()); err == nil {
			m.mapped = true
			return m, nil
		}
	}
	if m.Bytes, err = bounded(f, MaxBytes); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Changed says that a mapped file is no longer what it was, so that what was read of it
// may be half old and half new.
func (m *Mapped) Changed() error {
	if !m.mapped {
		return nil
	}
	st, err := os.Stat(m.name)
	if err != nil {
		return nil // it was removed or replaced: the mapping keeps what it was
	}
	if !os.SameFile(st, m.was) || st.Size() == m.was.Size() && st.ModTime().Equal(m.was.ModTime()) {
		return nil
	}
	return fmt.Errorf("%s: it was written to while it was read: %d bytes, then %d; try again", m.name, m.was.Size(), st.Size())
}

// Close gives the mapping up; nothing may refer to Bytes any more. It may be called twice.
func (m *Mapped) Close() error {
	b := m.Bytes
	m.Bytes = nil
	if !m.mapped || b == nil {
		return nil
	}
	return unmapFile(b)
}
