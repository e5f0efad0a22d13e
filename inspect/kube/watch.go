package kube

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/rules/flow"
)

// Observe watches the legs' traffic. Where the stream ends under it, it goes on over another, and
// its loss says for how long nothing was seen.
func (p *Pod) Observe(ctx context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	return observe(ctx, p.link, legs, opt)
}

func observe(ctx context.Context, l *link, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	w := &watch{link: l, legs: legs, opt: opt, c: make(chan []flow.Observation, kept), done: make(chan struct{})}
	w.ctx, w.enough = context.WithCancel(ctx)
	if err := w.begin(); err != nil {
		w.enough()
		return nil, err
	}
	if opt.Duration > 0 {
		w.until = time.Now().Add(opt.Duration)
	}
	go w.run()
	return w, nil
}

// kept is how many batches wait for their reader, also after Close.
const kept = 256

// watch is a watch over one stream after another.
type watch struct {
	link  *link
	legs  []flow.Leg
	opt   inspect.ObserveOptions // what is left of it
	until time.Time              // zero: until Close
	c     chan []flow.Observation
	done  chan struct{}

	ctx    context.Context // each part ends with it
	enough context.CancelFunc

	mu     sync.Mutex
	part   inspect.Watch // over the stream in use; the last one where none is
	over   bool          // its loss is in before
	before flow.Loss
	missed uint64 // observations that came after Close and found no room
	err    error
}

// begin watches over the stream in use.
func (w *watch) begin() error {
	next, err := twice(w.ctx, w.link, func(a *agent.Pod) (inspect.Watch, error) { return a.Observe(w.ctx, w.legs, w.opt) })
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.part, w.over = next, false
	return nil
}

// run hands on what each part sees, until one ends otherwise than with its stream.
func (w *watch) run() {
	defer close(w.done)
	defer close(w.c)
	defer w.enough()
	for {
		for batch := range w.part.C() { // an agent's batch is not lent: each is decoded anew
			w.hand(batch)
		}
		err := w.part.Close()
		if !cut(err) {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			return
		}
		if !w.resume(time.Now()) {
			return
		}
	}
}

// resume watches on over another stream. Where it cannot, the loss says that nothing was seen from
// then on: what was seen before remains.
func (w *watch) resume(since time.Time) bool {
	lost := w.part.Loss()
	w.mu.Lock()
	w.before, w.over = sum(w.before, lost), true
	w.mu.Unlock()
	var err error
	if w.opt.Duration > 0 {
		w.opt.Duration = time.Until(w.until)
	}
	switch {
	case w.ctx.Err() != nil, w.opt.Duration < 0, w.opt.Packets < 0:
		return false // it was to end anyway
	default:
		err = w.begin()
	}
	gap := flow.Gap{Part: "watch", Reason: fmt.Sprintf("nothing was seen for %s, until another stream to the agent was open", seconds(time.Since(since)))}
	if err != nil {
		gap.Reason = "nothing was seen from then on: " + err.Error()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before.Blind = append(w.before.Blind, gap)
	return err == nil
}

// hand gives a batch to the reader. After Close nothing waits for one: what finds no room counts
// as lost.
func (w *watch) hand(batch []flow.Observation) {
	if w.opt.Packets > 0 {
		w.count(batch)
	}
	select {
	case w.c <- batch:
		return
	case <-w.ctx.Done():
	}
	select {
	case w.c <- batch:
	default:
		w.mu.Lock()
		w.missed += uint64(len(batch))
		w.mu.Unlock()
	}
}

// count takes a batch off the packets that are wanted; below 0: all have come.
func (w *watch) count(batch []flow.Observation) {
	for i := range batch {
		if batch[i].Kind != flow.SeenPacket {
			continue
		}
		if w.opt.Packets--; w.opt.Packets == 0 {
			w.opt.Packets = -1 // 0 would be no bound
			return
		}
	}
}

// C gives what was seen. It is closed when the watch ends.
func (w *watch) C() <-chan []flow.Observation { return w.c }

// Loss may be asked at any time; it is final after C was closed.
func (w *watch) Loss() flow.Loss {
	w.mu.Lock()
	defer w.mu.Unlock()
	loss := w.before
	if !w.over {
		loss = sum(loss, w.part.Loss())
	}
	loss.Dropped += w.missed
	return loss
}

// Close ends the watch and waits for it; it may be called twice.
func (w *watch) Close() error {
	w.enough()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// sum is what two watches lost, one after the other: their devices and logs are the same.
func sum(a, b flow.Loss) flow.Loss {
	out := b
	out.Seen, out.Dropped, out.Foreign = a.Seen+b.Seen, a.Dropped+b.Dropped, a.Foreign+b.Foreign
	out.Late = a.Late || b.Late
	out.Blind = append(a.Blind[:len(a.Blind):len(a.Blind)], b.Blind...)
	out.Unread = append(a.Unread[:len(a.Unread):len(a.Unread)], b.Unread...)
	if out.Logs == nil {
		out.Logs = a.Logs
	}
	if len(b.Devices) == 0 {
		out.Devices = a.Devices
		return out
	}
	out.Devices = nil
	for _, d := range b.Devices {
		for _, e := range a.Devices {
			if e.Name == d.Name {
				d.Seen, d.Dropped, d.Frozen = d.Seen+e.Seen, d.Dropped+e.Dropped, d.Frozen+e.Frozen
			}
		}
		out.Devices = append(out.Devices, d)
	}
	return out
}
