// Package local is a pod that is a network namespace of this machine: of a name, of a
// process, or the own one. It reads with the machine's own tools inside the namespace, and
// never runs a command that changes it: only a policy that is applied does, by inspect/enforce.
package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/inspect/enforce"
	"github.com/meshtop/meshtop/inspect/netns"
)

// Options adjust a Pod. The zero value is what meshtop uses.
type Options struct {
	// Admin is where Envoy's admin interface is; zero: it is looked for.
	Admin netip.AddrPort
	// Limits of the admin interface's reader.
	Reader admin.Options
	// Ring sizes the packet ring of a watch; zero: as package capture has it.
	Ring capture.RingOptions
	// PodAddrs are the addresses of the pod that this process is in, as its cluster told them:
	// none for a pod on its node's network. With them the own namespace is taken for the pod's,
	// and so written to, if one of them is seen in it.
	PodAddrs []netip.Addr
	// Step, if not nil, is told of each step of a change before it is done.
	Step func(enforce.Step)
}

// Pod is a network namespace of this machine.
type Pod struct {
	name    string
	space   *netns.Space
	opt     Options
	outside bool // a cluster's pod, seen from its node

	mu     sync.Mutex // one Read at a time
	found  *admin.Found
	closed bool
}

var _ inspect.Pod = (*Pod)(nil)

// Named opens the namespace that `ip netns` calls name.
func Named(name string, opt Options) (*Pod, error) {
	s, err := netns.Named(name)
	return open("netns "+name, s, err, opt)
}

// OfPid opens the namespace of a process.
func OfPid(pid int, opt Options) (*Pod, error) {
	s, err := netns.OfPid(pid)
	return open("pid "+strconv.Itoa(pid), s, err, opt)
}

// Own opens the namespace that meshtop itself runs in.
func Own(opt Options) (*Pod, error) {
	s, err := netns.Own()
	return open("own netns", s, err, opt)
}

// open checks that the namespace can be entered, so that a missing power is one error at
// the beginning and not one at each part.
func open(name string, s *netns.Space, err error, opt Options) (*Pod, error) {
	if err == nil {
		if err = s.Do(func() error { return nil }); err != nil {
			s.Close()
		}
	}
	switch {
	case errors.Is(err, netns.ErrGone):
		return nil, &openError{name, err, inspect.ErrNotFound}
	case errors.Is(err, netns.ErrNoPower):
		err = fmt.Errorf("%w; this process has uid %d. Without it the own namespace (pid $$), saved snapshots and single parts (--iptables, --config-dump) can be read", err, os.Geteuid())
		return nil, &openError{name, err, inspect.ErrNoPower}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Pod{name: name, space: s, opt: opt}, nil
}

// openError says in one sentence why a target cannot be opened, and is the sentinel of
// package inspect that callers decide by.
type openError struct {
	name     string
	err      error
	sentinel error
}

// Error is the target and the reason.
func (e *openError) Error() string { return e.name + ": " + e.err.Error() }

// Unwrap gives both the cause and the sentinel.
func (e *openError) Unwrap() []error { return []error{e.err, e.sentinel} }

// Name is what the user calls it, such as "netns blue".
func (p *Pod) Name() string { return p.name }

// Close gives the namespace up; it may be called twice. The files of the last Reads must not
// be used after it: large ones are maps of files that end here.
func (p *Pod) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	if p.found != nil {
		errs = append(errs, p.found.Close())
	}
	return errors.Join(append(errs, p.space.Close())...)
}

// dialAs opens connections inside the pod as the proxy's own user: the pod's rules leave the
// proxy's connections alone, where root's would be redirected into it.
func (p *Pod) dialAs(uid, gid uint32) admin.Dialer {
	return func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		var conn net.Conn
		dial := func() error {
			var d net.Dialer
			var err error
			conn, err = d.DialContext(ctx, "tcp", addr.String())
			return err
		}
		err := p.space.DoAs(uid, gid, dial)
		if errors.Is(err, netns.ErrNoPower) {
			err = p.space.Do(dial)
		}
		return conn, err
	}
}
