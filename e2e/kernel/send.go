package kernel

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// Listeners of the pod, on both families: a plain one, and a transparent one for TPROXY
// (IP_TRANSPARENT, ip(7)).
const (
	PlainPort       = 15001
	TransparentPort = 15006
)

// listen opens the pod's listeners.
func (l *Lab) listen() error {
	return l.pod.do(func() error {
		for _, any := range []string{"0.0.0.0", "::"} {
			for _, port := range []uint16{PlainPort, TransparentPort} {
				at := netip.AddrPortFrom(netip.MustParseAddr(any), port)
				for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
					fd, err := listener(at, kind, port == TransparentPort)
					if err != nil {
						return fmt.Errorf("listen at %s: %w", at, err)
					}
					if kind == unix.SOCK_STREAM {
						l.listeners = append(l.listeners, fd)
					} else {
						l.receivers = append(l.receivers, fd)
					}
				}
			}
		}
		return nil
	})
}

func listener(at netip.AddrPort, kind int, transparent bool) (int, error) {
	fam, sa := sockaddr(at)
	fd, err := unix.Socket(fam, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if fam == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if transparent && err == nil {
		level, opt := unix.SOL_IP, unix.IP_TRANSPARENT
		if fam == unix.AF_INET6 {
			level, opt = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		err = unix.SetsockoptInt(fd, level, opt, 1)
	}
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 64)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// emit sends the packet from the namespace that the thread is in, and says what the
// sender saw at once. xt_owner looks at the credentials that the socket's file got at
// socket() (net/netfilter/xt_owner.c), so fsuid and fsgid of this thread decide.
func emit(p netfilter.Packet) (sent error, err error) {
	fam, dst := sockaddr(p.Dst)
	kind := unix.SOCK_STREAM
	if p.Proto == flow.UDP {
		kind = unix.SOCK_DGRAM
	}
	if p.Dir == flow.Outbound {
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(p.GID), 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(p.UID), 0, 0)
	}
	fd, err := unix.Socket(fam, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
	unix.RawSyscall(unix.SYS_SETFSGID, 0, 0, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := prepare(fd, p); err != nil {
		return nil, err
	}
	sent = unix.Connect(fd, dst)
	if p.Proto == flow.UDP && sent == nil {
		_, sent = unix.Write(fd, []byte("q"))
	}
	if sent == unix.EINPROGRESS {
		sent = nil
	}
	if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && e != 0 && sent == nil {
		sent = unix.Errno(e)
	}
	return sent, nil
}

// prepare sets mark, device and source. Linger 0 makes close send nothing but a reset, so
// that no packet is repeated.
func prepare(fd int, p netfilter.Packet) error {
	if p.Mark != 0 && p.Dir == flow.Outbound {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
			return fmt.Errorf("set the mark: %w", err)
		}
	}
	if p.Dir == flow.Inbound && p.In != "" {
		if err := unix.BindToDevice(fd, p.In); err != nil {
			return fmt.Errorf("send by %s: %w", p.In, err)
		}
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	src := p.Src
	if !src.Addr().IsValid() {
		src = netip.AddrPortFrom(netip.IPv4Unspecified(), src.Port())
		if p.Dst.Addr().Is6() {
			src = netip.AddrPortFrom(netip.IPv6Unspecified(), src.Port())
		}
	}
	_, sa := sockaddr(src)
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind to %s: %w", src, err)
	}
	return nil
}

// fence tells when the kernel has done all it will do with a packet. A packet that meets
// lo or a veth waits in the receive queue of its CPU (net/core/dev.c, netif_rx), which is
// first in, first out for all namespaces. So a datagram that is sent on the same CPU after
// it, and has arrived, says that the packet went its way: nobody has to wait for a
// packet that never comes.
type fence struct{ from, to int }

func (l *Lab) openFence() error {
	l.cpu = -1
	l.fence = fence{-1, -1}
	return l.clock.do(func() error {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return err
		}
		for i := 0; i < 1024 && l.cpu < 0; i++ {
			if set.IsSet(i) {
				l.cpu = i
			}
		}
		for _, fd := range []*int{&l.fence.from, &l.fence.to} {
			var err error
			if *fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
		}
		at := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
		if err := unix.Bind(l.fence.to, at); err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(10 * time.Second))
		if err := unix.SetsockoptTimeval(l.fence.to, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.Connect(l.fence.from, at)
	})
}

// pass sends a datagram through the fence and waits until it has arrived.
func (f fence) pass() error {
	if _, err := unix.Write(f.from, []byte{1}); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	var b [8]byte
	for {
		if _, err := unix.Read(f.to, b[:]); err != unix.EINTR {
			if err != nil {
				return fmt.Errorf("fence: %w", err)
			}
			return nil
		}
	}
}

func (f fence) close() { closeAll([]int{f.from, f.to}) }

// pin keeps the thread on one CPU, which the fence needs.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("stay on CPU %d: %w", cpu, err)
	}
	return nil
}

// accept takes what waits at the listeners, and says what SO_ORIGINAL_DST answers on the
// last one (net/netfilter/nf_conntrack_proto.c, getorigdst); zero where it fails.
func (l *Lab) accept() (orig netip.AddrPort, ok bool) {
	for _, at := range l.listeners {
		for {
			fd, _, err := unix.Accept4(at, unix.SOCK_CLOEXEC)
			if err != nil {
				break
			}
			orig, ok = originalDst(fd), true
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			unix.Close(fd)
		}
	}
	for _, at := range l.receivers {
		var b [16]byte
		for {
			if _, _, err := unix.Recvfrom(at, b[:], unix.MSG_DONTWAIT); err != nil {
				break
			}
		}
	}
	return orig, ok
}

func originalDst(fd int) netip.AddrPort {
	const soOriginalDst = 80
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	if _, v4 := sa.(*unix.SockaddrInet4); v4 {
		// The answer is a sockaddr_in of 16 bytes; IPV6_MTU_INFO's struct only lends its room.
		m, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, soOriginalDst)
		if err != nil {
			return netip.AddrPort{}
		}
		b := m.Multiaddr
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3]))
	}
	m, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}
	}
	p := m.Addr.Port // in network order
	return netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), p<<8|p>>8)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd > 0 {
			unix.Close(fd)
		}
	}
}

// send emits p on the lab's CPU and waits at the fence.
func (l *Lab) send(p netfilter.Packet) (sent error, err error) {
	from := l.pod
	if p.Dir == flow.Inbound {
		from = l.peer
	}
	err = from.do(func() error {
		if err := pin(l.cpu); err != nil {
			return err
		}
		var err error
		if sent, err = emit(p); err != nil {
			return err
		}
		return l.fence.pass()
	})
	return sent, err
}
