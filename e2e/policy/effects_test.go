package policy

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/session"
	ruleset "github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
)

// Where the lab has servers for what a plan says of everything else.
var (
	else4 = netip.MustParseAddrPort("203.0.113.10:80")
	else6 = netip.MustParseAddrPort("[fd00:107::16]:80")
)

// What a plan says of each destination is what becomes of a real connection under the policy,
// and so is what a trace says of the pod as it is then.
func TestEffects(t *testing.T) {
	hole := []flow.Hole{{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Port: 80}}
	for _, c := range []struct {
		scene   string
		backend lab.Backend
	}{{"block-all", lab.NFT}, {"allow-all", lab.Legacy}, {"mesh", lab.NFT}, {"header-match", lab.NFT}} {
		t.Run(c.scene, func(t *testing.T) {
			e := newEffects(t, c.scene, c.backend)
			before := e.ways()
			for _, ask := range []egress.Ask{
				{Kind: flow.BlockAll}, {Kind: flow.BlockAll, Except: hole}, {Kind: flow.BlockAll, Strong: true},
				{Kind: flow.AllowAll}, {Kind: flow.AllowAll, All: true}, {Kind: flow.AllowAll, All: true, Except: hole},
			} {
				e.under(ask)
			}
			if after := e.ways(); after != before {
				t.Errorf("before the policies connections ended %v, and after them %v", before, after)
			}
		})
	}
}

type effects struct {
	*testing.T
	ctx context.Context
	lab *lab.Lab
	pod *local.Pod
}

func newEffects(t *testing.T, scene string, backend lab.Backend) effects {
	l := lab.New(t, lab.Options{Scene: scene, Backend: backend})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return effects{t, ctx, l, pod(t, l, local.Options{})}
}

func (e effects) read() session.Reading {
	e.Helper()
	r, err := session.Read(e.ctx, e.pod, inspect.Want{})
	if err != nil {
		e.Fatal(err)
	}
	return r
}

// under applies one policy and compares.
func (e effects) under(ask egress.Ask) {
	e.Helper()
	ask.TTL, ask.By = 10*time.Minute, "a test"
	_, c, err := session.PlanPolicy(e.ctx, e.pod, e.read(), ask, nil)
	if errors.Is(err, egress.ErrNothing) {
		return
	}
	if err != nil {
		e.Fatalf("%+v: %v", ask, err)
	}
	p, err := session.ApplyPolicy(e.ctx, e.pod, c)
	if err != nil || p.State != flow.StateApplied {
		e.Fatalf("%+v: %v %s", ask, err, p.Why)
	}
	for _, x := range c.Effects {
		dst := x.Dst
		if x.Else && dst.Addr().Is4() {
			dst = else4
		} else if x.Else {
			dst = else6
		}
		want := x.After
		if x.Else && len(ask.Except) > 0 && ask.Except[0].Prefix.Contains(dst.Addr()) {
			want = x.Before
		}
		if got := e.sends(dst, x.UID); got != want {
			e.Errorf("%+v: the plan says that %v is %v, and it is %v", ask, dst, want, got)
		}
	}
	e.traced(ask)
	if p, err := session.RestorePolicy(e.ctx, e.pod, egress.Ask{}); err != nil || p.State != flow.StateNone {
		e.Fatalf("restore: %v %+v", err, p)
	}
}

// some are destinations and users worth a look.
func some(do func(dst netip.AddrPort, uid uint32)) {
	for _, dst := range []string{"10.107.42.16:80", else4.String(), else6.String(), "10.244.1.7:80", "127.0.0.1:8082"} {
		for _, uid := range []uint32{lab.AppUID, lab.EnvoyUID, 0} {
			do(netip.MustParseAddrPort(dst), uid)
		}
	}
}

// traced compares the traces of the pod as it is now with real connections.
func (e effects) traced(ask egress.Ask) {
	e.Helper()
	r := e.read()
	some(func(dst netip.AddrPort, uid uint32) {
		t := ruleset.Trace(r.Snapshot, request(dst, uid))
		if got := e.sends(dst, uid); got != t.Verdict {
			e.Errorf("%+v: a trace says that %v of uid %d is %v, and it is %v", ask, dst, uid, t.Verdict, got)
		}
	})
}

// ways are how connections end now.
func (e effects) ways() (out [15]flow.Verdict) {
	n := 0
	some(func(dst netip.AddrPort, uid uint32) {
		out[n] = e.sends(dst, uid)
		n++
	})
	return out
}

func request(dst netip.AddrPort, uid uint32) flow.Request {
	return flow.Request{Dst: dst, Proto: flow.TCP, UID: uid, GID: uid, HTTP: &flow.HTTP{Authority: dst.Addr().String(), Path: "/"}}
}

// sends makes a real request and says how it ends.
func (e effects) sends(dst netip.AddrPort, uid uint32) flow.Verdict {
	e.Helper()
	a, err := e.lab.Send(e.ctx, request(dst, uid))
	switch {
	case err != nil:
		e.Fatalf("%v as uid %d: %v", dst, uid, err)
	case a.Code == 200:
		return flow.Delivered
	case a.TCP == flow.TCPTimeout:
		return flow.Dropped
	}
	return flow.Refused
}
