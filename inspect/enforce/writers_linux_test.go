package enforce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/flow"
)

// try applies a change as it stands.
func try(s *netns.Space, c flow.Change) (flow.Policy, error) {
	return New(s, Options{}).Apply(context.Background(), c)
}

func ruleset(t *testing.T, s *netns.Space) string {
	t.Helper()
	return strings.TrimSpace(run(t, s, "nft", "list", "ruleset"))
}

// awaitState reads the policy until it has a state.
func awaitState(t *testing.T, s *netns.Space, want flow.PolicyState) flow.Policy {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		p, err := New(s, Options{}).Policy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if p.State == want {
			return p
		}
		if time.Now().After(end) {
			t.Fatalf("it is %s, not %s: %+v", p.State, want, p)
		}
	}
}

// Over a policy that lives a second one is refused, whoever asks: the refusal names who has
// it, since when, until when and why, and nothing is changed.
func TestSecondWriterIsToldWho(t *testing.T) {
	s := space(t)
	first := apply(t, s, flow.Change{Kind: flow.BlockAll, By: "first@corp", Reason: "INC-1"})
	for _, c := range []flow.Change{{Kind: flow.BlockAll, By: "second@corp"}, {Kind: flow.AllowAll, All: true, By: "first@corp"}} {
		_, err := try(s, planned(c))
		var held *inspect.Held
		if !errors.As(err, &held) {
			t.Fatalf("%s: %v", c.Kind, err)
		}
		for _, want := range []string{"block-all", "first@corp", "INC-1", first.Change.Since.UTC().Format(time.RFC3339)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not name %s", err, want)
			}
		}
	}
	if p := awaitState(t, s, flow.StateApplied); p.Change.By != "first@corp" || !p.Change.Since.Equal(first.Change.Since) {
		t.Errorf("%+v", p)
	}
}

// Of many who write at once one wins, and each other is told of the winner; also where all
// of them find the rest of a crashed run first.
func TestOneWriterWins(t *testing.T) {
	s := space(t)
	for _, rest := range []bool{false, true} {
		if rest {
			apply(t, s, flow.Change{Kind: flow.BlockAll, TTL: 50 * time.Millisecond, By: "crashed"})
			awaitState(t, s, flow.StateExpired)
		}
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = try(s, planned(flow.Change{Kind: flow.BlockAll, By: fmt.Sprintf("writer-%d", i)}))
			})
		}
		wg.Wait()
		winner := awaitState(t, s, flow.StateApplied).Change.By
		won := 0
		for i, err := range errs {
			var held *inspect.Held
			switch {
			case err == nil:
				won++
				if winner != fmt.Sprintf("writer-%d", i) {
					t.Errorf("writer-%d was told that it won, and %s did", i, winner)
				}
			case !errors.As(err, &held) || held.Policy.Change.By != winner:
				t.Errorf("rest=%v: writer-%d: %v, and %s won", rest, i, err, winner)
			}
		}
		if won != 1 {
			t.Errorf("rest=%v: %d won", rest, won)
		}
		apply(t, s, flow.Change{Kind: flow.Restore})
	}
}

// A change whose text or content was altered after it was planned is refused, and nothing
// is written.
func TestAlteredIsRefused(t *testing.T) {
	s := space(t)
	for name, alter := range map[string]func(*flow.Change){
		"a line is missing":   func(c *flow.Change) { c.Edits = c.Edits[1:] },
		"a word is another":   func(c *flow.Change) { c.Edits[0] = "create table inet other" },
		"the undo is another": func(c *flow.Change) { c.Undo = []string{"flush ruleset"} },
		"no text":             func(c *flow.Change) { c.Edits, c.Undo = nil, nil },
		"the time is another": func(c *flow.Change) { c.TTL *= 2 },
		"one hole more":       func(c *flow.Change) { c.Except = append(c.Except, hole("10.0.0.0/8", 0)) },
		"stronger":            func(c *flow.Change) { c.Strong = true },
		"connections too":     func(c *flow.Change) { c.CloseOpen = true },
	} {
		c := planned(flow.Change{Kind: flow.BlockAll, By: "x"})
		alter(&c)
		if _, err := try(s, c); !errors.Is(err, inspect.ErrAltered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := ruleset(t, s); left != "" {
		t.Errorf("it wrote\n%s", left)
	}
}

// A change that is as large as may be fits, and reads back.
func TestLargest(t *testing.T) {
	s := space(t)
	c := flow.Change{Kind: flow.BlockAll, Strong: true, By: strings.Repeat("\u00e4", 512), Reason: strings.Repeat("\xff", 1024)}
	for i := range 200 {
		c.Except = append(c.Except, flow.Hole{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, byte(i)}), 128), Port: 65000})
	}
	for range 10 {
		c.ProxyUIDs, c.ProxyGIDs = append(c.ProxyUIDs, 1<<32-2), append(c.ProxyGIDs, 1<<32-2)
	}
	if p := apply(t, s, c); p.State != flow.StateApplied {
		t.Errorf("%s: %s", p.State, p.Why)
	}
	p := awaitState(t, s, flow.StateApplied)
	if p.Change.By != c.By || p.Change.Reason != c.Reason || !slices.Equal(p.Change.Edits, planned(c).Edits) {
		t.Error("it reads back as another")
	}
	apply(t, s, flow.Change{Kind: flow.Restore})
}

// What cannot be carried out is one sentence, and nothing is written.
func TestWrongChanges(t *testing.T) {
	s := space(t)
	for want, c := range map[string]flow.Change{
		"it is block-all, allow-all or restore": {},
		"kernel and runtime do":                 {Kind: flow.BlockAll, Driver: flow.Sidecar, TTL: time.Minute},
		"would never be in force":               {Kind: flow.BlockAll, TTL: time.Microsecond},
		"not both":                              {Kind: flow.BlockAll, TTL: time.Minute, Permanent: true},
		"without host bits":                     {Kind: flow.BlockAll, Except: []flow.Hole{{}}},
		"does neither or both":                  {Kind: flow.AllowAll},
		"can only block":                        {Kind: flow.AllowAll, Driver: flow.EnvoyRuntime, All: true},
		"admin interface from here":             {Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, Runtime: []flow.Setting{{Key: "a", Value: "0"}}},
		"name prefixes":                         {Kind: flow.BlockAll, Except: slices.Repeat([]flow.Hole{hole("10.0.0.0/8", 0)}, 201)},
		"bytes long each":                       {Kind: flow.BlockAll, Reason: strings.Repeat("x", 1025)},
	} {
		_, err := try(s, planned(c))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want ...%s", c, err, want)
		}
	}
	for _, ttl := range []time.Duration{0, -time.Second} {
		if err := New(s, Options{}).Renew(context.Background(), ttl); err == nil || !strings.Contains(err.Error(), "never be in force") {
			t.Errorf("renew for %s: %v", ttl, err)
		}
	}
	if left := ruleset(t, s); left != "" {
		t.Errorf("it wrote\n%s", left)
	}
}

// The kernel ends a policy by itself, to a tick of its clock (4 ms at 250 Hz). Its rest is inert and names who it was of; it is never
// renewed, and the next policy takes its place.
func TestLeaseEnds(t *testing.T) {
	s := space(t)
	p := apply(t, s, flow.Change{Kind: flow.BlockAll, TTL: 300 * time.Millisecond, By: "gone@corp", ProxyUIDs: []uint32{1337}})
	if p.State != flow.StateApplied {
		t.Fatalf("%+v", p)
	}
	rest := awaitState(t, s, flow.StateExpired)
	if late := time.Since(p.Expires); late < -10*time.Millisecond || late > 100*time.Millisecond {
		t.Errorf("it was to end at %s and was over %s later", p.Expires, late)
	}
	if rest.Change.By != "gone@corp" || rest.Expires.IsZero() {
		t.Errorf("%+v", rest)
	}
	if err := New(s, Options{}).Renew(context.Background(), time.Minute); !errors.Is(err, inspect.ErrEnded) {
		t.Errorf("renewed what had ended: %v", err)
	}
	if got, err := (probe{dst: testNets[0], uid: 65534, gid: 65534}).send(s, 50*time.Millisecond, nil); err != nil || got != gotNothing {
		t.Errorf("after the end a probe got %q, %v", got, err)
	}
	if p := apply(t, s, flow.Change{Kind: flow.AllowAll, All: true, By: "next@corp"}); p.State != flow.StateApplied || p.Change.By != "next@corp" {
		t.Errorf("%+v", p)
	}
	apply(t, s, flow.Change{Kind: flow.Restore})
	if left := ruleset(t, s); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// A renewal counts from now, for every protocol of the lease; a permanent policy has nothing
// to renew.
func TestRenew(t *testing.T) {
	s := space(t)
	if err := New(s, Options{}).Renew(context.Background(), time.Minute); !errors.Is(err, inspect.ErrEnded) {
		t.Errorf("renewed what never was: %v", err)
	}
	apply(t, s, flow.Change{Kind: flow.BlockAll, Strong: true, TTL: time.Minute, By: "x"})
	if err := New(s, Options{}).Renew(context.Background(), time.Hour); err != nil {
		t.Fatal(err)
	}
	p := awaitState(t, s, flow.StateApplied)
	if d := time.Until(p.Expires); d < 59*time.Minute || d > time.Hour || p.Change.TTL != time.Hour {
		t.Errorf("it ends in %s: %+v", d, p)
	}
	if n := strings.Count(run(t, s, "nft", "list", "set", "inet", "meshtop", "lease"), "timeout 1h"); n != 2 {
		t.Errorf("%d protocols were renewed", n)
	}
	apply(t, s, flow.Change{Kind: flow.Restore})
	apply(t, s, flow.Change{Kind: flow.BlockAll, Permanent: true})
	if err := New(s, Options{}).Renew(context.Background(), time.Minute); err == nil || !strings.Contains(err.Error(), "permanent") {
		t.Errorf("renewed a permanent one: %v", err)
	}
}

// A table that somebody else made or edited is never called a policy, and no policy is put
// over it; restore takes it away.
func TestForeignTable(t *testing.T) {
	s := space(t)
	for name, make := range map[string]func(){
		"somebody else's":   func() { run(t, s, "nft", "add", "table", "inet", "meshtop") },
		"a rule more":       func() { edited(t, s, "add", "rule", "inet", "meshtop", "out", "counter") },
		"a rule before":     func() { edited(t, s, "insert", "rule", "inet", "meshtop", "out", "accept") },
		"no rules":          func() { edited(t, s, "flush", "chain", "inet", "meshtop", "out") },
		"a chain more":      func() { edited(t, s, "add", "chain", "inet", "meshtop", "other") },
		"for ever":          func() { edited(t, s, "add element inet meshtop about { 9 comment \"permanent=yes\" }") },
		"another note":      func() { edited(t, s, "add element inet meshtop about { 9 comment \"uid=0\" }") },
		"a note of no ours": func() { edited(t, s, "add element inet meshtop about { 9 comment \"hello\" }") },
		"a second stamp":    func() { edited(t, s, "add element inet meshtop about { 0x90000000 comment \"since=x\" }") },
	} {
		make()
		p, err := New(s, Options{}).Policy(context.Background())
		if err != nil || p.State != flow.StateUnknown || p.Why == "" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if _, err := try(s, planned(flow.Change{Kind: flow.BlockAll})); err == nil || !strings.Contains(err.Error(), "restore removes it") {
			t.Errorf("%s: %v", name, err)
		}
		if err := New(s, Options{}).Renew(context.Background(), time.Minute); err == nil {
			t.Errorf("%s: it was renewed", name)
		}
		if p := apply(t, s, flow.Change{Kind: flow.Restore}); p.State != flow.StateNone || ruleset(t, s) != "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// edited applies a block and then edits its table by hand.
func edited(t *testing.T, s *netns.Space, line ...string) {
	t.Helper()
	apply(t, s, flow.Change{Kind: flow.BlockAll, By: "x"})
	run(t, s, "nft", line...)
}

// A family without a route proves nothing: the other one does, and without any the state is
// unknown and says why.
func TestProofNeedsARoute(t *testing.T) {
	s := space(t)
	run(t, s, "ip", "-6", "route", "del", "default")
	p := apply(t, s, flow.Change{Kind: flow.BlockAll})
	if p.State != flow.StateApplied || len(p.Proof) != 2 || !p.Proof[0].Holds || p.Proof[0].Result != gotRefused || p.Proof[1].Holds || p.Proof[1].Result != gotNoRoute {
		t.Errorf("%+v", p)
	}
	apply(t, s, flow.Change{Kind: flow.Restore})
	run(t, s, "ip", "-4", "route", "del", "default")
	if p := apply(t, s, flow.Change{Kind: flow.BlockAll}); p.State != flow.StateUnknown || !strings.Contains(p.Why, "no probe has a route") {
		t.Errorf("%+v", p)
	}
	if p, err := New(s, Options{}).Policy(context.Background()); err != nil || p.State != flow.StateUnknown {
		t.Errorf("shown as %+v, %v", p, err)
	}
}

// A refusal that is not ours is no proof: here a rule of the pod's own lets the probe's user
// out of our chain, so to say, by refusing it before.
func TestForeignRefusalIsNoProof(t *testing.T) {
	s := space(t)
	run(t, s, "nft", "add table inet pod; add chain inet pod out { type filter hook output priority -300; }; add rule inet pod out meta l4proto tcp reject with tcp reset")
	p := apply(t, s, flow.Change{Kind: flow.BlockAll})
	if p.State != flow.StateUnknown || !strings.Contains(p.Why, "no rule of ours counted it") {
		t.Errorf("%+v", p)
	}
}

// allow-all is only proven where the connection keeps its own destination.
func TestMangledIsNoProof(t *testing.T) {
	s := space(t)
	run(t, s, "nft", "add table inet pod; add chain inet pod out { type nat hook output priority -120; }; add rule inet pod out meta l4proto tcp redirect to :15001")
	p := apply(t, s, flow.Change{Kind: flow.AllowAll, All: true})
	if p.State != flow.StateUnknown || !strings.Contains(p.Why, "no rule of ours counted it") {
		t.Errorf("%+v", p)
	}
}

// A process killed at any step leaves nothing that binds: before the transaction nothing is
// there, after it the lease ends.
func TestNoHalfATable(t *testing.T) {
	s := space(t)
	for _, at := range []Step{Checking, Writing, Reading, Proving, Ending} {
		func() {
			defer func() { _ = recover() }()
			e := New(s, Options{Step: func(st Step) {
				if st == at {
					panic("dead")
				}
			}})
			_, _ = e.Apply(context.Background(), planned(flow.Change{Kind: flow.BlockAll, TTL: 200 * time.Millisecond}))
		}()
		p, err := New(s, Options{}).Policy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		written := at != Checking && at != Writing
		if written != (p.State != flow.StateNone) || written && time.Until(p.Expires) > 200*time.Millisecond {
			t.Errorf("%s: %+v", at, p)
		}
		if written {
			awaitState(t, s, flow.StateExpired)
		}
		apply(t, s, flow.Change{Kind: flow.Restore})
	}
}

// BenchmarkRefused is from the command to the first refused connection, in process.
func BenchmarkRefused(b *testing.B) {
	s := space(b)
	c := planned(flow.Change{Kind: flow.BlockAll, ProxyUIDs: []uint32{1337}, ProxyGIDs: []uint32{1337}})
	for b.Loop() {
		p, err := try(s, c)
		if err != nil || p.State != flow.StateApplied {
			b.Fatalf("%+v, %v", p, err)
		}
		b.StopTimer()
		if out, err := exec.Command("nsenter", "--net="+s.Path(), "nft", "delete", "table", "inet", "meshtop").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		b.StartTimer()
	}
}
