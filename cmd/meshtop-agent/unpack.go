//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newUnpack is how tools come into a container of any image: its own libraries, and even its C
// library, may be others than theirs, so that each tool gets a script that starts it with its own.
func newUnpack() *cobra.Command {
	var sum string
	c := &cobra.Command{
		Use: "unpack DIR", Short: "Unpack the layer of an image from standard input, with a script for each program in DIR/bin.", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := unpackInto(cmd.InOrStdin(), sum, args[0]); err != nil {
				return fmt.Errorf("unpack: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), sum) // so that who sent it knows that it came to its end
			return nil
		},
	}
	c.Flags().StringVar(&sum, "sum", "", "the sha256 that the layer must have")
	return c
}

// mark is the file by which a folder is known that unpack has made. It holds the sum of what lies
// there once that is complete.
const mark = ".meshtop-unpacked"

// unpackInto makes the folder anew, in place of what a stream that broke has left of one, and
// takes it away where that fails. What it has not made it leaves alone, and what is there already:
// an agent that another client has started may use it.
func unpackInto(in io.Reader, sum, dir string) error {
	there, err := os.ReadFile(filepath.Join(dir, mark))
	switch {
	case err == nil && string(there) == sum:
		_, err = io.Copy(io.Discard, in)
		return err
	case err == nil:
		err = os.RemoveAll(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("%w: only what this command has made is replaced", err)
	}
	err = os.WriteFile(filepath.Join(dir, mark), nil, 0o600)
	if err == nil {
		err = unpack(in, sum, dir)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, mark), []byte(sum), 0o600)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// useTools makes the tools that were unpacked into dir the first that are found.
func useTools(dir string) error {
	if dir == "" {
		return nil
	}
	return os.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
}

// layer is what of an image is needed to start its programs.
type layer struct {
	dir      string
	programs map[string]string // by name, below dir; links' targets
	linker   string            // ld.so(8) as the programs name it
	libs     map[string]bool   // folders with libraries
}

func unpack(in io.Reader, sum, dir string) error {
	seen := sha256.New()
	l := &layer{dir: dir, programs: map[string]string{}, libs: map[string]bool{}}
	in = io.TeeReader(in, seen)
	if err := l.files(tar.NewReader(in)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // what pads the archive counts too
		return err
	}
	if got := hex.EncodeToString(seen.Sum(nil)); got != sum {
		return fmt.Errorf("what came has the sha256 %s, want %s", got, sum)
	}
	return l.scripts()
}

// files writes each file below dir, with no link of the archive in its way.
func (l *layer) files(tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%q leads out of the folder", h.Name)
		}
		in := path.Dir(name)
		switch program := in == "usr/sbin" || in == "usr/bin"; {
		case h.Typeflag == tar.TypeSymlink && program:
			l.programs[path.Base(name)] = path.Join(in, h.Linkname)
		case h.Typeflag != tar.TypeReg || path.Base(name) == "meshtop-agent":
		default:
			if program {
				l.programs[path.Base(name)] = name
			} else if strings.Contains(path.Base(name), ".so.") {
				l.libs[in] = true
			}
			if err := l.file(name, h.FileInfo().Mode().Perm(), tr); err != nil {
				return err
			}
		}
	}
}

func (l *layer) file(name string, mode fs.FileMode, from io.Reader) error {
	at := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_RDWR, mode|0o400)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err == nil && l.linker == "" {
		l.linker = interpreter(f)
	}
	return errors.Join(err, f.Close())
}

// interpreter is the linker that a program asks for; empty: none.
func interpreter(f io.ReaderAt) string {
	e, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		if err != nil {
			return ""
		}
		return string(bytes.TrimRight(raw, "\x00"))
	}
	return ""
}

// scripts writes bin: for each program what starts it by its own linker, with its own libraries.
func (l *layer) scripts() error {
	linker := path.Clean("/" + l.linker)
	if _, err := os.Stat(filepath.Join(l.dir, linker)); err != nil { // Debian keeps /lib below /usr
		linker = path.Join("/usr", linker)
	}
	libs := slices.Sorted(maps.Keys(l.libs))
	for i, d := range libs {
		libs[i] = filepath.Join(l.dir, d)
	}
	for _, name := range slices.Sorted(maps.Keys(l.programs)) {
		script := "#!/bin/sh\n"
		for _, d := range libs {
			if _, err := os.Stat(filepath.Join(d, "xtables")); err == nil { // where iptables looks for its matches
				script += "export XTABLES_LIBDIR=" + quoted(filepath.Join(d, "xtables")) + "\n"
			}
		}
		script += fmt.Sprintf("exec %s --argv0 %s --library-path %s %s \"$@\"\n", quoted(l.dir+linker), quoted(name),
			quoted(strings.Join(libs, ":")), quoted(filepath.Join(l.dir, l.programs[name])))
		if err := l.file("bin/"+name, 0o700, strings.NewReader(script)); err != nil {
			return err
		}
	}
	return nil
}

// quoted is one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
