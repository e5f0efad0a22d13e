package session

import (
	"errors"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// What is not sent.
var (
	// ErrSelfDial refuses to send what would make the proxy dial itself.
	ErrSelfDial = errors.New("not sent: the request goes straight to the port that captures, and the proxy would dial itself until its limit of connections")
	// ErrCapturePort refuses to send to a port that only redirected connections should reach.
	ErrCapturePort = errors.New("not sent: the request goes straight to a port that captures, where only redirected connections belong")
)

// sendable says whether meshtop may make the request. What another sender makes must only
// not loop.
func sendable(r Reading, t flow.Trace, others bool) error {
	switch {
	case selfDial(t):
		return ErrSelfDial
	case !others && capturePort(r, t):
		return ErrCapturePort
	}
	return nil
}

// selfDial says whether the request would reach the proxy without having been redirected,
// and the proxy would send it to itself again.
func selfDial(t flow.Trace) bool {
	return t.Verdict == flow.Looped || slices.ContainsFunc(t.Variants, func(v flow.Variant) bool { return v.Verdict == flow.Looped })
}

// capturePort says whether the request reaches, without having been redirected, a local port
// that rules capture to, or a listener that restores the original destination.
func capturePort(r Reading, t flow.Trace) bool {
	if len(t.Legs) == 0 {
		return false
	}
	leg := t.Legs[0]
	if leg.From.Dst != leg.To.Dst || leg.To.In == "" {
		return false
	}
	for _, st := range leg.Steps {
		if st.Stage == flow.ListenerFilter && strings.HasPrefix(st.Subject, "original_dst") {
			return true
		}
	}
	// Where a rule captures to a port that cannot be told, it may be this one.
	return r.Snapshot.Rules != nil && r.Snapshot.Rules.Captures(leg.To.Dst.Port()) != flow.No
}

// tells is confirm.Known.Tells for a request: it is traced once more as made by the other user.
func tells(r Reading, q flow.Request) func(flow.Leg, confirm.Owner) (int, bool) {
	return func(leg flow.Leg, by confirm.Owner) (int, bool) {
		q.UID, q.GID = by.UID, by.GID
		t := rules.Trace(r.Snapshot, q)
		ways := append([]flow.Variant{{Legs: t.Legs}}, t.Variants...)
		at := 0
		for _, v := range ways {
			if len(v.Legs) == 0 {
				continue
			}
			n, apart := parts(leg.Steps, v.Legs[0].Steps)
			if !apart {
				return 0, false
			}
			at = max(at, n)
		}
		return at, true
	}
}

// parts is the first step at which two ways part; that of the socket names its user.
func parts(a, b []flow.Step) (int, bool) {
	for i := 1; i < max(len(a), len(b)); i++ {
		if i >= len(a) || i >= len(b) || a[i].Stage != b[i].Stage || a[i].Subject != b[i].Subject || a[i].Verdict != b[i].Verdict {
			return i, true
		}
	}
	return 0, false
}

// owner is the user that meshtop made the request as, where that is not the one asked for.
func owner(sent *inspect.Sent) *confirm.Owner {
	if sent == nil || !sent.Own {
		return nil
	}
	return &confirm.Owner{UID: sent.UID, GID: sent.GID}
}
