// Package prober opens connections from inside a pod one after the other, and says of each
// when it began and how it fared: what went through while a policy came and went.
package prober

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/inspect/netns"
)

// Shot is one connection: begun just before its SYN, over once its answer was there.
type Shot struct {
	Begun, Over time.Time
	Err         error // nil: connected; unix.ECONNREFUSED: refused
	Answered    bool  // of one that asks: a byte that was sent was answered
}

// Refused says whether something refused it at once: the block, or a service that is not there.
func (s Shot) Refused() bool { return errors.Is(s.Err, unix.ECONNREFUSED) }

// Prober opens connections until Stop.
type Prober struct {
	asks bool
	stop atomic.Bool
	done chan struct{}
	err  error

	mu    sync.Mutex
	shots []Shot
}

// patience is how long one connection may take, in milliseconds.
const patience = 2000

// Start opens connections to dst from the namespace as uid, every so often.
func Start(space *netns.Space, uid uint32, dst netip.AddrPort, every time.Duration) *Prober {
	return start(&Prober{}, space, uid, dst, every)
}

// StartAsking is Start for a server that answers what it is sent: a proxy may accept a connection
// and close it.
func StartAsking(space *netns.Space, uid uint32, dst netip.AddrPort, every time.Duration) *Prober {
	return start(&Prober{asks: true}, space, uid, dst, every)
}

func start(p *Prober, space *netns.Space, uid uint32, dst netip.AddrPort, every time.Duration) *Prober {
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		p.err = space.DoAs(uid, uid, func() error { return p.run(dst, every) })
	}()
	return p
}

// Count is how many connections there were so far.
func (p *Prober) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.shots)
}

// Stop ends it, and gives every connection in order; it may be called twice.
func (p *Prober) Stop() ([]Shot, error) {
	p.stop.Store(true)
	<-p.done
	return p.shots, p.err
}

func (p *Prober) run(dst netip.AddrPort, every time.Duration) error {
	next := time.Now()
	for !p.stop.Load() {
		s, err := shoot(dst, p.asks)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.shots = append(p.shots, s)
		p.mu.Unlock()
		next = next.Add(every)
		if wait := time.Until(next); wait > 0 {
			time.Sleep(wait)
		} else {
			next = time.Now()
		}
	}
	return nil
}

// Shoot opens one connection from the calling thread's namespace and resets it, so that no
// port stays in TIME_WAIT.
func Shoot(dst netip.AddrPort) (Shot, error) { return shoot(dst, false) }

func shoot(dst netip.AddrPort, asks bool) (Shot, error) {
	family, to := address(dst)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return Shot{}, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return Shot{}, err
	}
	s := Shot{Begun: time.Now()}
	if s.Err = unix.Connect(fd, to); errors.Is(s.Err, unix.EINPROGRESS) {
		s.Err = answer(fd)
	}
	if asks && s.Err == nil {
		s.Answered = answered(fd)
	}
	s.Over = time.Now()
	if errors.Is(s.Err, unix.EADDRNOTAVAIL) || errors.Is(s.Err, unix.EPERM) {
		return s, fmt.Errorf("probe %s: %w", dst, s.Err) // the machine's, not the policy's
	}
	return s, nil
}

// answer waits for what becomes of a connection (connect(2), EINPROGRESS).
func answer(fd int) error {
	for end := time.Now().Add(patience * time.Millisecond); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, patience)
		switch {
		case errors.Is(err, unix.EINTR) && time.Now().Before(end):
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || code == 0 {
			return err
		}
		return unix.Errno(code)
	}
}

// answered sends a byte, and says whether one comes back before the connection ends.
func answered(fd int) bool {
	if _, err := unix.SendmsgN(fd, []byte("x"), nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return false
	}
	for end := time.Now().Add(patience * time.Millisecond); time.Now().Before(end); {
		n, err := unix.Read(fd, make([]byte, 1))
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return n > 0
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, patience)
	}
	return false
}

func address(a netip.AddrPort) (int, unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
