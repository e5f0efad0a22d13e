package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// link is the way to the agent. Where its stream has ended (an API server or a kubelet that was
// restarted, a laptop that slept) another is opened, by itself, and both are said.
type link struct {
	name string
	// dial opens a stream. put: to an agent that it puts there, if none runs any more.
	dial func(ctx context.Context, put bool) (*agent.Pod, error)
	wait time.Duration // for how long another stream is tried for
	say  say

	life context.Context // ends with the link
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	agents []*agent.Pod // the last is in use; what was read of the others is too
	since  time.Time    // when the last was opened
	next   *attempt     // under way; nil: none
	closed bool
	gone   chan struct{} // closed when the pod is known to have ended
	over   sync.Once     // guards closing it
}

// attempt opens a stream, for all who wait for one.
type attempt struct {
	asked atomic.Bool   // somebody waits: an agent may be put there
	done  chan struct{} // closed when agent and err are there
	agent *agent.Pod
	err   error
}

// errGone says that another try would bring the same.
var errGone = inspect.ErrGone

// errNone: no agent runs, and nobody asked for one.
var errNone = errors.New("no agent runs there any more")

const (
	firstPause = 100 * time.Millisecond // between two tries
	mostPause  = 2 * time.Second
	// short is a stream's life after which another is not opened at once: one that always ends
	// must not keep an API server busy.
	short = time.Second
	// unready is how long an API server that was restarted may say that a right is missing: it
	// listens before it has read who may do what.
	unready = 5 * time.Second
)

func newLink(name string, wait time.Duration, tell say, dial func(context.Context, bool) (*agent.Pod, error)) *link {
	l := &link{name: name, dial: dial, wait: wait, say: tell, gone: make(chan struct{})}
	l.life, l.stop = context.WithCancel(context.Background())
	return l
}

// take makes a stream the one in use, and watches it.
func (l *link) take(a *agent.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = a.Close()
		return
	}
	l.agents, l.since = append(l.agents, a), time.Now()
	l.work.Go(func() {
		select {
		case <-l.life.Done():
		case <-a.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			l.begin(false)
		}
	})
}

// begin is the attempt that is under way, or another. The caller holds mu.
func (l *link) begin(asked bool) *attempt {
	if l.next == nil && !l.closed {
		t := &attempt{done: make(chan struct{})}
		t.asked.Store(asked)
		ended, lived := l.agents[len(l.agents)-1].Ended, time.Since(l.since)
		l.next = t
		l.work.Go(func() {
			defer close(t.done)
			t.agent, t.err = l.again(t, ended(), lived)
		})
	}
	return l.next
}

// live is the stream in use, or another.
func (l *link) live(ctx context.Context) (*agent.Pod, error) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, fmt.Errorf("%s: it was closed", l.name)
		}
		last := l.agents[len(l.agents)-1]
		select {
		case <-last.Done():
		default:
			l.mu.Unlock()
			return last, nil
		}
		t := l.begin(true)
		t.asked.Store(true)
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.done:
		}
		switch {
		case errors.Is(t.err, errNone): // it ended before it knew that somebody waits
		case t.err != nil:
			return nil, fmt.Errorf("%s: %w", l.name, t.err)
		default:
			return t.agent, nil
		}
	}
}

// inUse is the stream that is there; nil: none is.
func (l *link) inUse() *agent.Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.agents) == 0 {
		return nil
	}
	last := l.agents[len(l.agents)-1]
	select {
	case <-last.Done():
		return nil
	default:
		return last
	}
}

// again opens another stream, and tries for a while: whoever restarts an API server means it to
// come back.
func (l *link) again(t *attempt, why error, lived time.Duration) (*agent.Pod, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(l.life, l.wait)
	defer cancel()
	l.say(fmt.Sprintf("%s: %v", l.name, why), true)
	l.say(fmt.Sprintf("%s: reconnecting ... (%v)", l.name, why), false)
	if lived < short {
		select {
		case <-ctx.Done():
		case <-time.After(short - lived):
		}
	}
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		a, err := l.dial(ctx, t.asked.Load())
		if err == nil {
			l.end(a)
			l.say(fmt.Sprintf("%s: back after %s", l.name, seconds(time.Since(began))), true)
			return a, nil
		}
		if hopeless(err, time.Since(began)) || errors.Is(err, errNone) && !t.asked.Load() {
			return nil, l.lost(err, time.Since(began))
		}
		l.say(fmt.Sprintf("%s: reconnecting ... %s: %v", l.name, seconds(time.Since(began)), err), false)
		select {
		case <-ctx.Done():
			return nil, l.lost(err, time.Since(began))
		case <-time.After(pause):
		}
	}
}

// hopeless says whether another try would bring nothing else.
func hopeless(err error, after time.Duration) bool {
	refused := apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
	return errors.Is(err, errGone) || refused && after > unready
}

// end ends the attempt; the next question sees what came of it.
func (l *link) end(a *agent.Pod) {
	if a != nil {
		l.take(a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = nil
}

// lost ends the attempt without a stream.
func (l *link) lost(err error, after time.Duration) error {
	l.end(nil)
	if errors.Is(err, errGone) {
		l.over.Do(func() { close(l.gone) })
	}
	err = fmt.Errorf("the stream to the agent has ended, and another could not be opened within %s: %w", seconds(after), worded(err))
	if l.life.Err() == nil {
		l.say(fmt.Sprintf("%s: %v; the next question tries again", l.name, err), true)
	}
	return err
}

// close ends all streams, and waits for whoever opens one. It may be called twice.
func (l *link) close() error {
	l.mu.Lock()
	l.closed = true
	all := l.agents
	l.agents = nil
	l.mu.Unlock()
	l.stop()
	l.work.Wait()
	var errs []error
	for _, a := range all {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}

// seconds is a time as one says it: "0.3 s", "3 s".
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// twice asks a question that may be asked twice: where the stream ended under it, once more, over
// a new one.
func twice[T any](ctx context.Context, l *link, ask func(*agent.Pod) (T, error)) (T, error) {
	out, err := single(ctx, l, ask)
	if cut(err) && ctx.Err() == nil {
		return single(ctx, l, ask)
	}
	return out, err
}

// single asks a question that may be asked once only.
func single[T any](ctx context.Context, l *link, ask func(*agent.Pod) (T, error)) (T, error) {
	a, err := l.live(ctx)
	if err != nil {
		var none T
		return none, err
	}
	return ask(a)
}

// cut says whether the stream ended under a question.
func cut(err error) bool {
	var ended *agent.EndedError
	return errors.As(err, &ended)
}
