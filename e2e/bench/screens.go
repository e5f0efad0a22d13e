package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
)

// What screens have to hold (UX.md calls it "nothing blocks").
const (
	firstFrameBar = 100 // ms from exec to the first frame, before the network has answered anything
	keyBar        = 30  // ms from a key to the last byte of its frame, at the 99th percentile
	cpuBar        = 13  // ms of CPU of a key: what keyBar leaves when up to a 60th of a second is waited for a frame
	quitBar       = 200 // ms from q to the program's end
	rssBar        = 64  // MB beside the snapshot's own
	ownShare      = 0.3 // of the snapshot's bytes: what its index may take beside them, as -inside judges it
	idleFor       = 10 * time.Second
)

// visit is one session with the screens: where it goes, and which keys are measured there.
type visit struct {
	title string
	argv  []string
	size  float64 // MB of the snapshot
	steps []leg
	quit  bool // the session's end is measured too, and its memory and silence
}

// leg is a part of a session: keys that lead there, what the terminal shows then, and the
// keys that are measured, again and again.
type leg struct {
	name  string
	keys  string
	shows []string
	press []string
	times int // over press; 0: nothing is measured
}

// screens measures what a person at the terminal waits for.
func screens(o options) error {
	work, err := os.MkdirTemp("", "meshtop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := o.build(work); err != nil {
		return err
	}
	dir := o.dir
	if dir == "" {
		dir = work
	}
	visits, err := o.visits(dir)
	if err != nil {
		return err
	}
	quiet, err := quietMachine(context.Background())
	if err != nil {
		return err
	}
	first, err := silentServer(o, work, quiet)
	if err != nil {
		return fmt.Errorf("first frame: %w", err)
	}
	all := []judged{first}
	for _, v := range visits {
		fmt.Printf("\n## %s\n", v.title)
		j, err := v.measure(o, quiet)
		if err != nil {
			return fmt.Errorf("%s: %w", v.title, err)
		}
		all = append(all, j)
	}
	return verdict(all)
}

// visits are the sessions that are measured.
func (o *options) visits(dir string) ([]visit, error) {
	rows := filepath.Join(dir, "rows")
	size, err := manyRows(rows)
	if err != nil {
		return nil, err
	}
	out := []visit{
		{"demo mesh", []string{"demo", "mesh"}, 0, []leg{
			{"the stepper", "", []string{"▸ Trace", "20 steps"}, []string{"j", "j", "k", "k", "\t", "\t", "z", "z"}, 25},
		}, true},
		{fmt.Sprintf("%d rules and %d connections", rowCount, rowCount), []string{"attach", "file", rows}, size, rowLegs(), true},
	}
	for _, r := range rungs {
		if r.mb != dumpRung || !wanted(o.rungs, r.mb) {
			continue
		}
		dump, reqs, err := files(dir, r.mb, r.services, 100)
		if err != nil {
			return nil, err
		}
		v, err := dumpVisit(dump, reqs)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// measure goes through a session on a terminal of 200x60.
func (v visit) measure(o options, wall bool) (judged, error) {
	out := judged{title: v.title}
	p, err := screen.Start(screen.Options{W: 200, H: 60}, o.meshtop, v.argv...)
	if err != nil {
		return out, err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for _, l := range v.steps {
		bars, err := l.measure(ctx, p, wall)
		if err != nil {
			return out, fmt.Errorf("%s: %w", l.name, err)
		}
		out.bars = append(out.bars, bars...)
	}
	if !v.quit {
		return out, nil
	}
	rest, err := v.rest(ctx, p, wall)
	out.bars = append(out.bars, rest...)
	return out, err
}

// rest measures what the program takes while nobody does anything, and how it ends.
func (v visit) rest(ctx context.Context, p *screen.Program, wall bool) ([]bar, error) {
	if err := calm(ctx, p); err != nil {
		return nil, err
	}
	before, _ := p.Wrote()
	cpu, err := cpuOf(p.PID())
	if err != nil {
		return nil, err
	}
	time.Sleep(idleFor) // what is measured is that nothing happens
	after, _ := p.Wrote()
	cpu2, err := cpuOf(p.PID())
	if err != nil {
		return nil, err
	}
	rss := rssOf(p.PID())
	start := time.Now()
	if err := p.Keys("q"); err != nil {
		return nil, err
	}
	err = p.Ended(ctx)
	took := time.Since(start)
	if err != nil {
		return nil, err
	}
	fmt.Printf("%-36s %.1f ms of CPU a second, %.0f bytes/s to the terminal; RSS %.0f MB; quit in %.0f ms\n", "idle",
		1e3*(cpu2-cpu)/idleFor.Seconds(), float64(after-before)/idleFor.Seconds(), rss, took.Seconds()*1e3)
	bars := []bar{
		{what: "idle, bytes/s to the terminal", got: float64(after-before) / idleFor.Seconds(), digits: 1},
		{what: "RSS, MB", got: rss, aim: rssBar + v.size*(1+ownShare)},
	}
	if wall {
		bars = append(bars, bar{what: "quit, ms", got: took.Seconds() * 1e3, aim: quitBar})
	}
	return bars, p.Restored(ctx)
}
