// Command image makes a container image as an archive of an OCI layout, without Docker and
// without a registry: files, and programs of this machine with the libraries they need.
//
//	image -o OUT.tar -name NAME [-arch ARCH] [-root DIR] [-file SRC=DST] [-program PATH] [-link PATH=TARGET] [--] [ENTRYPOINT...]
//	image -o OUT.tar -name NAME -join IMAGE.tar -join IMAGE.tar
//
// The second makes one image of several, each for another architecture.
// It prints the digest of the image's manifest, or index. The same inputs give the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// words is a flag that may be given more than once.
type words []string

// String is for package flag.
func (w *words) String() string { return strings.Join(*w, " ") }

// Set is for package flag.
func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

func run(args []string) error {
	f := flag.NewFlagSet("image", flag.ExitOnError)
	out := f.String("o", "", "the archive")
	name := f.String("name", "", "such as example.org/meshtop-agent:1")
	arch := f.String("arch", runtime.GOARCH, "of the image")
	root := f.String("root", "/", "where programs and libraries are: an unpacked Debian of the image's architecture")
	var files, programs, links, archives words
	f.Var(&archives, "join", "an archive of an image for one architecture")
	f.Var(&files, "file", "SRC=DST, a file or a folder")
	f.Var(&programs, "program", "a program below the root, with its libraries")
	f.Var(&links, "link", "PATH=TARGET, a symbolic link")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *out == "" || *name == "" {
		return errors.New("want -o and -name")
	}
	if len(archives) > 0 {
		digest, err := join(*out, *name, archives)
		if err != nil {
			return fmt.Errorf("join: %w", err)
		}
		fmt.Println(digest)
		return nil
	}
	t := newTree(*root)
	for _, p := range programs {
		if err := t.program(p); err != nil {
			return fmt.Errorf("program %s: %w", p, err)
		}
	}
	for _, s := range files {
		src, dst, _ := strings.Cut(s, "=")
		if err := t.copy(src, dst); err != nil {
			return fmt.Errorf("file %s: %w", s, err)
		}
	}
	for _, s := range links {
		path, target, _ := strings.Cut(s, "=")
		t.link(path, target)
	}
	digest, err := write(*out, *name, *arch, t, f.Args())
	if err != nil {
		return fmt.Errorf("write %s: %w", *out, err)
	}
	fmt.Println(digest)
	return nil
}
