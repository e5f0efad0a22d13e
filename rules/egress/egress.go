// Package egress plans a change of a pod's egress: what is to be done and undone, what it
// covers and what it does not, and what becomes of the destinations that the pod has.
package egress

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// Ask is what somebody wants of a pod's egress.
type Ask struct {
	Kind      flow.PolicyKind
	Driver    flow.Driver // NoDriver: Kernel
	TTL       time.Duration
	Permanent bool // asked for by name; TTL is then 0
	Hold      bool
	By        string
	Reason    string
	Since     time.Time
	Except    []flow.Hole
	Strong    bool // block-all: the proxy's own connections and UDP too
	CloseOpen bool
	// KeepHandoff leaves the listeners as they are that connections are handed over to. Of XDS.
	KeepHandoff bool
	All         bool // allow-all: every destination
	// PlaintextOK says that connections may go around the proxy's TLS and policies.
	PlaintextOK bool
}

// Mistake is an Ask that makes no sense, whatever the pod.
type Mistake struct{ text string }

// Error is what is wrong with it.
func (m *Mistake) Error() string { return m.text }

func mistake(format string, args ...any) error { return &Mistake{fmt.Sprintf(format, args...)} }

// Around is a plan that would send connections around the proxy's TLS or policies, and
// nobody has said that this is meant. The change beside it shows what it would be.
type Around struct{ Effects []flow.Effect }

// Error names the destinations, a few of them.
func (a *Around) Error() string {
	const most = 3
	var to []string
	for _, e := range a.Effects {
		if d := e.Dst.String(); !slices.Contains(to, d) {
			to = append(to, d)
		}
	}
	more := ""
	if n := len(to) - most; n > 0 {
		to, more = to[:most], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("connections to %s%s would go around the proxy's TLS or policies, in plain text where the proxy encrypts: say --plaintext-ok if that is meant", strings.Join(to, ", "), more)
}

// ErrNothing: nothing is blocked, so that there is nothing to open.
var ErrNothing = errors.New("nothing to open: no destination that was traced ends in a block of the proxy (--all sends every connection around it)")

// Plan is the change that carries out what is asked. What is wrong with the question is a
// *Mistake; every other error says why this pod's egress cannot be changed so. Beside an
// *Around the change is whole. What takes a policy back is not planned, but Back.
func Plan(s *rules.Snapshot, a Ask) (flow.Change, error) {
	if a.Driver == flow.NoDriver {
		a.Driver = flow.Kernel
	}
	if err := a.check(); err != nil {
		return flow.Change{}, err
	}
	c := flow.Change{Kind: a.Kind, Driver: a.Driver, TTL: a.TTL, Permanent: a.Permanent, Hold: a.Hold, By: a.By, Reason: a.Reason, Since: a.Since,
		Strong: a.Strong, Except: slices.Clone(a.Except), All: a.All, CloseOpen: a.CloseOpen, KeepHandoff: a.KeepHandoff}
	s = withoutOwn(s)
	p := look(s)
	var err error
	switch a.Driver {
	case flow.EnvoyRuntime:
		err = p.runtime(&c)
	case flow.XDS:
		err = p.xds(&c)
	case flow.Sidecar, flow.NetworkPolicy:
		err = p.object(&c)
	default:
		err = p.kernel(&c)
	}
	if err != nil {
		return c, err
	}
	words(&c)
	if effects := around(c); len(effects) > 0 && !a.PlaintextOK {
		return c, &Around{effects}
	}
	return c, nil
}

// check says what makes no sense together.
func (a Ask) check() error {
	kernel := a.Driver == flow.Kernel
	switch {
	case a.Kind != flow.BlockAll && a.Kind != flow.AllowAll:
		return mistake("policy %q: want block-all or allow-all", a.Kind)
	case !slices.Contains(carries[a.Driver], a.Kind):
		return mistake("--driver %s does not do %s: it does %s", a.Driver, a.Kind, kinds(carries[a.Driver]))
	case a.Permanent && a.TTL != 0:
		return mistake("--ttl: for ever, or %v?", a.TTL)
	case !a.Permanent && a.TTL <= 0:
		return mistake("--ttl %v: want a time above 0, such as 10m, or never", a.TTL)
	case a.Permanent && a.Hold:
		return mistake("--hold ends what it holds, and --ttl never does not end")
	case a.Hold && !kernel:
		return mistake("--hold renews the kernel's lease, and --driver %s has none", a.Driver)
	case a.Strong && (a.Kind != flow.BlockAll || !kernel):
		return mistake("--strong is of block-all by --driver kernel")
	case a.KeepHandoff && a.Driver != flow.XDS:
		return mistake("--keep-handoff is of --driver xds")
	case (a.All || a.PlaintextOK) && a.Kind != flow.AllowAll:
		return mistake("--all and --plaintext-ok are of allow-all")
	case len(a.Except) > 0 && (a.Driver == flow.EnvoyRuntime || a.Driver == flow.Sidecar || a.Driver == flow.XDS && a.Kind == flow.AllowAll):
		return mistake("--except: --driver %s cannot keep single destinations as they are", a.Driver)
	case len(a.Except) > edits.MostHoles:
		return mistake("--except: %d destinations, where a change may name %d: name prefixes", len(a.Except), edits.MostHoles)
	case a.CloseOpen && !kernel && a.Driver != flow.EnvoyRuntime:
		return mistake("--close-open: --driver %s does not reach the pod's sockets", a.Driver)
	}
	return nil
}

// carries says which driver carries out which policy.
var carries = map[flow.Driver][]flow.PolicyKind{
	flow.Kernel:        {flow.BlockAll, flow.AllowAll},
	flow.EnvoyRuntime:  {flow.BlockAll},
	flow.XDS:           {flow.BlockAll, flow.AllowAll},
	flow.Sidecar:       {flow.BlockAll},
	flow.NetworkPolicy: {flow.BlockAll},
}

func kinds(list []flow.PolicyKind) string {
	var out []string
	for _, k := range list {
		out = append(out, k.String())
	}
	return strings.Join(out, ", ")
}

// withoutOwn is the snapshot without our own table: a plan is made of the pod as it would be
// without us.
func withoutOwn(s *rules.Snapshot) *rules.Snapshot {
	return without(s, func(it item) bool { return it.Family == "inet" && it.table() == edits.Table })
}
