package tui

import (
	"context"
	"errors"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// Egress is how the pod's egress policy is seen and changed. Its functions may take long;
// they are never called from Update or View.
type Egress struct {
	Name   string // of the pod: what the user types before anything is changed
	Locked string // why nothing may be changed here; empty: it may
	// Show reads what is in force.
	Show func(ctx context.Context) (flow.Policy, error)
	// Plan plans a change. except are destinations as users write them. Beside an
	// *egress.Around the change is what it would be.
	Plan func(ctx context.Context, in Reading, ask egress.Ask, except []string) (Reading, flow.Change, error)
	// Apply carries a change out, reads it back and proves it.
	Apply func(ctx context.Context, c flow.Change) (flow.Policy, error)
	// Restore takes back what is in force, whoever's it is.
	Restore func(ctx context.Context, closeOpen bool) (flow.Policy, error)
	// Renew sets the end of what is in force to ttl from now.
	Renew func(ctx context.Context, ttl time.Duration) error
}

// policyState is what is known of the policy that is in force.
type policyState struct {
	known  bool
	policy flow.Policy
	err    string
	ended  flow.Policy // one that was in force and is over, until the user has seen it
	asked  int         // generation of the last question
	heard  int         // that of the last answer
	at     time.Time   // of that
	due    bool        // its end was asked for when its time was over
	reread bool        // the pod's rules are others than those that were read
}

// policyMsg: what is in force was read, or changed.
type policyMsg struct {
	gen    int
	policy flow.Policy
	err    error
	done   string // what this was, for the footer; empty: a reading
	by     *policyDialog
}

// plannedMsg: a change was planned for a dialog.
type plannedMsg struct {
	by      *policyDialog
	gen     int
	reading Reading
	change  flow.Change
	err     error
	apply   bool // carry it out if it is what was shown
}

// inForce says whether a policy of somebody's does something, or may.
func (s *state) inForce() bool {
	p := s.policy.policy
	return s.policy.known && p.Change.Kind != flow.NoPolicy && p.Change.Kind != flow.Restore &&
		(p.State == flow.StateApplied || p.State == flow.StateUnknown || p.State == flow.StateAccepted || p.State == flow.StateTold)
}

// canChange says why the policy cannot be changed here; empty: it can.
func (s *state) canChange() string {
	e := s.opt.Source.Egress
	switch {
	case e == nil:
		return "the egress policy of this target cannot be changed: it has no live side"
	case e.Locked != "":
		return e.Locked
	case !s.read:
		return "nothing was read yet"
	}
	return ""
}

// egressAct is what the keys of the policy do on every screen.
func (m *model) egressAct(a act) tea.Cmd {
	if why := m.s.canChange(); why != "" {
		m.s.say, m.s.alarm = why, true
		return nil
	}
	switch a {
	case actPolicy:
		d := newPolicyDialog(&m.s)
		m.dialog = d
		return m.plan(d, false)
	case actUndo:
		if !m.s.policy.known || m.s.policy.policy.State == flow.StateNone {
			m.s.say = "there is no policy to take back"
			return nil
		}
		m.dialog = &undoDialog{}
		if m.s.danger() {
			m.dialog = &typedDialog{what: "Take back the egress policy", does: effect{kind: effUndo}}
		}
	case actExtend:
		if m.s.danger() && m.s.inForce() {
			m.dialog = &typedDialog{what: "Extend the egress policy by " + inspectDuration(longer), does: effect{kind: effExtend}}
			return nil
		}
		return m.extend()
	}
	return nil
}

// lookEvery is how often it is looked whether somebody else has changed the policy.
const lookEvery = 15 * time.Second

// lookAgain asks what is in force once in a while, but never while a question or a change is
// under way: its answer would not be taken any more.
func (m *model) lookAgain() tea.Cmd {
	st := &m.s.policy
	if st.heard != st.asked || m.s.now.Sub(st.at) < lookEvery {
		return nil
	}
	return m.showPolicy()
}

// showPolicy reads what is in force.
func (m *model) showPolicy() tea.Cmd {
	e := m.s.opt.Source.Egress
	if e == nil {
		return nil
	}
	m.s.policy.asked++
	gen, ctx := m.s.policy.asked, m.ctx
	return func() tea.Msg {
		p, err := e.Show(ctx)
		return policyMsg{gen: gen, policy: p, err: err}
	}
}

// plan plans what the dialog says.
func (m *model) plan(d *policyDialog, apply bool) tea.Cmd {
	d.gen++
	d.pending, d.wrong = true, ""
	ask, except, err := d.ask(m.s.now)
	if err != nil {
		d.pending, d.wrong, d.planned = false, err.Error(), false
		return nil
	}
	e, in, ctx, gen := m.s.opt.Source.Egress, m.s.reading, m.ctx, d.gen
	return func() tea.Msg {
		r, c, err := e.Plan(ctx, in, ask, except)
		return plannedMsg{d, gen, r, c, err, apply}
	}
}

func (m *model) gotPlan(p plannedMsg) tea.Cmd {
	d, ok := m.dialog.(*policyDialog)
	if !ok || d != p.by || d.gen != p.gen {
		return nil
	}
	before, had := d.change, d.planned
	d.pending = false
	var around *egress.Around
	d.planned = p.err == nil || errors.As(p.err, &around)
	d.wrong, d.change = "", p.change
	if p.err != nil {
		d.wrong = render.Clean(p.err.Error())
		return nil
	}
	if !p.apply {
		return nil
	}
	if !had || !asShown(before, p.change) {
		d.wrong, d.top = anotherPlan, 0
		return nil
	}
	return m.carryOut(d, p.change)
}

// asShown says whether a plan is the one that was looked at: nothing else may be carried out.
// The time at which it was planned, and what its reason says, make no other plan.
func asShown(shown, now flow.Change) bool {
	plan := func(c flow.Change) string {
		c.Since, c.Reason = time.Time{}, ""
		c.Edits, c.Undo = nil, nil // made of the rest
		return render.PolicyText(session.Planned(c), render.PolicyOptions{})
	}
	return plan(shown) == plan(now) && shown.CloseOpen == now.CloseOpen && shown.Permanent == now.Permanent && shown.TTL == now.TTL &&
		slices.Equal(shown.Except, now.Except) && slices.Equal(shown.Open, now.Open)
}

// anotherPlan is said where enter finds another plan than the one that is shown.
const anotherPlan = "the plan is another than the one that was shown: look at it, then enter again"

// carryOut applies the change. It goes to its end even if the user quits meanwhile.
func (m *model) carryOut(d *policyDialog, c flow.Change) tea.Cmd {
	e, ctx, owner := m.s.opt.Source.Egress, context.WithoutCancel(m.ctx), m.owner
	m.s.policy.asked++
	gen := m.s.policy.asked
	d.busy = "writing, reading back, proving"
	return func() tea.Msg {
		defer owner.enter()()
		var p flow.Policy
		var err error
		if c.Kind == flow.Restore {
			p, err = e.Restore(ctx, c.CloseOpen)
		} else {
			p, err = e.Apply(ctx, c)
		}
		return policyMsg{gen, p, err, c.Kind.String(), d}
	}
}

// undo takes back what is in force.
func (m *model) undo() tea.Cmd {
	e, ctx, owner := m.s.opt.Source.Egress, context.WithoutCancel(m.ctx), m.owner
	m.s.policy.asked++
	gen := m.s.policy.asked
	m.s.say = "taking it back"
	return func() tea.Msg {
		defer owner.enter()()
		p, err := e.Restore(ctx, false)
		return policyMsg{gen: gen, policy: p, err: err, done: flow.Restore.String()}
	}
}

// longer is what one key adds to a policy's time.
const longer = 10 * time.Minute

// extend gives what is in force ten minutes more.
func (m *model) extend() tea.Cmd {
	p := m.s.policy.policy
	switch {
	case !m.s.inForce():
		m.s.say = "there is no policy to extend"
		return nil
	case p.Change.Permanent:
		m.s.say = "it is permanent: there is nothing to extend"
		return nil
	}
	ttl := max(p.Expires.Sub(m.s.now), 0).Round(time.Second) + longer
	e, ctx := m.s.opt.Source.Egress, m.ctx
	m.s.policy.asked++
	gen := m.s.policy.asked
	return func() tea.Msg {
		err := e.Renew(ctx, ttl)
		p, showErr := e.Show(ctx)
		return policyMsg{gen: gen, policy: p, err: errors.Join(err, showErr), done: "extended by " + inspectDuration(longer)}
	}
}

// inspectDuration is a round time as users type it: "10m", "1h".
func inspectDuration(d time.Duration) string {
	if d%time.Hour == 0 {
		return itoa(int(d/time.Hour)) + "h"
	}
	return itoa(int(d/time.Minute)) + "m"
}

func (m *model) gotPolicy(p policyMsg) tea.Cmd {
	st := &m.s.policy
	if p.gen != st.asked {
		return nil
	}
	st.heard, st.at = p.gen, m.s.now
	d, _ := m.dialog.(*policyDialog)
	if p.err != nil {
		text := render.Clean(p.err.Error())
		if p.by != nil && d == p.by {
			d.busy, d.wrong = "", text
		}
		var held *inspect.Held
		if errors.As(p.err, &held) {
			m.s.take(held.Policy)
		}
		if p.done != "" {
			m.s.say, m.s.alarm = text, true
			return nil
		}
		st.err = text // a reading of its own accord does not shout
		return nil
	}
	m.s.take(p.policy)
	if p.by != nil && d == p.by {
		d.busy, d.result = "", &p.policy
	}
	switch {
	case p.done == "":
		return m.rereadPod()
	case p.by == nil && p.done == flow.Restore.String():
		m.s.say, m.s.alarm = restoredWords(p.policy)
	case p.by == nil:
		m.s.say = p.done
		return m.rereadPod()
	}
	m.s.policy.reread = false
	return m.readPod() // its rules are others now
}

// rereadPod reads the pod again where a policy came into force or went, whoever's it was: the
// verdict on the screen is one of rules that are no longer there. What the user has under way,
// such as a capture, goes to its end first.
func (m *model) rereadPod() tea.Cmd {
	if !m.s.policy.reread || m.s.busy != nil || !m.s.read || !m.s.end.at.IsZero() {
		return nil
	}
	m.s.policy.reread = false
	return m.readPod()
}

// restoredWords say what became of taking a policy back.
func restoredWords(p flow.Policy) (text string, alarm bool) {
	if p.State == flow.StateNone {
		return "restored: nothing of meshtop's is there", false
	}
	return "NOT restored: state " + p.State.String() + ": " + render.Clean(p.Why), true
}

// take notes what is in force now; one that was and is no more stays in sight until the user
// has seen it. What was known before and is another now has other rules than were read.
func (s *state) take(p flow.Policy) {
	st := &s.policy
	known, held, was := st.known, s.inForce(), st.policy.Change
	defer func() {
		now := st.policy.Change
		other := held && s.inForce() && (was.Kind != now.Kind || !was.Since.Equal(now.Since))
		st.reread = st.reread || known && (held != s.inForce() || other)
	}()
	if s.inForce() && (p.State == flow.StateNone || p.State == flow.StateExpired) {
		st.ended = st.policy
	}
	st.due = st.due && st.policy.Expires.Equal(p.Expires) // its end was asked for once
	st.known, st.policy, st.err = true, p, ""
	if s.inForce() {
		st.ended = flow.Policy{}
	}
}

// policyOver asks what is in force once a policy's time is over.
func (m *model) policyOver() tea.Cmd {
	st := &m.s.policy
	p := st.policy
	if !m.s.inForce() || p.Change.Permanent || p.Expires.IsZero() || st.due || m.s.now.Before(p.Expires) {
		return nil
	}
	st.due = true
	return m.showPolicy()
}
