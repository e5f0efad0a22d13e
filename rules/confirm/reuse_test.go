package confirm

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// A client's port that was used shortly before, to another destination, has an entry of
// conntrack's still. Where both are redirected to one listener, the kernel ends it when the new
// one begins, or gives that one another port (nf_nat_core.c, get_unique_tuple): the SYN opens the new connection, not
// the one that has ended, and that is no other request.
func TestPortUsedBefore(t *testing.T) {
	old := track(0, app, netip.MustParseAddrPort("10.107.42.99:80"), trap)
	old.Event, old.State, old.ConntrackID = "DESTROY", "TIME_WAIT", 7
	seen := append(asSeen()[:8:8], counter("cluster.c.upstream_rq_total", "", 7, 8), counter("cluster.c.upstream_cx_total", "", 7, 8))
	seen[1].Seq, seen[2].Ack = 1000, 1001 // the SYN and its answer
	for i := range seen {
		if seen[i].Kind == flow.SeenConntrack {
			seen[i].ConntrackID = uint32(8 + i)
		}
	}
	if r := Check(mesh(), append([]flow.Observation{old}, seen...), flow.Loss{}, ours); r.Word != Confirmed || word(r, 0, 2) != Confirmed || r.Steps[2].Why.Kind != flow.SeenSYNACK {
		t.Errorf("%v, listener %v", r.Word, r.Steps[2].Why)
		for _, s := range r.Steps {
			t.Logf("  %d.%d %v %v %v", s.Leg, s.Step, s.Stage, s.Word, s.Why)
		}
	}
}

// Behind a port that the kernel chose, the client writes to the listener; what answers it is
// translated back already. Measured: the reply tuple has the new port, the access log too.
func TestPortTranslated(t *testing.T) {
	mapped := netip.AddrPortFrom(app.Addr(), 2090)
	seen := append(asSeen(), counter("cluster.c.upstream_rq_total", "", 7, 8))
	for i := range seen {
		o := &seen[i]
		switch {
		case o.Kind == flow.SeenConntrack && o.Tuple.Src == app:
			o.Reply.Dst = mapped
		case o.Kind == flow.SeenPacket && o.Tuple.Src == app:
			o.Tuple.Src = mapped
		}
	}
	seen[1].Seq, seen[2].Ack = 1000, 1001
	for _, log := range []bool{true, false} {
		all := append([]flow.Observation(nil), seen...)
		if log {
			all[8].Fields["downstream_remote_address"] = mapped.String()
		} else {
			all = append(all[:8:8], all[9])
		}
		r := Check(mesh(), all, flow.Loss{}, ours)
		if r.Word != Confirmed || r.Loss.Late || word(r, 0, 4) != Confirmed || r.Steps[2].Why.Kind != flow.SeenSYNACK {
			t.Errorf("with a log %v: %v", log, r.Word)
			for _, s := range r.Steps {
				t.Logf("  %d.%d %v %v %v", s.Leg, s.Step, s.Stage, s.Word, s.Why)
			}
		}
	}
}
