//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

// serve answers one client until its end of the stream is closed. Reading it does itself;
// changes are the holder's, who outlives the stream.
func serve(ctx context.Context, path string) error {
	pod, err := local.Own(local.Options{})
	if err != nil {
		return err
	}
	defer pod.Close()
	holder, err := dialHolder(ctx, path)
	if err != nil {
		return err
	}
	served := inspect.Pod(pod)
	if e, ok := served.(inspect.Enforcer); ok {
		served = &handing{Pod: pod, Enforcer: e, holder: holder}
	}
	if holder != nil {
		defer holder.Close()
	}
	return agent.Serve(ctx, stdio{}, served, agent.ServeOptions{Version: version()})
}

// dialHolder greets the holder; nil: there is none.
func dialHolder(ctx context.Context, path string) (*agent.Pod, error) {
	c, err := net.Dial("unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return agent.Dial(ctx, c, agent.DialOptions{})
}

// handing is the pod whose changes the holder carries out.
type handing struct {
	*local.Pod
	inspect.Enforcer
	holder *agent.Pod
}

// Apply hands the change to the holder. Without one only the kernel's own lease can promise
// an end.
func (h *handing) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	if h.holder != nil {
		return h.holder.Apply(ctx, c)
	}
	if c.Driver != flow.Kernel && c.Kind != flow.Restore {
		return flow.Policy{}, errNoHolder
	}
	return h.Enforcer.Apply(ctx, c)
}

// Renew renews what the holder holds.
func (h *handing) Renew(ctx context.Context, ttl time.Duration) error {
	if h.holder != nil {
		return h.holder.Renew(ctx, ttl)
	}
	return h.Enforcer.Renew(ctx, ttl)
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
