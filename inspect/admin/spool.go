package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// spool takes one answer: in memory while it is small, else in a file that has no name any
// more and only this process can read, mapped into memory. A configuration of 200 MB then
// costs pages that the kernel may take back, not heap.
type spool struct {
	inMemory, max int64
	progress      func(int64)
	size          int64
	file          *os.File
	mapped        []byte
}

// take reads r to its end.
func (s *spool) take(r io.Reader) ([]byte, error) {
	in := &counter{r: io.LimitReader(r, s.max+1), s: s}
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, in, s.inMemory+1); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if s.size > s.max {
		return nil, s.tooLarge()
	}
	if int64(buf.Len()) <= s.inMemory {
		return buf.Bytes(), nil
	}
	if err := s.spill(&buf, in); err != nil {
		return nil, err
	}
	if s.size > s.max {
		return nil, s.tooLarge()
	}
	var err error
	s.mapped, err = mapFile(s.file, s.size)
	return s.mapped, err
}

func (s *spool) tooLarge() error { return fmt.Errorf("the answer is larger than %d bytes", s.max) }

// spill writes what was read, and all that follows, to a file. os.CreateTemp makes it 0600.
func (s *spool) spill(buf *bytes.Buffer, rest io.Reader) error {
	f, err := os.CreateTemp("", "meshtop-*")
	if err != nil {
		return err
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := buf.WriteTo(f); err != nil {
		return err
	}
	_, err = io.Copy(f, rest)
	return err
}

// close gives up the file; it may be called twice.
func (s *spool) close() error {
	var errs []error
	if s.mapped != nil {
		errs = append(errs, unmapFile(s.mapped))
		s.mapped = nil
	}
	if s.file != nil {
		errs = append(errs, s.file.Close())
		s.file = nil
	}
	return errors.Join(errs...)
}

// counter counts what is read, and tells of it.
type counter struct {
	r io.Reader
	s *spool
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.s.size += int64(n)
	if n > 0 && c.s.progress != nil {
		c.s.progress(c.s.size)
	}
	return n, err
}
