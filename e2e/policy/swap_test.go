package policy

import (
	"flag"
	"net/netip"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/prober"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/flow"
)

var swaps = flag.Int("policy.swaps", 1, "how often each pod goes through block-all, restore, allow-all, restore")

// Every pod is blocked, opened and restored while a client opens 1,000 connections a second:
// none that began after the policy was applied goes through, nothing else is touched, and in
// the end the rules are those of before.
func TestSwaps(t *testing.T) {
	for _, b := range []lab.Backend{lab.NFT, lab.Legacy} {
		for _, s := range scenes(b) {
			t.Run(name(s, b), func(t *testing.T) {
				l := lab.New(t, s.opt)
				p := pod(t, l, local.Options{})
				before := rules(t, l)
				s.untouched(t, l, "before")
				for range *swaps {
					s.block(t, l, p)
					s.untouched(t, l, "after block-all")
					s.allow(t, l, p)
					s.untouched(t, l, "after allow-all")
				}
				if after := rules(t, l); after != before {
					t.Errorf("the rules were\n%s\nand are\n%s", before, after)
				}
			})
		}
	}
}

// untouched checks that the pod does what its scene says: the app reaches what its Envoy lets
// it, by Envoy where it has one.
func (s scene) untouched(t *testing.T, l *lab.Lab, when string) {
	t.Helper()
	a := ask(t, l, appUID, web)
	if s.open != (a.Code == 200) || s.open && direct(a) == s.proxied {
		t.Errorf("%s: %+v", when, a)
	}
	bystanders(t, l, when)
}

func (s scene) block(t *testing.T, l *lab.Lab, p *local.Pod) {
	t.Helper()
	c := shoot(t, l, echo, pace)
	c.await(t, 20)
	if got := apply(t, p, flow.StateApplied, change(flow.BlockAll)); got.Refused == 0 {
		t.Errorf("nothing was counted: %+v", got)
	}
	applied := time.Now()
	c.await(t, 200)
	for _, dst := range []netip.AddrPort{web, web6} {
		if x := connectIn(t, l, dst); !x.Refused() {
			t.Errorf("blocked: to %s: %v", dst, x.Err)
		}
	}
	bystanders(t, l, "blocked")
	c.await(t, 1)
	ending := time.Now()
	apply(t, p, flow.StateNone, change(flow.Restore))
	restored := time.Now()
	c.await(t, 20)
	all := c.end(t)
	for _, x := range between(all, applied, ending) {
		if !x.Refused() {
			t.Errorf("a connection that began %s after block-all was applied: %v", x.Begun.Sub(applied), x.Err)
		}
	}
	if n := len(between(all, applied, ending)); n < 200 {
		t.Errorf("only %d connections were tried", n)
	}
	for _, x := range between(all, restored, time.Now()) {
		if x.Err != nil {
			t.Errorf("a connection that began %s after the restore: %v", x.Begun.Sub(restored), x.Err)
		}
	}
}

// connectIn tries one connection from the pod.
func connectIn(t *testing.T, l *lab.Lab, dst netip.AddrPort) (s prober.Shot) {
	t.Helper()
	if err := l.PodSpace().DoAs(appUID, appUID, func() (err error) {
		s, err = prober.Shoot(dst)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s scene) allow(t *testing.T, l *lab.Lab, p *local.Pod) {
	t.Helper()
	apply(t, p, flow.StateApplied, change(flow.AllowAll))
	for range 20 {
		if a := ask(t, l, appUID, web); a.Code != 200 || !direct(a) {
			t.Errorf("opened: %+v", a)
		}
	}
	if a := ask(t, l, appUID, web6); a.Code != 200 {
		t.Errorf("opened: %+v", a)
	}
	bystanders(t, l, "opened")
	apply(t, p, flow.StateNone, change(flow.Restore))
}
