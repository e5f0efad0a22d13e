package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/inspect/netns"
)

// maxFDs bounds the walk through the machine's open files.
const maxFDs = 1 << 20

// nameOwners fills in which process has each socket. The error says of how many sockets that
// listen it could not be told, and why. The processes of the namespace come
// first; others are only looked at for what is then still without one (a socket stays in
// its namespace when its process leaves).
func (r *reading) nameOwners(ctx context.Context, all []socket) error {
	open := map[uint32][]*socket{}
	for i := range all {
		if s := &all[i]; s.inode != 0 {
			open[s.inode] = append(open[s.inode], s)
		}
	}
	w := &walk{space: r.pod.space, open: open}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var elsewhere []string
	inside := "net:[" + strconv.FormatUint(r.pod.space.ID(), 10) + "]"
	for _, d := range dirs {
		if ns, err := os.Readlink(d + "/ns/net"); err == nil && ns == inside {
			w.process(d)
		} else {
			elsewhere = append(elsewhere, d)
		}
	}
	for _, d := range elsewhere {
		if ctx.Err() != nil || !w.listening() {
			break
		}
		w.process(d)
	}
	n := 0
	for _, of := range open {
		for _, s := range of {
			if s.state == stateListen {
				n++
			}
		}
	}
	switch {
	case n > 0 && !netns.MachinePIDs():
		return fmt.Errorf("the processes of %s are not to be seen from here: they are in other containers, or have capabilities that this process lacks", sockets(n))
	case n > 0 && w.hidden:
		return fmt.Errorf("the processes of %s are hidden from uid %d: it needs %s", sockets(n), os.Geteuid(), tracer())
	}
	return nil
}

func sockets(n int) string {
	if n == 1 {
		return "1 socket"
	}
	return fmt.Sprintf("%d sockets", n)
}

// tracer is the right to look into the processes of others; root has it but in a container.
func tracer() string {
	if os.Geteuid() == 0 {
		return "CAP_SYS_PTRACE"
	}
	return "root (CAP_SYS_PTRACE)"
}

// walk is a walk through /proc.
type walk struct {
	space  *netns.Space
	open   map[uint32][]*socket // whose process is not known yet
	seen   int
	hidden bool // a process could not be looked at
}

// listening says whether a socket that listens has no process yet.
func (w *walk) listening() bool {
	for _, of := range w.open {
		for _, s := range of {
			if s.state == stateListen {
				return true
			}
		}
	}
	return false
}

// process looks at one process's open files.
func (w *walk) process(dir string) {
	err := asOwner(w.space, dir, func() error { return w.files(dir) })
	w.hidden = w.hidden || errors.Is(err, fs.ErrPermission)
}

func (w *walk) files(dir string) error {
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if w.seen++; w.seen > maxFDs {
			w.hidden = true
			return nil
		}
		to, err := os.Readlink(dir + "/fd/" + fd.Name())
		if errors.Is(err, fs.ErrPermission) {
			return err // the folder is only its owner's; what the links say needs more
		}
		if err != nil {
			continue
		}
		digits, ok := strings.CutPrefix(to, "socket:[")
		if !ok {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 32)
		of := w.open[uint32(inode)]
		if err != nil || of == nil {
			continue
		}
		n, _ := strconv.Atoi(fd.Name())
		w.take(dir, n, of)
		delete(w.open, uint32(inode))
	}
	return nil
}

// take notes a process as the owner.
func (w *walk) take(dir string, fd int, of []*socket) {
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return
	}
	pid, _ := strconv.Atoi(filepath.Base(dir))
	_, gid, _ := idsOf(dir)
	for _, s := range of {
		s.process, s.pid, s.fd, s.gid = cleanName(string(comm)), pid, fd, gid
	}
}

// idsOf are a process's fsuid and fsgid (proc(5), status, Uid and Gid: real, effective, saved,
// file system), which own the sockets that it makes.
func idsOf(dir string) (uid, gid uint32, ok bool) {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return 0, 0, false
	}
	found := 0
	for l := range strings.Lines(string(status)) {
		word, rest, _ := strings.Cut(l, ":")
		id := map[string]*uint32{"Uid": &uid, "Gid": &gid}[word]
		f := strings.Fields(rest)
		if id == nil || len(f) != 4 {
			continue
		}
		if n, err := strconv.ParseUint(f[3], 10, 32); err == nil {
			*id = uint32(n)
			found++
		}
	}
	return uid, gid, found == 2
}

// asOwner runs f, which looks at files of a process under /proc; where they are closed to this
// process, once more as the other's own user. To that the kernel shows them if the other has no
// capability that this one lacks (ptrace(2), PTRACE_MODE_READ_FSCREDS): so an agent in a pod,
// which has no CAP_SYS_PTRACE, sees Envoy's.
func asOwner(space *netns.Space, dir string, f func() error) error {
	err := f()
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	uid, gid, ok := idsOf(dir)
	if !ok {
		return err
	}
	if as := space.DoAs(uid, gid, f); !errors.Is(as, netns.ErrNoPower) {
		return as
	}
	return err
}
