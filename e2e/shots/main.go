// Command shots makes the pictures of the screens that the documentation shows, from the built
// program on a terminal:
//
//	go run ./e2e/shots [-dir docs/pictures] [-only NAME]
//
// A picture is what a terminal emulator holds after a few keys; its font is DejaVu Sans Mono.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
)

func main() {
	dir := flag.String("dir", "docs/pictures", "folder of the pictures")
	only := flag.String("only", "", "make this one only")
	flag.Parse()
	if err := run(*dir, *only); err != nil {
		fmt.Fprintln(os.Stderr, "shots:", err)
		os.Exit(1)
	}
}

func run(dir, only string) error {
	work, err := os.MkdirTemp("", "meshtop-shots-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	bin := filepath.Join(work, "meshtop")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/meshtop/meshtop").CombinedOutput(); err != nil {
		return fmt.Errorf("build meshtop: %w\n%s", err, out)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pen, err := newPen()
	if err != nil {
		return err
	}
	for _, s := range shots() {
		if only != "" && s.name != only {
			continue
		}
		if err := s.take(bin, filepath.Join(dir, s.name+".png"), pen); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// shot is one picture: a program on a terminal of w by h, and what is typed.
type shot struct {
	name  string
	w, h  int
	light bool
	argv  []string
	steps []step
}

// step is what the terminal must show before the keys are typed.
type step struct {
	shows string
	keys  string
}

// largest is how many bytes a picture may have.
const largest = 100_000

// take plays the steps and writes the picture.
func (s shot) take(bin, file string, pen *pen) error {
	p, err := screen.Start(screen.Options{W: s.w, H: s.h, Light: s.light}, bin, s.argv...)
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, st := range s.steps {
		if err := p.Wait(ctx, st.shows); err != nil {
			return err
		}
		if err := p.Keys(st.keys); err != nil {
			return err
		}
	}
	const calm = 400 * time.Millisecond
	for _, last := p.Wrote(); time.Since(last) < calm; _, last = p.Wrote() {
		time.Sleep(calm / 10)
	}
	cells, cursor := p.Cells()
	var out bytes.Buffer
	if err := pen.picture(&out, cells, cursor, s.light); err != nil {
		return err
	}
	if out.Len() > largest {
		return fmt.Errorf("%d bytes: more than %d", out.Len(), largest)
	}
	fmt.Printf("%s: %d bytes\n", file, out.Len())
	return os.WriteFile(file, out.Bytes(), 0o644)
}
