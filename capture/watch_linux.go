package capture

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// WatchOptions bound a watch.
type WatchOptions struct {
	Devices  []string
	Filter   Filter
	Owners   []uint32 // users whose new sockets are told, whatever their addresses
	Ring     RingOptions
	Heads    bool          // keep the beginning of payloads, at most the snaplen
	Raw      bool          // keep packets as they are, at most the snaplen: whole with Heads, else their headers
	Duration time.Duration // 0: until Close
	Packets  int           // 0: no bound
	Logs     []LogFile     // read from their ends on
}

// Watch is a running observation of one network namespace. Its channel is closed by the
// watch when it ends.
type Watch struct {
	out     chan []flow.Observation // holds one
	quit    chan struct{}
	stop    sync.Once
	rings   []*Ring
	tracker *tracker
	sampler *sampler
	tails   []*tail       // the worker's that reads them
	fresh   chan struct{} // a flow was seen for the first time
	workers sync.WaitGroup
	ended   chan struct{}
	opt     WatchOptions

	sending sync.Mutex
	sent    [2]batch // the last two that were put into out
	spare   []batch
	rest    []flow.Observation

	mu    sync.Mutex
	loss  flow.Loss
	left  int // packets until the bound
	up    int // devices that are not known to be down
	final bool

	lostEvents sync.Once // it is told once
}

// Observations go to the reader many at a time: what handing over costs is paid once for all
// of them. A batch never waits to become full.
const batchSize = 512

// sampleEvery is the least time between two reads of the socket table.
const sampleEvery = 20 * time.Millisecond

// Open starts to watch the calling thread's network namespace; the watch goes on from any
// thread. A source that cannot be opened is told by Loss; with no ring at all Open fails.
func Open(opt WatchOptions) (*Watch, error) {
	w := &Watch{out: make(chan []flow.Observation, 1), quit: make(chan struct{}), fresh: make(chan struct{}, 1), ended: make(chan struct{}), opt: opt, left: opt.Packets}
	var errs []error
	for _, d := range opt.Devices {
		r, err := OpenRing(d, opt.Filter, opt.Ring.among(len(opt.Devices)))
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
	if w.tracker, err = openTracker(opt.Filter); err != nil {
		w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: "conntrack events", Reason: err.Error()})
	}
	if w.sampler, err = openSampler(opt.Filter, opt.Owners); err != nil {
		w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: "sockets", Reason: err.Error()})
	}
	w.openLogs()
	w.up = len(w.rings)
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
	if len(w.tails) > 0 {
		w.workers.Go(w.followLogs)
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
	for _, r := range w.rings {
		if err := r.Wake(); err != nil {
			w.blind("packets on "+r.device, err)
		}
	}
	if w.tracker != nil {
		_ = w.tracker.wakeUp()
	}
	w.workers.Wait()
	w.lastLoss()
	for _, r := range w.rings {
		_ = r.Close()
	}
	if w.tracker != nil {
		_ = w.tracker.close()
	}
	if w.sampler != nil {
		w.sampler.close()
	}
	w.closeLogs()
	w.finish()
	close(w.ended)
}

// C gives what is seen, as many as there are at a time. What it gave is only lent until the
// next is received, and so is what Head and Raw hold. It is closed when the watch ends.
func (w *Watch) C() <-chan []flow.Observation { return w.out }

// Loss is what was not seen so far; it is final once C is closed.
func (w *Watch) Loss() flow.Loss {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.countLoss()
	l := w.loss
	l.Blind, l.Unread, l.Logs = slices.Clone(l.Blind), slices.Clone(l.Unread), slices.Clone(l.Logs)
	return l
}

// lastLoss counts the loss for the last time. No ring may be asked any more once it is closed:
// its number may be another socket's then.
func (w *Watch) lastLoss() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.countLoss()
	w.final = true
}

// countLoss counts the loss. The caller holds mu.
func (w *Watch) countLoss() {
	if w.final {
		return
	}
	w.loss.Seen, w.loss.Dropped = 0, 0
	w.loss.Devices = make([]flow.DeviceLoss, len(w.rings))
	for i, r := range w.rings {
		l := r.Stats()
		w.loss.Seen += l.Seen
		w.loss.Dropped += l.Dropped
		w.loss.Devices[i] = l
	}
}

// Close ends the watch and waits for it. It may be called twice. Nothing
// waits for a reader then (send), and what was seen stays in the channel for one that reads on.
func (w *Watch) Close() error {
	w.stop.Do(func() { close(w.quit) })
	<-w.ended
	return nil
}

// packets reads one ring until it is woken. The channel is the only buffer beside the
// ring: when its reader is slow the ring fills, and the kernel counts what is lost. A device
// that went down can come up again, and then the ring goes on.
func (w *Watch) packets(r *Ring) {
	d := &decoder{heads: w.opt.Heads, raw: w.opt.Raw, filter: w.opt.Filter, room: w.room()}
	down, told := false, false
	for {
		got, err := r.fill(d)
		if len(got.seen) > 0 {
			if down {
				down = false
				w.turned(+1)
			}
			w.hand(r, got)
			d.room = w.room()
		}
		if d.opened {
			d.opened = false
			select {
			case w.fresh <- struct{}{}:
			default:
			}
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrWoken):
			return
		case !told:
			told = true
			w.blind("packets on "+r.device, err)
		}
		if !down {
			down = true
			w.turned(-1)
		}
		if !errors.Is(err, errDown) {
			return
		}
	}
}

// turned counts a device that went down or came up; with none left there is nothing more to
// see, and the watch ends.
func (w *Watch) turned(by int) {
	w.mu.Lock()
	w.up += by
	none := w.up == 0
	w.mu.Unlock()
	if none {
		w.stop.Do(func() { close(w.quit) })
	}
}

// hand hands packets over and counts them; at its bound the watch ends, and what is past it
// was not asked for.
func (w *Watch) hand(r *Ring, b batch) {
	n := len(b.seen)
	if w.opt.Packets > 0 {
		w.mu.Lock()
		n = min(n, w.left)
		w.left -= n
		done := w.left == 0
		w.mu.Unlock()
		if done {
			defer w.stop.Do(func() { close(w.quit) })
		}
		if n == 0 {
			return
		}
	}
	r.seen.Add(uint64(n))
	b.seen = b.seen[:n]
	w.send(b)
}

// send hands observations over. While the watch runs it waits for the reader, and so do the
// other workers. Once it is to end, what nobody takes is put together for finish.
func (w *Watch) send(b batch) {
	w.sending.Lock()
	defer w.sending.Unlock()
	if w.rest == nil {
		select {
		case w.out <- b.seen:
			// The channel holds one. So the reader has taken the one before this, and the one
			// before that is not the reader's any more.
			if free := w.sent[0]; cap(free.seen) == batchSize && len(w.spare) <= len(w.rings) {
				w.spare = append(w.spare, free)
			}
			w.sent = [2]batch{w.sent[1], b}
			return
		case <-w.quit:
		}
	}
	w.rest = append(w.rest, b.seen...)
}

// room is memory for a batch of packets: one that nobody uses any more, or a new one.
func (w *Watch) room() batch {
	w.sending.Lock()
	defer w.sending.Unlock()
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return batch{b.seen[:0], b.kept[:0]}
	}
	return batch{seen: make([]flow.Observation, 0, batchSize)}
}

// finish leaves in the channel what nobody took while the watch ended: Close needs no reader,
// and one that reads on gets everything. The rings bound how much that is.
func (w *Watch) finish() {
	if w.rest != nil {
		select {
		case before := <-w.out:
			w.rest = append(before[:len(before):len(before)], w.rest...)
		default:
		}
		w.out <- w.rest // there is room for one, and nobody else sends any more
	}
	close(w.out)
}

// pauseForeign is how long events may wait after such as are all of foreign flows. In a busy pod
// these come one by one, and to be woken for each costs more than to read it.
const pauseForeign = 5 * time.Millisecond

// events reads conntrack's events until it is woken.
func (w *Watch) events() {
	for {
		b := w.room()
		var err error
		for len(b.seen) == 0 && err == nil {
			b.seen, err = w.tracker.next(b.seen)
		}
		if len(b.seen) > 0 {
			w.send(b)
		}
		switch {
		case errors.Is(err, ErrWoken):
			return
		case errors.Is(err, errLostEvents):
			w.lostEvents.Do(func() { w.blind("conntrack events", err) })
		case err != nil:
			w.blind("conntrack events", err)
			return
		}
		if !w.tracker.ours && err == nil {
			time.Sleep(pauseForeign)
		}
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
	if len(found) > 0 {
		w.send(batch{seen: found})
	}
	return true
}

func (w *Watch) blind(part string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: part, Reason: err.Error()})
}
