package session

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// slow is a pod of a cluster whose API server takes its time.
type slow struct {
	inspect.Pod
	takes time.Duration
}

// Names knows every address, in time.
func (s slow) Names(ctx context.Context, addrs []netip.Addr) (flow.Names, []inspect.Call, error) {
	out := flow.Names{Labels: map[netip.Addr][]flow.Label{}}
	select {
	case <-ctx.Done():
		return out, nil, ctx.Err()
	case <-time.After(s.takes):
	}
	for _, a := range addrs {
		out.Labels[a] = []flow.Label{{Kind: "Service", Namespace: "shop", Name: "web"}}
	}
	return out, nil, nil
}

// A trace is not held back for names: those that come late are left out, and it says so.
func TestLabelDoesNotWait(t *testing.T) {
	in := Reading{Files: map[string][]byte{}, Snapshot: &rules.Snapshot{}}
	to := netip.MustParseAddrPort("10.96.0.1:80")
	trace := flow.Trace{Legs: []flow.Leg{{Steps: []flow.Step{{Subject: to.String()}}}}}
	for takes, c := range map[time.Duration]struct {
		named   bool
		partial string
	}{
		100 * time.Millisecond: {true, ""},
		time.Second:            {false, "not all had come within 300ms"},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			r, got := Label(t.Context(), slow{takes: takes}, in, trace)
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if named := r.Snapshot.Names.At(to) != ""; named != c.named || r.Snapshot.Names.Partial != c.partial || len(got.Legs[0].Steps[0].Facts) != 1 {
				t.Errorf("after %v: %+v; %+v", takes, r.Snapshot.Names, got.Legs[0].Steps[0].Facts)
			}
		})
	}
}
