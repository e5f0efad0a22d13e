package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// stateDir holds a folder for each lab, with the process that keeps it; etcNetns is where
// `ip netns exec` takes a namespace's own files from (ip-netns(8)).
const (
	stateDir = "/run/meshtop-lab"
	etcNetns = "/etc/netns"
)

// Folder is where a lab keeps its configuration and logs.
func Folder(name string) string { return filepath.Join(stateDir, name) }

// claim makes the lab's folder with this process as its keeper. It fails if the lab is up.
func claim(dir string) error {
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("lab %s is up already", filepath.Base(dir))
		}
		return err
	}
	return os.WriteFile(filepath.Join(dir, "keeper"), []byte(keeper(os.Getpid())), 0o644)
}

// keeper names a process so that another one with the same number later is not taken for it:
// its number and when it started (proc(5), stat field 22).
func keeper(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name in parentheses may hold anything; what follows the last ')' does not.
	_, rest, _ := cutLast(string(stat), ")")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return ""
	}
	return strconv.Itoa(pid) + " " + fields[19]
}

func cutLast(s, sep string) (string, string, bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Entry is a lab as its folder tells of it.
type Entry struct {
	Name  string
	PID   int  // of its keeper
	Alive bool // the keeper runs
}

// List reads which labs there are.
func List() ([]Entry, error) {
	dirs, err := os.ReadDir(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, d := range dirs {
		text, err := os.ReadFile(filepath.Join(stateDir, d.Name(), "keeper"))
		if err != nil {
			continue // just being made, or just taken away
		}
		first, _, _ := strings.Cut(string(text), " ")
		pid, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		out = append(out, Entry{Name: d.Name(), PID: pid, Alive: keeper(pid) == string(text)})
	}
	return out, nil
}

// Sweep takes away what is left of labs whose keeper died.
func Sweep() error {
	all, err := List()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range all {
		if !e.Alive {
			errs = append(errs, remove(e.Name))
		}
	}
	return errors.Join(errs...)
}

// remove ends what still runs in the lab's namespaces, and takes them and its files away.
func remove(name string) error {
	if !strings.HasPrefix(name, "mt-") {
		return fmt.Errorf("%q is no lab's name", name)
	}
	var errs []error
	for _, ns := range []string{name + "-pod", name + "-out"} {
		if _, err := os.Lstat("/run/netns/" + ns); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, pid := range pidsIn(ns) {
			if pid != os.Getpid() {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput()
		if _, gone := os.Lstat("/run/netns/" + ns); err != nil && !errors.Is(gone, fs.ErrNotExist) {
			// Another process that sweeps at the same time may have been quicker: that is no error.
			errs = append(errs, fmt.Errorf("ip netns del %s: %w: %s", ns, err, strings.TrimSpace(string(out))))
		}
	}
	errs = append(errs, os.RemoveAll(filepath.Join(etcNetns, name+"-pod")), os.RemoveAll(filepath.Join(stateDir, name)))
	// The folder above goes with the last lab; while others are up it is not empty.
	os.Remove(etcNetns)
	return errors.Join(errs...)
}

// pidsIn are the processes in a namespace: the lab's own, since the namespace is.
func pidsIn(ns string) []int {
	out, err := exec.Command("ip", "netns", "pids", ns).Output()
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}
