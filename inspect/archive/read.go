// Package archive reads and writes the files of a snapshot as one thing: a folder, a zip
// or a txtar. It knows names and sizes, not meaning.
package archive

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/tools/txtar"
)

// Bounds of what is read: a file from a stranger must not fill the machine.
const (
	MaxBytes = 1 << 30 // all parts together, unpacked
	MaxParts = 100_000
)

// Comment is the name under which the text before a txtar's first part is kept.
const Comment = "comment"

// encoded marks a part whose bytes a txtar cannot hold as they are.
const encoded = " (base64)"

// ErrNoSnapshot says that something can be read, but is no snapshot.
var ErrNoSnapshot = errors.New("not a snapshot")

// Read reads the snapshot at path: a folder, a zip or a txtar, either of these two also
// packed with gzip. Which one it is, its bytes say, not its name.
func Read(name string) (map[string][]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, brief(name, err)
	}
	if st.IsDir() {
		root, err := os.OpenRoot(name) // a link in the folder must not lead out of it
		if err != nil {
			return nil, brief(name, err)
		}
		defer root.Close()
		return under(name)(FromFS(root.FS()))
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: neither a file nor a folder", name)
	}
	if st.Size() > MaxBytes {
		return nil, fmt.Errorf("%s: %d bytes, more than the %d that are read", name, st.Size(), MaxBytes)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, brief(name, err)
	}
	return under(name)(Parse(data))
}

// under puts the file's name before an error.
func under(name string) func(map[string][]byte, error) (map[string][]byte, error) {
	return func(files map[string][]byte, err error) (map[string][]byte, error) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return files, nil
	}
}

// brief is a system error with the name once.
func brief(name string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Parse reads a snapshot from the bytes of a zip or txtar, perhaps packed with gzip.
func Parse(data []byte) (map[string][]byte, error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		zr, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		if data, err = bounded(zr, MaxBytes); err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
	}
	if bytes.HasPrefix(data, []byte("PK\x03\x04")) {
		zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return nil, err
		}
		return FromZip(zr)
	}
	return fromTxtar(data)
}

// FromZip reads the files of a zip; the names that the zip gives are checked, and the
// sizes that it claims are not believed.
func FromZip(zr *zip.Reader) (map[string][]byte, error) {
	c := collector{files: map[string][]byte{}}
	for _, f := range zr.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%q: %w", f.Name, err)
		}
		err = c.add(f.Name, r)
		r.Close()
		if err != nil {
			return nil, err
		}
	}
	return c.done()
}

// FromFS reads all regular files of fsys.
func FromFS(fsys fs.FS) (map[string][]byte, error) {
	c := collector{files: map[string][]byte{}}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := fsys.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return c.add(p, f)
	})
	if err != nil {
		return nil, err
	}
	return c.done()
}

func fromTxtar(data []byte) (map[string][]byte, error) {
	ar := txtar.Parse(data)
	if len(ar.Files) == 0 {
		return nil, fmt.Errorf("%w: neither a zip, nor a txtar with parts such as -- iptables-save --", ErrNoSnapshot)
	}
	c := collector{files: map[string][]byte{}}
	for _, f := range ar.Files {
		name, data := f.Name, f.Data
		if n, ok := strings.CutSuffix(name, encoded); ok {
			raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), ""))
			if err != nil {
				return nil, fmt.Errorf("part %q: %w", name, err)
			}
			name, data = n, raw
		}
		if err := c.put(name, data); err != nil {
			return nil, err
		}
	}
	if len(bytes.TrimSpace(ar.Comment)) > 0 {
		if _, taken := c.files[Comment]; !taken {
			c.files[Comment] = ar.Comment
		}
	}
	return c.done()
}

// collector gathers parts within the bounds.
type collector struct {
	files map[string][]byte
	total int64
}

func (c *collector) add(name string, r io.Reader) error {
	data, err := bounded(r, MaxBytes-c.total)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return c.put(name, data)
}

// put keeps a part. A name that would leave the folder it is written to later is refused,
// wherever the archive came from.
func (c *collector) put(name string, data []byte) error {
	if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00") {
		return fmt.Errorf("part name %q: not a plain relative path", name)
	}
	if _, ok := c.files[name]; ok {
		return fmt.Errorf("part %q is there twice", name)
	}
	if len(c.files) >= MaxParts {
		return fmt.Errorf("more than %d parts", MaxParts)
	}
	c.total += int64(len(data))
	c.files[name] = data
	return nil
}

// done takes away the one folder that everything stands in, as zip programs make it, and
// refuses what holds no part of a snapshot.
func (c *collector) done() (map[string][]byte, error) {
	files := c.files
	if !Known(files) {
		if inner := unfold(files); inner != nil && Known(inner) {
			return inner, nil
		}
		return nil, fmt.Errorf("%w: none of its parts is one of %s", ErrNoSnapshot, strings.Join(parts, ", "))
	}
	return files, nil
}

func unfold(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	top := ""
	for name, data := range files {
		dir, rest, ok := strings.Cut(name, "/")
		if !ok || top != "" && dir != top {
			return nil
		}
		top, out[rest] = dir, data
	}
	return out
}

// parts are the names that make something a snapshot (docs/architecture.md).
var parts = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json",
	"addr.json", "sockets", "conntrack", "config_dump.json", "listeners.json", "clusters.json", "server_info.json", "stats"}

// Known says whether files hold any part of a snapshot that can be traced or looked at.
func Known(files map[string][]byte) bool {
	for _, p := range parts {
		if _, ok := files[p]; ok {
			return true
		}
	}
	for name := range files {
		if path.Dir(path.Dir(name)) == "config_dump" {
			return true
		}
	}
	return false
}

// bounded reads all of r, or fails above max bytes.
func bounded(r io.Reader, max int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("more than %d bytes", int64(MaxBytes))
	}
	return data, nil
}
