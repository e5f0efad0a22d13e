package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// fake is a pod that says what a test tells it to. What a network namespace does is other
// tests' matter; here the way there and back is.
type fake struct {
	name    string
	snap    inspect.Snapshot
	told    []inspect.Progress
	err     error
	asked   inspect.Want
	legs    []flow.Leg
	opt     inspect.ObserveOptions
	watch   *fakeWatch
	request flow.Request
	sent    inspect.Sent
	addrs   []netip.Addr

	mu      sync.Mutex
	policy  flow.Policy
	applied []flow.Change
	renewed []time.Duration
	failing int // how many changes still fail
}

func (f *fake) Name() string { return f.name }
func (f *fake) Close() error { return nil }

func (f *fake) Read(_ context.Context, w inspect.Want) (inspect.Snapshot, error) {
	f.asked = w
	for _, p := range f.told {
		w.Progress(p)
	}
	return f.snap, f.err
}

func (f *fake) Observe(_ context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	f.legs, f.opt = legs, opt
	if f.err != nil {
		return nil, f.err
	}
	return f.watch, nil
}

func (f *fake) Send(_ context.Context, r flow.Request) (inspect.Sent, error) {
	f.request = r
	return f.sent, f.err
}

func (f *fake) Resolve(_ context.Context, name string, uid, gid uint32) (flow.Named, error) {
	return flow.Named{Name: name, By: flow.NamedServer, Addrs: f.addrs, UID: uid, GID: gid}, f.err
}

func (f *fake) Policy(context.Context) (flow.Policy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.policy, f.err
}

var errBusy = errors.New("no answer from Envoy")

func (f *fake) Apply(_ context.Context, c flow.Change) (flow.Policy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return flow.Policy{}, f.err
	}
	if f.failing > 0 {
		f.failing--
		return flow.Policy{}, errBusy
	}
	f.applied = append(f.applied, c)
	f.policy = flow.Policy{State: flow.StateApplied, Change: c}
	// The real thing tells since when by its own clock, and not by the client's.
	f.policy.Change.Since = c.Since.Add(time.Hour)
	if c.Kind == flow.Restore {
		f.policy = flow.Policy{State: flow.StateNone}
	}
	return f.policy, nil
}

func (f *fake) Renew(_ context.Context, ttl time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed = append(f.renewed, ttl)
	return f.err
}

// become puts another's change into force, by other means.
func (f *fake) become(c flow.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.policy = flow.Policy{State: flow.StateApplied, Change: c}
}

// fail lets the next n changes fail.
func (f *fake) fail(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = n
}

func (f *fake) renewals() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.renewed...)
}

func (f *fake) changes() []flow.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]flow.Change(nil), f.applied...)
}

// fakeWatch gives what a test puts in until it is closed.
type fakeWatch struct {
	c    chan []flow.Observation
	loss flow.Loss
	once sync.Once
}

func (w *fakeWatch) C() <-chan []flow.Observation { return w.c }
func (w *fakeWatch) Loss() flow.Loss              { return w.loss }
func (w *fakeWatch) Close() error {
	w.once.Do(func() { close(w.c) })
	return nil
}

// pair serves pod on one end of a stream and dials the other. served gives what Serve
// returned once it has.
func pair(t *testing.T, pod inspect.Pod) (client *Pod, served <-chan error) {
	t.Helper()
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(t.Context(), there, pod, ServeOptions{Version: "test"}) }()
	client, err := Dial(t.Context(), here, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, ended
}
