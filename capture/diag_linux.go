package capture

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// diagAsk is the size of struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h).
const diagAsk = 56

// AllStates asks for sockets in any state, OpenStates for those that are not in TIME_WAIT: these
// have no owner any more, and there can be many (net/tcp_states.h: 1 << TCP_TIME_WAIT).
const (
	AllStates  uint32 = 0xffffffff
	OpenStates        = AllStates &^ (1 << 6)
)

// OpenDiag opens a socket for DumpSockets in the calling thread's network namespace. It needs no
// power; the caller closes it.
func OpenDiag() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("SO_RCVTIMEO", err)
	}
	return fd, nil
}

// DumpSockets gives each socket of one family and protocol that is in one of the states, as a
// struct inet_diag_msg and the attributes behind it. What it gave is only lent. An error of
// each's ends it.
func DumpSockets(fd int, family uint8, proto flow.Proto, states uint32, each func([]byte) error) error {
	req := make([]byte, nlHeader+diagAsk)
	ne := binary.NativeEndian
	ne.PutUint32(req[0:], uint32(len(req)))
	ne.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	req[nlHeader], req[nlHeader+1] = family, uint8(proto)
	ne.PutUint32(req[nlHeader+4:], states)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("read", err)
		}
		for m := range messages(buf[:n]) {
			switch {
			case m.kind == unix.NLMSG_DONE:
				return nil
			case m.kind == unix.NLMSG_ERROR && len(m.body) >= 4:
				return unix.Errno(-int32(ne.Uint32(m.body)))
			case m.kind == unix.NLMSG_ERROR:
				return errors.New("an error without a number")
			case len(m.body) >= DiagSize:
				if err := each(m.body); err != nil {
					return err
				}
			}
		}
	}
}
