package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Observe watches the legs' traffic on every device of the namespace.
func (p *Pod) Observe(ctx context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	var w *capture.Watch
	logs := p.logFiles(ctx, opt.Logs)
	err := p.space.Do(func() error {
		devices, err := upDevices()
		if err != nil {
			return err
		}
		ring := p.opt.Ring
		ring.Snaplen = uint32(max(0, opt.Snaplen))
		w, err = capture.Open(capture.WatchOptions{
			Devices: devices, Filter: capture.FilterOf(legs), Owners: proxyUsers(legs), Heads: opt.Snaplen > 0, Raw: opt.Raw,
			Ring: ring, Logs: logs,
			Duration: opt.Duration, Packets: opt.Packets,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: watch: %w", p.name, err)
	}
	return &watch{Watch: w, cancel: context.AfterFunc(ctx, func() { _ = w.Close() })}, nil
}

// marked gives a socket the mark that a request asks for, before it connects (SO_MARK, socket(7)).
func marked(mark uint32) func(string, string, syscall.RawConn) error {
	if mark == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) {
			failed = os.NewSyscallError("SO_MARK (needs CAP_NET_ADMIN)", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
		}); err != nil {
			return err
		}
		return failed
	}
}

// proxyUsers are the users of the legs that the proxy opens.
func proxyUsers(legs []flow.Leg) []uint32 {
	var out []uint32
	for _, l := range legs {
		if l.Owner == flow.OwnerProxy && !slices.Contains(out, l.From.UID) {
			out = append(out, l.From.UID)
		}
	}
	return out
}

// upDevices are the devices of the calling thread's namespace that are up.
func upDevices() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 {
			out = append(out, i.Name)
		}
	}
	return out, nil
}

// watch ends with its context.
type watch struct {
	*capture.Watch
	cancel func() bool
}

// Close ends the watch and waits for it; it may be called twice.
func (w *watch) Close() error {
	w.cancel()
	return w.Watch.Close()
}

var _ inspect.Watch = (*watch)(nil)
