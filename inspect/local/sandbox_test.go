package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

const (
	podUID    = "0c5b9e3a-7f3c-4b59-9f0e-4f7f5f3a1d21"
	otherUID  = "11111111-7f3c-4b59-9f0e-4f7f5f3a1d21"
	staticUID = "0123456789abcdef0123456789abcdef"
	id        = "8d1f0a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7"
)

// The names are those that kubelet builds (cgroup_manager_linux.go, its own test's among
// them) and those of the runtimes' scopes.
func TestPodOfCgroups(t *testing.T) {
	under := strings.ReplaceAll(podUID, "-", "_")
	const (
		cgroupfs = "/kubepods/burstable/pod" + podUID + "/"
		v1       = "12:pids:%[1]s\n11:devices:%[1]s\n5:cpu,cpuacct:%[1]s\n4:net_cls,net_prio:%[1]s\n1:name=systemd:%[1]s\n0::%[2]s\n"
	)
	burstable := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice"
	colons := "/kubepods-besteffort-pod" + under + ".slice:cri-containerd:" + id
	for _, c := range []struct{ what, file, uid, container string }{
		{"version 2, systemd, containerd", "0::" + burstable + "/cri-containerd-" + id + ".scope\n", podUID, id},
		{"version 2, systemd, guaranteed, CRI-O", "0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope\n", podUID, id},
		{"version 2, systemd, CRI-O with crun, which has a cgroup below", "0::" + burstable + "/crio-" + id + ".scope/container\n", podUID, id},
		{"version 2, systemd, CRI-O's monitor", "0::" + burstable + "/crio-conmon-" + id + ".scope\n", "", ""},
		{"version 2, cgroupfs, CRI-O", "0::" + cgroupfs + "crio-" + id + "\n", podUID, id},
		{"version 2, cgroupfs, CRI-O's monitor", "0::" + cgroupfs + "crio-conmon-" + id + "\n", "", ""},
		{"version 2, systemd, cri-dockerd", "0::" + burstable + "/docker-" + id + ".scope\n", podUID, id},
		{"version 2, from another pod's cgroup namespace", "0::/../../kubepods-besteffort-pod" + under + ".slice/cri-containerd-" + id + ".scope\n", podUID, id},
		{"the same, of another class", "0::/../../../kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id + ".scope\n", podUID, id},
		{"the same, cgroupfs", "0::/../../pod" + podUID + "/" + id + "\n", podUID, id},
		{"the same, another container of the pod that looks", "0::/../cri-containerd-" + id + ".scope\n", "", ""},
		{"the same, the process that looks", "0::/\n", "", ""},
		{"version 2, cgroupfs", "0::/kubepods/besteffort/pod" + podUID + "/" + id + "\n", podUID, id},
		{"version 2, a cgroup of the container's own", "0::/kubepods/pod" + podUID + "/" + id + "/init.scope\n", podUID, id},
		{"version 2, systemd in the container", "0::" + burstable + "/cri-containerd-" + id + ".scope/system.slice/nginx.service\n", podUID, id},
		{"version 2, a cgroup that was removed", "0::" + burstable + "/cri-containerd-" + id + ".scope (deleted)\n", podUID, id},
		{"kubelet with systemd's driver, containerd with cgroupfs", "0::/system.slice/containerd.service" + colons + "\n", podUID, id},
		{"the same, version 1: below the service in one hierarchy, at the top in others", "5:pids:" + colons + "\n1:name=systemd:/system.slice/containerd.service" + colons + "\n0::/system.slice/containerd.service\n", podUID, id},
		{"the same, guaranteed, CRI-O", "0::/kubepods-pod" + under + ".slice:crio:" + id + "\n", podUID, id},
		{"the same, a static pod", "0::/kubepods-burstable-pod" + staticUID + ".slice:cri-containerd:" + id + "\n", staticUID, id},
		{"version 1, cgroupfs below another root", "9:name=systemd:/\n8:pids:/x-kubelet/kubepods/burstable/pod" + podUID + "/" + id + "\n7:blkio:/\n", podUID, id},
		{"version 1, systemd", "4:memory:" + burstable + "/docker-" + id + ".scope\n", podUID, id},
		{"version 1, all hierarchies, cgroupfs, beside an empty version 2", fmt.Sprintf(v1, cgroupfs+id, "/"), podUID, id},
		{"version 1, all hierarchies, systemd, beside version 2 with the runtime's service", fmt.Sprintf(v1, burstable+"/cri-containerd-"+id+".scope", "/system.slice/containerd.service"), podUID, id},
		{"version 1, CRI-O's monitor in some hierarchies", "3:pids:" + burstable + "/crio-conmon-" + id + ".scope\n2:cpu:/system.slice\n", "", ""},
		{"version 1, one hierarchy has the pod only", "2:pids:" + cgroupfs + id + "\n1:cpu:/kubepods/burstable/pod" + podUID + "\n", podUID, id},
		{"the same the other way round", "2:cpu:/kubepods/burstable/pod" + podUID + "\n1:pids:" + cgroupfs + id + "\n", podUID, id},
		{"version 1, two containers at once", "2:pids:" + cgroupfs + id + "\n1:cpu:" + cgroupfs + "x" + id[1:] + "\n", podUID, ""},
		{"kubelet in a container", "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/cri-containerd-" + id + ".scope\n", podUID, id},
		{"the same, version 1, below the container of the node", "3:cpu:/docker/" + id + "/kubelet/kubepods/besteffort/pod" + podUID + "/" + id + "\n", podUID, id},
		{"a static pod", "0::/kubepods/burstable/pod" + staticUID + "/" + id + "\n", staticUID, id},
		{"a static pod, systemd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + staticUID + ".slice/cri-containerd-" + id + ".scope\n", staticUID, id},
		{"the pod's own cgroup", "0::/kubepods/pod" + podUID + "\n", podUID, ""},
		{"one that the pod made to look like another's", "0::/kubepods/pod" + podUID + "/" + id + "/pod" + otherUID + "/" + id + "\n", podUID, id},
		{"the same, of the other form", "0::/kubepods/pod" + podUID + "/" + id + "/kubepods-pod" + strings.ReplaceAll(otherUID, "-", "_") + ".slice:crio:" + id + "\n", podUID, id},
		{"two pods at once", "2:pids:/kubepods/pod" + podUID + "/" + id + "\n1:cpu:/kubepods/pod" + otherUID + "/" + id + "\n", "", ""},
		{"no pod", "0::/system.slice/containerd.service\n", "", ""},
		{"podman's", "0::/machine.slice/libpod_pod_" + id + ".slice/libpod-" + id + ".scope\n", "", ""},
		{"no UID", "0::/kubepods/podcast/" + id + "\n", "", ""},
		{"colons, and no slice", "0::/pod" + podUID + ":cri-containerd:" + id + "\n", "", ""},
		{"nothing", "garbage\n\n", "", ""},
	} {
		if uid, container := podOfCgroups(c.file); uid != c.uid || container != c.container {
			t.Errorf("%s: %q %q, want %q %q", c.what, uid, container, c.uid, c.container)
		}
	}
}

// cgroup makes a cgroup as kubelet would name a container's, and takes processes into it.
func cgroup(t *testing.T, uid, container string) func(pid int) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[2] != "cgroup2" && !(f[2] == "cgroup" && strings.HasSuffix(f[3], "pids")) {
			continue
		}
		top := filepath.Join(f[1], "mt-test-"+strconv.Itoa(os.Getpid()))
		at := filepath.Join(top, "kubepods", "pod"+uid, container)
		if err := os.MkdirAll(at, 0o755); err != nil {
			continue // version 2 beside version 1, which cannot be written to
		}
		t.Cleanup(func() {
			for d := at; len(d) >= len(top); d = filepath.Dir(d) {
				if err := os.Remove(d); err != nil {
					t.Error(err)
				}
			}
		})
		return func(pid int) {
			if err := os.WriteFile(filepath.Join(at, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("no cgroups are mounted here")
	return nil
}

func sleeper(t *testing.T, space *netns.Space) int {
	cmd := exec.Command("sleep", "60")
	if err := space.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// From its node a pod is known by its cgroup and by its address, and is written to only with
// both; the node's own namespace never is, whoever is in the pod's cgroup.
func TestOfPodUID(t *testing.T) {
	power.Root(t)
	power.Tools(t, "sleep")
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	machine, err := netns.Own()
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	take := cgroup(t, podUID, id)
	mine := netip.MustParseAddr(lab.PodAddr)
	others := netip.MustParseAddr("10.244.1.8")
	if _, err := OfPodUID(podUID, id, Options{}); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("no process: %v", err)
	}
	take(sleeper(t, machine)) // such as one of a pod on the host's network
	if _, err := OfPodUID(podUID, id, Options{PodAddrs: []netip.Addr{mine}}); !errors.Is(err, inspect.ErrNotFound) || !strings.Contains(err.Error(), "none of its 1 processes") {
		t.Errorf("only the machine's namespace: %v", err)
	}
	node, err := OfPodUID(podUID, id, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	if _, err := node.Apply(context.Background(), block()); err == nil || !strings.Contains(err.Error(), "the node's own network namespace") {
		t.Errorf("the machine's namespace: %v", err)
	}

	inside := sleeper(t, l.PodSpace())
	take(inside)
	p, err := OfPodUID(podUID, id, Options{PodAddrs: []netip.Addr{others, mine}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Name() != "pid "+strconv.Itoa(inside) || p.space.ID() != l.PodSpace().ID() {
		t.Errorf("opened %s", p.Name())
	}
	if pol, err := p.Apply(context.Background(), block()); err != nil || pol.State != flow.StateApplied {
		t.Errorf("%+v, %v", pol, err)
	}
	c := flow.Change{Kind: flow.Restore, Driver: flow.Kernel}
	c.Edits, c.Undo = edits.Of(c)
	if _, err := p.Apply(context.Background(), c); err != nil {
		t.Error(err)
	}
	if _, err := OfPodUID(podUID, id, Options{PodAddrs: []netip.Addr{others}}); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("another's address: %v", err)
	}
	if _, err := OfPodUID(otherUID, id, Options{}); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("another pod: %v", err)
	}
	// The pod's namespace, but nothing told that proves it.
	unproven := &Pod{name: "x", space: l.PodSpace(), outside: true}
	if _, err := unproven.Apply(context.Background(), block()); err == nil || !strings.Contains(err.Error(), "no address of the pod was told") {
		t.Errorf("no address told: %v", err)
	}
	unproven.opt.PodAddrs = []netip.Addr{others}
	if _, err := unproven.Apply(context.Background(), block()); err == nil || !strings.Contains(err.Error(), "none of the pod's addresses") {
		t.Errorf("another's address told: %v", err)
	}
}
