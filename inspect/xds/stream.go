package xds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// The types that are served, in the order in which they are sent: a listener may name a cluster.
const (
	clusters = iota
	listeners
	kinds
)

var typeURLs = [kinds]string{"type.googleapis.com/" + clusterType, "type.googleapis.com/" + listenerType}

// set is what is served of one type. Every set that is served has a number of its own, so that
// an old one that is served again is a new version to Envoy, and is acknowledged.
type set struct {
	version   int
	resources []object // each an Any
}

// stream is one Envoy that is connected.
type stream struct {
	node       string
	peer       netip.Addr
	subscribed [kinds]bool
	sent       [kinds]int // versions
	nonces     [kinds]string
	acked      [kinds]int
	refused    [kinds]int
	why        [kinds]string // of refused
}

// adsService answers ADS for a Server. It does what a stream needs and no more, and is not
// go-control-plane's own server: that one sends a refused version again at once and for ever,
// where here the one before has to be served.
var adsService = grpc.ServiceDesc{
	ServiceName: "envoy.service.discovery.v3.AggregatedDiscoveryService",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{StreamName: "StreamAggregatedResources", ServerStreams: true, ClientStreams: true,
		Handler: func(s any, gs grpc.ServerStream) error { return s.(*Server).stream(gs) }}},
}

// receive takes one DiscoveryRequest of a stream.
func receive(gs grpc.ServerStream) (object, error) {
	req := fresh(requestType)
	return req, gs.RecvMsg(req.Interface())
}

// stream serves one Envoy, the state of the world in each message. A second one is turned away: a
// policy is applied iff the one Envoy has it.
func (s *Server) stream(gs grpc.ServerStream) error {
	first, err := receive(gs)
	if err != nil {
		return err
	}
	me := &stream{node: first.text("node.id"), peer: peerOf(gs.Context())}
	if err := s.join(me); err != nil {
		return err
	}
	defer s.leave(me)
	ctx, cancel := context.WithCancel(gs.Context())
	defer cancel()
	requests := make(chan object)
	go func() { // ends with the stream, whose end receive reports
		defer close(requests)
		for req, err := first, error(nil); err == nil; req, err = receive(gs) {
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		changed, due := s.due(me)
		for _, resp := range due {
			if err := gs.SendMsg(resp.Interface()); err != nil {
				return err
			}
		}
		select {
		case req, ok := <-requests:
			if !ok {
				return nil
			}
			s.take(me, req)
		case <-changed:
		}
	}
}

func peerOf(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	a, ok := p.Addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

// join makes a stream the one that is served.
func (s *Server) join(me *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.envoy != nil {
		s.say("a second Envoy, node %q at %s, was turned away: node %q at %s is connected", me.node, me.peer, s.envoy.node, s.envoy.peer)
		return status.Errorf(codes.FailedPrecondition, "node %q is connected; this control plane serves one Envoy", s.envoy.node)
	}
	s.envoy = me
	s.say("Envoy is connected: node %q at %s", me.node, me.peer)
	s.wake()
	return nil
}

func (s *Server) leave(me *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envoy = nil
	s.say("Envoy is gone: node %q at %s", me.node, me.peer)
	s.wake()
}

// wake tells everyone who waits that something has changed. It is called with mu held.
func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// due is what a stream has not been sent yet, and what is closed at the next change.
func (s *Server) due(me *stream) (changed <-chan struct{}, out []object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range kinds {
		if !me.subscribed[k] || me.sent[k] == s.served[k].version {
			continue
		}
		me.sent[k] = s.served[k].version
		me.nonces[k] = s.versionText(me.sent[k])
		resp := fresh(responseType)
		resp.set("type_url", typeURLs[k])
		resp.set("version_info", me.nonces[k])
		resp.set("nonce", me.nonces[k])
		resp.put("resources", s.served[k].resources...)
		out = append(out, resp)
	}
	return s.changed, out
}

// take notes what Envoy says: that it wants a type, has taken a version of it, or refuses it.
func (s *Server) take(me *stream, req object) {
	k := slices.Index(typeURLs[:], req.text("type_url"))
	if k < 0 {
		s.say("Envoy asks for %s, which is not served", req.text("type_url"))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	me.subscribed[k] = true
	switch nonce := req.text("response_nonce"); {
	case nonce == "" || nonce != me.nonces[k]: // the first, or about an older one
	case req.has("error_detail"):
		me.refused[k], me.why[k] = me.sent[k], oneLine(req.text("error_detail.message"))
		s.say("Envoy refused version %s: %s", me.nonces[k], me.why[k])
	default:
		me.acked[k] = me.sent[k]
	}
	s.wake()
}

// oneLine is Envoy's text as a part of a sentence.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// versionText is a version as Envoy shows it. The start of the process is part of it, so that
// two processes never give one name to two configurations.
func (s *Server) versionText(v int) string { return fmt.Sprintf("meshtop-%s-%d", s.epoch, v) }

// Refusal is what Envoy said of a configuration that it did not take.
type Refusal struct{ Version, Detail string }

// Error is Envoy's own text.
func (r *Refusal) Error() string {
	return fmt.Sprintf("Envoy refused version %s: %s", r.Version, r.Detail)
}

// errNoEnvoy: nobody is connected to be served.
var errNoEnvoy = errors.New("no Envoy is connected to the control plane")

// await waits until Envoy has acknowledged what is served of every type. It returns a *Refusal
// where Envoy refuses one.
func (s *Server) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		changed, waits := s.changed, s.unacknowledged()
		s.mu.Unlock()
		var r *Refusal
		if waits == nil || errors.As(waits, &r) {
			return waits
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return waits
		}
	}
}

// unacknowledged says what is missing until Envoy has all that is served; nil: nothing. It is
// called with mu held.
func (s *Server) unacknowledged() error {
	if s.envoy == nil {
		return errNoEnvoy
	}
	for k := range kinds {
		v := s.served[k].version
		switch {
		case s.envoy.acked[k] == v:
		case s.envoy.refused[k] == v:
			return &Refusal{s.versionText(v), s.envoy.why[k]}
		default:
			return fmt.Errorf("node %q has not acknowledged version %s", s.envoy.node, s.versionText(v))
		}
	}
	return nil
}
