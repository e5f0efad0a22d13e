package session

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
)

// Bounds of learning names: how many addresses at once, and for how long; a trace that is printed
// waits for them no longer than nobody notices.
const (
	maxNamed  = 64
	namesWait = 3 * time.Second
	labelWait = 300 * time.Millisecond
)

// Learn asks what of the cluster stands behind addresses, as far as the reading does not know
// it. It never fails: what could not be had is said in the names. The pod's own addresses and
// those of this host are nobody's business.
func Learn(ctx context.Context, pod inspect.Pod, r Reading, addrs []netip.Addr) (flow.Names, []inspect.Call) {
	return learn(ctx, pod, r, addrs, namesWait)
}

func learn(ctx context.Context, pod inspect.Pod, r Reading, addrs []netip.Addr, wait time.Duration) (flow.Names, []inspect.Call) {
	p, ok := pod.(inspect.Namer)
	if !ok || r.Snapshot == nil {
		return flow.Names{}, nil
	}
	own := live.Addresses(r.Files["addr.json"])
	var ask []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if _, known := r.Snapshot.Names.Labels[a]; known || live.Own(a, own) || slices.Contains(ask, a) {
			continue
		}
		if ask = append(ask, a); len(ask) == maxNamed {
			break
		}
	}
	if len(ask) == 0 {
		return flow.Names{}, nil
	}
	within, stop := context.WithTimeout(ctx, wait)
	defer stop()
	n, calls, err := p.Names(within, ask)
	switch late := within.Err() != nil; {
	case ctx.Err() != nil:
	case late && (err != nil || n.Partial != ""):
		n.Partial = "not all had come within " + wait.String()
	case err != nil:
		n.Partial = "they could not be asked for: " + err.Error()
	}
	return n, calls
}

// Named is the reading with these names too, and what was done to learn them.
func (r Reading) Named(n flow.Names, calls []inspect.Call) Reading {
	if len(n.Labels) == 0 && n.Partial == "" || r.Snapshot == nil {
		return r
	}
	r.Snapshot = r.Snapshot.Named(n)
	r.Files = maps.Clone(r.Files)
	r.Files[rules.NamesPart] = r.Snapshot.Files[rules.NamesPart]
	r.Calls = append(r.Calls[:len(r.Calls):len(r.Calls)], calls...)
	return r
}

// Label is a trace with what stands behind its addresses, and the reading that knows it; of a slow
// API server only what came at once.
func Label(ctx context.Context, pod inspect.Pod, r Reading, t flow.Trace) (Reading, flow.Trace) {
	n, calls := learn(ctx, pod, r, rules.Addresses(t), labelWait)
	r = r.Named(n, calls)
	if r.Snapshot == nil {
		return r, t
	}
	return r, rules.Label(t, r.Snapshot.Names)
}

// Peers are the addresses at the other ends of the connections that were open, the first ones.
func Peers(r Reading) []netip.Addr {
	if r.Snapshot == nil {
		return nil
	}
	var out []netip.Addr
	for _, c := range live.Connections(r.Snapshot) {
		for _, a := range []netip.AddrPort{c.Src, c.Dst, c.To} {
			if b := a.Addr().Unmap(); b.IsValid() && !b.IsLoopback() && !b.IsUnspecified() && !slices.Contains(out, b) {
				out = append(out, b)
			}
		}
		if len(out) >= maxNamed {
			break
		}
	}
	return out
}
