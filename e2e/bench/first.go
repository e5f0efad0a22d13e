package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
)

// starts is how often each program is started.
const starts = 20

// wait is one program, and what its terminal shows when it has said what was asked.
type wait struct {
	name  string
	argv  []string
	shows []string
	mute  bool // the terminal answers no question
}

// firstFrame measures what a person waits for: from exec to the stepper with its verdict on
// an 80x24 terminal, beside programs that only print a line, in turns.
func firstFrame(o options) error {
	fmt.Println("\n## first frame: exec to text on an 80x24 pty, wall seconds")
	waits := []wait{
		{"meshtop demo mesh, the stepper and its verdict", []string{o.meshtop, "demo", "mesh"}, []string{"▸ Trace", "DELIVERED to 10.107.42.16:80", "20 steps"}, false},
		{"the same, a terminal that answers nothing", []string{o.meshtop, "demo", "mesh"}, []string{"▸ Trace", "DELIVERED to 10.107.42.16:80", "20 steps"}, true},
		{"meshtop version", []string{o.meshtop, "version"}, []string{"meshtop "}, false},
		{"sh -c 'echo done'", []string{"/bin/sh", "-c", "echo done"}, []string{"done"}, false},
	}
	if o.istioctl != "" {
		waits = append(waits, wait{"istioctl version --remote=false", []string{o.istioctl, "version", "--remote=false"}, []string{"version"}, false})
	}
	took := make([][]time.Duration, len(waits))
	for range starts {
		for i, w := range waits {
			d, err := w.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			took[i] = append(took[i], d)
		}
	}
	for i, w := range waits {
		slices.Sort(took[i])
		fmt.Printf("%-48s min %.4f median %.4f", w.name, took[i][0].Seconds(), took[i][starts/2].Seconds())
		if i > 0 {
			fmt.Printf("   meshtop demo takes %.1f times that (min), %.1f (median)", ratio(took[0][0], took[i][0]), ratio(took[0][starts/2], took[i][starts/2]))
		}
		fmt.Println()
	}
	return nil
}

func ratio(a, b time.Duration) float64 { return a.Seconds() / b.Seconds() }

func (w wait) measure() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	start := time.Now()
	p, err := screen.Start(screen.Options{W: 80, H: 24, Mute: w.mute}, w.argv[0], w.argv[1:]...)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	err = p.Wait(ctx, w.shows...)
	return time.Since(start), err
}
