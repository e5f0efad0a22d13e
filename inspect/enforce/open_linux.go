package enforce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// settle looks at the connections that are open once the policy is there: it counts them,
// ends them if that was asked for, and clears conntrack of dead ones that would lead new
// connections the old way. ended is the policy that a restore took away, else nil.
func (e *Enforcer) settle(c flow.Change, ended *flow.Change, p *flow.Policy) {
	if p.State == flow.StateExpired {
		return
	}
	e.step(Ending)
	s := sweep{e: e, c: c, ended: ended}
	if err := s.run(&p.Open); err != nil {
		because(p, "the open connections: %s", err)
		if c.CloseOpen && p.State == flow.StateApplied {
			p.State = flow.StateUnknown
		}
	}
	over := captured(c.Capture)
	switch {
	case ended != nil && ended.Kind == flow.AllowAll:
		over = wentAround(*ended)
	case c.Kind != flow.AllowAll:
		return
	}
	e.step(Forgetful)
	if _, err := e.forget(over); err != nil {
		because(p, "a port that is used anew may go the old way for two minutes: %s", err)
	}
}

// sweep goes through the connections that the policy concerns.
type sweep struct {
	e     *Enforcer
	c     flow.Change
	ended *flow.Change
	own   []netip.Addr // of the pod: such connections never leave it
	began *directions  // of the connections that were open first
}

// conn is a socket that stands for a connection out of the pod.
type conn struct {
	family     uint8
	local, far netip.AddrPort
	cookie     [2]uint32
	uid        uint32
	id         netlink.SocketID
}

// graceful is how long sockets that were destroyed may take to be gone.
const graceful = time.Second

// run counts, and ends the connections if that was asked for: the proxy's side first, then
// what bypasses it.
func (s *sweep) run(n *flow.OpenCount) error {
	return s.e.space.Do(func() error {
		var err error
		if s.own, err = ownAddresses(); err != nil {
			return err
		}
		h, err := netlink.NewHandle(unix.NETLINK_INET_DIAG)
		if err != nil {
			return err
		}
		defer h.Close()
		all, err := s.concerned(h)
		if err != nil {
			return err
		}
		n.Before, n.Left = len(all), len(all)
		if !s.c.CloseOpen || len(all) == 0 {
			return nil
		}
		failed := destroy(all)
		for end := time.Now().Add(graceful); ; time.Sleep(5 * time.Millisecond) {
			left, err := s.concerned(h)
			if err != nil {
				return err
			}
			n.Left = 0
			for _, l := range left {
				if slices.ContainsFunc(all, func(c conn) bool { return c.cookie == l.cookie }) {
					n.Left++
				}
			}
			n.Closed = n.Before - n.Left
			if n.Left == 0 || time.Now().After(end) {
				break
			}
		}
		if n.Left > 0 {
			return errors.Join(fmt.Errorf("%d of %d could not be ended", n.Left, n.Before), failed)
		}
		return nil
	})
}

func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out, nil
}

// live are the states of a connection that is not over (include/net/tcp_states.h): all but
// TIME_WAIT, CLOSE and LISTEN.
func live(state uint8) bool {
	return state >= 1 && state <= 12 && state != 6 && state != 7 && state != 10
}

// concerned lists the connections that the policy concerns. One through the proxy is its
// socket on a capture port; one around it is the app's own.
func (s *sweep) concerned(h *netlink.Handle) ([]conn, error) {
	all, listening, err := connections(h)
	if err != nil {
		return nil, err
	}
	if s.began == nil {
		// After the sockets: what was not yet there is not theirs.
		if s.began, err = s.e.directions(); err != nil {
			return nil, err
		}
	}
	far := map[netip.AddrPort]netip.AddrPort{} // of each socket by its own end
	for _, c := range all {
		far[c.local] = c.far
	}
	proxied := map[netip.AddrPort]bool{} // ends of the app whose other side is the proxy
	var through, around []conn
	for _, c := range all {
		if !slices.Contains(s.c.Capture, c.local.Port()) {
			continue
		}
		proxied[c.far] = true
		dst, known := far[c.far]
		if s.wants(dst, known, true) {
			through = append(through, c)
		}
	}
	if s.c.Driver == flow.EnvoyRuntime {
		return through, nil // what goes around Envoy is not its limits' concern
	}
	for _, c := range all {
		mine := slices.Contains(s.c.ProxyUIDs, c.uid) && !(s.c.Strong && s.c.Kind == flow.BlockAll)
		inside := c.far.Addr().IsLoopback() || slices.Contains(s.own, c.far.Addr())
		if mine || inside || proxied[c.local] || slices.Contains(s.c.Capture, c.local.Port()) || s.began.inbound(c, listening) {
			continue
		}
		if s.wants(c.far, true, false) {
			around = append(around, c)
		}
	}
	return append(through, around...), nil
}

// wants says whether a connection to dst is of those that keep the old way. Of one through
// the proxy dst may not be known: then no exception holds for it.
func (s *sweep) wants(dst netip.AddrPort, known, through bool) bool {
	if known && covers(s.c.Except, dst) {
		return false
	}
	switch {
	case s.c.Kind == flow.BlockAll:
		return true
	case s.c.Kind == flow.AllowAll:
		return through && known && opens(s.c, dst)
	}
	return s.ended != nil && !through && opens(*s.ended, dst)
}

// connections lists the TCP connections that live, and the ports that are listened on.
func connections(h *netlink.Handle) ([]conn, map[uint16]bool, error) {
	var out []conn
	listening := map[uint16]bool{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		socks, err := h.SocketDiagTCP(family)
		if err != nil {
			return nil, nil, fmt.Errorf("socket table: %w", err)
		}
		for _, k := range socks {
			switch {
			case k.State == 10:
				listening[k.ID.SourcePort] = true
			case live(k.State):
				out = append(out, conn{family: family, local: endOf(k.ID.Source, k.ID.SourcePort), far: endOf(k.ID.Destination, k.ID.DestinationPort),
					cookie: k.ID.Cookie, uid: k.UID, id: k.ID})
			}
		}
	}
	return out, listening, nil
}

func endOf(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// sockDestroy is SOCK_DESTROY (linux/sock_diag.h): the socket's process gets ECONNABORTED, the
// other side a reset.
const sockDestroy = 21

// destroy ends sockets in the order given. One that is gone already is no error.
func destroy(all []conn) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	var first error
	answer := make([]byte, 4096)
	for _, c := range all {
		if err := unix.Sendto(fd, c.request(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return os.NewSyscallError("sock_diag", err)
		}
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return os.NewSyscallError("sock_diag", err)
		}
		// nlmsghdr, then the error's number (linux/netlink.h, struct nlmsgerr).
		if n >= 20 && binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
			if e := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[16:]))); e != 0 && e != unix.ENOENT && first == nil {
				first = fmt.Errorf("SOCK_DESTROY of %s: %w", c.local, e)
			}
		}
	}
	return first
}

// request is a nlmsghdr with a struct inet_diag_req_v2 that names this very socket.
func (c conn) request() []byte {
	ne, be := binary.NativeEndian, binary.BigEndian
	b := make([]byte, 16+56)
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], sockDestroy)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b[16], b[17] = c.family, unix.IPPROTO_TCP
	ne.PutUint32(b[20:], 0xffffffff)
	be.PutUint16(b[24:], c.id.SourcePort)
	be.PutUint16(b[26:], c.id.DestinationPort)
	copyAddr(b[28:44], c.id.Source, c.family)
	copyAddr(b[44:60], c.id.Destination, c.family)
	ne.PutUint32(b[60:], c.id.Interface)
	ne.PutUint32(b[64:], c.cookie[0])
	ne.PutUint32(b[68:], c.cookie[1])
	return b
}

func copyAddr(to []byte, ip net.IP, family uint8) {
	if family == unix.AF_INET {
		copy(to, ip.To4())
		return
	}
	copy(to, ip.To16())
}
