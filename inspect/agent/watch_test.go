package agent

import (
	"errors"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

func TestWatch(t *testing.T) {
	f := &fake{watch: &fakeWatch{c: make(chan []flow.Observation), loss: flow.Loss{Seen: 3, Dropped: 1, Blind: []flow.Gap{{Part: "lo", Reason: "down", Broken: true}}}}}
	pod, _ := pair(t, f)
	legs := []flow.Leg{{From: flow.Conn{UID: 7}, Owner: flow.OwnerProxy, Steps: []flow.Step{{Subject: "not to be sent"}}}}
	opt := inspect.ObserveOptions{Snaplen: 128, Duration: time.Minute, Packets: 9, Raw: true, Logs: []string{"/dev/stdout"}}
	w, err := pod.Observe(t.Context(), legs, opt)
	if err != nil {
		t.Fatal(err)
	}
	batch := []flow.Observation{{Kind: flow.SeenPacket, Ref: "1", Head: []byte("GET /")}, {Kind: flow.SeenConntrack}}
	f.watch.c <- batch
	if got := <-w.C(); !reflect.DeepEqual(got, batch) {
		t.Errorf("saw %+v", got)
	}
	if !reflect.DeepEqual(f.opt, opt) || f.legs[0].From.UID != 7 || f.legs[0].Owner != flow.OwnerProxy {
		t.Errorf("asked to watch %+v, %+v", f.legs, f.opt)
	}
	if f.legs[0].Steps != nil || legs[0].Steps == nil {
		t.Error("steps were sent, or taken from the caller's legs")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-w.C(); open {
		t.Error("more is seen after Close")
	}
	if loss := w.Loss(); !reflect.DeepEqual(loss, f.watch.loss) {
		t.Errorf("loss %+v", loss)
	}
}

// What had been seen before Close is there for a reader that reads on.
func TestWatchKeepsWhatWasSeen(t *testing.T) {
	f := &fake{watch: &fakeWatch{c: make(chan []flow.Observation)}}
	pod, _ := pair(t, f)
	w, err := pod.Observe(t.Context(), nil, inspect.ObserveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.watch.c <- []flow.Observation{{}, {}}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for got := range w.C() {
		n += len(got)
	}
	if n != 6 {
		t.Errorf("%d observations, want 6", n)
	}
}

func TestWatchThatCannotBe(t *testing.T) {
	pod, _ := pair(t, &fake{err: inspect.ErrReadOnly})
	if _, err := pod.Observe(t.Context(), nil, inspect.ObserveOptions{}); !errors.Is(err, inspect.ErrReadOnly) {
		t.Errorf("error %v", err)
	}
}

// A stream that breaks ends the watch, which says so, and ends the one at the other side.
func TestWatchEndsWithTheStream(t *testing.T) {
	f := &fake{watch: &fakeWatch{c: make(chan []flow.Observation)}}
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), there, f, ServeOptions{}) }()
	pod, err := Dial(t.Context(), here, DialOptions{Ended: func() error { return errors.New("websocket: close 1006") }})
	if err != nil {
		t.Fatal(err)
	}
	w, err := pod.Observe(t.Context(), nil, inspect.ObserveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_ = here.Close()
	for range w.C() {
	}
	loss := w.Loss()
	if len(loss.Blind) != 1 || loss.Blind[0].Reason != "the stream to the agent has ended: websocket: close 1006" {
		t.Errorf("loss %+v", loss)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, open := <-f.watch.c; open {
		t.Error("the watch at the other end goes on")
	}
}

// An end that neither answers nor closes is given up: the pipe then swallows what is written.
func TestHeartbeat(t *testing.T) {
	here, there := net.Pipe()
	s := &silent{Conn: there, after: make(chan struct{}), closed: make(chan struct{})}
	const beat = 20 * time.Millisecond
	served := make(chan error, 1)
	f := &fake{}
	go func() { served <- Serve(t.Context(), s, f, ServeOptions{Heartbeat: beat, Patience: beat}) }()
	pod, err := Dial(t.Context(), here, DialOptions{Heartbeat: beat, Patience: beat})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pod.Apply(t.Context(), flow.Change{Kind: flow.BlockAll, Hold: true, Undo: []string{"undo"}}); err != nil {
		t.Fatal(err)
	}
	close(s.after)
	<-pod.Done()
	if err := <-served; err == nil {
		t.Error("the silent stream ended without a word")
	}
	var ended *EndedError
	if _, err := pod.Policy(t.Context()); !errors.As(err, &ended) {
		t.Errorf("error %v", err)
	}
	if got := f.changes(); len(got) != 2 || got[1].Kind != flow.Restore {
		t.Errorf("what was to hold while somebody watched was not ended: %+v", got)
	}
}

// silent is a connection on which nothing arrives any more in either direction, not even its
// end: as where a network drops packets.
type silent struct {
	net.Conn
	after  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (s *silent) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	select {
	case <-s.after:
		<-s.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (s *silent) Write(b []byte) (int, error) {
	select {
	case <-s.after:
		return len(b), nil
	default:
		return s.Conn.Write(b)
	}
}

func (s *silent) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}
