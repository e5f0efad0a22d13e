package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
)

// Line is one line of Envoy's access log: its fields by the operators' names in small letters.
type Line map[string]any

// Text is a field as text; an absent one (null) is empty.
func (l Line) Text(field string) string {
	switch v := l[field].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// client is the port of the connection's other end, before any filter rewrote it.
func (l Line) client() uint16 {
	a, err := netip.ParseAddrPort(l.Text("downstream_direct_remote_address"))
	if err != nil {
		return 0
	}
	return a.Port()
}

// accessLog is what Envoy wrote so far.
type accessLog struct {
	mu    sync.Mutex
	lines []Line
	grown chan struct{} // closed and replaced at each new line
	ended bool
}

// readLog reads Envoy's stdout until it ends, and keeps a copy in a file.
func (l *Lab) readLog(r *os.File, path string) error {
	f, err := os.Create(path)
	if err != nil {
		r.Close()
		return err
	}
	a := &accessLog{grown: make(chan struct{})}
	l.log = a
	l.readers.Go(func() {
		defer f.Close()
		defer r.Close()
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 4<<20)
		for sc.Scan() {
			fmt.Fprintf(f, "%s\n", sc.Bytes())
			var l Line
			if json.Unmarshal(sc.Bytes(), &l) == nil {
				a.add(l)
			}
		}
		io.Copy(f, r) // after a line that was too long: go on emptying the pipe
		a.end()
	})
	return nil
}

func (a *accessLog) add(l Line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, l)
	close(a.grown)
	a.grown = make(chan struct{})
}

func (a *accessLog) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	close(a.grown)
	a.grown = make(chan struct{})
}

// Wait gives the lines of the connection that the client made from a port, once enough says
// that there are enough of them. It fails when ctx ends before.
func (l *Lab) Wait(ctx context.Context, port uint16, enough func([]Line) bool) ([]Line, error) {
	a := l.log
	for {
		a.mu.Lock()
		var mine []Line
		for _, line := range a.lines {
			if line.client() == port {
				mine = append(mine, line)
			}
		}
		grown, ended := a.grown, a.ended
		a.mu.Unlock()
		if enough(mine) {
			return mine, nil
		}
		if ended {
			return mine, fmt.Errorf("envoy ended; its access log has %d lines of port %d", len(mine), port)
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return mine, fmt.Errorf("envoy's access log has %d lines of port %d: %w", len(mine), port, ctx.Err())
		}
	}
}

// Lines are all lines since Forget.
func (l *Lab) Lines() []Line {
	l.log.mu.Lock()
	defer l.log.mu.Unlock()
	return slices.Clone(l.log.lines)
}

// Forget empties the access log: source ports come again.
func (l *Lab) Forget() {
	l.log.mu.Lock()
	defer l.log.mu.Unlock()
	l.log.lines = nil
}
