package kube

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/rules/flow"
)

// far is a pod whose streams a test cuts, and that answers when it is let.
type far struct {
	mu      sync.Mutex
	streams []net.Conn
	refuse  []error // of the next streams, in order; nil: it is opened
	asked   []bool  // whether an agent might be put there, of each stream that was asked for
	lines   []string

	questions chan string    // each one that comes, by its name
	answers   chan struct{}  // one is taken before each answer; nil: at once
	watches   chan *farWatch // each watch that begins
	want      chan inspect.ObserveOptions
}

func (f *far) ask(what string) {
	f.questions <- what
	if f.answers != nil {
		<-f.answers
	}
}

func (f *far) Name() string { return "far" }
func (f *far) Close() error { return nil }
func (f *far) Read(context.Context, inspect.Want) (inspect.Snapshot, error) {
	f.ask("read")
	return inspect.Snapshot{Files: inspect.Files{"sysctl": []byte("x")}}, nil
}
func (f *far) Send(context.Context, flow.Request) (inspect.Sent, error) {
	f.ask("send")
	return inspect.Sent{}, nil
}
func (f *far) Policy(context.Context) (flow.Policy, error) { return flow.Policy{}, nil }
func (f *far) Renew(context.Context, time.Duration) error  { return nil }
func (f *far) Apply(context.Context, flow.Change) (flow.Policy, error) {
	f.ask("apply")
	return flow.Policy{}, nil
}
func (f *far) Observe(_ context.Context, _ []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	w := &farWatch{c: make(chan []flow.Observation)}
	f.want <- opt
	f.watches <- w
	return w, nil
}

type farWatch struct {
	c    chan []flow.Observation
	once sync.Once
}

func (w *farWatch) C() <-chan []flow.Observation { return w.c }
func (w *farWatch) Loss() flow.Loss {
	return flow.Loss{Seen: 2, Devices: []flow.DeviceLoss{{Name: "lo", Seen: 2}}}
}
func (w *farWatch) Close() error {
	w.once.Do(func() { close(w.c) })
	return nil
}

// dial opens a stream to it, or refuses.
func (f *far) dial(ctx context.Context, put bool) (*agent.Pod, error) {
	f.mu.Lock()
	f.asked = append(f.asked, put)
	var err error
	if len(f.refuse) > 0 {
		err, f.refuse = f.refuse[0], f.refuse[1:]
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	go func() { _ = agent.Serve(context.Background(), there, f, agent.ServeOptions{}) }()
	f.mu.Lock()
	f.streams = append(f.streams, here)
	f.mu.Unlock()
	return agent.Dial(ctx, here, agent.DialOptions{Ended: func() error { return errors.New("websocket: close 1006") }})
}

// cut ends the stream in use; the next ones are refused so.
func (f *far) cut(refuse ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
	_ = f.streams[len(f.streams)-1].Close()
}

func (f *far) say(line string, lasting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, line)
}

// said waits until a line that holds all of the words was said.
func (f *far) said(t *testing.T, words string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		found := slices.ContainsFunc(f.lines, func(l string) bool { return strings.Contains(l, words) })
		f.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatalf("%q was not said; only %q", words, f.lines)
}

func (f *far) dialled() []bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// reached is a pod over a link to far.
func reached(t *testing.T, f *far, wait time.Duration) *Pod {
	t.Helper()
	f.questions, f.watches, f.want = make(chan string, 9), make(chan *farWatch, 9), make(chan inspect.ObserveOptions, 9)
	p := &Pod{cluster: nobody(), object: pod(nil), link: newLink("pod x.y", wait, f.say, f.dial)}
	a, err := f.dial(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	p.link.take(a)
	p.link.since = time.Now().Add(-time.Hour) // it has lived for long
	t.Cleanup(func() { _ = p.Close() })
	return p
}

var errRefused = errors.New("connection refused")

// A question under which the stream ends is asked again, once, and both ends are said.
func TestAskedAgain(t *testing.T) {
	f := &far{answers: make(chan struct{}, 2)}
	p := reached(t, f, time.Minute)
	done := make(chan error, 1)
	go func() {
		s, err := p.Read(t.Context(), inspect.Want{Parts: []string{"sysctl"}})
		if err == nil && string(s.Files["sysctl"]) != "x" {
			err = errors.New("the answer is empty")
		}
		done <- err
	}()
	<-f.questions
	f.cut(errRefused, errRefused)
	f.answers <- struct{}{} // to nobody
	<-f.questions
	f.answers <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.said(t, "pod x.y: the stream to the agent has ended: websocket: close 1006")
	f.said(t, "pod x.y: reconnecting ...")
	f.said(t, "connection refused")
	f.said(t, "pod x.y: back after 0.")
}

// A question that may not be asked twice is not: its outcome is not known, and that is said.
func TestNotAskedTwice(t *testing.T) {
	for what, c := range map[string]struct {
		ask  func(*Pod) error
		want string
	}{
		"send": {func(p *Pod) error { _, err := p.Send(t.Context(), flow.Request{}); return err }, "whether it was sent is not known"},
		"apply": {func(p *Pod) error {
			_, err := p.Apply(t.Context(), flow.Change{Kind: flow.BlockAll})
			return err
		}, "whether it is in force is not known"},
	} {
		f := &far{answers: make(chan struct{}, 1)}
		p := reached(t, f, time.Minute)
		done := make(chan error, 1)
		go func() { done <- c.ask(p) }()
		if got := <-f.questions; got != what {
			t.Fatalf("%s came as %s", what, got)
		}
		f.cut()
		f.answers <- struct{}{}
		if err := <-done; err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "close 1006") {
			t.Errorf("%s: %v", what, err)
		}
		f.said(t, "back after")
		if len(f.questions) > 0 {
			t.Errorf("%s was asked twice", what)
		}
	}
}

// Where no other stream can be opened for as long as one waits the question fails with the
// reason, and the next one tries again.
func TestGivesUp(t *testing.T) {
	f := &far{}
	p := reached(t, f, 50*time.Millisecond)
	f.cut(errRefused, errRefused, errRefused, errRefused)
	f.said(t, "the next question tries again")
	f.mu.Lock()
	f.refuse = []error{&told{errors.New("the pod was replaced"), errGone, ""}}
	f.mu.Unlock()
	if _, err := p.Policy(t.Context()); err == nil || !strings.Contains(err.Error(), "the pod was replaced") {
		t.Errorf("error %v", err)
	}
	if _, err := p.Policy(t.Context()); err != nil {
		t.Error(err)
	}
}

// Nothing is put into a pod because a stream ended while nobody asked; a question may.
func TestPutsOnlyWhenAsked(t *testing.T) {
	f := &far{}
	p := reached(t, f, time.Minute)
	f.cut(errNone)
	f.said(t, "no agent runs there any more")
	if got := f.dialled(); len(got) != 2 || got[1] {
		t.Errorf("asked to put an agent there: %v", got)
	}
	if _, err := p.Policy(t.Context()); err != nil {
		t.Error(err)
	}
	if got := f.dialled(); len(got) != 3 || !got[2] {
		t.Errorf("asked to put an agent there: %v", got)
	}
}

// A watch goes on over the next stream, and says what it did not see.
func TestWatchGoesOn(t *testing.T) {
	f := &far{}
	p := reached(t, f, time.Minute)
	w, err := p.Observe(t.Context(), nil, inspect.ObserveOptions{Duration: time.Minute, Packets: 5})
	if err != nil {
		t.Fatal(err)
	}
	first := <-f.watches
	<-f.want
	first.c <- []flow.Observation{{Kind: flow.SeenPacket, Ref: "1"}, {Kind: flow.SeenConntrack}}
	if got := <-w.C(); len(got) != 2 || got[0].Ref != "1" {
		t.Errorf("saw %+v", got)
	}
	f.cut(errRefused)
	second := <-f.watches
	if opt := <-f.want; opt.Packets != 4 || opt.Duration <= 0 || opt.Duration >= time.Minute {
		t.Errorf("goes on for %+v", opt)
	}
	second.c <- []flow.Observation{{Kind: flow.SeenPacket, Ref: "2"}}
	if got := <-w.C(); len(got) != 1 || got[0].Ref != "2" {
		t.Errorf("saw %+v", got)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-w.C(); open {
		t.Error("more is seen after Close")
	}
	l := w.Loss()
	if l.Seen != 4 || len(l.Devices) != 1 || l.Devices[0].Seen != 4 {
		t.Errorf("loss %+v", l)
	}
	if len(l.Blind) != 2 || !strings.Contains(l.Blind[0].Reason, "close 1006") || !strings.Contains(l.Blind[1].Reason, "nothing was seen for 0.") {
		t.Errorf("blind %+v", l.Blind)
	}
}

// Where it cannot go on, what was seen remains, and the loss says from when on nothing was.
func TestWatchCannotGoOn(t *testing.T) {
	f := &far{}
	p := reached(t, f, 30*time.Millisecond)
	w, err := p.Observe(t.Context(), nil, inspect.ObserveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := <-f.watches
	first.c <- []flow.Observation{{Ref: "1"}}
	if got := <-w.C(); len(got) != 1 {
		t.Errorf("saw %+v", got)
	}
	f.cut(errRefused, errRefused, errRefused, errRefused, errRefused)
	if _, open := <-w.C(); open {
		t.Error("it goes on")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if l := w.Loss(); len(l.Blind) != 2 || !strings.Contains(l.Blind[1].Reason, "nothing was seen from then on") || !strings.Contains(l.Blind[1].Reason, "connection refused") {
		t.Errorf("blind %+v", l.Blind)
	}
}

// Closing does not wait for a stream that is tried for.
func TestCloseWhileReconnecting(t *testing.T) {
	f := &far{}
	p := reached(t, f, time.Hour)
	f.cut(slices.Repeat([]error{errRefused}, 1000)...)
	f.said(t, "connection refused")
	began := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := p.Policy(t.Context()); err == nil || !strings.Contains(err.Error(), "it was closed") {
		t.Errorf("error %v", err)
	}
}
