// Package confirm compares a trace with what was seen of the traffic, and puts a word on
// every step with its evidence.
package confirm

import "github.com/meshtop/meshtop/rules/flow"

// Word says what the observations make of a step. The zero value claims nothing.
type Word uint8

const (
	NotObserved   Word = iota // it could have been seen, and was not: that proves nothing
	Confirmed                 // positive evidence of exactly this step
	Contradicted              // positive evidence of another one
	NotObservable             // nothing outside the proxy shows it
	Unverifiable              // what would show it was lost, came before the watch, or another owner sent
)

// String is the word that the report's JSON uses.
func (w Word) String() string {
	names := [...]string{"not-observed", "confirmed", "contradicted", "not-observable", "unverifiable"}
	if int(w) < len(names) {
		return names[w]
	}
	return "invalid"
}

// Step is the word of one step of the trace.
type Step struct {
	Leg, Step int // indices into Trace.Legs and its Steps
	Stage     flow.Stage
	Subject   string
	Word      Word
	Why       flow.Reason
	Evidence  []flow.Evidence
}

// Report is a trace with what was seen of it.
type Report struct {
	Word  Word
	Trace flow.Trace
	Steps []Step
	Loss  flow.Loss
	// Sent is what a request that meshtop sent itself got; nil: none was sent.
	Sent *flow.Observation
	// Counts are the counters of what the trace goes through; empty: none were read twice.
	Counts []Count
}

// Known is what the caller knows of the connection to look for.
type Known struct {
	ClientPort uint16 // of a request that meshtop sent; 0: any client
	ProxyUID   uint32
	HasProxy   bool // ProxyUID is known
	// As is who sent the request, where meshtop could not send it as the user that it asks
	// for; nil: that user did.
	As *Owner
	// Tells is the first step of the first leg at which the request, made by another user,
	// goes another way than the leg says; false: it goes the same way. nil: not known.
	Tells func(leg flow.Leg, by Owner) (step int, apart bool)
	// StatName is what Envoy's log calls a cluster (%UPSTREAM_CLUSTER%), and whether another one
	// may be called so, too. nil: not known.
	StatName func(cluster string) (name string, shared, ok bool)
}

// Owner is the user of a socket.
type Owner struct{ UID, GID uint32 }

// Check puts a word on every step of a trace. Absence never contradicts: a step is
// contradicted only by evidence of another one for the same connection. With loss, a late
// start, or a source that could not be read, what was not seen is unverifiable. (What can be seen where: packets of a redirected
// connection never show its first destination on the way out, and never port 15006 on the
// way in; there conntrack is the only proof.)
func Check(t flow.Trace, seen []flow.Observation, loss flow.Loss, k Known) Report {
	c := newCheck(t, seen, loss, k)
	r := Report{Trace: t, Loss: c.loss, Sent: c.sent, Counts: c.counts()}
	other, from, apart := c.otherOwner()
	left := false // the way: what was seen later is of another one
	for l := range t.Legs {
		for s := range t.Legs[l].Steps {
			st := c.step(l, s)
			if apart && (l > 0 || s >= from) && st.Word != NotObservable {
				st.Word, st.Why = Unverifiable, flow.Because(flow.SeenOtherOwner, utoa(uint64(other.UID)), utoa(uint64(t.Legs[0].From.UID)))
			}
			st.Leg, st.Step = l, s
			if st.Why == nothing.Why {
				st.Why = c.whyNothing(l, t.Legs[l].Steps[s].Stage)
			}
			st.Stage, st.Subject = t.Legs[l].Steps[s].Stage, t.Legs[l].Steps[s].Subject
			if st.Word == NotObserved && c.lossy() {
				st.Word, st.Why = Unverifiable, c.tooLittle()
			}
			if left && (st.Word == Confirmed || st.Word == Contradicted || st.Word == NotObserved) {
				st.Word, st.Why, st.Evidence = NotObserved, flow.Because(flow.SeenElsewhere), nil
			}
			left = left || st.Word == Contradicted
			r.Steps = append(r.Steps, st)
		}
	}
	r.Word = overall(r.Steps)
	return r
}

// whyNothing says why nothing is known of a step that could have been seen.
func (c *check) whyNothing(l int, stage flow.Stage) flow.Reason {
	switch {
	case c.legs[0] == nil && c.missed.Kind != flow.NoReason:
		return c.missed
	case c.busy && (l > 0 || stage == flow.Endpoint):
		return flow.Because(flow.SeenBusy, c.trace.Legs[0].To.Dst.String())
	}
	return nothing.Why
}

// tooLittle says what was not seen.
func (c *check) tooLittle() flow.Reason {
	if c.loss.Dropped == 0 && !c.loss.Late {
		return flow.Because(flow.SeenBlind, c.loss.Blind[0].Part, c.loss.Blind[0].Reason)
	}
	return flow.Because(flow.SeenTooLittle, utoa(c.loss.Dropped))
}

// otherOwner is the user who made the request, if not the one that the trace is of, and
// the step from which on an owner's rule tells the two apart.
func (c *check) otherOwner() (by Owner, from int, apart bool) {
	if len(c.trace.Legs) == 0 || c.trace.Legs[0].Owner != flow.OwnerApp || c.known.Tells == nil {
		return by, 0, false
	}
	leg := c.trace.Legs[0]
	switch {
	case c.known.As != nil:
		by = *c.known.As
	case c.legs[0] != nil && c.legs[0].socket != nil:
		by = Owner{c.legs[0].socket.UID, leg.From.GID} // the socket table has no gid
	default:
		return by, 0, false
	}
	if by.UID == leg.From.UID && by.GID == leg.From.GID {
		return by, 0, false
	}
	from, apart = c.known.Tells(leg, by)
	return by, from, apart
}

// overall is the word of the whole: contradicted if any step is; else unverifiable if loss
// took away what was needed; else confirmed if every observable step is.
func overall(steps []Step) Word {
	var seen [Unverifiable + 1]int
	for _, s := range steps {
		seen[s.Word]++
	}
	switch {
	case seen[Contradicted] > 0:
		return Contradicted
	case seen[Unverifiable] > 0:
		return Unverifiable
	case seen[NotObserved] == 0 && seen[Confirmed] > 0:
		return Confirmed
	}
	return NotObserved
}

func utoa(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return utoa(n/10) + utoa(n%10)
}

// Count is the number of steps with a word.
func (r Report) Count(w Word) int {
	n := 0
	for _, s := range r.Steps {
		if s.Word == w {
			n++
		}
	}
	return n
}
