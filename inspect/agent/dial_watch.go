package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Observe watches the legs' traffic. It returns once the other end watches.
func (p *Pod) Observe(ctx context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	bare := make([]flow.Leg, len(legs))
	for i, l := range legs {
		l.Steps = nil // who speaks to whom is enough, and reasons stay with the client
		bare[i] = l
	}
	raw, err := json.Marshal(observe{bare, opt})
	if err != nil {
		return nil, err
	}
	// The question stays open while the watch is wanted: its end is what stops the other side,
	// which then tells what it still has and what it lost.
	out, open := io.Pipe()
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	body, err := p.ask(within, pathObserve, question{io.MultiReader(bytes.NewReader(raw), out), out})
	if err != nil {
		cancel()
		return nil, err
	}
	w := &watch{
		pod: p, open: open, cancel: cancel, body: body, in: bufio.NewReaderSize(body, 64<<10),
		c: make(chan []flow.Observation, kept), closing: make(chan struct{}), done: make(chan struct{}),
	}
	var first seen
	if err := line(w.in, &first); err != nil || !first.Ready {
		cancel()
		_ = body.Close()
		if err == nil {
			err = first.Error.err()
		}
		return nil, p.broken(ctx, err)
	}
	stop := context.AfterFunc(ctx, w.enough)
	go func() {
		w.run()
		stop()
		cancel()
	}()
	return w, nil
}

// question is a question's body that the transport can close while it waits for more of it.
type question struct {
	io.Reader
	io.Closer
}

// kept is how many batches wait for their reader, also after Close.
const kept = 256

// watch is a watch at the other end.
type watch struct {
	pod     *Pod
	open    *io.PipeWriter // the end of the question that is still open
	cancel  context.CancelFunc
	body    io.ReadCloser
	in      *bufio.Reader
	c       chan []flow.Observation
	closing chan struct{}
	once    sync.Once
	done    chan struct{}

	mu     sync.Mutex
	loss   flow.Loss
	missed uint64 // observations that came and found no room after Close
	err    error
}

// enough asks the other end to stop, and waits for it no longer than Patience.
func (w *watch) enough() {
	w.once.Do(func() {
		close(w.closing)
		_ = w.open.Close()
		time.AfterFunc(or(w.pod.opt.Patience, Patience), w.cancel)
	})
}

func (w *watch) run() {
	defer close(w.done)
	defer close(w.c)
	defer w.body.Close()
	for {
		var s seen
		if err := line(w.in, &s); err != nil {
			w.ended(err)
			return
		}
		w.mu.Lock()
		w.loss = s.Loss.flow()
		w.mu.Unlock()
		if s.Final {
			w.ended(s.Error.err())
			return
		}
		w.hand(s.Observations)
	}
}

// hand gives a batch to the reader. After Close nothing waits for one: what finds no room
// counts as lost.
func (w *watch) hand(batch []flow.Observation) {
	if len(batch) == 0 {
		return
	}
	select {
	case w.c <- batch:
		return
	case <-w.closing:
	}
	select {
	case w.c <- batch:
	default:
		w.mu.Lock()
		w.missed += uint64(len(batch))
		w.mu.Unlock()
	}
}

// ended remembers why the watch is over. One whose stream broke saw less than there was, and
// says so: an absence then proves nothing.
func (w *watch) ended(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		return
	}
	w.err = w.pod.broken(context.Background(), err)
	w.loss.Blind = append(w.loss.Blind, flow.Gap{Part: "watch", Reason: w.err.Error()})
}

// C gives what was seen. It is closed when the watch ends.
func (w *watch) C() <-chan []flow.Observation { return w.c }

// Loss may be asked at any time; it is final after C was closed.
func (w *watch) Loss() flow.Loss {
	w.mu.Lock()
	defer w.mu.Unlock()
	loss := w.loss
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
