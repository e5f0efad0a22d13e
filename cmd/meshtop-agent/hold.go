//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/inspect/local"
)

// hold listens for serve, and carries out what it asks for, until nobody was there for idle
// and nothing is promised. When it is asked to end it ends what is in force. brief: what the
// kernel ends by itself is no reason to stay; a process with power over a node should not.
func hold(ctx context.Context, pod *local.Pod, path string, idle time.Duration, brief bool) (err error) {
	keeper, err := agent.Keep(pod, func(err error) { fmt.Fprintln(os.Stderr, "meshtop-agent:", err) })
	if err != nil {
		return err
	}
	l, err := listen(path)
	if err != nil {
		return err
	}
	if err := keeper.Adopt(ctx); err != nil { // said, and no reason not to serve
		fmt.Fprintln(os.Stderr, "meshtop-agent: take over what is in force:", err)
	}
	h := &holder{keeper: keeper, idle: idle, brief: brief, changed: make(chan struct{}, 1)}
	ctx, end := context.WithCancel(ctx)
	defer end()
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go reap(ctx)
	go h.wait(ctx, end)
	h.accept(ctx, l)
	h.clients.Wait()
	return keeper.Release()
}

// listen makes the socket, readable by this user alone. One that nobody listens on any more
// is the rest of a holder that was killed.
func listen(path string) (*net.UnixListener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another holder listens on %s", path)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("listen on %s: it is there already and no socket: use another --socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// holder counts its clients.
type holder struct {
	keeper  *agent.Keeper
	idle    time.Duration
	brief   bool
	changed chan struct{}
	clients sync.WaitGroup

	mu sync.Mutex
	n  int
}

// accept serves each client until the listener is closed.
func (h *holder) accept(ctx context.Context, l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if err := ours(c); err != nil {
			fmt.Fprintln(os.Stderr, "meshtop-agent:", err)
			_ = c.Close()
			continue
		}
		h.clients.Go(func() {
			h.count(+1)
			defer h.count(-1)
			if err := agent.Serve(ctx, c, h.keeper, agent.ServeOptions{Version: version()}); err != nil {
				fmt.Fprintln(os.Stderr, "meshtop-agent:", err)
			}
		})
	}
}

func (h *holder) count(by int) {
	h.mu.Lock()
	h.n += by
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *holder) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.brief {
		return h.n > 0 || h.keeper.OnlyPromises()
	}
	return h.n > 0 || h.keeper.Promises()
}

// wait ends the holder once it was idle for its time.
func (h *holder) wait(ctx context.Context, end func()) {
	if h.idle <= 0 {
		return
	}
	timer := time.NewTimer(h.idle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.changed:
			timer.Reset(h.idle)
		case <-timer.C:
			if !h.busy() {
				end()
				return
			}
			timer.Reset(h.idle)
		}
	}
}
