// Package kubernetes judges meshtop on a real cluster: a real API server, kubelet and
// containerd in namespaces of their own, and pods with real Envoy sidecars.
package kubernetes

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// cluster is a cluster that is up while the test runs.
type cluster struct{ run string }

// kubeall is the program that is all of Kubernetes, kubectl among it.
func kubeall() string {
	return filepath.Join(filepath.Dir(power.EnvoyPath()), "kubernetes", "kubeall-1.37.2")
}

// up brings a cluster up, or skips where the machine has no power to. At the end of the test
// it is taken down, and must have left nothing.
func up(t *testing.T) *cluster {
	power.Root(t)
	power.Tools(t, "containerd", "runc", "ctr", "nsenter", "unshare", "xz", "curl", "tshark")
	power.Envoy(t)
	power.File(t, "/usr/lib/cni/bridge", "the Debian package containernetworking-plugins")
	power.File(t, kubeall(), "Kubernetes, which make deps brings")
	// A short name: unix sockets lie in there.
	run, err := os.MkdirTemp("", "meshtop")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{run}
	t.Cleanup(func() {
		if t.Failed() {
			c.show(t)
		}
		c.do(t, "./down", "purge")
		c.nothing(t)
	})
	c.do(t, "./setup")
	c.do(t, "./up")
	return c
}

// try runs one of the folder's scripts.
func (c *cluster) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "MT_RUN="+c.run, "KUBECONFIG="+c.config())
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err != nil {
		err = errors.Join(err, errors.New(said.String()))
	}
	return out.String(), err
}

func (c *cluster) do(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := c.try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return out
}

func (c *cluster) config() string { return filepath.Join(c.run, "pki", "admin.kubeconfig") }

// exec runs a command in a container of a scene's pod; both of its streams are the answer.
func (c *cluster) exec(scene, pod, container string, argv ...string) string {
	out, err := c.try("./ctl", append([]string{"kubectl", "-n", "scene-" + scene, "exec", pod, "-c", container, "--"}, argv...)...)
	if err != nil {
		return out + err.Error()
	}
	return out
}

// field is a field of an object of a scene, as kubectl's jsonpath names it.
func (c *cluster) field(t *testing.T, scene, kind, name, path string) string {
	t.Helper()
	return c.do(t, "./ctl", "kubectl", "-n", "scene-"+scene, "get", kind, name, "-o", "jsonpath={"+path+"}")
}

// show logs what may explain a failure.
func (c *cluster) show(t *testing.T) {
	pods, _ := c.try("./ctl", "kubectl", "get", "pods", "-A")
	warnings, _ := c.try("./ctl", "kubectl", "get", "events", "-A", "--field-selector", "type=Warning")
	t.Log(pods + warnings)
}

// nothing of the cluster may be left on the machine.
func (c *cluster) nothing(t *testing.T) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), c.run) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	if _, err := net.InterfaceByName("mtk0"); err == nil {
		t.Error("the link mtk0 is left")
	}
	if out := c.do(t, "ip", "route"); strings.Contains(out, "10.244.0.0/16") || strings.Contains(out, "10.107.0.0/16") {
		t.Errorf("routes are left:\n%s", out)
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range cmdlines {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(c.run)) {
			t.Errorf("a process is left: %s: %q", f, b)
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), filepath.Base(c.run)) {
			t.Errorf("a cgroup is left: %s", path)
		}
		return nil
	})
	if _, err := os.Stat(c.run); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left (%v)", c.run, err)
	}
}

func TestCluster(t *testing.T) {
	c := up(t)
	c.bring(t)
	m := c.client(t)
	t.Run("tiers", m.tiers)
	t.Run("names", m.names)
	t.Run("scenes", m.scenes)
	t.Run("record", m.record)
	t.Run("objects", m.objects)
	t.Run("doctor", m.doctor)
	t.Run("screens", m.screens)
	t.Run("pick", m.pick)
	t.Run("once", m.once)
	t.Run("deliver", m.deliver)
	t.Run("node", m.node)
	t.Run("attached", m.attached)
	t.Run("failures", m.failures)
}

// bring brings up all scenes at once, but first the one that others call.
func (c *cluster) bring(t *testing.T) {
	t.Helper()
	c.do(t, "./ctl", "scene", "base")
	var all sync.WaitGroup
	for i, r := range rows {
		if i > 0 && rows[i-1].scene == r.scene {
			continue
		}
		all.Go(func() {
			if _, err := c.try("./ctl", "scene", r.scene); err != nil {
				t.Errorf("scene %s: %v", r.scene, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
