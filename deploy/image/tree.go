package main

import (
	"archive/tar"
	"debug/elf"
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
)

// tree is what the image holds.
type tree struct {
	root  string
	items map[string]item // by path without the leading slash
}

// item is a file of this machine, or a link.
type item struct {
	src, target string
	mode        fs.FileMode
}

func newTree(root string) *tree { return &tree{root, map[string]item{}} }

func (t *tree) link(at, target string) {
	t.items[clean(at)] = item{target: target}
}

// copy puts a file, or every file of a folder, and the libraries of those that need any.
func (t *tree) copy(src, dst string) error {
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		return t.put(p, path.Join(dst, filepath.ToSlash(rel)))
	})
}

// program puts a program of the root where it is there. Packages that were only unpacked have
// some below / and some below /usr; in the image that is the same.
func (t *tree) program(at string) error {
	src, err := t.find(at)
	if err != nil {
		var other error
		if src, other = t.find(path.Join("/usr", at)); other != nil {
			return err
		}
	}
	return t.put(src, at)
}

func (t *tree) put(src, dst string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	key := clean(dst)
	if _, ok := t.items[key]; ok {
		return nil
	}
	t.items[key] = item{src: src, mode: info.Mode().Perm()}
	return t.libraries(src)
}

// libraries puts what the dynamic linker would load (ld.so(8)), and the linker.
func (t *tree) libraries(src string) error {
	f, err := elf.Open(src)
	if err != nil {
		var bad *elf.FormatError
		if errors.As(err, &bad) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // a script, or a table of text
		}
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		if err != nil {
			return err
		}
		if err := t.program(strings.TrimRight(string(raw), "\x00")); err != nil {
			return err
		}
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := t.library(n, f.Machine); err != nil {
			return fmt.Errorf("%s: %w", src, err)
		}
	}
	return nil
}

// triplets are Debian's names of an architecture's own library folders.
var triplets = map[elf.Machine]string{elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu"}

func (t *tree) library(name string, m elf.Machine) error {
	for _, dir := range []string{"/usr/lib/" + triplets[m], "/lib/" + triplets[m], "/usr/lib", "/lib"} {
		at := path.Join(dir, name)
		if _, err := t.find(at); err == nil {
			return t.program(at)
		}
	}
	return fmt.Errorf("library %s: not below %s", name, t.root)
}

// find is where the root has a path, whose links are taken as below the root.
func (t *tree) find(at string) (string, error) {
	p := "/"
	parts := strings.Split(clean(at), "/")
	for hops := 0; len(parts) > 0; {
		next := path.Join(p, parts[0])
		parts = parts[1:]
		target, err := os.Readlink(filepath.Join(t.root, next))
		if err != nil {
			p = next
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("%s: too many links", at)
		}
		if !path.IsAbs(target) {
			target = path.Join(p, target)
		}
		parts = append(strings.Split(clean(target), "/"), parts...)
		p = "/"
	}
	full := filepath.Join(t.root, p)
	_, err := os.Stat(full)
	return full, err
}

func clean(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// merged are the folders that Debian keeps below /usr.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// tar writes the layer: folders first, then files, in the order of their names and without
// times, so that equal inputs give equal bytes.
func (t *tree) tar(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, h := range t.folders() {
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	for _, name := range t.names() {
		i := t.items[name]
		if i.target != "" {
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: usr(name), Linkname: i.target, Mode: 0o777}); err != nil {
				return err
			}
			continue
		}
		if err := file(tw, usr(name), i); err != nil {
			return err
		}
	}
	return tw.Close()
}

func (t *tree) names() []string { return slices.Sorted(maps.Keys(t.items)) }

// usr is a name as the merged /usr has it.
func usr(name string) string {
	if first, _, _ := strings.Cut(name, "/"); slices.Contains(merged, first) {
		return "usr/" + name
	}
	return name
}

func (t *tree) folders() []*tar.Header {
	seen := map[string]bool{"tmp": true, "run": true}
	for _, d := range merged {
		seen["usr/"+d] = true
	}
	for n := range t.items {
		for d := path.Dir(usr(n)); d != "."; d = path.Dir(d) {
			seen[d] = true
		}
	}
	seen["usr"] = true
	var out []*tar.Header
	for _, d := range slices.Sorted(maps.Keys(seen)) {
		mode := int64(0o755)
		if d == "tmp" {
			mode = 0o1777
		}
		out = append(out, &tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: mode})
	}
	for _, d := range merged {
		out = append(out, &tar.Header{Typeflag: tar.TypeSymlink, Name: d, Linkname: "usr/" + d, Mode: 0o777})
	}
	return out
}

func file(tw *tar.Writer, name string, i item) error {
	f, err := os.Open(i.src)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: int64(i.mode)}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
