package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxFDs bounds the walk through the machine's open files.
const maxFDs = 1 << 20

// nameOwners fills in which process has each socket, and says how many sockets that listen
// belong to processes that could not be looked at. The processes of the namespace come
// first; others are only looked at for what is then still without one (a socket stays in
// its namespace when its process leaves).
func (r *reading) nameOwners(ctx context.Context, all []socket) int {
	open := map[uint32][]*socket{}
	for i := range all {
		if s := &all[i]; s.inode != 0 {
			open[s.inode] = append(open[s.inode], s)
		}
	}
	w := &walk{open: open}
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
	if !w.hidden {
		return 0
	}
	n := 0
	for _, of := range open {
		for _, s := range of {
			if s.state == stateListen {
				n++
			}
		}
	}
	return n
}

// walk is a walk through /proc.
type walk struct {
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
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		w.hidden = w.hidden || errors.Is(err, fs.ErrPermission)
		return
	}
	for _, fd := range fds {
		if w.seen++; w.seen > maxFDs {
			w.hidden = true
			return
		}
		to, err := os.Readlink(dir + "/fd/" + fd.Name())
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
}

// take notes a process as the owner.
func (w *walk) take(dir string, fd int, of []*socket) {
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return
	}
	pid, _ := strconv.Atoi(filepath.Base(dir))
	gid := groupOf(dir)
	for _, s := range of {
		s.process, s.pid, s.fd, s.gid = cleanName(string(comm)), pid, fd, gid
	}
}

// groupOf is a process's fsgid (proc(5), status, Gid: real, effective, saved, file system).
func groupOf(dir string) uint32 {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(l, "Gid:"); ok {
			if f := strings.Fields(rest); len(f) == 4 {
				n, _ := strconv.ParseUint(f[3], 10, 32)
				return uint32(n)
			}
		}
	}
	return 0
}
