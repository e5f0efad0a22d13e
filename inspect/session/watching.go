package session

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// settleWithin bounds how long the watch waits, after the answer to what was sent, for the end
// of its connection.
const settleWithin = time.Second

// overtime is how much longer than asked a watch may take: the counters are read while it runs.
const overtime = 2*countWithin + settleWithin + flushWithin

// watching is one watch under way.
type watching struct {
	pod  inspect.Pod
	w    inspect.Watch
	req  flow.Request
	opt  ConfirmOptions
	kept *keeper
	logs *logs

	counts  []string          // the parts that hold counters of what it goes through
	sent    chan inspect.Sent // holds what was sent, once it was answered
	settled chan struct{}     // closed by gather when what was sent was seen to end
	ended   chan struct{}     // closed when the watch has ended
	// counted holds what the counters grew by so far, until gather takes it.
	counted chan []flow.Observation

	before, after map[string]confirm.Counter
	at            flow.Readings // when they were read
	lost          error         // why after could not be read
}

// observe begins to watch a trace's traffic. What was begun does not end with ctx: the counters
// are still to be read then.
func observe(ctx context.Context, pod inspect.Pod, t flow.Trace, opt inspect.ObserveOptions) (inspect.Watch, error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	w, err := pod.Observe(own, everyLeg(t), opt)
	if stop(); err != nil {
		cancel()
		return nil, err
	}
	return &apart{w, cancel}, nil
}

// apart is a watch with a context of its own.
type apart struct {
	inspect.Watch
	cancel context.CancelFunc
}

// Close ends the watch and then its context.
func (a *apart) Close() error {
	defer a.cancel()
	return a.Watch.Close()
}

// run gathers what is seen while drive reads, sends and waits.
func (x *watching) run(ctx context.Context, known *confirm.Known, judge func() confirm.Report) (*inspect.Sent, error) {
	var sent *inspect.Sent
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		sent, failed = x.drive(ctx)
		if err := x.w.Close(); failed == nil {
			failed = err
		}
	}()
	x.gather(known, judge)
	close(x.ended)
	<-done
	return sent, failed
}

// drive reads the counters, sends or waits, and reads them again, all while the watch goes on:
// whoever makes a counter grow in between is seen.
func (x *watching) drive(ctx context.Context) (*inspect.Sent, error) {
	var err error
	if x.before, x.at.Before, err = counters(ctx, x.pod, x.counts); err != nil {
		return nil, fmt.Errorf("counters before the watch: %w", err)
	}
	if x.opt.Ready != nil {
		x.opt.Ready()
	}
	var sent *inspect.Sent
	if x.opt.Send {
		if sent, err = x.send(ctx); err != nil {
			return nil, err
		}
	} else {
		x.meanwhile(ctx)
	}
	// The traffic is over, so a context that ended must not keep the counters away.
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), countWithin)
	defer stop()
	x.after, x.at.After, x.lost = counters(late, x.pod, x.counts)
	return sent, nil
}

// meanwhile waits for what is watched, and reads the counters now and then.
func (x *watching) meanwhile(ctx context.Context) {
	end, each := time.Now().Add(x.opt.Watch), cmp.Or(x.opt.each, countEach)
	for pause := each; ; {
		left := time.Until(end)
		if x.opt.Judged == nil || left <= pause {
			x.wait(ctx, left, nil)
			return
		}
		if !x.wait(ctx, pause, nil) {
			return
		}
		began := time.Now()
		soon, stop := context.WithTimeout(ctx, countWithin)
		now, _, err := counters(soon, x.pod, x.counts)
		stop()
		if err == nil && !maps.Equal(x.before, now) { // what cannot be read now is read at the end, or told then
			select {
			case <-x.counted:
			default:
			}
			x.counted <- confirm.Deltas(x.before, now, nil)
		}
		pause = max(each, countShare*time.Since(began))
	}
}

// readings are when the counters were read; nil: the pod does not tell.
func (x *watching) readings() *flow.Readings {
	if x.at.Before.End.IsZero() || x.at.After.Begin.IsZero() {
		return nil
	}
	return &x.at
}

// send makes the request and waits until its connection was seen to end.
func (x *watching) send(ctx context.Context) (*inspect.Sent, error) {
	send := x.pod.Send
	if x.opt.Sender != nil {
		send = x.opt.Sender
	}
	s, err := send(ctx, x.req)
	if err != nil {
		return nil, err
	}
	x.sent <- s
	if s.Local.IsValid() { // else there was no connection
		limit := x.opt.settle
		if limit == 0 {
			limit = settleWithin
		}
		x.wait(ctx, limit+x.logs.wait(x.w.Loss()), x.settled)
	}
	return &s, nil
}

// wait waits for a time, or until something comes, or the watch or the context ends; it says
// whether the time is over.
func (x *watching) wait(ctx context.Context, limit time.Duration, comes <-chan struct{}) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-comes:
	case <-x.ended:
	case <-ctx.Done():
	}
	return false
}

// gather takes what the watch sees until it ends, and judges it now and then.
func (x *watching) gather(known *confirm.Known, judge func() confirm.Report) {
	var due <-chan time.Time
	if x.opt.Judged != nil {
		tick := time.NewTicker(JudgeEach)
		defer tick.Stop()
		due = tick.C
	}
	settle := newSettling(x)
	j := judging{x: x, judge: judge, at: -1}
	for {
		select {
		case batch, ok := <-x.w.C():
			if !ok {
				return
			}
			for _, o := range batch {
				if !x.logs.read(&o) {
					continue
				}
				x.kept.add(o)
				settle.sees(&o)
				if x.opt.Seen != nil {
					o.Head, o.Raw = bytes.Clone(o.Head), bytes.Clone(o.Raw) // they are only lent
					x.opt.Seen(o)
				}
			}
		case s := <-x.sent:
			if s.Local.IsValid() {
				known.ClientPort = s.Local.Port()
			}
			settle.begin(s.Local)
		case j.counted = <-x.counted:
		case <-due:
			j.now()
		}
	}
}

// loss is what was not seen, and which access logs were not read.
func (x *watching) loss() flow.Loss {
	l := x.kept.loss(x.w.Loss())
	l.Unread = append(slices.Clone(x.logs.Unread), l.Unread...)
	if n := x.logs.other; n > 0 {
		l.Unread = append(l.Unread, flow.Gap{Part: "access.log", Reason: fmt.Sprintf("%d lines are no JSON and of no format that the listeners of this way are configured with", n)})
	}
	if paths := x.logs.Paths(); x.kept.lines > keptLines && len(paths) > 0 {
		l.Unread = append(l.Unread, flow.Gap{Part: paths[0], Reason: fmt.Sprintf("more than %d lines came; later ones were let go", keptLines)})
	}
	return l
}

// judging tells now and then how the trace stands.
type judging struct {
	x     *watching
	judge func() confirm.Report
	last  confirm.Report
	at    int // observations that last knows of; -1: nothing was judged yet
	again time.Time
	// counted is what the counters grew by so far; nil: nothing did.
	counted []flow.Observation
}

func (j *judging) now() {
	loss := j.x.loss()
	switch {
	case j.at >= 0 && time.Now().Before(j.again), j.at == len(j.x.kept.seen) && loss.Dropped == j.last.Loss.Dropped:
		j.last.Loss = loss
	default:
		began := time.Now()
		j.last, j.at = j.judge(), len(j.x.kept.seen)
		j.again = began.Add(judgeShare * time.Since(began))
	}
	told := j.last
	if j.counted != nil {
		told.Counts = confirm.Counts(told.Trace, j.counted)
	}
	j.x.opt.Judged(told)
}

// settling waits for the end of the connection that was sent on, and for its line in an access
// log that has one for each request.
type settling struct {
	x                    *watching
	local                netip.AddrPort
	ended, written, done bool
}

func newSettling(x *watching) *settling { return &settling{x: x} }

// begin looks at what was seen before the answer, too.
func (s *settling) begin(local netip.AddrPort) {
	s.local = local
	s.written = s.x.logs.wait(s.x.w.Loss()) == 0
	for i := range s.x.kept.seen {
		s.sees(&s.x.kept.seen[i])
	}
}

func (s *settling) sees(o *flow.Observation) {
	if s.done || !s.local.IsValid() {
		return
	}
	s.ended = s.ended || ends(o, s.local)
	s.written = s.written || o.Kind == flow.SeenAccessLog && writtenFor(o, s.x.req, s.local)
	if s.ended && s.written {
		s.done = true
		close(s.x.settled)
	}
}

// ends says whether an observation shows that a client's connection ends: a FIN or RST, of UDP
// an answer, or an entry of conntrack's in a state that comes after either.
func ends(o *flow.Observation, client netip.AddrPort) bool {
	switch {
	case o.Kind == flow.SeenPacket && o.Tuple.Proto == flow.UDP:
		return o.Tuple.Dst == client
	case o.Kind == flow.SeenPacket:
		return (o.Tuple.Src == client || o.Tuple.Dst == client) && o.Flags&(flow.FIN|flow.RST) != 0
	case o.Kind == flow.SeenConntrack && o.Tuple.Src == client:
		switch o.State {
		case "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE":
			return true
		}
		return o.Event == "DESTROY"
	}
	return false
}
