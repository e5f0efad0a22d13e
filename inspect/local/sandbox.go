package local

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/inspect"
)

// OfPodUID opens the network namespace of a pod that kubelet runs on this machine, from
// outside: that of a process in the pod's cgroup, of the container with this ID where one is
// left. Where Options.PodAddrs are told, one of them must be on an interface in there: a pod
// may make namespaces of its own. It is never written to without such a proof.
func OfPodUID(uid, container string, opt Options) (*Pod, error) {
	found := processesOf(uid, container)
	if len(found) == 0 {
		return nil, &openError{"pod of UID " + uid, errors.New("no process is in a cgroup of it on this node"), inspect.ErrNotFound}
	}
	why := fmt.Errorf("none of its %d processes is in a network namespace with one of its addresses %v", len(found), opt.PodAddrs)
	var seen []uint64 // by namespace: most processes share one
	for _, pid := range found {
		p, err := OfPid(pid, opt)
		switch {
		case errors.Is(err, inspect.ErrNotFound): // ended since
			continue
		case err != nil:
			return nil, err
		case slices.Contains(seen, p.space.ID()):
		case !isOf(pid, uid): // its number is another's by now
		case p.holds(opt.PodAddrs):
			p.outside = true
			return p, nil
		default:
			seen = append(seen, p.space.ID())
		}
		_ = p.Close()
	}
	return nil, &openError{"pod of UID " + uid, why, inspect.ErrNotFound}
}

// addrs are the addresses on the namespace's interfaces.
func (p *Pod) addrs() (out []net.Addr, err error) {
	err = p.space.Do(func() error {
		out, err = net.InterfaceAddrs()
		return err
	})
	return out, err
}

// holds says whether one of these addresses is on an interface in there; of none it does.
func (p *Pod) holds(told []netip.Addr) bool {
	seen, err := p.addrs()
	return len(told) == 0 || err == nil && anyOf(told, seen)
}

// processesOf are the processes in a pod's cgroup: those of the container first, and each kind
// by number, so that the first are those that started first.
func processesOf(uid, container string) []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var preferred, others []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		of, in := cgroupOf(pid)
		switch {
		case of == "" || of != uid:
		case container != "" && in == container:
			preferred = append(preferred, pid)
		default:
			others = append(others, pid)
		}
	}
	slices.Sort(preferred)
	slices.Sort(others)
	return append(preferred, others...)
}

func isOf(pid int, uid string) bool {
	of, _ := cgroupOf(pid)
	return of == uid
}

// cgroupOf is which pod and container a process is of; empty: of none.
func cgroupOf(pid int) (uid, container string) {
	file, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", ""
	}
	return podOfCgroups(string(file))
}

// podOfCgroups reads /proc/PID/cgroup (cgroups(7)): ID:CONTROLLERS:PATH, one line in version 2
// and one a hierarchy in version 1, some of which may say less than others. Where two lines name
// two pods it is of none, and where they name two containers it is of no certain one.
func podOfCgroups(file string) (uid, container string) {
	unsure := false
	for line := range strings.Lines(file) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		u, c := podOfPath(strings.TrimSuffix(f[2], " (deleted)")) // of a cgroup that is no more
		switch {
		case u == "":
			continue
		case uid != "" && u != uid:
			return "", ""
		}
		unsure = unsure || container != "" && c != "" && c != container
		uid, container = u, cmp.Or(container, c)
	}
	if unsure {
		return uid, ""
	}
	return uid, container
}

// podOfPath takes a cgroup's path apart as kubelet and the runtimes build it
// (pkg/kubelet/cm/pod_container_manager_linux.go): podUID/CONTAINER with the cgroupfs driver,
// kubepods-QOS-podUID.slice/RUNTIME-CONTAINER.scope with systemd's, which has _ for - in the
// UID, and kubepods-QOS-podUID.slice:RUNTIME:CONTAINER where only kubelet has systemd's. Seen from
// a cgroup namespace it begins with /../ (cgroup_namespaces(7)). The first name of a pod counts:
// below it are cgroups that the pod itself may have made.
func podOfPath(path string) (uid, container string) {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		name, below, colons := strings.Cut(p, ":")
		name, slice := strings.CutSuffix(name, ".slice")
		if slice {
			at := strings.LastIndex(name, "-pod")
			if at < 0 {
				continue
			}
			name = strings.ReplaceAll(name[at+1:], "_", "-")
		}
		uid, ok := strings.CutPrefix(name, "pod")
		if !ok || !isUID(uid) || colons && !slice {
			continue
		}
		switch {
		case colons: // no runtime's name has a colon
			return uid, below[strings.LastIndexByte(below, ':')+1:]
		case i+1 == len(parts):
			return uid, ""
		case strings.HasPrefix(parts[i+1], conmon):
			return "", ""
		}
		c := strings.TrimSuffix(parts[i+1], ".scope")
		return uid, c[strings.LastIndexByte(c, '-')+1:]
	}
	return "", ""
}

// conmon begins the cgroup of CRI-O's monitor of a container. It stands beside the container's, and
// its process is the node's own, with the node's namespaces.
const conmon = "crio-conmon-"

// isUID says whether s can be a pod's UID: one that the API server made, or the hash of a
// static pod's file.
func isUID(s string) bool {
	return (len(s) == 36 || len(s) == 32) && strings.Trim(s, "0123456789abcdef-") == ""
}
