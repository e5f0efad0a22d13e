package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	v1 "k8s.io/api/core/v1"
)

// envoy is the admin interface of a pod's Envoy, asked from outside. It is looked for at each
// full read: an Envoy that was restarted may be another one.
type envoy struct {
	dial admin.Dialer
	opt  admin.Options
	at   []netip.AddrPort // where it may be

	mu    sync.Mutex // one Read at a time
	found *admin.Found
}

// read reads Envoy's parts that are wanted, gently (inspect/admin).
func (e *envoy) read(ctx context.Context, l *look) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(l.want.Needs) == 0 && !slices.ContainsFunc(envoyParts, l.wants) || ctx.Err() != nil {
		return
	}
	if e.found == nil || len(l.want.Needs) == 0 {
		l.tell(inspect.Progress{Part: "listeners.json"}) // the first question
		found, calls, err := admin.Find(ctx, e.dial, e.at, e.opt)
		l.out.Calls = append(l.out.Calls, calls...)
		if err != nil {
			e.lost(ctx, l, err)
			return
		}
		if e.found != nil {
			found.Adopt(e.found.Client)
		}
		e.found = found
	}
	s, err := e.found.Read(ctx, l.want)
	for name, data := range s.Files {
		l.out.Files[name] = data
	}
	l.out.Gaps = append(l.out.Gaps, s.Gaps...)
	l.out.Calls = append(l.out.Calls, s.Calls...)
	if err != nil && ctx.Err() == nil {
		l.gap("config_dump.json", err)
	}
}

// lost notes every part of Envoy that was asked for, with the one reason.
func (e *envoy) lost(ctx context.Context, l *look, err error) {
	if ctx.Err() != nil {
		return
	}
	err = oneLine(err)
	if len(l.want.Needs) > 0 {
		l.gap("config_dump.json", err)
	}
	l.lack(envoyParts, err)
}

// Close gives up what was read; it may be called twice.
func (e *envoy) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.found == nil {
		return nil
	}
	return e.found.Close()
}

// admins are the places where the pod's Envoy may have its admin interface, likelier ones
// first: where its object says that /ready is, which is a path of that interface, and the
// ports that are usual. No other port of an Envoy is asked: a request to a capture port would
// be proxied, and may loop.
func admins(o *v1.Pod) []netip.AddrPort {
	var ports []uint16
	add := func(p uint16) {
		if p != 0 && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	name := proxy(o)
	for _, c := range slices.Concat(o.Spec.Containers, o.Spec.InitContainers) {
		if c.Name != name {
			continue
		}
		for _, probe := range []*v1.Probe{c.ReadinessProbe, c.StartupProbe, c.LivenessProbe} {
			if probe != nil && probe.HTTPGet != nil && probe.HTTPGet.Path == "/ready" {
				add(portOf(c, probe.HTTPGet.Port.String()))
			}
		}
	}
	for _, p := range admin.Usual() {
		add(p)
	}
	var at []netip.AddrPort
	for _, p := range ports {
		at = append(at, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p))
	}
	return at
}

// portOf is a port by its number or its name in the container; 0: neither.
func portOf(c v1.Container, port string) uint16 {
	if a, err := netip.ParseAddrPort("0.0.0.0:" + port); err == nil {
		return a.Port()
	}
	for _, p := range c.Ports {
		if p.Name == port && p.ContainerPort > 0 && p.ContainerPort < 1<<16 {
			return uint16(p.ContainerPort)
		}
	}
	return 0
}

func joinLines(said []string) string {
	return strings.ReplaceAll(strings.Join(said, "\n"), "\n", "; ")
}

// outside is why a part of the kernel's half is not there.
func outside(way string) error {
	return fmt.Errorf("%s brings none of the kernel's half: that takes the agent, or a process in the pod (--via exec)", way)
}
