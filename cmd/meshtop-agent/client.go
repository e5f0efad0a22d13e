//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// ours says whether the client runs this program as this user: others of the container may
// see the socket (unix(7), SO_PEERCRED).
func ours(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if cred.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("refused a client of uid %d", cred.Uid)
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return err
	}
	its, err := os.Stat(fmt.Sprintf("/proc/%d/exe", cred.Pid))
	if err != nil {
		return fmt.Errorf("refused a client: %w", err)
	}
	if !os.SameFile(self, its) {
		return fmt.Errorf("refused a client that is another program (pid %d)", cred.Pid)
	}
	return nil
}

// reap waits for orphans where this is the first process of its container: nobody else does
// (pid_namespaces(7)).
func reap(ctx context.Context) {
	if os.Getpid() != 1 {
		return
	}
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, unix.SIGCHLD)
	for {
		select {
		case <-ctx.Done():
			return
		case <-gone:
			reapOrphans()
		}
	}
}

// reapOrphans takes the status of every child that has ended. hold starts none itself, so
// none of them is waited for by anybody else.
func reapOrphans() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != nil || pid <= 0 {
			return
		}
	}
}
