package plain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/inspect/saved"
)

// targetKinds are the words that begin a target.
var targetKinds = []string{"pod", "deploy", "netns", "pid", "file", "demo"}

// target is what is looked at, as the command line names it.
type target struct {
	kind, name string
	scene      saved.Scene // of a demo
}

// String is the target as a command line names it.
func (t target) String() string {
	if t.kind == "" {
		return ""
	}
	return t.kind + " " + t.name
}

// parseTarget reads "netns NAME", "pid N", "file PATH", "demo SCENE", "pod NAME", or
// "pod/NAME" and "NAME" of a cluster. No words at all are no target.
func parseTarget(args []string) (target, error) {
	switch len(args) {
	case 0:
		return target{}, nil
	case 1:
		if kind, name, ok := strings.Cut(args[0], "/"); ok && (kind == "pod" || kind == "deploy") && name != "" {
			return target{kind: kind, name: name}, nil
		}
		for _, k := range targetKinds {
			if args[0] == k {
				return target{}, usage("target %s: which one? want %s", k, example(k))
			}
		}
		if args[0] == "" {
			return target{}, usage("the target is an empty word: want pod NAME, netns NAME, pid N, file PATH or demo SCENE")
		}
		return target{kind: "pod", name: args[0]}, nil
	case 2:
	default:
		return target{}, usage("too many words: %s", strings.Join(args[2:], " "))
	}
	t := target{kind: args[0], name: args[1]}
	switch t.kind {
	case "pod", "deploy", "netns", "file":
		if t.name == "" {
			return t, usage("target %s: the name is empty", t.kind)
		}
		return t, nil
	case "demo":
		return t, nil
	case "pid":
		if n, err := strconv.Atoi(t.name); err != nil || n < 1 {
			return t, usage("target pid %q: not a process number", t.name)
		}
		return t, nil
	}
	if near := nearest(t.kind, targetKinds); near != "" {
		return t, usage("unknown target %q: was %s meant?", t.kind, near)
	}
	return t, usage("unknown target %q: want pod NAME, netns NAME, pid N, file PATH or demo SCENE", t.kind)
}

func example(kind string) string {
	return map[string]string{"pod": "pod NAME", "deploy": "deploy NAME", "netns": "netns NAME (ip netns list shows them)", "pid": "pid N", "file": "file PATH", "demo": "demo SCENE (meshtop demo --list shows them)"}[kind]
}

// open opens the target. A file or scene that makes no sense is bad input; what is not
// there, or may not be opened, is something that cannot be told.
func (a *App) open(ctx context.Context, t *target, admin netip.AddrPort) (inspect.Pod, error) {
	switch t.kind {
	case "file":
		p, err := saved.Open(t.name)
		if err != nil {
			if errors.Is(err, archive.ErrNoSnapshot) {
				return nil, &failure{ExitUsage, err}
			}
			return nil, cannot(err)
		}
		return p, nil
	case "demo":
		p, s, err := saved.Demo(t.name)
		t.scene = s
		if err != nil {
			return nil, &failure{ExitUsage, err}
		}
		return p, nil
	case "netns":
		if a.Netns == nil {
			return nil, cannot(errors.New("netns: network namespaces are a thing of Linux: open a saved snapshot with file PATH"))
		}
		return opened(a.Netns(ctx, t.name, admin))
	case "pid":
		if a.PID == nil {
			return nil, cannot(errors.New("pid: network namespaces are a thing of Linux: open a saved snapshot with file PATH"))
		}
		n, _ := strconv.Atoi(t.name) // parseTarget has looked at it
		return opened(a.PID(ctx, n, admin))
	}
	if a.Cluster == nil {
		return nil, cannot(fmt.Errorf("%s %s: this build has no cluster support: use netns NAME or pid N on the pod's node, or file PATH", t.kind, t.name))
	}
	if a.news == nil {
		a.news = &news{line: newProgress(a)}
	}
	defer a.news.clear()
	return opened(withWays(a.Cluster.Open(ctx, t.kind, t.name, a.news.tell)))
}

// local says whether the target is a namespace of this machine.
func (t target) local() bool { return t.kind == "netns" || t.kind == "pid" }

// ofCluster says whether the target is a pod of a cluster.
func (t target) ofCluster() bool { return t.kind == "pod" || t.kind == "deploy" }

// live says whether the target can change under who looks at it.
func (t target) live() bool { return t.local() || t.ofCluster() }

func opened(p inspect.Pod, err error) (inspect.Pod, error) {
	if err != nil {
		return nil, cannot(err)
	}
	return p, nil
}
