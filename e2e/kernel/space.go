package kernel

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// space is an unnamed network namespace. It lives as long as its descriptor, so that the
// kernel removes it also when the test process is killed.
type space struct{ fd int }

// newSpace makes an empty namespace.
func newSpace() (*space, error) {
	s := &space{fd: -1}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		s.fd = fd
		return err
	})
	return s, err
}

// do runs f on a thread inside the namespace and waits for it. What f opens stays inside.
func (s *space) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// run runs a program inside the namespace. Its error holds what it wrote to stderr.
func (s *space) run(stdin, name string, args ...string) (string, error) {
	var out, stderr bytes.Buffer
	err := s.do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, name, args...)
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &stderr
		return c.Run()
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), err
}

// close gives the namespace back; it may be called twice.
func (s *space) close() {
	if s != nil && s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// onThread runs f on a thread of its own. The thread dies with it, so that no namespace,
// credential or CPU mask that f set reaches another goroutine: it is never unlocked.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}
