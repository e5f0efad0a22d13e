package archive

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"golang.org/x/tools/txtar"
)

// Form is how a snapshot is written.
type Form uint8

const (
	Folder Form = iota
	Zip
	Txtar
	TxtarGz
)

// FormOf is the form that a file name asks for; without a known ending it is a folder.
func FormOf(name string) Form {
	switch base := strings.ToLower(filepath.Base(name)); {
	case strings.HasSuffix(name, "/"):
		return Folder
	case strings.HasSuffix(base, ".zip"):
		return Zip
	case strings.HasSuffix(base, ".txtar"), strings.HasSuffix(base, ".txt"):
		return Txtar
	case strings.HasSuffix(base, ".txtar.gz"):
		return TxtarGz
	}
	return Folder
}

// Write writes files to name in the form its ending asks for. It is readable by its owner
// only: a pod's configuration is nobody else's business. An existing file is replaced at
// once or not at all; a folder must be new or empty.
func Write(name string, files map[string][]byte) error {
	form := FormOf(name)
	if form == Folder {
		return writeFolder(name, files)
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".meshtop-*")
	if err != nil {
		return brief(name, err)
	}
	defer os.Remove(tmp.Name())
	err = Encode(tmp, form, files)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return brief(name, err)
	}
	return nil
}

// Encode writes files to w as a zip or txtar; the same files give the same bytes.
func Encode(w io.Writer, form Form, files map[string][]byte) error {
	switch form {
	case Zip:
		return encodeZip(w, files)
	case Txtar:
		return encodeTxtar(w, files)
	case TxtarGz:
		gz := gzip.NewWriter(w)
		if err := encodeTxtar(gz, files); err != nil {
			return err
		}
		return gz.Close()
	}
	return errors.New("a folder is no stream")
}

func encodeZip(w io.Writer, files map[string][]byte) error {
	zw := zip.NewWriter(w)
	for _, name := range names(files) {
		f, err := zw.Create(name) // no time: the same files give the same bytes
		if err != nil {
			return err
		}
		if _, err := f.Write(files[name]); err != nil {
			return err
		}
	}
	return zw.Close()
}

func encodeTxtar(w io.Writer, files map[string][]byte) error {
	ar := &txtar.Archive{Comment: files[Comment]}
	for _, name := range names(files) {
		if name == Comment {
			continue
		}
		f := txtar.File{Name: name, Data: files[name]}
		if !fits(f.Data) {
			f.Name += encoded
			f.Data = wrapped(base64.StdEncoding.EncodeToString(f.Data))
		}
		ar.Files = append(ar.Files, f)
	}
	_, err := w.Write(txtar.Format(ar))
	return err
}

// fits says whether a txtar gives data back as it is, but for a line feed at its end.
func fits(data []byte) bool {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	back := txtar.Parse(txtar.Format(&txtar.Archive{Files: []txtar.File{{Name: "x", Data: data}}}))
	return len(back.Files) == 1 && bytes.Equal(bytes.TrimSuffix(back.Files[0].Data, []byte("\n")), bytes.TrimSuffix(data, []byte("\n")))
}

func wrapped(s string) []byte {
	var b bytes.Buffer
	for len(s) > 100 {
		b.WriteString(s[:100] + "\n")
		s = s[100:]
	}
	b.WriteString(s + "\n")
	return b.Bytes()
}

func writeFolder(name string, files map[string][]byte) error {
	if err := os.MkdirAll(name, 0o700); err != nil {
		return brief(name, err)
	}
	old, err := os.ReadDir(name)
	if err != nil {
		return brief(name, err)
	}
	if len(old) > 0 {
		return fmt.Errorf("%s: the folder is not empty: choose a new one, or a name that ends in .zip or .txtar", name)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return brief(name, err)
	}
	defer root.Close()
	for _, part := range names(files) {
		if dir := filepath.Dir(filepath.FromSlash(part)); dir != "." {
			if err := root.MkdirAll(dir, 0o700); err != nil {
				return brief(filepath.Join(name, part), err)
			}
		}
		if err := root.WriteFile(filepath.FromSlash(part), files[part], 0o600); err != nil {
			return brief(filepath.Join(name, part), err)
		}
	}
	return nil
}

func names(files map[string][]byte) []string {
	out := make([]string, 0, len(files))
	for n := range files {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}
