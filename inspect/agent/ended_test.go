package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// refused is a stream that was never granted: it takes no byte, and says so before it ends.
type refused struct{ over chan struct{} }

func (r *refused) Read([]byte) (int, error)  { <-r.over; return 0, io.EOF }
func (r *refused) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (r *refused) Close() error              { close(r.over); return nil }

// What is told is why the stream ended, and not that a write to it failed, which is only noticed
// first.
func TestStreamsOwnErrorIsTold(t *testing.T) {
	_, err := Dial(t.Context(), &refused{make(chan struct{})}, DialOptions{Ended: func() error { return errors.New(`pods "x" is forbidden`) }})
	if err == nil || !strings.Contains(err.Error(), `pods "x" is forbidden`) || strings.Contains(err.Error(), "closed pipe") {
		t.Errorf("error %v", err)
	}
	if ended := (*EndedError)(nil); !errors.As(err, &ended) {
		t.Errorf("%v is no EndedError", err)
	}
}

// An end that is given up because nothing is heard of the other is told as such, where the
// transport has no words for it.
func TestSilenceIsTold(t *testing.T) {
	here, there := net.Pipe()
	s := &silent{Conn: there, after: make(chan struct{}), closed: make(chan struct{})}
	go func() { _ = Serve(t.Context(), s, &fake{}, ServeOptions{}) }()
	defer s.Close()
	const beat = 20 * time.Millisecond
	pod, err := Dial(t.Context(), here, DialOptions{Heartbeat: beat, Patience: beat})
	if err != nil {
		t.Fatal(err)
	}
	close(s.after)
	_, err = pod.Policy(t.Context())
	if ended := (*EndedError)(nil); !errors.As(err, &ended) || !strings.Contains(err.Error(), "nothing was heard of the agent") {
		t.Errorf("error %v", err)
	}
	if err := pod.Ended(); err == nil || !strings.Contains(err.Error(), "nothing was heard of the agent") {
		t.Errorf("ended: %v", err)
	}
}

// stuck is a stream of which nobody takes or gives anything, as where kubelet is stopped.
type stuck struct{ over chan struct{} }

func (s *stuck) Read([]byte) (int, error)  { <-s.over; return 0, io.EOF }
func (s *stuck) Write([]byte) (int, error) { <-s.over; return 0, io.ErrClosedPipe }
func (s *stuck) Close() error              { close(s.over); return nil }

// A greeting ends with its context, also where not even its first byte is taken.
func TestGreetingEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, &stuck{make(chan struct{})}, DialOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
