package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// executed is the pod by processes that are started in its containers: what their images hold.
// Nothing but these constant commands is run, and none of them writes.
func (c *cluster) executed(o *v1.Pod) *lesser {
	in := &inside{cluster: c, object: o}
	e := &envoy{at: admins(o)}
	return &lesser{cluster: c, object: o, way: "by exec", brings: "what the images of its containers can read", close: e.close, lookup: in.resolve, read: func(ctx context.Context, l *look) {
		if l.whole() || in.boxes == nil {
			in.look(ctx, l)
		}
		if l.whole() {
			in.kernel(ctx, l)
		}
		if e.dial == nil && e.opt.Via == nil {
			if c.allowed(ctx, o)["pods/portforward"] {
				e.dial = c.forward(o)
			} else {
				e.opt.Via = in.asker
			}
		}
		e.read(ctx, l)
	}}
}

// inside is what can be run in a pod.
type inside struct {
	cluster *cluster
	object  *v1.Pod
	boxes   []box // the containers that run, the proxy's first
}

// box is one container with what its image holds.
type box struct {
	name  string
	tools []string
	uid   string
	admin bool  // its processes have CAP_NET_ADMIN
	why   error // it has no shell, or cannot be entered
}

func (b box) has(tool string) bool { return slices.Contains(b.tools, tool) }

// probe lists the programs of ours that a container has, and what it may. Commands are
// constants: nothing of a pod's object ever becomes part of one.
const probe = `for p in cat iptables-nft-save iptables-legacy-save iptables-save ip6tables-nft-save ip6tables-legacy-save ip6tables-save nft ip conntrack curl bash nc wget pilot-agent getent; do
command -v "$p" >/dev/null 2>&1 && echo "has $p"; done
while read -r k v; do case "$k" in CapEff:|Uid:) echo "$k $v";; esac; done </proc/self/status
:`

// look finds out what the containers have.
func (in *inside) look(ctx context.Context, l *look) {
	in.boxes = nil
	first := proxy(in.object)
	for _, name := range containers(in.object) {
		out, err := in.run(ctx, l, name, "sh", "-c", probe)
		b := box{name: name}
		if err != nil {
			b.why = fmt.Errorf("container %s: %w", name, shellLess(err))
		}
		for line := range strings.Lines(string(out)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch key {
			case "has":
				b.tools = append(b.tools, value)
			case "Uid:":
				b.uid, _, _ = strings.Cut(strings.TrimSpace(value), "\t")
			case "CapEff:": // capabilities(7): CAP_NET_ADMIN is 12
				mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
				b.admin = err == nil && mask&(1<<12) != 0
			}
		}
		if err != nil && first == name { // Istio's image may be without a shell, and has this
			b.tools = []string{"pilot-agent"}
		}
		in.boxes = append(in.boxes, b)
	}
}

// containers are those that run, the proxy's first.
func containers(o *v1.Pod) []string {
	var names []string
	for _, s := range slices.Concat(o.Status.ContainerStatuses, o.Status.InitContainerStatuses) {
		if s.State.Running != nil {
			names = append(names, s.Name)
		}
	}
	first := proxy(o)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(b2i(a != first), b2i(b != first))
	})
	return names
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shellLess says in a few words what runtimes say in many.
func shellLess(err error) error {
	for _, none := range []string{"executable file not found", "no such file or directory"} {
		if strings.Contains(err.Error(), none) {
			return errors.New("no shell in its image")
		}
	}
	return err
}

// Bounds of one command.
const (
	runTime  = 20 * time.Second
	runBytes = 64 << 20
)

// run runs a command in a container and gives what it printed.
func (in *inside) run(ctx context.Context, l *look, container string, argv ...string) ([]byte, error) {
	what := "exec in " + container + ": " + strings.Join(argv[:min(len(argv), 6)], " ")
	if argv[0] == "sh" {
		what = "exec in " + container + ": sh: which programs, sockets and settings are there"
	}
	start := time.Now()
	within, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	out, err := in.cluster.output(within, in.object, container, argv)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no end within %s", runTime)
	}
	l.call(what, start, len(out), err)
	return out, err
}

// output is what a command prints.
func (c *cluster) output(ctx context.Context, o *v1.Pod, container string, argv []string) ([]byte, error) {
	s, err := c.start(o, container, argv, false)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, s.stop)()
	out, err := io.ReadAll(io.LimitReader(s, runBytes+1))
	if err == nil && len(out) > runBytes {
		return nil, fmt.Errorf("its output is larger than %d bytes", runBytes)
	}
	return out, errors.Join(err, s.failed(ctx))
}

// failed is why the command did not end well, once its output has ended.
func (s *stream) failed(ctx context.Context) error {
	select {
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.err == nil {
		return nil
	}
	if words := s.said.String(); words != "" {
		return fmt.Errorf("%w: %s", s.err, words)
	}
	return s.err
}
