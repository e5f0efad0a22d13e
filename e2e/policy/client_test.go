package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/lab/lab"
)

// shot is one connection that a client tried.
type shot struct {
	start, end time.Time // monotonic
	err        error     // nil: it was made
}

func (s shot) refused() bool { return errors.Is(s.err, unix.ECONNREFUSED) }

// client opens connections one after the other, about every pace, as an app's user, until it
// is stopped.
type client struct {
	mu    sync.Mutex
	shots []shot
	stop  chan struct{}
	wg    sync.WaitGroup
	err   error
}

// shoot starts a client in the pod. Its thread stays in the namespace.
func shoot(t testing.TB, l *lab.Lab, dst netip.AddrPort, pace time.Duration) *client {
	t.Helper()
	c := &client{stop: make(chan struct{})}
	c.wg.Go(func() {
		c.err = l.PodSpace().DoAs(appUID, appUID, func() error {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				s := connect(dst)
				c.mu.Lock()
				c.shots = append(c.shots, s)
				c.mu.Unlock()
				select {
				case <-c.stop:
					return nil
				case <-tick.C:
				}
			}
		})
	})
	t.Cleanup(func() { c.end(t) })
	return c
}

// connect tries one connection in the calling thread's namespace, and takes it down with a
// reset, so that its port is free again.
func connect(dst netip.AddrPort) shot {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(dst.Port()), Addr: dst.Addr().As16()})
	if dst.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(dst.Port()), Addr: dst.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return shot{start: time.Now(), end: time.Now(), err: fmt.Errorf("socket: %w", err)}
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 2})
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	s := shot{start: time.Now()}
	s.err = unix.Connect(fd, sa)
	s.end = time.Now()
	return s
}

// end stops the client and gives what it did; it may be called twice.
func (c *client) end(t testing.TB) []shot {
	t.Helper()
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.wg.Wait()
	if c.err != nil {
		t.Errorf("the client: %v", c.err)
	}
	return c.shots
}

// count is how many connections were tried so far.
func (c *client) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.shots)
}

// await waits until the client has tried n connections more.
func (c *client) await(t testing.TB, n int) {
	t.Helper()
	want := c.count() + n
	for end := time.Now().Add(20 * time.Second); c.count() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the client tried %d connections, not %d", c.count(), want)
		}
	}
}

// between are the shots that began within a time.
func between(all []shot, from, to time.Time) []shot {
	var out []shot
	for _, s := range all {
		if s.start.After(from) && s.start.Before(to) {
			out = append(out, s)
		}
	}
	return out
}
