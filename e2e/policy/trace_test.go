package policy

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/local"
	ruleset "github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// A trace of a pod under a policy tells what its connections then do: our table is read as
// every other.
func TestTraceKnowsThePolicy(t *testing.T) {
	for _, b := range []lab.Backend{lab.NFT, lab.Legacy} {
		l := lab.New(t, lab.Options{Scene: "block-all", Backend: b})
		p := pod(t, l, local.Options{})
		except := func(c *flow.Change) { c.Except = []flow.Hole{{Prefix: netip.PrefixFrom(svc.Addr(), 32), Port: 80}} }
		for _, c := range []struct {
			change flow.Change
			want   map[netip.AddrPort]flow.Verdict
			legs   int
		}{
			{change(flow.BlockAll, except), map[netip.AddrPort]flow.Verdict{web: flow.Refused, web6: flow.Refused, svc: flow.Refused}, 1},
			{change(flow.AllowAll), map[netip.AddrPort]flow.Verdict{web: flow.Delivered, web6: flow.Delivered}, 1},
		} {
			apply(t, p, flow.StateApplied, c.change)
			snap := snapshot(t, p)
			for dst, want := range c.want {
				tr := ruleset.Trace(snap, flow.Request{Dst: dst, Proto: flow.TCP, UID: appUID, GID: appUID})
				if got := tr.Verdict; got != want {
					t.Errorf("%s: %s: a trace to %s says %s, not %s", b, c.change.Kind, dst, got, want)
				}
				if x := connectIn(t, l, dst); dst != svc && x.Refused() != (want == flow.Refused) {
					t.Errorf("%s: %s: a connection to %s: %v", b, c.change.Kind, dst, x.Err)
				}
				if dst == web && len(tr.Legs) != c.legs {
					t.Errorf("%s: %s: a trace to %s has %d legs: %+v", b, c.change.Kind, dst, len(tr.Legs), tr.Legs)
				}
			}
			apply(t, p, flow.StateNone, change(flow.Restore))
		}
	}
}
