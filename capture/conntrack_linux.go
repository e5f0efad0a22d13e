package capture

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// tracker listens for conntrack events (nfnetlink, NFNLGRP_CONNTRACK_*). It is for one
// goroutine; wakeUp may be called from another.
type tracker struct {
	file   *os.File // the socket, known to the runtime's poller
	raw    syscall.RawConn
	filter Filter
	buf    []byte
	ours   bool // some of what next gave last is of the filter
	woken  bool // next ends once everything was read
	after  int  // bytes that were read since
}

// eventBuffer is what the kernel may hold for the tracker, in bytes.
const eventBuffer = 8 << 20

// errLostEvents says that the kernel had more events than the socket's buffer took.
var errLostEvents = errors.New("the kernel dropped events: there were more than could be read in time")

// conntrackGroups are NFNLGRP_CONNTRACK_NEW, _UPDATE and _DESTROY as bind(2) takes them
// (linux/netfilter/nfnetlink_compat.h).
const conntrackGroups = 1 | 2 | 4

// openTracker listens in the calling thread's network namespace. It needs CAP_NET_ADMIN
// there. Events come only while some rule of the namespace uses conntrack.
func openTracker(f Filter) (*tracker, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("conntrack events: %w", os.NewSyscallError("socket", err))
	}
	t := &tracker{file: os.NewFile(uintptr(fd), "conntrack events"), filter: f, buf: make([]byte, 64<<10)}
	// The filter only spares us what is left out again: one that cannot be attached costs time.
	if prog, err := f.eventProgram(); err == nil {
		_ = attach(fd, prog)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, eventBuffer) // as much as may be had without power
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: conntrackGroups}); err != nil {
		return nil, errors.Join(fmt.Errorf("conntrack events (needs CAP_NET_ADMIN): %w", os.NewSyscallError("bind", err)), t.close())
	}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("conntrack events: %w", err), t.close())
	}
	return t, nil
}

// next waits for events, and puts those that are there behind some, up to its capacity.
// ErrWoken after wakeUp, when every event that had come was returned; errLostEvents if some were
// lost, and it may be called again. With an error can come events, too.
func (t *tracker) next(some []flow.Observation) ([]flow.Observation, error) {
	t.ours = false
	got := error(nil)
	// Traffic that goes on does not keep the end away: no more is read after wakeUp than can have
	// come before it.
	receive := func(fd uintptr) bool {
		for got = nil; got == nil && len(some) < cap(some) && t.after <= eventBuffer; {
			var n int
			if n, got = unix.Read(int(fd), t.buf); got != nil {
				break
			}
			if t.woken {
				t.after += n
			}
			some = t.observe(some, t.buf[:n], time.Now())
		}
		return got != unix.EAGAIN || len(some) > 0
	}
	var err error
	if t.woken {
		err = t.raw.Control(func(fd uintptr) { receive(fd) })
	} else if err = t.raw.Read(receive); errors.Is(err, os.ErrDeadlineExceeded) {
		t.woken = true
		return some, nil
	}
	switch {
	case err != nil:
		return some, err
	case got == unix.EAGAIN && !t.woken, got == unix.EINTR, got == nil && t.after <= eventBuffer:
		return some, nil
	case got == unix.EAGAIN, got == nil:
		return some, ErrWoken
	case got == unix.ENOBUFS:
		return some, errLostEvents
	}
	return some, os.NewSyscallError("read", got)
}

// observe puts the events of a datagram that the watch tells of behind some: every new flow,
// since one to another place than expected is what contradicts, and what becomes of those of
// the filter.
func (t *tracker) observe(some []flow.Observation, b []byte, at time.Time) []flow.Observation {
	for m := range messages(b) {
		var o flow.Observation
		// What is no event of TCP or UDP is none of ours.
		if !m.event(&o) {
			continue
		}
		ours := t.filter.holds(o.Tuple) || t.filter.holds(o.Reply)
		if t.ours = t.ours || ours; ours || o.Event == "NEW" {
			o.At, o.Ref = at, "conntrack id "+strconv.FormatUint(uint64(o.ConntrackID), 10)
			some = append(some, o)
		}
	}
	return some
}

// wakeUp makes next return ErrWoken once it has nothing more.
func (t *tracker) wakeUp() error { return t.file.SetReadDeadline(time.Unix(0, 1)) }

// close frees the socket. It may be called twice, but not while next runs.
func (t *tracker) close() error {
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file = nil
	return err
}
