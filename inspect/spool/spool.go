// Package spool takes one long answer of unknown size: small in memory, else in a file that
// has no name and only this process can read, mapped into memory.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Spool takes one answer. A configuration of 200 MB then costs pages that the kernel may
// take back, not heap. The zero value keeps nothing in memory and takes nothing.
type Spool struct {
	InMemory int64       // bytes up to which an answer stays in memory
	Max      int64       // bytes above which it is refused
	Progress func(int64) // told of the bytes so far; nil: nobody is

	size   int64
	file   *os.File
	mapped []byte
}

// Take reads r to its end. What it gives is valid until Close.
func (s *Spool) Take(r io.Reader) ([]byte, error) {
	in := &counter{r: io.LimitReader(r, s.Max+1), s: s}
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, in, s.InMemory+1); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if s.size > s.Max {
		return nil, s.tooLarge()
	}
	if int64(buf.Len()) <= s.InMemory {
		return buf.Bytes(), nil
	}
	if err := s.spill(&buf, in); err != nil {
		return nil, err
	}
	if s.size > s.Max {
		return nil, s.tooLarge()
	}
	var err error
	s.mapped, err = mapFile(s.file, s.size)
	return s.mapped, err
}

func (s *Spool) tooLarge() error { return fmt.Errorf("the answer is larger than %d bytes", s.Max) }

// spill writes what was read, and all that follows, to a file. os.CreateTemp makes it 0600.
func (s *Spool) spill(buf *bytes.Buffer, rest io.Reader) error {
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

// Size is how many bytes were read so far.
func (s *Spool) Size() int64 { return s.size }

// Mapped says whether the answer is in a file that is mapped: then Close must wait for its users.
func (s *Spool) Mapped() bool { return s.mapped != nil }

// File is the file that the answer is in; nil: it is in memory.
func (s *Spool) File() *os.File { return s.file }

// Close gives up the file; it may be called twice.
func (s *Spool) Close() error {
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
	s *Spool
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.s.size += int64(n)
	if n > 0 && c.s.Progress != nil {
		c.s.Progress(c.s.size)
	}
	return n, err
}
