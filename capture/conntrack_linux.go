package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// tracker listens for conntrack events (nfnetlink, NFNLGRP_CONNTRACK_*). It is for one
// goroutine; wakeUp may be called from another.
type tracker struct {
	file *os.File // the socket, known to the runtime's poller
	raw  syscall.RawConn
	buf  []byte
	// pending are messages of one read that were not taken yet.
	pending []syscall.NetlinkMessage
	woken   bool // next ends once everything was read
	after   int  // bytes that were read since
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
func openTracker() (*tracker, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("conntrack events: %w", os.NewSyscallError("socket", err))
	}
	t := &tracker{file: os.NewFile(uintptr(fd), "conntrack events"), buf: make([]byte, 64<<10)}
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

// next waits for an event. ErrWoken after wakeUp, when every event that had come was
// returned; errLostEvents if some were lost, and it may be called again.
func (t *tracker) next() (conntrack.Event, error) {
	for {
		for len(t.pending) > 0 {
			m := t.pending[0]
			t.pending = t.pending[1:]
			var e conntrack.Event
			// What is no conntrack event is none of ours.
			if e.Unmarshal(netlink.Message{Header: netlink.Header{Length: m.Header.Len, Type: netlink.HeaderType(m.Header.Type),
				Flags: netlink.HeaderFlags(m.Header.Flags), Sequence: m.Header.Seq, PID: m.Header.Pid}, Data: m.Data}) == nil {
				return e, nil
			}
		}
		if err := t.read(); err != nil {
			return conntrack.Event{}, err
		}
	}
}

// read takes what the socket has, or waits for it. Traffic that goes on does not keep the end
// away: no more is read after wakeUp than can have come before it.
func (t *tracker) read() error {
	var n int
	got := error(unix.EAGAIN)
	receive := func(fd uintptr) bool {
		n, _, got = unix.Recvfrom(int(fd), t.buf, unix.MSG_DONTWAIT)
		return got != unix.EAGAIN
	}
	var err error
	if t.woken {
		err = t.raw.Control(func(fd uintptr) { receive(fd) })
	} else if err = t.raw.Read(receive); errors.Is(err, os.ErrDeadlineExceeded) {
		t.woken = true
		return nil
	}
	switch {
	case err != nil:
		return err
	case got == unix.EAGAIN || t.after > eventBuffer:
		return ErrWoken
	case got == unix.EINTR:
		return nil
	case got == unix.ENOBUFS:
		return errLostEvents
	case got != nil:
		return os.NewSyscallError("recvfrom", got)
	}
	if t.woken {
		t.after += n
	}
	// Data of the messages is in buf, which is not written to before all of them were taken.
	if t.pending, err = syscall.ParseNetlinkMessage(t.buf[:n]); err != nil {
		return fmt.Errorf("a message of %d bytes: %w", n, err)
	}
	return nil
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

// observeEvent is an event as an observation; ok is false for one that concerns no TCP or
// UDP flow.
func observeEvent(e conntrack.Event, at time.Time) (o flow.Observation, ok bool) {
	f := e.Flow
	if f == nil {
		return o, false
	}
	proto := flow.Proto(f.TupleOrig.Proto.Protocol)
	if proto != flow.TCP && proto != flow.UDP {
		return o, false
	}
	o = flow.Observation{Kind: flow.SeenConntrack, At: at, Ref: "conntrack id " + strconv.FormatUint(uint64(f.ID), 10), ConntrackID: f.ID,
		Tuple: tupleOf(f.TupleOrig), Reply: tupleOf(f.TupleReply)}
	switch e.Type {
	case conntrack.EventNew:
		o.Event = "NEW"
	case conntrack.EventUpdate:
		o.Event = "UPDATE"
	case conntrack.EventDestroy:
		o.Event = "DESTROY"
	default:
		return o, false
	}
	if f.ProtoInfo.TCP != nil {
		o.State = tcpState(f.ProtoInfo.TCP.State)
	}
	return o, true
}

func tupleOf(t conntrack.Tuple) flow.Tuple {
	return flow.Tuple{
		Src: netip.AddrPortFrom(t.IP.SourceAddress.Unmap(), t.Proto.SourcePort),
		Dst: netip.AddrPortFrom(t.IP.DestinationAddress.Unmap(), t.Proto.DestinationPort), Proto: flow.Proto(t.Proto.Protocol)}
}

// tcpState is the name that conntrack(8) prints (enum tcp_conntrack,
// linux/netfilter/nf_conntrack_tcp.h).
func tcpState(n uint8) string {
	names := [...]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}
	if int(n) < len(names) {
		return names[n]
	}
	return strconv.Itoa(int(n))
}
