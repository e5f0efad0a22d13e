// Package lab brings a scene to life: a pod and everything outside it as two network
// namespaces of this machine, the scene's rules in the kernel, a real Envoy, an app and
// the services it calls, and clients that send a request from where and as whom it says.
// It needs root, touches nothing outside its own namespaces but files under /run and
// /etc/netns that bear its name, and takes everything away again.
package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect/netns"
)

// Backend is which iptables holds the scene's rules.
type Backend string

// The two back ends of iptables.
const (
	NFT    Backend = "nft"
	Legacy Backend = "legacy"
)

// Options say what to bring up.
type Options struct {
	Scene   string  // a name of package scenes
	Backend Backend // empty: NFT
	Name    string  // of the lab; its namespaces are NAME-pod and NAME-out; empty: one of its own
	Envoy   string  // path of the binary; empty: where e2e/power looks for it
	// Plain leaves the configuration as the scene has it, without access logs.
	Plain bool
	// FileLog, if not nil, is the log_format of one more access log, in a file that only Envoy sees
	// (LogFile); empty: Envoy's default.
	FileLog map[string]any
	// NoEnvoy leaves Envoy out.
	NoEnvoy bool
	// Config is used in place of the scene's, if not empty.
	Config []byte
}

// Lab is a scene that is up.
type Lab struct {
	Name    string
	Scene   scenes.Scene
	Backend Backend
	Dir     string // envoy.yaml, envoy.log and access.log are there

	opt      Options
	pod, out *netns.Space
	servers  servers
	envoy    *process
	log      *accessLog
	readers  sync.WaitGroup // of Envoy's output
	closed   bool
}

// Pod is the name of the pod's namespace.
func (l *Lab) Pod() string { return l.Name + "-pod" }

// Out is the name of the namespace that holds everything outside the pod.
func (l *Lab) Out() string { return l.Name + "-out" }

// EnvoyPID is Envoy's process; 0 when there is none.
func (l *Lab) EnvoyPID() int {
	if l.envoy == nil {
		return 0
	}
	return l.envoy.pid()
}

// tools are the programs that a lab needs.
var tools = []string{"ip", "nft", "setpriv", "mount", "iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"}

// New brings a scene up for a test, and takes it down when the test ends. A machine that
// lacks what it needs skips the test, or fails it (package power).
func New(t testing.TB, opt Options) *Lab {
	t.Helper()
	power.Root(t)
	power.Tools(t, tools...)
	if !opt.NoEnvoy && opt.Envoy == "" {
		opt.Envoy = power.Envoy(t)
	}
	l, err := Up(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("take the lab down: %v", err)
		}
	})
	return l
}

// serial numbers the labs of this process.
var serial atomic.Int32

// Up brings a scene up; the caller closes it. What is left of labs whose process died is
// taken away first. After an error nothing is left.
func Up(opt Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab needs root: it makes network namespaces")
	}
	if opt.Backend == "" {
		opt.Backend = NFT
	}
	if opt.Backend != NFT && opt.Backend != Legacy {
		return nil, fmt.Errorf("back end %q: it is %s or %s", opt.Backend, NFT, Legacy)
	}
	if opt.Name == "" {
		opt.Name = fmt.Sprintf("mt-%d-%d", os.Getpid(), serial.Add(1))
	}
	if !strings.HasPrefix(opt.Name, "mt-") {
		return nil, fmt.Errorf("name %q: a lab's name begins with mt-", opt.Name)
	}
	if opt.Envoy == "" {
		opt.Envoy = power.EnvoyPath()
	}
	scene, err := scenes.Named(opt.Scene)
	if err != nil {
		return nil, err
	}
	if err := Sweep(); err != nil {
		return nil, fmt.Errorf("take away what a dead lab left: %w", err)
	}
	l := &Lab{Name: opt.Name, Scene: scene, Backend: opt.Backend, Dir: Folder(opt.Name), opt: opt}
	if err := claim(l.Dir); err != nil {
		return nil, err
	}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", opt.Scene, err), l.Close())
	}
	return l, nil
}

func (l *Lab) build() error {
	steps := []func() error{l.link, l.serve, l.loadRules}
	if !l.opt.NoEnvoy {
		steps = append(steps, l.startEnvoy)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Close takes the lab down; it may be called twice.
func (l *Lab) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	errs = append(errs, l.StopEnvoy(), l.servers.close())
	for _, s := range []*netns.Space{l.pod, l.out} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	errs = append(errs, remove(l.Name))
	return errors.Join(errs...)
}

// loadRules runs the scene's rules with the lab's back end, in order.
func (l *Lab) loadRules() error {
	for _, line := range l.Scene.Rules {
		args := strings.Fields(line)
		if args[0] != "iptables" && args[0] != "ip6tables" {
			return fmt.Errorf("rule %q: it begins with neither iptables nor ip6tables", line)
		}
		if _, err := l.run(l.pod, args[0]+"-"+string(l.Backend), args[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// PodSpace is the pod's namespace, open until Close.
func (l *Lab) PodSpace() *netns.Space { return l.pod }

// InPod runs a program in the pod's namespace as root, and gives its output.
func (l *Lab) InPod(name string, args ...string) (string, error) { return l.run(l.pod, name, args...) }

// Outside runs a program outside the pod as root, and gives its output.
func (l *Lab) Outside(name string, args ...string) (string, error) {
	return l.run(l.out, name, args...)
}

// run runs a program in one of the lab's namespaces.
func (l *Lab) run(s *netns.Space, name string, args ...string) (string, error) {
	var out []byte
	err := s.Do(func() error {
		var err error
		out, err = exec.Command(name, args...).Output()
		return err
	})
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w%s", name, strings.Join(args, " "), err, stderr(err))
	}
	return string(out), nil
}

// stderr is what a failed program said, for the end of an error.
func stderr(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}
