package local

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/power"
)

// A log is looked up in the files of the process that writes it, and what leads out of them
// or is no file is not opened.
func TestOpenLog(t *testing.T) {
	power.Root(t)
	root := t.TempDir()
	out := filepath.Join(root, "stdout")
	mkdir := func(dir string) {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mkdir("logs")
	mkdir("proc")
	mkdir("dev")
	for path, to := range map[string]string{"inside": "/logs/a", "above": "../../../../../../../logs/a", "dev/stdout": "/proc/self/fd/1"} {
		if err := os.Symlink(to, filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{"logs/a": "of the pod", "stdout": "its output"} {
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := inRoot(t, root, out)
	for path, want := range map[string]string{
		"/logs/a": "of the pod", "/logs/../logs/a": "of the pod", "/inside": "of the pod", "/above": "of the pod", "../../etc/passwd": "error look it up",
		"/dev/stdout": "its output", "/dev/stderr": "error Envoy's standard error is a pipe", "/pipe": "error it is a pipe", "/logs": "error it is a folder",
		"/etc/passwd": "error process", "/proc/self/root/etc/passwd": "error process", "logs/a": "of the pod",
	} {
		got := ""
		if f, err := openLog(pid, path); err != nil {
			got = "error " + err.Error()
		} else {
			data, _ := io.ReadAll(f)
			got = string(data)
			_ = f.Close()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if _, err := openLog(1<<30, "/logs/a"); err == nil {
		t.Error("a process that is not there has a log")
	}
}

// inRoot is a thread with a root of its own, its output in a file, and its errors in a pipe.
func inRoot(t *testing.T, root, out string) int {
	t.Helper()
	f, err := os.OpenFile(out, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tid, end := make(chan int), make(chan struct{})
	var become func()
	become = func() {
		runtime.LockOSThread() // it ends with its goroutine
		if unix.Gettid() == os.Getpid() {
			go become() // not the first thread: /proc/self is that one's
			<-end
			runtime.UnlockOSThread()
			return
		}
		err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_FILES), unix.Dup2(int(f.Fd()), 1), unix.Dup2(int(w.Fd()), 2), unix.Chroot(root), unix.Chdir("/"))
		if err != nil {
			t.Error(err)
		}
		tid <- unix.Gettid()
		<-end
	}
	go become()
	t.Cleanup(func() {
		close(end)
		_, _, _ = f.Close(), r.Close(), w.Close()
	})
	return <-tid
}
