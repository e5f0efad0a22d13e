// Command bench prints how soon the first frame shows, and what meshtop costs on
// configurations of 2 to 194 MB, beside jq and istioctl in the same run:
//
//	go run ./e2e/bench [-rungs 2,20,99,194] [-dir DIR] [-istioctl PATH] [-pairs 5]
//	go run ./e2e/bench -requests FILE|DIR [-dir FILE|DIR]      dumps and requests that are there
//	go run ./e2e/bench -screens [-dir DIR]      what a person at the terminal waits for
//	go run ./e2e/bench -screen      what the confirm screen costs at 5,000 packets/s; root
//	go run ./e2e/bench -live 10000  what a trace costs a live Envoy of 10,000 services, which takes 7 GB; root
//
// It takes CPU seconds, not wall time, since other things run on the machine; for the
// first frame, which a person waits for, the shortest of many. Each figure stands beside
// its bar; one that is missed makes the exit status 1.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// rungs are the ladder: megabytes and the services that make them.
var rungs = []struct{ mb, services int }{{2, 112}, {20, 1160}, {99, 5800}, {194, 11450}}

// options are the flags.
type options struct {
	dir, meshtop, istioctl, jq string
	rungs                      string
	pairs                      int
	requests                   string
	inside, requestsFile       string
	screen, screens            bool
	pps, load, live            int
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "folder of MB.json and MB.req; what is missing is made there (empty: a temporary one);\nwith -requests FILE or DIR: the dumps")
	flag.StringVar(&o.rungs, "rungs", "2,20,99,194", "sizes of the ladder in MB; 0: none of them")
	flag.StringVar(&o.meshtop, "meshtop", "", "meshtop binary (empty: built)")
	flag.StringVar(&o.istioctl, "istioctl", os.Getenv("MESHTOP_ISTIOCTL"), "istioctl binary (empty: left out)")
	flag.StringVar(&o.jq, "jq", "jq", "jq binary (empty: left out)")
	flag.IntVar(&o.pairs, "pairs", 5, "how often each program runs on each file")
	flag.StringVar(&o.requests, "requests", "5000", "how many requests are made for each rung; or a `file` NAME.req or a folder of them, measured\n"+
		"over NAME.json in -dir (empty: beside it) or over the only dump there. A request file is a stream\n"+
		"of JSON objects: n, dst, port[, authority, path, headers], expect {listener, clusters[, table, vhost,\n"+
		"route, code]}; any of the clusters is right, and \"\" is none. One answer that is wrong or unknown is\n"+
		"exit status 1, as is every other bar that is missed")
	flag.StringVar(&o.inside, "inside", "", "measure this dump in this process and print JSON (used by bench itself)")
	flag.StringVar(&o.requestsFile, "requests-file", "", "with -inside: its requests")
	flag.BoolVar(&o.screen, "screen", false, "measure the confirm screen instead (root)")
	flag.BoolVar(&o.screens, "screens", false, "measure the screens instead: first frame, keys, memory, silence, end")
	flag.IntVar(&o.pps, "pps", 5000, "with -screen: packets a second")
	flag.IntVar(&o.live, "live", 0, "measure traces of a live Envoy with so many services instead (root)")
	flag.IntVar(&o.load, "load", 0, "make so many packets a second on lo (used by bench itself)")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.inside != "" {
		r, err := inside(o.inside, o.requestsFile)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	switch {
	case o.load > 0:
		return load(o.load)
	case o.screen:
		return onScreen(o)
	case o.live > 0:
		return onLive(o)
	case o.screens:
		return screens(o)
	}
	return whole(o)
}

// whole measures every job with programs that are built anew, and judges the figures.
func whole(o options) error {
	work, err := os.MkdirTemp("", "meshtop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	dir := o.dir
	if dir == "" {
		dir = work
	}
	jobs, err := o.jobs(dir)
	if err != nil {
		return err
	}
	if err := o.build(work); err != nil {
		return err
	}
	self := filepath.Join(work, "bench")
	if out, err := exec.Command("go", "build", "-o", self, "github.com/meshtop/meshtop/e2e/bench").CombinedOutput(); err != nil {
		return fmt.Errorf("build bench: %w\n%s", err, out)
	}
	if !o.given() {
		if err := firstFrame(o); err != nil {
			return fmt.Errorf("first frame: %w", err)
		}
	}
	var all []judged
	for _, make := range jobs {
		j, err := make()
		if err != nil {
			return err
		}
		figures, err := measure(o, self, j)
		if err != nil {
			return fmt.Errorf("%s: %w", j.title, err)
		}
		all = append(all, figures)
	}
	t, err := tables()
	if err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	return verdict(append(all, t))
}

// build builds meshtop where no binary was named.
func (o *options) build(dir string) error {
	if o.meshtop != "" {
		return nil
	}
	o.meshtop = filepath.Join(dir, "meshtop")
	if out, err := exec.Command("go", "build", "-o", o.meshtop, "github.com/meshtop/meshtop").CombinedOutput(); err != nil {
		return fmt.Errorf("build meshtop: %w\n%s", err, out)
	}
	return nil
}

func wanted(list string, mb int) bool {
	for _, s := range strings.Split(list, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil && n == mb {
			return true
		}
	}
	return false
}
