package tui

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// policyRow is a row of the dialog that gets keys.
type policyRow uint8

const (
	pKind policyRow = iota
	pClose
	pStrong
	pAll
	pPlaintext
	pTTL
	pExcept
	pReason
	pName
)

// ttls are the times that arrows choose from; any other can be typed, and never must be.
var ttls = []string{"5m", "10m", "30m", "1h"}

// kinds are the policies in the order in which they stand side by side.
var kinds = []flow.PolicyKind{flow.AllowAll, flow.BlockAll, flow.Restore}

// policyDialog plans a change of the egress policy, shows what it would do, and carries it
// out once y is typed, or the pod's name where its context is marked as dangerous.
type policyDialog struct {
	kind                          flow.PolicyKind
	closeOpen, strong, all, plain bool
	ttl, except, reason, name     field
	row                           policyRow
	podName                       string
	danger                        bool // the name itself must be typed

	gen     int
	pending bool
	planned bool // change is a plan
	change  flow.Change
	wrong   string
	busy    string // it is being carried out
	result  *flow.Policy
	top     int // first line of the plan that is shown
	lines   int // of the plan, when it was drawn
	room    int
}

func newPolicyDialog(s *state) *policyDialog {
	d := &policyDialog{kind: flow.BlockAll, podName: s.opt.Source.Egress.Name, danger: s.danger(), ttl: newField("10m")}
	if s.inForce() || s.policy.policy.State == flow.StateExpired {
		d.kind = flow.Restore
	}
	return d
}

// rows are those that mean something for the policy that is chosen.
func (d *policyDialog) rows() []policyRow {
	switch d.kind {
	case flow.Restore:
		return []policyRow{pKind, pClose, pName}
	case flow.AllowAll:
		return []policyRow{pKind, pClose, pAll, pPlaintext, pTTL, pExcept, pReason, pName}
	}
	return []policyRow{pKind, pClose, pStrong, pTTL, pExcept, pReason, pName}
}

// ask is what the dialog says, and the destinations that are to stay as they are.
func (d *policyDialog) ask(now time.Time) (egress.Ask, []string, error) {
	a := egress.Ask{Kind: d.kind, Driver: flow.Kernel, CloseOpen: d.closeOpen, Since: now}
	if d.kind == flow.Restore {
		return a, nil, nil
	}
	a.Reason = strings.TrimSpace(d.reason.String())
	a.Strong, a.All, a.PlaintextOK = d.strong && d.kind == flow.BlockAll, d.all && d.kind == flow.AllowAll, d.plain && d.kind == flow.AllowAll
	switch ttl := strings.TrimSpace(d.ttl.String()); {
	case ttl == "never":
		a.Permanent = true
	default:
		var err error
		if a.TTL, err = time.ParseDuration(ttl); err != nil || a.TTL <= 0 {
			return a, nil, fmt.Errorf("undo by itself in %q: want a time above 0 such as 10m, or never", render.Clean(ttl))
		}
	}
	return a, strings.Fields(strings.ReplaceAll(d.except.String(), ",", " ")), nil
}

func (d *policyDialog) text() *field {
	switch d.row {
	case pTTL:
		return &d.ttl
	case pExcept:
		return &d.except
	case pReason:
		return &d.reason
	case pName:
		return &d.name
	}
	return nil
}

func (d *policyDialog) toggle() *bool {
	switch d.row {
	case pClose:
		return &d.closeOpen
	case pStrong:
		return &d.strong
	case pAll:
		return &d.all
	case pPlaintext:
		return &d.plain
	}
	return nil
}

func (d *policyDialog) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	key := k.String()
	switch {
	case key == "ctrl+c" || key == "esc":
		if d.busy != "" {
			return say("it is being carried out: wait for its end"), false
		}
		return effect{}, true
	case d.busy != "":
		return effect{}, false
	case d.result != nil:
		if key == "enter" || key == "q" {
			return effect{}, true
		}
		d.scroll(key)
		return effect{}, false
	case d.scroll(key):
		return effect{}, false
	}
	switch key {
	case "enter":
		return d.enter(), false
	case "tab", "down":
		return d.move(1), false
	case "shift+tab", "up":
		return d.move(-1), false
	}
	return d.edit(k), false
}

// scroll moves the plan; false: the key means nothing to it.
func (d *policyDialog) scroll(key string) bool {
	switch key {
	case "pgdown":
		d.top += max(d.room-1, 1)
	case "pgup":
		d.top -= max(d.room-1, 1)
	default:
		return false
	}
	d.top = max(min(d.top, d.lines-d.room), 0)
	return true
}

// move goes to another row. Leaving a text that changes the plan plans anew.
func (d *policyDialog) move(by int) effect {
	rows := d.rows()
	at := 0
	for i, r := range rows {
		if r == d.row {
			at = i
		}
	}
	left := d.row
	d.row = rows[(at+by+len(rows))%len(rows)]
	if left == pTTL || left == pExcept {
		return effect{kind: effPlan}
	}
	return effect{}
}

// edit changes the row that has the keys.
func (d *policyDialog) edit(k tea.KeyPressMsg) effect {
	key := k.String()
	by := map[string]int{"left": -1, "right": 1, "space": 1}[key]
	switch t := d.toggle(); {
	case t != nil && by != 0:
		*t = !*t
		return effect{kind: effPlan}
	case t != nil:
		return effect{}
	case d.row == pKind && by != 0:
		d.kind = kinds[(indexOf(kinds, d.kind)+by+len(kinds))%len(kinds)]
		d.top = 0
		return effect{kind: effPlan}
	case d.row == pTTL && (key == "left" || key == "right"):
		at := indexOf(ttls, strings.TrimSpace(d.ttl.String()))
		d.ttl.set(ttls[(max(at, 0)+by+len(ttls))%len(ttls)])
		return effect{kind: effPlan}
	}
	if f := d.text(); f != nil {
		f.press(k)
	}
	return effect{}
}

func indexOf[T comparable](all []T, x T) int {
	for i, a := range all {
		if a == x {
			return i
		}
	}
	return -1
}

// enter carries it out if the name is typed and the plan is there.
func (d *policyDialog) enter() effect {
	switch {
	case !d.agreed():
		d.row = pName
		return say("type " + d.wanted() + " to " + applyWord(d.kind))
	case d.pending:
		return say("the plan is not there yet")
	case !d.planned || d.wrong != "" && d.wrong != anotherPlan:
		return say("there is no plan to carry out: see above")
	}
	return effect{kind: effPlan, n: 1}
}

// wanted is what is to be typed: the pod's name where that is marked as dangerous, else a y.
func (d *policyDialog) wanted() string {
	if d.danger {
		return render.Clean(d.podName)
	}
	return "y"
}

// agreed says whether it is typed. The pod's name is a yes everywhere.
func (d *policyDialog) agreed() bool {
	said := strings.TrimSpace(d.name.String())
	return said == d.podName || !d.danger && said == "y"
}

func applyWord(k flow.PolicyKind) string {
	if k == flow.Restore {
		return "restore"
	}
	return "apply"
}

// undoDialog asks before what is in force is taken back. Only y does it.
type undoDialog struct{}

func (d *undoDialog) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	switch k.String() {
	case "y":
		return effect{kind: effUndo}, true
	case "esc", "n", "q", "ctrl+c":
		return effect{}, true
	}
	return effect{}, false
}

func (d *undoDialog) draw(c *canvas, s *state) {
	const width = 74
	inner := min(width, c.w) - 6
	p := s.policy.policy
	out := para(line{}, style.Plain, p.Change.Kind.String()+byWords(p.Change)+": "+s.endsWords(p), inner)
	out = append(out, line{})
	out = append(out, para(line{}, style.Plain, "Taking it back leaves nothing of meshtop's. Connections that are open go on as they are.", inner)...)
	in := c.box(width, len(out)+4, "Take back the egress policy of "+render.Clean(s.opt.Target)+"?")
	c.page(rect{in.x + 1, in.y, in.w - 1, max(in.h-2, 0)}, 0, out)
	c.draw(in.x+1, in.y+in.h-1, in.w-1, text(style.Key, "y").with(style.Plain, " takes it back    ").with(style.Key, "esc").with(style.Plain, " leaves it"))
}
