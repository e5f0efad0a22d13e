package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/tui/style"
)

// gate holds one policy as a pod does. The plans are the real ones, of a recording.
type gate struct {
	now      time.Time
	held     flow.Policy
	unproven string
	refuses  error
	planned  []egress.Ask
	applied  []flow.Change
	excepted []string
}

func (g *gate) show(context.Context) (flow.Policy, error) {
	p := g.held
	if p.Change.Kind == flow.NoPolicy {
		p.State = flow.StateNone
	} else if !p.Change.Permanent && !g.now.Before(p.Expires) {
		p.State = flow.StateExpired
	}
	return p, g.refuses
}

func (g *gate) apply(_ context.Context, c flow.Change) (flow.Policy, error) {
	if g.refuses != nil {
		return flow.Policy{}, g.refuses
	}
	g.applied = append(g.applied, c)
	c.Since = g.now
	g.held = flow.Policy{State: flow.StateApplied, Change: c, Expires: g.now.Add(c.TTL),
		Proof: []flow.Proof{{What: "probe 192.0.2.1:9 as uid 65534", Result: "refused", Holds: true, Took: time.Millisecond}}}
	if g.unproven != "" {
		g.held.State, g.held.Why = flow.StateUnknown, g.unproven
	}
	return g.held, nil
}

// gated are the screens on the recording of mesh with a live side.
func gated(t *testing.T) (Options, *gate) { return gatedOn(t, "mesh") }

// gatedOn are the screens on a recording as if it had a live side.
func gatedOn(t *testing.T, scene string) (Options, *gate) {
	t.Helper()
	pod, _, err := saved.Demo(scene)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{now: noon()}
	opt := sceneOptions(t, scene)
	opt.Target = "netns web"
	read := opt.Source.Read
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		r, err := read(ctx, p)
		r.Live, r.Taken = true, noon()
		return r, err
	}
	trace := opt.Source.Trace
	opt.Source.Trace = func(ctx context.Context, in Reading, q flow.Request, p func(inspect.Progress)) (Reading, flow.Trace, error) {
		taken := in.Taken
		r, tr, err := trace(ctx, in, q, p)
		r.Live, r.Taken = true, taken
		return r, tr, err
	}
	opt.Source.Egress = &Egress{
		Name: "web", Show: g.show, Apply: g.apply,
		Plan: func(ctx context.Context, in Reading, ask egress.Ask, except []string) (Reading, flow.Change, error) {
			g.planned, g.excepted = append(g.planned, ask), except
			if len(except) > 0 && except[0] == "nonsense" {
				return in, flow.Change{}, errors.New(`--except "nonsense": no name server knows it`)
			}
			ask.By = "dev@corp"
			r, c, err := session.PlanPolicy(ctx, pod, in.Reading, ask, nil)
			in.Reading = r
			return in, c, err
		},
		Restore: func(context.Context, bool) (flow.Policy, error) {
			if g.refuses != nil {
				return flow.Policy{}, g.refuses
			}
			g.held = flow.Policy{}
			return flow.Policy{State: flow.StateNone, Change: flow.Change{Kind: flow.Restore}}, nil
		},
		Renew: func(_ context.Context, ttl time.Duration) error {
			if !g.now.Before(g.held.Expires) {
				return inspect.ErrEnded
			}
			g.held.Expires = g.now.Add(ttl)
			return nil
		},
	}
	return opt, g
}

// later lets time pass, for the screens and for the pod.
func (d *driver) later(g *gate, by time.Duration) {
	g.now = g.now.Add(by)
	d.send(tickMsg(g.now))
}

func letters(s string) []string { return strings.Split(s, "") }

// From the key to the banner: nothing is carried out before it is agreed to, and what is carried
// out is what was shown.
func TestPolicyFromKeyToBanner(t *testing.T) {
	opt, g := gated(t)
	d := drive(t, opt, 80, 24)
	d.has("RW")
	d.keys("p")
	d.has("Change egress policy of netns web", "now  none", "(•) BLOCK-ALL", "( ) allow-all", "3 of 3 destinations would be refused", "Type y to apply", "pgdn")
	d.has("✗ 10.107.42.16:80: delivered → refused", "misses    UDP")
	d.exact("policy")
	d.keys("enter")
	d.has("type y to apply")
	d.keys(letters("wed")...)
	d.keys("enter")
	if len(g.applied) > 0 {
		t.Fatal("carried out without a yes")
	}
	d.keys("backspace")
	d.keys(letters("b")...)
	d.keys("up")
	d.keys(letters("INC-4711")...)
	d.keys("enter")
	if len(g.applied) != 1 || g.applied[0].Kind != flow.BlockAll || g.applied[0].Reason != "INC-4711" || g.applied[0].TTL != 10*time.Minute {
		t.Fatalf("applied %+v", g.applied)
	}
	d.has("APPLIED: read back and proven", "probe 192.0.2.1:9 as uid 65534: refused")
	d.exact("policy applied")
	d.keys("enter")
	d.has("⚠ BLOCK-ALL EGRESS in force · ends in 10:00", "dev@corp")
	if title := d.m.View().WindowTitle; !strings.HasPrefix(title, "BLOCK-ALL meshtop") {
		t.Errorf("title %q", title)
	}
	for _, screen := range []string{"1", "2", "esc", "3", "4", "5", "?"} {
		d.keys(screen)
		d.has("⚠ BLOCK-ALL EGRESS")
		d.exact("banner on " + screen)
	}
}

// The time runs, can be lengthened, is counted in seconds at last, and its end is read back
// from the pod before it is told.
func TestPolicyEnds(t *testing.T) {
	opt, g := gated(t)
	d := drive(t, opt, 80, 24)
	d.keys("p", "enter")
	d.keys(letters("web")...)
	d.keys("enter", "enter")
	d.later(g, 9*time.Minute)
	d.has("ends in 01:00")
	d.keys("+")
	d.has("extended by 10m", "ends in 11:00")
	d.later(g, 10*time.Minute+18*time.Second)
	d.has("ends in 42 s")
	d.later(g, 41*time.Second)
	d.has("ends in 1 s")
	d.later(g, time.Second)
	d.hasNot("ends in")
	d.has("block-all has ended: an inert table is left: u takes it away")
	d.exact("ended")
	d.keys("u")
	d.has("Take back the egress policy of netns web?")
	d.keys("y")
	d.has("restored: nothing of meshtop's is there", "block-all has ended: nothing of it is left")
	d.keys("esc")
	d.hasNot("has ended")
	d.keys("+")
	d.has("there is no policy to extend")
	d.keys("u")
	d.has("there is no policy to take back")
}

// How much of the plan is out of sight stands in a row of its own, over no word of the plan.
func TestPolicyHintHidesNothing(t *testing.T) {
	for _, sz := range sizes {
		opt, _ := gated(t)
		d := drive(t, opt, sz[0], sz[1])
		d.keys("p")
		for range 8 {
			for _, row := range strings.Split(d.frame(), "\n") {
				before, _, ok := strings.Cut(row, " pgdn: ")
				if ok && strings.Trim(before, " ║━─▸│") != "" {
					t.Errorf("%v: the hint stands over %q", sz, row)
				}
			}
			d.keys("pgdown")
		}
	}
}

// Keys in the dialog: the choices make the plan anew, and a wrong one is said in place.
func TestPolicyChoices(t *testing.T) {
	opt, g := gated(t)
	d := drive(t, opt, 80, 24)
	last := func() egress.Ask { return g.planned[len(g.planned)-1] }
	d.keys("p", "left")
	if last().Kind != flow.AllowAll {
		t.Errorf("planned %v", last().Kind)
	}
	d.has("(•) ALLOW-ALL", "around the proxy's TLS and policies is meant")
	d.keys("down", "down", "space") // end open ones; all
	if !last().All || last().CloseOpen {
		t.Errorf("planned %+v", last())
	}
	d.keys("right", "left") // a box that is toggled twice
	d.keys("up", "up", "right")
	if last().Kind != flow.BlockAll || last().All {
		t.Errorf("planned %+v", last())
	}
	d.keys("down", "down", "space", "down", "right")
	if !last().Strong || last().TTL != 30*time.Minute {
		t.Errorf("planned %+v", last())
	}
	d.keys("left", "left", "left") // 10m, 5m, and round to an hour: never is not among them
	if last().Permanent || last().TTL != time.Hour {
		t.Errorf("planned %+v", last())
	}
	d.keys("ctrl+u")
	d.keys(letters("never")...)
	d.keys("down")
	if !last().Permanent {
		t.Errorf("planned %+v", last())
	}
	d.has("NEVER by itself")
	d.keys("up", "ctrl+u")
	d.keys(letters("soon")...)
	d.keys("down")
	d.has(`undo by itself in "soon": want a time above 0`)
	d.keys("up", "ctrl+u")
	d.keys(letters("90s")...)
	d.keys("down")
	d.keys(letters("10.0.0.0/8,nonsense")...)
	d.keys("down")
	if last().TTL != 90*time.Second || fmt.Sprint(g.excepted) != "[10.0.0.0/8 nonsense]" {
		t.Errorf("planned %+v except %v", last(), g.excepted)
	}
	d.keys("up", "ctrl+u")
	d.keys(letters("nonsense")...)
	d.keys("down")
	d.has("✗ --except", "no name server knows it")
	d.exact("wrong")
	d.keys("enter")
	d.keys(letters("web")...)
	d.keys("enter")
	d.has("there is no plan to carry out")
	if len(g.applied) > 0 {
		t.Error("carried out without a plan")
	}
}

// Enter carries out what is shown and nothing else: a choice whose plan was not shown yet is
// shown first.
func TestPolicyCarriesOutWhatIsShown(t *testing.T) {
	opt, g := gated(t)
	d := drive(t, opt, 80, 24)
	d.keys("p", "enter")
	d.keys(letters("web")...)
	d.keys("up", "up", "up", "ctrl+u") // the time
	d.keys(letters("never")...)
	d.keys("enter")
	if len(g.applied) > 0 {
		t.Fatalf("carried out unseen: %+v", g.applied)
	}
	d.has("the plan is another than the one that was shown", "NEVER by itself")
	d.keys("enter")
	if len(g.applied) != 1 || !g.applied[0].Permanent {
		t.Errorf("applied %+v", g.applied)
	}
}

// What is not proven is never called applied, what fails is told where it was asked for, and
// somebody else's policy is told by name.
func TestPolicyThatFails(t *testing.T) {
	apply := func(d *driver) {
		d.keys("p", "enter")
		d.keys(letters("web")...)
		d.keys("enter")
	}
	opt, g := gated(t)
	g.unproven = "no probe has a route"
	d := drive(t, opt, 80, 24)
	apply(d)
	d.has("STATE UNKNOWN", "no probe has a route")
	d.hasNot("APPLIED")
	d.keys("enter")
	d.has("⚠ BLOCK-ALL EGRESS: STATE UNKNOWN: no probe has a route")

	opt, g = gated(t)
	d = drive(t, opt, 80, 24)
	g.refuses = &inspect.Held{Policy: flow.Policy{State: flow.StateApplied, Expires: noon().Add(time.Hour),
		Change: flow.Change{Kind: flow.AllowAll, By: "ann@corp", Since: noon().Add(-time.Minute), TTL: time.Hour}}}
	apply(d)
	d.has(`allow-all by "ann@corp" is in force since`)
	d.keys("esc")
	d.has("⚠ ALLOW-ALL EGRESS in force · ends in 1h00m · by ann@corp")

	opt, g = gated(t)
	d = drive(t, opt, 80, 24)
	g.refuses = errors.New("open nftables: not permitted")
	apply(d)
	d.has("✗ open nftables: not permitted")
	d.keys("esc", "u")
	d.has("there is no policy to take back")
}

// Without the right to change, the key says what to start with; what others hold is shown.
func TestPolicyReadOnly(t *testing.T) {
	opt, g := gated(t)
	opt.Source.Egress.Locked = "read-only: start meshtop with --allow-policy to change the egress policy"
	if _, err := g.apply(t.Context(), flow.Change{Kind: flow.BlockAll, By: "bob", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	g.applied = nil
	d := drive(t, opt, 80, 24)
	d.has("RO", "⚠ BLOCK-ALL EGRESS in force · ends in 01:00 · by bob")
	for _, k := range []string{"p", "u", "+"} {
		d.keys(k)
		d.has("start meshtop with --allow-policy")
	}
	opt.Source.Egress = nil
	d = drive(t, opt, 80, 24)
	d.keys("p")
	d.has("it has no live side")
}

// At every size the frame is exact with dialog and banner, and a click below the banner finds
// what it points at.
func TestPolicyAtEverySize(t *testing.T) {
	for _, sz := range sizes {
		opt, g := gated(t)
		d := drive(t, opt, sz[0], sz[1])
		for i, keys := range []string{"p", "left", "down space", "pgdown pgdown", "pgup", "esc p enter w e b enter", "enter", "u", "esc", "3", "j j", "1", "p", "esc", "?"} {
			d.keys(strings.Fields(keys)...)
			d.exact(fmt.Sprintf("%v %d %s", sz, i, keys))
		}
		if len(g.applied) != 1 {
			t.Errorf("%v: applied %d times", sz, len(g.applied))
		}
	}
	opt, _ := gated(t)
	d := drive(t, opt, 80, 24)
	click := func(y int) int {
		d.send(tea.MouseClickMsg{X: 5, Y: y, Button: tea.MouseLeft})
		return d.m.trace.sel
	}
	before := click(6)
	d.keys("p", "enter", "w", "e", "b", "enter", "enter")
	if after := click(7); after != before {
		t.Errorf("a click a row further down selects step %d, not %d", after, before)
	}
}

// What another session puts into force meanwhile is seen soon, with whom its record names, and the
// dialog says where that stands and what was noted of the pod.
func TestPolicyOfAnotherSession(t *testing.T) {
	opt, g := gated(t)
	d := drive(t, opt, 120, 40)
	shown := opt.Source.Egress.Show
	now := flow.Policy{}
	asked := 0
	d.m.s.opt.Source.Egress.Show = func(ctx context.Context) (flow.Policy, error) {
		asked++
		if now.Change.Kind != flow.NoPolicy {
			return now, nil
		}
		return shown(ctx)
	}
	now = flow.Policy{State: flow.StateApplied, Expires: g.now.Add(10 * time.Minute), Change: flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, By: "me", Since: g.now},
		Record: flow.Record{Where: "Lease shop/meshtop-egress-web", By: "ana@corp (me)", Log: []flow.Noted{{At: g.now, Kind: "EgressBlocked", Text: "meshtop put it into \x1b[2Jforce"}}}}
	d.later(g, lookEvery-time.Second)
	if asked != 0 || strings.Contains(d.frame(), "BLOCK-ALL EGRESS") {
		t.Errorf("asked %d times before its time", asked)
	}
	d.later(g, 2*time.Second)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	d.has("⚠ BLOCK-ALL EGRESS in force", "by ana@corp (me)")
	d.keys("p")
	d.has("record    Lease shop/meshtop-egress-web", "EgressBlocked: meshtop put it into", "in force  block-all")
	d.exact("held by another")
	// While a question is open no other is asked: the answer to it would be lost.
	d.keys("esc")
	d.m.s.policy.asked++
	d.later(g, time.Minute)
	if asked != 1 {
		t.Errorf("asked while a question is open: %d", asked)
	}
}

// Whoever's policy comes into force or ends, the pod is read again: the verdict beside the banner
// is that of the rules that are there. What the user has under way goes to its end first.
func TestPolicyOfAnotherIsTracedOver(t *testing.T) {
	opt, g := gated(t)
	reads, read := 0, opt.Source.Read
	opt.Source.Read = func(ctx context.Context, p func(inspect.Progress)) (Reading, error) {
		reads++
		return read(ctx, p)
	}
	d := drive(t, opt, 120, 40)
	look := func(what string, by time.Duration, want int) {
		t.Helper()
		if d.later(g, by); reads != want {
			t.Errorf("%s: read %d times, want %d", what, reads, want)
		}
	}
	held := func(kind flow.PolicyKind, ttl time.Duration) flow.Policy {
		return flow.Policy{State: flow.StateApplied, Expires: g.now.Add(ttl), Change: flow.Change{Kind: kind, Driver: flow.Kernel, By: "ana", Since: g.now}}
	}
	look("nothing has changed", lookEvery, 1)
	g.held = held(flow.BlockAll, time.Minute)
	look("another's has come", lookEvery, 2)
	look("it is still there", lookEvery, 2)
	g.held.Expires = g.now.Add(2 * time.Minute)
	look("it lasts longer", lookEvery, 2)
	g.held = held(flow.BlockAll, time.Minute)
	look("one of the same kind is in its place", lookEvery, 3)
	g.held = held(flow.AllowAll, time.Minute)
	look("one of another kind is in its place", lookEvery, 4)
	look("it has run out", time.Minute, 5)
	look("it stays out", lookEvery, 5)
	_, gen, ch := d.m.begin("Capturing")
	close(ch)
	g.held = held(flow.BlockAll, time.Hour)
	look("the user waits for something", lookEvery, 5)
	d.has("⚠ BLOCK-ALL EGRESS in force", "RULES CHANGED")
	d.send(tracedMsg{gen: gen, err: errors.New("over")})
	look("that is over", time.Second, 6)
	d.hasNot("RULES CHANGED")
}

// What was read of a live pod more than a minute ago may no longer be so: its age is an alarm.
func TestStaleReadingIsAnAlarm(t *testing.T) {
	opt, _ := gated(t)
	d := drive(t, opt, 80, 24)
	age := func(at time.Duration, want string, ink style.Ink) {
		t.Helper()
		d.send(tickMsg(noon().Add(at)))
		d.has(want)
		c := newCanvas(80, 24)
		d.m.paint(c)
		if got := c.cells[78].ink; got != ink {
			t.Errorf("%s has the ink %v, want %v", want, got, ink)
		}
	}
	age(time.Minute, "snap 60 s", style.Bar)
	age(time.Minute+time.Second, "snap 61 s", style.Alarm)
	age(3*time.Minute, "snap 3 m", style.Alarm)
}

// Of a pod that cannot be looked into the banner says what its record tells, and that nobody looked.
func TestPolicyToldOf(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	told := flow.Policy{State: flow.StateTold, Why: "nobody has looked", Expires: noon().Add(10 * time.Minute), Change: flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, Since: noon()},
		Record: flow.Record{Where: "Lease shop/meshtop-egress-web", By: "ana@corp"}}
	opt.Source.Egress = &Egress{Name: "web", Locked: "only the agent can change it", Show: func(context.Context) (flow.Policy, error) { return told, nil }}
	d := drive(t, opt, 140, 30)
	d.has("⚠ BLOCK-ALL EGRESS told of by Lease shop/meshtop-egress-web: not looked at", "by ana@corp")
	d.exact("told")
	d.keys("p")
	d.has("only the agent can change it")
	if d.m.dialog != nil {
		t.Error("a dialog is open that could do nothing")
	}
}
