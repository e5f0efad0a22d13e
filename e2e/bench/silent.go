package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
)

// silentServer measures the first frame where an API server takes connections and never answers,
// and how long it takes to leave then.
func silentServer(o options, dir string, wall bool) (judged, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return judged{}, err
	}
	defer l.Close()
	go func() {
		for {
			if _, err := l.Accept(); err != nil { // it stays open, and silent
				return
			}
		}
	}()
	config := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c"}}],"clusters":[{"name":"c","cluster":{"server":"http://%s"}}]}`, l.Addr())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return judged{}, err
	}
	out := judged{title: "a cluster that never answers"}
	for _, w := range []struct {
		name  string
		argv  []string
		shows []string
	}{
		{"choosing a pod", nil, []string{"choose a pod"}},
		{"a pod by its name", []string{"attach", "pod", "some"}, []string{"meshtop", "some"}},
	} {
		var first, quit []float64
		for range starts {
			f, q, err := firstAndLast(o, config, w.argv, w.shows)
			if err != nil {
				return out, fmt.Errorf("%s: %w", w.name, err)
			}
			first, quit = append(first, f), append(quit, q)
		}
		slices.Sort(first)
		slices.Sort(quit)
		fmt.Printf("%-36s first frame min %.0f, median %.0f ms; quit min %.0f, median %.0f ms\n", w.name, first[0], median(first), quit[0], median(quit))
		// The shortest, as of every first frame: on a busy machine the median is the machine's.
		if !wall {
			first, quit = first[:1], quit[:1]
		}
		out.bars = append(out.bars, bar{what: w.name + ": first frame, ms", got: median(first), aim: firstFrameBar},
			bar{what: w.name + ": quit, ms", got: median(quit), aim: quitBar})
	}
	return out, nil
}

// firstAndLast starts the program, waits for its first frame, and quits: both in ms.
func firstAndLast(o options, config string, argv, shows []string) (first, quit float64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	start := time.Now()
	p, err := screen.Start(screen.Options{W: 200, H: 60, Env: []string{"KUBECONFIG=" + config}}, o.meshtop, argv...)
	if err != nil {
		return 0, 0, err
	}
	defer p.Close()
	// The alternate screen: before it nothing is a frame, whatever it says.
	err = p.Until(ctx, "the first frame", func(s string) bool {
		if !strings.Contains(p.Raw(), "\x1b[?1049h") {
			return false
		}
		for _, t := range shows {
			if !strings.Contains(s, t) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return 0, 0, err
	}
	first = time.Since(start).Seconds() * 1e3
	start = time.Now()
	if err := p.Keys("q"); err != nil {
		return 0, 0, err
	}
	_ = p.Ended(ctx) // with what status does not matter
	quit = time.Since(start).Seconds() * 1e3
	return first, quit, p.Restored(ctx)
}
