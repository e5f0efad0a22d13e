package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
)

// rounds are how often a leg's keys are measured at most: the machine does other things too, and
// what holds the bar once is what the program can do.
const rounds = 3

// patience is how long a screen may take to show, which is not what is measured.
const patience = time.Minute

// measure goes there and types. Each key must change what the terminal shows. wall says that
// what a clock measures is judged.
func (l leg) measure(ctx context.Context, p *screen.Program, wall bool) ([]bar, error) {
	showing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	start := time.Now()
	if err := p.Keys(l.keys); err != nil {
		return nil, err
	}
	if err := p.Wait(showing, l.shows...); err != nil {
		return nil, err
	}
	fmt.Printf("%-36s there in %.0f ms\n", l.name, time.Since(start).Seconds()*1e3)
	if l.times == 0 {
		return nil, nil
	}
	var best, cpu quantiles
	for round := range rounds {
		q, c, err := l.round(ctx, p)
		if err != nil {
			return nil, err
		}
		if round == 0 || q.P99 < best.P99 {
			best, cpu = q, c
		}
		if !wall || best.P99 <= keyBar {
			break
		}
	}
	fmt.Printf("%-36s key to frame, ms: p50 %.1f, p90 %.1f, p99 %.1f; CPU of a key, ms: p50 %.1f, p90 %.1f, p99 %.1f; of %d\n",
		l.name, best.P50, best.P90, best.P99, cpu.P50, cpu.P90, cpu.P99, l.times*len(l.press))
	// The hundredth key has a garbage collection beside it, which nobody waits for.
	out := []bar{{what: l.name + ": CPU of a key p90, ms", got: cpu.P90, aim: cpuBar, digits: 1}}
	if wall {
		out = append(out, bar{what: l.name + ": key to frame p99, ms", got: best.P99, aim: keyBar, digits: 1})
	}
	return out, nil
}

// round types the keys so often, and is what they took by the clock and of the CPU.
func (l leg) round(ctx context.Context, p *screen.Program) (wall, cpu quantiles, err error) {
	var took, used []float64
	for range l.times {
		for _, k := range l.press {
			before := ranFor(p.PID())
			d, err := reaction(ctx, p, k)
			if err != nil {
				return wall, cpu, fmt.Errorf("key %q: %w", k, err)
			}
			took, used = append(took, d.Seconds()*1e3), append(used, (ranFor(p.PID())-before).Seconds()*1e3)
		}
	}
	return quantile(took), quantile(used), nil
}

// ranFor is how long the threads of a process had a CPU (proc(5): the first field of schedstat,
// in nanoseconds). A thread that has ended does not count.
func ranFor(pid int) (all time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if fields := strings.Fields(string(b)); len(fields) > 0 {
			n, _ := strconv.ParseInt(fields[0], 10, 64)
			all += time.Duration(n)
		}
	}
	return all
}

// quietMachine says whether a clock tells anything of the program: a byte comes back from a
// program that does nothing with it, 99 times of 100, in less than quietBar ms.
func quietMachine(ctx context.Context) (bool, error) {
	const quietBar = 3
	p, err := screen.Start(screen.Options{W: 80, H: 24}, "cat")
	if err != nil {
		return false, err
	}
	defer p.Close()
	var took []float64
	for range 200 {
		d, err := reaction(ctx, p, "x")
		if err != nil {
			return false, err
		}
		took = append(took, d.Seconds()*1e3)
	}
	q := quantile(took)
	quiet := q.P99 < quietBar
	fmt.Printf("a byte through cat, ms: p50 %.2f, p99 %.2f", q.P50, q.P99)
	if !quiet {
		fmt.Printf(": the machine has other things to do, and what a clock measures is not judged; CPU is")
	}
	fmt.Println()
	return quiet, nil
}

// silence is how long nothing is written after the last byte of a frame: longer than two
// frames are apart.
const silence = 40 * time.Millisecond

var errNoReaction = errors.New("nothing was written in answer")

// reaction is the time from a key to the last byte that it brought to the terminal.
func reaction(ctx context.Context, p *screen.Program, key string) (time.Duration, error) {
	before, _ := p.Wrote()
	start := time.Now()
	if err := p.Keys(key); err != nil {
		return 0, err
	}
	for n, last := p.Wrote(); ; n, last = p.Wrote() {
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case n == before && time.Since(start) > 10*time.Second:
			return 0, fmt.Errorf("%w; the terminal shows\n%s", errNoReaction, p.Text())
		case n > before && time.Since(last) > silence:
			return last.Sub(start), nil
		}
		time.Sleep(time.Millisecond)
	}
}

// calm waits until nothing is written any more.
func calm(ctx context.Context, p *screen.Program) error {
	for {
		if _, last := p.Wrote(); time.Since(last) > 2*time.Second {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the terminal is written to all the time: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Keys as a terminal sends them.
const (
	enter, esc, backspace = "\r", "\x1b", "\x7f"
	ctrlD, ctrlU          = "\x04", "\x15"
)
