// Package session holds the verbs as functions over a pod: read it, trace a request
// through it and read what the trace lacks, judge a table of cases, save it.
package session

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// Reading is what one look at a pod brought. It is not changed any more: reading on
// gives a new one.
type Reading struct {
	Pod      string // what the user calls it
	Taken    time.Time
	Files    inspect.Files
	Gaps     []flow.Gap
	Calls    []inspect.Call
	Snapshot *rules.Snapshot // of Files and Gaps
}

// BadPart says that a part was read and makes no sense: the bytes are at fault, not the
// way to them.
type BadPart struct{ Err error }

// Error is the sentence, which begins with the part's name.
func (e *BadPart) Error() string { return e.Err.Error() }

// Unwrap is what the parser said.
func (e *BadPart) Unwrap() error { return e.Err }

// Read reads the parts that want names. Beside an error it returns what could be read:
// of a part that makes no sense the error is a *BadPart, and the reading is without it.
func Read(ctx context.Context, pod inspect.Pod, want inspect.Want) (Reading, error) {
	now := time.Now()
	s, err := pod.Read(ctx, want)
	r := Reading{Pod: pod.Name(), Taken: now, Files: s.Files, Gaps: s.Gaps, Calls: s.Calls}
	if r.Files == nil {
		r.Files = inspect.Files{}
	}
	perr := r.parse()
	if err != nil {
		return r, err
	}
	return r, perr
}

// Parsed is a reading of files that were read before. What makes no sense is left out.
func Parsed(pod string, taken time.Time, files inspect.Files, gaps []flow.Gap, calls []inspect.Call) Reading {
	r := Reading{Pod: pod, Taken: taken, Files: files, Gaps: gaps, Calls: calls}
	_ = r.parse() // Read has told it
	return r
}

// TakenAt is when a saved snapshot was taken by its own word; zero where it does not say.
func TakenAt(r Reading) time.Time {
	t, err := time.Parse(time.RFC3339, r.Snapshot.Meta.Taken)
	if err != nil {
		return time.Time{}
	}
	return t
}

func (r *Reading) parse() error {
	snap, err := rules.ParseSnapshot(r.Files, r.Gaps)
	if snap == nil {
		snap = &rules.Snapshot{Files: r.Files, Gaps: r.Gaps}
	}
	snap.Gaps = once(snap.Gaps) // a reading that is parsed again tells its gaps again
	r.Snapshot = snap
	if err != nil {
		return &BadPart{err}
	}
	return nil
}

// Faults are what was read but could not be understood whole: where, and why. What could
// not be read in the first place, or was not when a snapshot was saved, is none.
func Faults(r Reading) []flow.Gap {
	var out []flow.Gap
	for _, g := range r.Snapshot.Gaps {
		if _, read := r.Files[g.Part]; read && !slices.Contains(r.Gaps, g) && !slices.Contains(r.Snapshot.Meta.Gaps, g) {
			out = append(out, g)
		}
	}
	return out
}

// once is gaps without those that were told before.
func once(gaps []flow.Gap) []flow.Gap {
	var out []flow.Gap
	seen := map[flow.Gap]bool{}
	for _, g := range gaps {
		if !seen[g] {
			seen[g] = true
			out = append(out, g)
		}
	}
	return out
}

// with is r and what a further read brought.
func (r Reading) with(s inspect.Snapshot) (Reading, error) {
	out := r
	out.Files = maps.Clone(r.Files)
	maps.Copy(out.Files, s.Files)
	out.Gaps = append(r.Gaps[:len(r.Gaps):len(r.Gaps)], s.Gaps...)
	out.Calls = append(r.Calls[:len(r.Calls):len(r.Calls)], s.Calls...)
	return out, out.parse()
}

// Bounds of reading on: a configuration that always names something new must not be
// followed for ever.
const (
	maxRounds = 16
	maxNeeds  = 512
)

// Trace traces the request. Where the reading lacks something that the trace needs, just
// that is read, and the request traced again, until nothing new is needed. The reading
// that is returned holds what was read on the way.
func Trace(ctx context.Context, pod inspect.Pod, r Reading, req flow.Request, progress func(inspect.Progress)) (Reading, flow.Trace, error) {
	asked := map[flow.Need]bool{}
	for round := 0; ; round++ {
		t := rules.Trace(r.Snapshot, req)
		var needs []flow.Need
		for _, n := range t.Needs {
			if !asked[n] && len(asked) < maxNeeds {
				asked[n] = true
				needs = append(needs, n)
			}
		}
		if len(needs) == 0 || round == maxRounds {
			return r, t, nil
		}
		s, err := pod.Read(ctx, inspect.Want{Needs: needs, Progress: progress})
		if err != nil && ctx.Err() != nil {
			return r, t, ctx.Err()
		}
		if err != nil {
			s.Gaps = append(s.Gaps, flow.Gap{Part: needs[0].Part, Reason: err.Error()})
		}
		if len(s.Files) == 0 && len(s.Gaps) == 0 {
			return r, t, nil // there is nothing more to have: t names what it lacks
		}
		if r, err = r.with(s); err != nil {
			return r, t, err
		}
	}
}
