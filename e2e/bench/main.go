// Command bench prints how soon the first frame shows, and what meshtop costs on
// configurations of 2 to 194 MB, beside jq and istioctl in the same run:
//
//	go run ./e2e/bench [-rungs 2,20,99,194] [-dir DIR] [-istioctl PATH] [-pairs 5]
//	go run ./e2e/bench -screen      what the confirm screen costs at 5,000 packets/s; root
//
// It takes CPU seconds, not wall time, since other things run on the machine; for the
// first frame, which a person waits for, the shortest of many.
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
	pairs, requests            int
	inside, requestsFile       string
	screen                     bool
	pps, load                  int
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "folder of MB.json and MB.req; what is missing is made there (empty: a temporary one)")
	flag.StringVar(&o.rungs, "rungs", "2,20,99,194", "sizes of the ladder in MB; 0: none of them")
	flag.StringVar(&o.meshtop, "meshtop", "", "meshtop binary (empty: built)")
	flag.StringVar(&o.istioctl, "istioctl", os.Getenv("MESHTOP_ISTIOCTL"), "istioctl binary (empty: left out)")
	flag.StringVar(&o.jq, "jq", "jq", "jq binary (empty: left out)")
	flag.IntVar(&o.pairs, "pairs", 5, "how often each program runs on each file")
	flag.IntVar(&o.requests, "requests", 5000, "requests of each rung")
	flag.StringVar(&o.inside, "inside", "", "measure this dump in this process and print JSON (used by bench itself)")
	flag.StringVar(&o.requestsFile, "requests-file", "", "with -inside: its requests")
	flag.BoolVar(&o.screen, "screen", false, "measure the confirm screen instead (root)")
	flag.IntVar(&o.pps, "pps", 5000, "with -screen: packets a second")
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
	}
	dir, err := workDir(o.dir)
	if err != nil {
		return err
	}
	if o.dir == "" {
		defer os.RemoveAll(dir)
	}
	if err := o.build(dir); err != nil {
		return err
	}
	self := filepath.Join(dir, "bench")
	if out, err := exec.Command("go", "build", "-o", self, "github.com/meshtop/meshtop/e2e/bench").CombinedOutput(); err != nil {
		return fmt.Errorf("build bench: %w\n%s", err, out)
	}
	if err := firstFrame(o); err != nil {
		return fmt.Errorf("first frame: %w", err)
	}
	wrong := 0
	for _, r := range rungs {
		if !wanted(o.rungs, r.mb) {
			continue
		}
		n, err := rung(o, self, dir, r.mb, r.services)
		if err != nil {
			return fmt.Errorf("%d MB: %w", r.mb, err)
		}
		wrong += n
	}
	tables()
	if wrong > 0 {
		return fmt.Errorf("%d wrong answers", wrong)
	}
	return nil
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

func workDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "meshtop-bench-")
	}
	return dir, os.MkdirAll(dir, 0o755)
}

func wanted(list string, mb int) bool {
	for _, s := range strings.Split(list, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil && n == mb {
			return true
		}
	}
	return false
}

// rung measures one file and prints its rows; it returns the number of wrong answers.
func rung(o options, self, dir string, mb, services int) (int, error) {
	dump, reqs, err := files(dir, mb, services, o.requests)
	if err != nil {
		return 0, err
	}
	size, err := os.Stat(dump)
	if err != nil {
		return 0, err
	}
	fmt.Printf("\n## %d MB (%.1f MB, %d services)\n", mb, float64(size.Size())/1e6, services)
	costs, err := pairs(o, dump, reqs)
	if err != nil {
		return 0, err
	}
	for _, c := range costs {
		fmt.Println(c.row(costs[0], size.Size()))
	}
	var in insideResult
	out, err := exec.Command(self, "-inside", dump, "-requests-file", reqs).Output()
	if err != nil {
		return 0, fmt.Errorf("inside: %w", err)
	}
	if err := json.Unmarshal(out, &in); err != nil {
		return 0, err
	}
	in.print(size.Size())
	return in.Wrong, nil
}
