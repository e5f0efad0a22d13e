package session

import (
	"bytes"
	"context"
	"fmt"
	"maps"
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
	// far: no counters, which are read at the end. It must not block.
	Judged func(confirm.Report)
	// Ready, if not nil, is called when the watch listens.
	Ready    func()
	Progress func(inspect.Progress)
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

// settle is how long the watch goes on after the answer to what was sent: conntrack tells
// of the end of a connection a little later.
const settle = 300 * time.Millisecond

// countWithin bounds the reading of the counters after a watch.
const countWithin = 5 * time.Second

// counted are the parts that hold counters.
var counted = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "stats", "clusters.json"}

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
	before, err := counters(ctx, pod)
	if err != nil {
		return r, confirm.Report{Trace: t}, fmt.Errorf("counters before the watch: %w", err)
	}
	w, err := pod.Observe(ctx, everyLeg(t), inspect.ObserveOptions{Duration: watched, Snaplen: Snaplen, Raw: opt.Raw})
	if err != nil {
		return r, confirm.Report{Trace: t}, err
	}
	if opt.Ready != nil {
		opt.Ready()
	}
	known := confirm.Known{ClientPort: req.Src.Port()}
	known.ProxyUID, _, known.HasProxy = r.Snapshot.ProxyOwner()
	known.Tells = tells(r, req)
	kept := newKeeper()
	sent, err := watch(ctx, pod, w, req, opt, &known, kept, func() confirm.Report { return best(t, kept.seen, kept.loss(w.Loss()), known) })
	if err != nil {
		return r, confirm.Report{Trace: t}, err
	}
	// The traffic is over, so a context that ended must not keep the counters away.
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), countWithin)
	defer stop()
	seen := kept.seen
	after, err := counters(late, pod)
	loss := kept.loss(w.Loss())
	if err != nil {
		loss.Blind = append(loss.Blind, flow.Gap{Part: "counters after the watch", Reason: err.Error()})
	} else if !maps.Equal(before, after) { // a saved pod counts nothing
		seen = append(seen, confirm.Deltas(before, after)...)
	}
	known.As = owner(sent)
	if sent != nil {
		seen = append(seen, answerOf(*sent))
	}
	return r, best(t, seen, loss, known), nil
}

// watch gathers what is seen until the watch ends, or a little after what was sent was
// answered.
func watch(ctx context.Context, pod inspect.Pod, w inspect.Watch, req flow.Request, opt ConfirmOptions, known *confirm.Known, kept *keeper, judge func() confirm.Report) (*inspect.Sent, error) {
	var sent *inspect.Sent
	var sendErr error
	done := make(chan struct{})
	if opt.Send {
		go func() {
			defer close(done)
			send := pod.Send
			if opt.Sender != nil {
				send = opt.Sender
			}
			s, err := send(ctx, req)
			sent, sendErr = &s, err
			timer := time.NewTimer(settle)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			_ = w.Close()
		}()
	} else {
		close(done)
	}
	gather(w, opt, kept, judge)
	<-done
	if err := w.Close(); err != nil {
		return sent, err
	}
	if sendErr != nil {
		return nil, sendErr
	}
	if sent != nil && sent.Local.IsValid() {
		known.ClientPort = sent.Local.Port()
	}
	return sent, nil
}

// gather takes what the watch sees until it ends, and judges it now and then.
func gather(w inspect.Watch, opt ConfirmOptions, kept *keeper, judge func() confirm.Report) {
	var due <-chan time.Time
	if opt.Judged != nil {
		tick := time.NewTicker(JudgeEach)
		defer tick.Stop()
		due = tick.C
	}
	var last confirm.Report
	judged := -1 // observations that last knows of
	var again time.Time
	for {
		select {
		case batch, ok := <-w.C():
			if !ok {
				return
			}
			for _, o := range batch {
				kept.add(o)
				if opt.Seen != nil {
					o.Head, o.Raw = bytes.Clone(o.Head), bytes.Clone(o.Raw) // they are only lent
					opt.Seen(o)
				}
			}
		case <-due:
			loss := kept.loss(w.Loss())
			switch {
			case judged >= 0 && time.Now().Before(again), judged == len(kept.seen) && loss.Dropped == last.Loss.Dropped:
				last.Loss = loss
			default:
				began := time.Now()
				last, judged = judge(), len(kept.seen)
				again = began.Add(judgeShare * time.Since(began))
			}
			opt.Judged(last)
		}
	}
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

func counters(ctx context.Context, pod inspect.Pod) (map[string]confirm.Counter, error) {
	s, err := pod.Read(ctx, inspect.Want{Parts: counted})
	if err != nil {
		return nil, err
	}
	return confirm.Counters(s.Files), nil
}

func answerOf(s inspect.Sent) flow.Observation {
	note := s.Note
	if s.Own {
		note = strings.TrimSpace(fmt.Sprintf("Made as uid %d gid %d: meshtop may not be another here (CAP_SETUID, CAP_SETGID). %s", s.UID, s.GID, note))
	}
	return flow.Observation{Kind: flow.SeenAnswer, Ref: "the request that was sent", Fields: map[string]string{
		"code": strconv.Itoa(s.Symptom.Code), "tcp": s.Symptom.TCP.String(), "ms": strconv.FormatFloat(float64(s.Took.Microseconds())/1000, 'f', 1, 64), "note": note}}
}
