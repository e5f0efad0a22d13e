package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// pidfdOpen holds on to a process: its number cannot come to mean another one.
func pidfdOpen(pid int) (int, error) { return unix.PidfdOpen(pid, 0) }

// awaitEnd waits until the process has ended (pidfd_open(2): it is then readable).
func awaitEnd(fd int) error {
	until := time.Now().Add(20 * time.Second)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(until).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			return errors.New("its process does not end")
		}
		return err
	}
}
