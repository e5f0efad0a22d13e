package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/rules/flow"
)

// logFiles are the access logs of the pod's Envoy at these paths, as Envoy has them. Where
// Envoy's process is not known, none can be opened, and each says so.
func (p *Pod) logFiles(ctx context.Context, paths []string) []capture.LogFile {
	if len(paths) == 0 {
		return nil
	}
	pid, unknown := p.envoyPID(ctx)
	var out []capture.LogFile
	for _, name := range paths {
		out = append(out, capture.LogFile{Name: name, Open: func() (*os.File, error) {
			if unknown != nil {
				return nil, unknown
			}
			var f *os.File
			err := asOwner(p.space, "/proc/"+strconv.Itoa(pid), func() (err error) {
				f, err = openLog(pid, name)
				return err
			})
			return f, err
		}})
	}
	return out
}

// envoyPID is the process that listens where the admin interface answered, else one that is
// called as Envoy is.
func (p *Pod) envoyPID(ctx context.Context) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &reading{pod: p, want: inspect.Want{Parts: []string{"sockets"}}}
	all, err := r.sockets(ctx)
	if err != nil {
		return 0, fmt.Errorf("the process of Envoy is not known: %w", err)
	}
	pid, hidden := 0, false
	for _, s := range all {
		if s.state != stateListen || s.proto != flow.TCP {
			continue
		}
		asked := p.found != nil && answersAt(s.local, p.found.Addr())
		switch {
		case s.pid == 0:
			hidden = hidden || asked || p.found == nil
		case asked:
			return s.pid, nil
		case admin.IsEnvoy(s.process) && s.process != "pilot-agent" && pid == 0:
			pid = s.pid
		}
	}
	switch {
	case pid != 0:
		return pid, nil
	case hidden:
		return 0, fmt.Errorf("the process of Envoy is hidden from uid %d: it needs %s", os.Geteuid(), tracer())
	}
	return 0, errors.New("no process of Envoy's listens here")
}

// answersAt says whether a socket that listens takes what is dialled to an address.
func answersAt(listens, dialled netip.AddrPort) bool {
	a := listens.Addr().Unmap()
	return listens.Port() == dialled.Port() && (a.IsUnspecified() || a == dialled.Addr().Unmap())
}

// streams are the paths that mean what a process has open already.
var streams = map[string]int{"/dev/stdout": 1, "/proc/self/fd/1": 1, "/dev/fd/1": 1, "/dev/stderr": 2, "/proc/self/fd/2": 2, "/dev/fd/2": 2}

// openLog opens a log of a process to read it. A path is looked up inside the process's own
// root, and no link in it leads out of there (openat2(2), RESOLVE_IN_ROOT); what is no file is
// never opened, since to open a pipe is to take part in it.
func openLog(pid int, name string) (*os.File, error) {
	proc := "/proc/" + strconv.Itoa(pid)
	what, fd := "it", -1
	var err error
	if n, ok := streams[path.Clean(name)]; ok {
		what = "Envoy's " + map[int]string{1: "standard output", 2: "standard error"}[n]
		fd, err = unix.Open(proc+"/fd/"+strconv.Itoa(n), unix.O_PATH|unix.O_CLOEXEC, 0)
	} else {
		fd, err = lookUp(proc, name)
	}
	if err != nil {
		return nil, notOpened(err, pid)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is %s: what process %d writes there cannot be read from here", what, kindOfFile(st.Mode), pid)
	}
	f, err := os.OpenFile("/proc/thread-self/fd/"+strconv.Itoa(fd), os.O_RDONLY, 0)
	if err != nil {
		return nil, notOpened(err, pid)
	}
	return f, nil
}

// lookUp finds a path of a process; one that is not absolute begins in its working directory.
func lookUp(proc, name string) (int, error) {
	dir, resolve := "/root", uint64(unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if !path.IsAbs(name) {
		dir, resolve = "/cwd", unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS
	}
	root, err := unix.Open(proc+dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	return unix.Openat2(root, strings.TrimLeft(name, "/"), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
}

// closed is a process whose files may not be looked at.
type closed int

// Error names the right.
func (c closed) Error() string {
	return fmt.Sprintf("the files of process %d are closed to uid %d: it needs %s", int(c), os.Geteuid(), tracer())
}

// Unwrap says that it is a matter of rights.
func (c closed) Unwrap() error { return fs.ErrPermission }

// notOpened words why a log is not there to be read.
func notOpened(err error, pid int) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("a link leads out of the files of process %d", pid)
	case errors.Is(err, fs.ErrPermission):
		return closed(pid)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("process %d has no such file", pid)
	}
	return fmt.Errorf("look it up in the files of process %d: %w", pid, err)
}

// kindOfFile names what is no regular file.
func kindOfFile(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return "a pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR:
		return "a terminal or another device"
	case unix.S_IFDIR:
		return "a folder"
	}
	return "no file"
}
