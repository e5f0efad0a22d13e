package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// ConfirmOptions say how a trace is confirmed.
type ConfirmOptions struct {
	Send  bool          // make the request; else wait for one like it
	Watch time.Duration // how long to watch; 0: DefaultWatch
	// Sender makes the request instead of the pod, such as a client outside it; nil: the pod.
	Sender func(context.Context, flow.Request) (inspect.Sent, error)
	// Seen, if not nil, is told of each observation as it comes. It must not block.
	Seen func(flow.Observation)
	// Raw gives Seen packets as they are, at most the snaplen of them, to write to a file.
	Raw bool
	// Judged, if not nil, is told once in JudgeEach how the trace stands by what was seen so
	// far. What was counted meanwhile stands beside it, and takes no part in it: what is judged is
	// read at the end. It must not block.
	Judged func(confirm.Report)
	// Ready, if not nil, is called when the watch listens.
	Ready    func()
	Progress func(inspect.Progress)

	settle time.Duration // how long at most the end of what was sent is waited for; 0: settleWithin
	each   time.Duration // how often at most the counters are read meanwhile; 0: countEach
}

// DefaultWatch is how long Confirm waits for traffic when nothing is said.
const DefaultWatch = 30 * time.Second

// JudgeEach is how often a watch that goes on is judged.
const JudgeEach = time.Second

// judgeShare is how much of the time is left when one part of it went into judging: of a busy
// pod there is much to judge.
const judgeShare = 100

// Snaplen is what a watch keeps of each packet: the headers, and of an HTTP message the
// beginning of its head.
const Snaplen = 256

// The counters are read while a watch goes on that somebody looks at: not more often than countEach,
// and of a large Envoy, which takes long to tell them, in no more than one part in countShare of
// the time.
const (
	countEach  = 2 * time.Second
	countShare = 50
)

// countWithin bounds the reading of the counters after a watch.
const countWithin = 5 * time.Second

// counted are the parts that hold counters of what the legs go through: nft's list, which is one
// more program to run, only where a rule is of it.
func counted(legs []flow.Leg) []string {
	parts := []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "stats", "clusters.json"}
	for _, l := range legs {
		for _, st := range l.Steps {
			if st.Stage == flow.Netfilter && slices.ContainsFunc(st.Evidence, func(e flow.Evidence) bool { return e.Source == "nft.json" }) {
				return append(parts, "nft.json")
			}
		}
	}
	return parts
}

// Confirm traces the request, watches its traffic and puts a word on every step. What
// could be seen until the context ended is judged too.
func Confirm(ctx context.Context, pod inspect.Pod, r Reading, req flow.Request, opt ConfirmOptions) (Reading, confirm.Report, error) {
	r, t, err := Trace(ctx, pod, r, req, opt.Progress)
	if err != nil {
		return r, confirm.Report{Trace: t}, err
	}
	if opt.Send {
		if err := sendable(r, t, opt.Sender != nil); err != nil {
			return r, confirm.Report{Trace: t}, err
		}
	}
	watched := opt.Watch
	if watched == 0 {
		watched = DefaultWatch
	}
	logs := logsOf(r, t)
	w, err := observe(ctx, pod, t, inspect.ObserveOptions{Duration: watched + overtime, Snaplen: Snaplen, Raw: opt.Raw, Logs: logs.Paths()})
	if err != nil {
		return r, confirm.Report{Trace: t}, err
	}
	known := confirm.Known{ClientPort: req.Src.Port()}
	known.ProxyUID, _, known.HasProxy = r.Snapshot.ProxyOwner()
	known.Tells, known.StatName = tells(r, req), r.Snapshot.Envoy.StatName
	opt.Watch = watched
	legs := everyLeg(t)
	x := &watching{pod: pod, w: w, req: req, opt: opt, logs: logs, counts: counted(legs), kept: newKeeper(legs), sent: make(chan inspect.Sent, 1), counted: make(chan []flow.Observation, 1), settled: make(chan struct{}), ended: make(chan struct{})}
	sent, err := x.run(ctx, &known, func() confirm.Report { return best(t, x.kept.seen, x.loss(), known) })
	if err != nil {
		return r, confirm.Report{Trace: t}, err
	}
	seen, loss := x.kept.seen, x.loss()
	if x.lost != nil {
		loss.Blind = append(loss.Blind, flow.Gap{Part: "counters after the watch", Reason: x.lost.Error()})
	} else if !maps.Equal(x.before, x.after) { // a saved pod counts nothing
		seen = append(seen, confirm.Deltas(x.before, x.after, x.readings())...)
	}
	known.As = owner(sent)
	if sent != nil {
		seen = append(seen, answerOf(*sent))
		if sent.Local.IsValid() {
			known.ClientPort = sent.Local.Port()
		}
	}
	return r, best(t, seen, loss, known), nil
}

// best judges every variant of the trace, and returns the one that fits what was seen:
// chance took one way, and only what was seen says which.
func best(t flow.Trace, seen []flow.Observation, loss flow.Loss, known confirm.Known) confirm.Report {
	first := confirm.Check(t, seen, loss, known)
	if len(t.Variants) == 0 {
		return first
	}
	var found confirm.Report
	for i, v := range t.Variants {
		one := t
		one.Legs, one.Verdict, one.Outcome, one.Caller = v.Legs, v.Verdict, v.Outcome, v.Caller
		r := confirm.Check(one, seen, loss, known)
		if i == 0 || better(r, found) {
			found = r
		}
	}
	return found
}

// better prefers what is not contradicted, then what has more confirmed steps, then what has
// more steps of which anything was seen: what cannot be verified was not made up.
func better(a, b confirm.Report) bool {
	if x, y := a.Count(confirm.Contradicted), b.Count(confirm.Contradicted); x != y {
		return x < y
	}
	if x, y := a.Count(confirm.Confirmed), b.Count(confirm.Confirmed); x != y {
		return x > y
	}
	return witnessed(a) > witnessed(b)
}

// witnessed is of how many steps something was seen.
func witnessed(r confirm.Report) int {
	n := 0
	for _, s := range r.Steps {
		n += min(len(s.Evidence), 1)
	}
	return n
}

// everyLeg are the legs of all variants, so that the watch sees whichever way is taken.
func everyLeg(t flow.Trace) []flow.Leg {
	legs := t.Legs
	for _, v := range t.Variants {
		legs = append(legs[:len(legs):len(legs)], v.Legs...)
	}
	return legs
}

// counters reads the counters, and tells when by the clock of the pod's machine, which is that
// of the packets.
func counters(ctx context.Context, pod inspect.Pod, parts []string) (map[string]confirm.Counter, flow.Interval, error) {
	s, err := pod.Read(ctx, inspect.Want{Parts: parts})
	if err != nil {
		return nil, flow.Interval{}, err
	}
	return confirm.Counters(s.Files), took(s.Calls), nil
}

// took is the time from the first call's beginning to the last one's end; zero: there was none.
func took(calls []inspect.Call) flow.Interval {
	var out flow.Interval
	for i, c := range calls {
		if i == 0 || c.Start.Before(out.Begin) {
			out.Begin = c.Start
		}
		if end := c.Start.Add(c.Took); end.After(out.End) {
			out.End = end
		}
	}
	return out
}

func answerOf(s inspect.Sent) flow.Observation {
	note := s.Note
	if s.Own {
		note = strings.TrimSpace(fmt.Sprintf("Made as uid %d gid %d: meshtop may not be another here (CAP_SETUID, CAP_SETGID). %s", s.UID, s.GID, note))
	}
	return flow.Observation{Kind: flow.SeenAnswer, Ref: "the request that was sent", Fields: map[string]string{
		"code": strconv.Itoa(s.Symptom.Code), "tcp": s.Symptom.TCP.String(), "ms": strconv.FormatFloat(float64(s.Took.Microseconds())/1000, 'f', 1, 64), "note": note}}
}
