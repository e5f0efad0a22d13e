//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

// serve answers one client until its end of the stream is closed. Reading it does itself;
// changes are the holder's, who outlives the stream.
func serve(ctx context.Context, pod *local.Pod, path string) error {
	h := &handing{Pod: pod, socket: path}
	defer h.close()
	if _, err := h.held(ctx); err != nil { // the holder knows from now on that somebody is here
		return err
	}
	within, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { h.await(within) })
	defer work.Wait()
	defer cancel()
	return agent.Serve(ctx, stdio{}, h, agent.ServeOptions{Version: version()})
}

// dialHolder greets the holder for a session; nil: there is none.
func dialHolder(ctx context.Context, path, session string) (*agent.Pod, error) {
	c, err := net.Dial("unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return agent.Dial(ctx, c, agent.DialOptions{Session: session})
}

// handing is the pod whose changes the holder carries out.
type handing struct {
	*local.Pod
	socket string

	mu      sync.Mutex
	holder  *agent.Pod // nil: none so far
	session string     // the client's, once it has said it
}

var _ agent.Sessions = (*handing)(nil)

// begins is how long the holder of a container that has just begun may take to listen.
const begins = 2 * time.Second

// await finds the holder, which may have begun at the same moment and must know that somebody is
// here; nil: ctx ended, or there is none.
func (h *handing) await(ctx context.Context) *agent.Pod {
	ctx, cancel := context.WithTimeout(ctx, begins)
	defer cancel()
	for {
		if holder, err := h.held(ctx); err != nil || holder != nil {
			return holder
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Greet tells the holder whose stream this is; without one nothing is kept.
func (h *handing) Greet(ctx context.Context, session string) (bool, error) {
	h.mu.Lock()
	h.session = session
	h.mu.Unlock()
	if holder := h.await(ctx); holder != nil {
		return holder.Greet(ctx, session)
	}
	return false, nil
}

// Leave has the holder end what the session holds.
func (h *handing) Leave(ctx context.Context, session string) error {
	holder, err := h.held(ctx)
	if err != nil || holder == nil {
		return err
	}
	return holder.Leave(ctx, session)
}

// held is the holder; nil: there is none. One that was killed may have a successor.
func (h *handing) held(ctx context.Context) (*agent.Pod, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holder != nil {
		select {
		case <-h.holder.Done():
			_ = h.holder.Close()
			h.holder = nil
		default:
			return h.holder, nil
		}
	}
	var err error
	h.holder, err = dialHolder(ctx, h.socket, h.session)
	return h.holder, err
}

func (h *handing) close() {
	h.mu.Lock() // a question may be under way yet
	defer h.mu.Unlock()
	if h.holder != nil {
		_ = h.holder.Close()
	}
}

// Apply hands the change to the holder. Without one only the kernel's own lease can promise
// an end.
func (h *handing) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	holder, err := h.held(ctx)
	switch {
	case err != nil:
		return flow.Policy{}, err
	case holder != nil:
		return holder.Apply(ctx, c)
	case c.Driver != flow.Kernel && c.Kind != flow.Restore:
		return flow.Policy{}, errNoHolder
	}
	return h.Pod.Apply(ctx, c)
}

// Renew renews what the holder holds. One that was started since holds nothing; the lease is
// the kernel's then.
func (h *handing) Renew(ctx context.Context, ttl time.Duration) error {
	holder, err := h.held(ctx)
	if err != nil {
		return err
	}
	if holder != nil {
		if err = holder.Renew(ctx, ttl); !errors.Is(err, inspect.ErrNotFound) {
			return err
		}
	}
	return h.Pod.Renew(ctx, ttl)
}

var errNoHolder = errors.New("nobody would end this change: no `meshtop-agent hold` runs here, and only the kernel driver's lease ends by itself; use --driver kernel")

// stdio is the stream: standard input and output.
type stdio struct{}

// Read reads standard input.
func (stdio) Read(b []byte) (int, error) { return os.Stdin.Read(b) }

// Write writes standard output.
func (stdio) Write(b []byte) (int, error) { return os.Stdout.Write(b) }

// Close closes both.
func (stdio) Close() error { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }

var _ io.ReadWriteCloser = stdio{}
