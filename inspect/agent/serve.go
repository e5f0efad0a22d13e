package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// ServeOptions adjust Serve. The zero value is what meshtop uses.
type ServeOptions struct {
	Version             string        // of this build, told in the greeting
	Heartbeat, Patience time.Duration // 0: Heartbeat and Patience of the package
}

// Serve answers on the stream for pod until the stream or ctx ends, and closes the stream,
// not the pod. A change that was to hold only while somebody watches (flow.Change.Hold) is
// undone before it returns, but for one whose session the pod keeps (Sessions). The error says
// why the stream ended; the client's going is none.
func Serve(ctx context.Context, rw io.ReadWriteCloser, pod inspect.Pod, opt ServeOptions) error {
	p := newPipe(rw)
	s := &server{pod: pod, opt: opt, life: ctx}
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		pathHello: s.hello, pathRead: s.read, pathResolve: s.resolve, pathSend: s.send,
		pathObserve: s.observe, pathPolicy: s.policy, pathApply: s.apply, pathRenew: s.renew, pathLeave: s.leave,
	} {
		mux.HandleFunc("POST "+path, h)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: http.MaxBytesHandler(mux, maxAsked), Protocols: &protocols, MaxHeaderBytes: 1 << 16,
		ErrorLog: log.New(io.Discard, "", 0), // why the stream ended is returned
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: or(opt.Heartbeat, Heartbeat), PingTimeout: or(opt.Patience, Patience), MaxConcurrentStreams: 64,
		},
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	defer stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = srv.Serve(&one{conn: p}) // ends with the stream, whose end is told below
	}()
	<-p.done
	_ = srv.Close()
	<-over
	err := s.letGo()
	switch {
	case ctx.Err() != nil, errors.Is(p.err, io.EOF), errors.Is(p.err, io.ErrClosedPipe), errors.Is(p.err, syscall.EPIPE):
		return err
	}
	return errors.Join(err, fmt.Errorf("the stream ended: %w", p.err))
}

func or(d, alt time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return alt
}

type server struct {
	pod  inspect.Pod
	opt  ServeOptions
	life context.Context

	mu      sync.Mutex
	held    *flow.Change // of this stream, in force while it lives
	session string       // by which the pod keeps what this client holds; empty: it does not
	gone    bool         // the stream has ended: nothing is applied for it any more
}

func (s *server) hello(w http.ResponseWriter, r *http.Request) {
	var g greeting
	if !asked(w, r, &g) {
		return
	}
	_, resolves := s.pod.(inspect.Resolver)
	_, enforces := s.pod.(inspect.Enforcer)
	answer(w, hello{Protocol: Protocol, Version: s.opt.Version, Name: s.pod.Name(), Resolves: resolves, Enforces: enforces, Keeps: s.greeted(r.Context(), g.Session)})
}

func (s *server) resolve(w http.ResponseWriter, r *http.Request) {
	var q lookup
	if !asked(w, r, &q) {
		return
	}
	a := resolved{Error: faultOf(errors.New("this pod cannot look names up"))}
	if by, ok := s.pod.(inspect.Resolver); ok {
		var err error
		a.Named, err = by.Resolve(r.Context(), q.Name, q.UID, q.GID)
		a.Error = faultOf(err)
	}
	answer(w, a)
}

func (s *server) send(w http.ResponseWriter, r *http.Request) {
	var req flow.Request
	if !asked(w, r, &req) {
		return
	}
	got, err := s.pod.Send(r.Context(), req)
	answer(w, sent{got, faultOf(err)})
}

// asked reads the question; where it makes no sense the caller is told, and it is false.
func asked(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		http.Error(w, "the question cannot be read: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// answer writes one JSON value. What fails to arrive has nobody to be told.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
