package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// runDir is where `ip netns` keeps its names (ip-netns(8)).
const runDir = "/run/netns"

// Space is an open network namespace. It lives on, with all that is in it, until Close,
// even if its name is removed meanwhile.
type Space struct {
	mu   sync.Mutex
	file *os.File // nil: closed
	own  bool     // the namespace of this process: nothing has to be entered
	id   uint64
	dev  uint64 // of the file system that id counts in
}

// Named opens the namespace that `ip netns` calls name.
func Named(name string) (*Space, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return nil, fmt.Errorf("%q is no name of a network namespace", name)
	}
	path := filepath.Join(runDir, name)
	s, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s does not exist", ErrGone, path)
	}
	return s, err
}

// OfPid opens the namespace that process pid is in.
func OfPid(pid int) (*Space, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/ns/net"
	s, err := open(path)
	// A zombie still has its folder, but no namespace any more: proc_ns_get_link finds none (fs/proc/namespaces.c).
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("%w: no process %d", ErrGone, pid)
	}
	return s, err
}

// ownPath is the namespace of the calling thread. /proc/self is the first thread's, and that
// one may be inside another namespace just now, on behalf of a Do.
const ownPath = "/proc/thread-self/ns/net"

// Own opens the namespace of this process. It needs no power.
func Own() (*Space, error) { return open(ownPath) }

// open opens the namespace that the file at path is: a bind mount or a link under /proc.
func open(path string) (*Space, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open %s: %w: it needs root or CAP_SYS_PTRACE", path, ErrNoPower)
	case err != nil:
		return nil, err
	}
	s := &Space{file: f}
	if err := s.identify(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// identify checks that the file is a network namespace, not a rest of one: when a name's
// mount is gone, `ip netns` leaves an empty file, which could never be entered.
func (s *Space) identify() error {
	if kind, err := unix.IoctlRetInt(int(s.file.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%w: the file is not one", ErrGone)
	}
	var st, own unix.Stat_t
	if err := unix.Fstat(int(s.file.Fd()), &st); err != nil {
		return err
	}
	if err := unix.Stat(ownPath, &own); err != nil {
		return err
	}
	s.id, s.dev = st.Ino, st.Dev
	s.own = st.Ino == own.Ino && st.Dev == own.Dev
	return nil
}

// MachinePIDs says whether this process counts processes as the machine does: whether its
// number 1 is the machine's first process. The machine's own pid namespace has this number
// always (PROC_PID_INIT_INO, include/linux/proc_ns.h). Where it cannot be told, it is.
func MachinePIDs() bool {
	at, err := os.Readlink("/proc/self/ns/pid")
	return err != nil || at == fmt.Sprintf("pid:[%d]", 0xEFFFFFFC)
}

// ID is the namespace's inode number: `net:[ID]` in /proc/PID/ns/net.
func (s *Space) ID() uint64 { return s.id }

// Has says whether process pid is in the namespace. Where its link may not be followed (a
// process with more rights than this one), a socket is made in the namespace and looked for
// among those that the process sees.
func (s *Space) Has(pid int) (bool, error) {
	of, err := OfPid(pid)
	if err == nil {
		defer of.Close()
		return s.id == of.id && s.dev == of.dev, nil
	}
	if !errors.Is(err, ErrNoPower) {
		return false, err
	}
	name := fmt.Sprintf("@meshtop-%016x", rand.Uint64())
	var mine net.PacketConn
	if err := s.Do(func() error {
		var err error
		mine, err = net.ListenPacket("unixgram", name)
		return err
	}); err != nil {
		return false, err
	}
	defer mine.Close()
	// Not to be mistaken for a table that is always empty.
	own, err := os.ReadFile("/proc/thread-self/net/unix")
	if err != nil {
		return false, err
	}
	table, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/unix")
	if err != nil {
		return false, err
	}
	if s.own != bytes.Contains(own, []byte(name)) {
		return false, errors.New("the kernel's table of unix sockets does not list them by network namespace")
	}
	return bytes.Contains(table, []byte(name)), nil
}

// Own says whether it is the namespace of this process.
func (s *Space) Own() bool { return s.own }

// Path is a name of the namespace for another program of this process's own user, valid
// until Close.
func (s *Space) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.file.Fd())
}

// Close gives the namespace up; it may be called twice.
func (s *Space) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// Do runs f on a thread that is in the namespace, and waits for it. Children that f starts
// and sockets that it opens belong to the namespace. f must not start goroutines that do so:
// they run on other threads.
func (s *Space) Do(f func() error) error {
	s.mu.Lock()
	if s.file == nil {
		s.mu.Unlock()
		return errors.New("the network namespace was closed")
	}
	// A copy, so that Close meanwhile cannot pull the descriptor away.
	fd, err := unix.FcntlInt(s.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	done := make(chan error, 1)
	go func() { done <- s.enter(fd, f) }()
	return <-done
}

// enter locks the thread, goes in, runs f, and goes back. When going back fails, the thread
// stays locked, and Go ends it together with its goroutine.
func (s *Space) enter(fd int, f func() error) error {
	runtime.LockOSThread()
	if s.own {
		defer runtime.UnlockOSThread()
		return f()
	}
	back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the own network namespace: %w", err)
	}
	defer unix.Close(back)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("enter the network namespace: %w: it needs root (CAP_SYS_ADMIN)", ErrNoPower)
		}
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(back, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// DoAs is Do with the thread's fsuid and fsgid changed: they are the owner of the sockets
// that f makes (xt_owner looks at the fsuid of the file's credentials, nft_meta too). It
// needs CAP_SETUID and CAP_SETGID.
func (s *Space) DoAs(uid, gid uint32, f func() error) error {
	return s.Do(func() error {
		wasUID, _ := unix.SetfsuidRetUid(-1)
		wasGID, _ := unix.SetfsgidRetGid(-1)
		if uint32(wasUID) == uid && uint32(wasGID) == gid {
			return f()
		}
		defer func() {
			if !become(uint32(wasUID), uint32(wasGID)) {
				runtime.LockOSThread() // once more than is undone: the thread ends with its goroutine
			}
		}()
		if !become(uid, gid) {
			return fmt.Errorf("open a socket as uid %d gid %d: %w: it needs root (CAP_SETUID, CAP_SETGID)", uid, gid, ErrNoPower)
		}
		return f()
	})
}

// become sets this thread's fsuid and fsgid. The calls report the old value and no error
// (setfsuid(2)), so they are asked again whether it worked.
func become(uid, gid uint32) bool {
	unix.SetfsgidRetGid(int(gid))
	unix.SetfsuidRetUid(int(uid))
	g, _ := unix.SetfsgidRetGid(-1)
	u, _ := unix.SetfsuidRetUid(-1)
	return uint32(g) == gid && uint32(u) == uid
}
