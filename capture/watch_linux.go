package capture

import (
	"errors"
	"sync"
	"time"

	"github.com/ti-mo/conntrack"

	"github.com/meshtop/meshtop/rules/flow"
)

// WatchOptions bound a watch.
type WatchOptions struct {
	Devices  []string
	Filter   Filter
	Owners   []uint32 // users whose new sockets are told, whatever their addresses
	Ring     RingOptions
	Heads    bool          // keep the beginning of payloads, at most the snaplen
	Raw      bool          // keep whole packets, at most the snaplen
	Duration time.Duration // 0: until Close
	Packets  int           // 0: no bound
}

// Watch is a running observation of one network namespace. Its channel is closed by the
// watch when it ends.
type Watch struct {
	out     chan flow.Observation
	quit    chan struct{}
	stop    sync.Once
	rings   []*Ring
	tracker *tracker
	sampler *sampler
	fresh   chan struct{} // a flow was seen for the first time
	workers sync.WaitGroup
	ended   chan struct{}
	opt     WatchOptions

	mu    sync.Mutex
	loss  flow.Loss
	left  int // packets until the bound
	final bool
	// spilled are observations that nobody took while the watch ended.
	spilled uint64

	lostEvents sync.Once // it is told once
}

// sampleEvery is the least time between two reads of the socket table.
const sampleEvery = 20 * time.Millisecond

// Open starts to watch the calling thread's network namespace; the watch goes on from any
// thread. A source that cannot be opened is told by Loss; with no ring at all Open fails.
func Open(opt WatchOptions) (*Watch, error) {
	w := &Watch{out: make(chan flow.Observation, 4096), quit: make(chan struct{}), fresh: make(chan struct{}, 1), ended: make(chan struct{}), opt: opt, left: opt.Packets}
	var errs []error
	for _, d := range opt.Devices {
		r, err := OpenRing(d, opt.Filter, opt.Ring)
		if err != nil {
			errs = append(errs, err)
			w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: "packets on " + d, Reason: err.Error()})
			continue
		}
		w.rings = append(w.rings, r)
	}
	if len(w.rings) == 0 {
		return nil, errors.Join(errs...)
	}
	var err error
	if w.tracker, err = openTracker(); err != nil {
		w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: "conntrack events", Reason: err.Error()})
	}
	if w.sampler, err = openSampler(opt.Filter, opt.Owners); err != nil {
		w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: "sockets", Reason: err.Error()})
	}
	w.start()
	return w, nil
}

func (w *Watch) start() {
	for _, r := range w.rings {
		w.workers.Go(func() { w.packets(r) })
	}
	if w.tracker != nil {
		w.workers.Go(w.events)
	}
	if w.sampler != nil {
		w.workers.Go(w.sockets)
	}
	go w.end()
}

// end waits for the bound or for Close, stops the workers, counts the loss and closes the
// channel.
func (w *Watch) end() {
	var bound <-chan time.Time
	if w.opt.Duration > 0 {
		timer := time.NewTimer(w.opt.Duration)
		defer timer.Stop()
		bound = timer.C
	}
	select {
	case <-bound:
	case <-w.quit:
	}
	w.stop.Do(func() { close(w.quit) })
	// What the kernel has put into a block that is not full comes when the block's time is
	// over: wait for that once, so that the last packets are not lost.
	flush := time.NewTimer(2 * w.opt.Ring.defaults().Timeout)
	<-flush.C
	for _, r := range w.rings {
		_ = r.Wake()
	}
	if w.tracker != nil {
		_ = w.tracker.wakeUp()
	}
	w.workers.Wait()
	w.countLoss()
	for _, r := range w.rings {
		_ = r.Close()
	}
	if w.tracker != nil {
		_ = w.tracker.close()
	}
	if w.sampler != nil {
		w.sampler.close()
	}
	w.mu.Lock()
	w.final = true
	w.mu.Unlock()
	close(w.out)
	close(w.ended)
}

// C gives what is seen. It is closed when the watch ends.
func (w *Watch) C() <-chan flow.Observation { return w.out }

// Loss is what was not seen so far; it is final once C is closed.
func (w *Watch) Loss() flow.Loss {
	w.mu.Lock()
	final := w.final
	w.mu.Unlock()
	if !final {
		w.countLoss()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.loss
	l.Blind = append([]flow.Gap(nil), l.Blind...)
	return l
}

func (w *Watch) countLoss() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.final {
		return
	}
	w.loss.Dropped = w.spilled
	w.loss.Devices = make([]flow.DeviceLoss, len(w.rings))
	for i, r := range w.rings {
		seen, dropped, _ := r.Stats()
		w.loss.Dropped += dropped
		w.loss.Devices[i] = flow.DeviceLoss{Name: r.device, Seen: seen, Dropped: dropped}
	}
}

// Close ends the watch and waits for it. It may be called twice. Once the watch is to end no
// worker waits for a reader (send), so what was seen stays in the channel for one that reads on.
func (w *Watch) Close() error {
	w.stop.Do(func() { close(w.quit) })
	<-w.ended
	return nil
}

// packets reads one ring until it is woken. The channel is the only buffer beside the
// ring: when its reader is slow the ring fills, and the kernel counts what is lost.
func (w *Watch) packets(r *Ring) {
	d := newDecoder(w.opt.Heads)
	d.raw = w.opt.Raw
	for {
		p, err := r.Next()
		if err != nil {
			if !errors.Is(err, ErrWoken) {
				w.blind("packets on "+r.device, err)
			}
			return
		}
		o, ok := d.observe(p)
		if !ok {
			continue
		}
		if o.Flags&flow.SYN != 0 {
			select {
			case w.fresh <- struct{}{}:
			default:
			}
		}
		if w.send(o) {
			w.count()
		}
	}
}

// count counts a packet, and ends the watch at its bound.
func (w *Watch) count() {
	w.mu.Lock()
	w.loss.Seen++
	w.left--
	done := w.opt.Packets > 0 && w.left <= 0
	w.mu.Unlock()
	if done {
		w.stop.Do(func() { close(w.quit) })
	}
}

// send hands an observation over. While the watch runs it waits for its reader; once it is
// to end, what does not fit any more is counted as dropped.
func (w *Watch) send(o flow.Observation) bool {
	select {
	case w.out <- o:
		return true
	default:
	}
	select {
	case w.out <- o:
		return true
	case <-w.quit:
	}
	select {
	case w.out <- o:
		return true
	default:
		w.mu.Lock()
		w.spilled++
		w.mu.Unlock()
		return false
	}
}

// events reads conntrack's events until it is woken.
func (w *Watch) events() {
	for {
		e, err := w.tracker.next()
		switch {
		case errors.Is(err, ErrWoken):
			return
		case errors.Is(err, errLostEvents):
			w.lostEvents.Do(func() { w.blind("conntrack events", err) })
		case err != nil:
			w.blind("conntrack events", err)
			return
		default:
			w.event(e)
		}
	}
}

// event tells of every new flow, since one to another place than expected is what contradicts,
// and of what becomes of those of the filter.
func (w *Watch) event(e conntrack.Event) {
	if o, ok := observeEvent(e, time.Now()); ok && (o.Event == "NEW" || w.opt.Filter.holds(o.Tuple) || w.opt.Filter.holds(o.Reply)) {
		w.send(o)
	}
}

// sockets reads the socket table when a new flow was seen, not more often than every
// sampleEvery, and once more at the end: what a proxy keeps open is still there then.
func (w *Watch) sockets() {
	pause := time.NewTicker(sampleEvery)
	defer pause.Stop()
	for {
		select {
		case <-w.quit:
			w.sampleOnce()
			return
		case <-w.fresh:
		}
		if !w.sampleOnce() {
			return
		}
		select {
		case <-w.quit:
		case <-pause.C:
		}
	}
}

func (w *Watch) sampleOnce() bool {
	found, err := w.sampler.sample(time.Now())
	if err != nil {
		w.blind("sockets", err)
		return false
	}
	for _, o := range found {
		w.send(o)
	}
	return true
}

func (w *Watch) blind(part string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: part, Reason: err.Error()})
}
