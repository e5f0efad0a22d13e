package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui"
)

// overheard is what libraries, and the programs that they start (a kubeconfig's credential
// plugin), write to standard error. It goes on to standard error, but not while screens have the
// terminal: then they are told, and it comes when they have given the terminal back.
type overheard struct {
	out  io.Writer
	in   *os.File      // what os.Stderr is meanwhile
	done chan struct{} // closed when all was read

	mu   sync.Mutex
	held bool
	kept []string
	lost int           // lines after those that are kept
	tell chan tui.News // to the screens; nil: there are none
}

// most is how many lines are kept for the end.
const most = 200

// overhear puts itself in the place of os.Stderr. client-go remembers that when it makes a
// client, so nothing later would do. Without a pipe everything stays as it is.
func overhear() *overheard {
	o := &overheard{out: os.Stderr, done: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		close(o.done)
		return o
	}
	o.in = w
	os.Stderr = w
	log.SetOutput(w)
	go func() {
		defer close(o.done)
		for lines := bufio.NewReader(r); ; {
			line, err := lines.ReadString('\n')
			if line != "" {
				o.heard(line)
			}
			if err != nil {
				return
			}
		}
	}()
	return o
}

func (o *overheard) heard(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.held {
		_, _ = io.WriteString(o.out, line)
		return
	}
	if len(o.kept) < most {
		o.kept = append(o.kept, line)
	} else {
		o.lost++
	}
	if text := strings.TrimSpace(render.Clean(strings.TrimRight(line, "\r\n"))); text != "" && o.tell != nil {
		select {
		case o.tell <- tui.News{Text: "standard error: " + text, Lasting: true}:
		default: // they are ending
		}
	}
}

// hold keeps it from the terminal until over. What it tells screens meanwhile comes with the
// news that they have already.
func (o *overheard) hold(news <-chan tui.News) (all <-chan tui.News, over func()) {
	merged, end := make(chan tui.News, most), make(chan struct{})
	o.mu.Lock()
	o.held, o.tell = true, merged
	o.mu.Unlock()
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			select {
			case n := <-news:
				select {
				case merged <- n:
				case <-end:
					return
				}
			case <-end:
				return
			}
		}
	})
	return merged, func() {
		close(end)
		passing.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.held, o.tell = false, nil
		for _, line := range o.kept {
			_, _ = io.WriteString(o.out, line)
		}
		if o.lost > 0 {
			_, _ = fmt.Fprintf(o.out, "… and %d more lines\n", o.lost)
		}
		o.kept, o.lost = nil, 0
	}
}

// close lets what was written last arrive. A program that was started and still runs may hold the
// pipe open: it is not waited for.
func (o *overheard) close() {
	if o.in == nil {
		return
	}
	_ = o.in.Close()
	select {
	case <-o.done:
	case <-time.After(100 * time.Millisecond):
	}
}
