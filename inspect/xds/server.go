package xds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/meshtop/meshtop/inspect/admin"
)

const (
	defaultConnect = time.Second
	pingEvery      = 10 * time.Second
	pingPatience   = 5 * time.Second
	defaultGrace   = 10 * time.Second
)

// Options are how a Server serves.
type Options struct {
	// Grace is how long Envoy may take to acknowledge a version, and to put it into force; 0: 10 s.
	Grace time.Duration
	// Admin is where Envoy's admin interface is; invalid: where the configuration says, at the
	// address that Envoy connects from where it says every address.
	Admin netip.AddrPort
	// Dial opens a connection to it; nil: from here.
	Dial admin.Dialer
	// Say is told what happens by itself, a sentence at a time; nil: nobody is. It must not block.
	Say func(string)
}

// Server serves one configuration to one Envoy, and holds the end of the policy in it.
type Server struct {
	opt   Options
	epoch string

	op   sync.Mutex // one swap at a time; taken before mu
	conf *Config    // guarded by op
	held *held      // the policy in force, nil: none; guarded by op

	mu      sync.Mutex
	version int
	served  [kinds]set
	envoy   *stream
	changed chan struct{} // closed and replaced at each change
}

// New serves a configuration as it is, once Serve runs.
func New(conf *Config, opt Options) (*Server, error) {
	if opt.Grace == 0 {
		opt.Grace = defaultGrace
	}
	if opt.Dial == nil {
		opt.Dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr.String())
		}
	}
	s := &Server{opt: opt, conf: conf, changed: make(chan struct{}),
		epoch: strconv.FormatInt(time.Now().UnixNano(), 36)}
	return s, s.push(conf.clusters, conf.listeners)
}

func (s *Server) say(format string, args ...any) {
	if s.opt.Say != nil {
		s.opt.Say(fmt.Sprintf(format, args...))
	}
}

// Serve serves ADS on the one listener, and who asks for policies on the other (nil: nobody), until
// ctx ends. Then it ends the policy that is in force, and both listeners.
func (s *Server) Serve(ctx context.Context, adsOn, asksOn net.Listener) error {
	g := grpc.NewServer(grpc.WaitForHandlers(true), grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingPatience}),
		// Envoy pings as the bootstrap says; without this it would be called abuse.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2, PermitWithoutStream: true}))
	g.RegisterService(&adsService, s)
	var wg sync.WaitGroup
	var adsErr error
	broken := make(chan struct{})
	wg.Go(func() {
		defer close(broken)
		adsErr = g.Serve(adsOn)
	})
	asking, stopAsking := context.WithCancel(context.Background())
	if asksOn != nil {
		wg.Go(func() { s.answer(asking, asksOn) })
	}
	select {
	case <-ctx.Done():
	case <-broken:
	}
	stopAsking() // a request under way still gets its answer
	s.op.Lock()
	if s.held != nil {
		s.end("the control plane ends")
	}
	s.op.Unlock()
	if asksOn != nil {
		asksOn.Close()
	}
	g.Stop() // what had to be acknowledged is
	wg.Wait()
	if errors.Is(adsErr, grpc.ErrServerStopped) {
		adsErr = nil
	}
	if adsErr != nil {
		return fmt.Errorf("serve ADS at %s: %w", adsOn.Addr(), adsErr)
	}
	return nil
}

// push serves other clusters and listeners from now on; nil clusters stay as they are.
func (s *Server) push(cl, ls []object) error {
	packedListeners, err := pack(ls)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cl != nil {
		packedClusters, err := pack(cl)
		if err != nil {
			return err
		}
		s.version++
		s.served[clusters] = set{s.version, packedClusters}
	}
	s.version++
	s.served[listeners] = set{s.version, packedListeners}
	s.wake()
	return nil
}

func pack(some []object) ([]object, error) {
	out := make([]object, len(some))
	for i, o := range some {
		var err error
		if out[i], err = o.pack(); err != nil {
			return nil, fmt.Errorf("encode what is served: %w", err)
		}
	}
	return out, nil
}

// sets is what is served now.
func (s *Server) sets() [kinds]set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served
}

// again serves an earlier state under new versions, and waits until Envoy has it.
func (s *Server) again(old [kinds]set) error {
	s.mu.Lock()
	for k := range kinds {
		if s.served[k].version != old[k].version {
			s.version++
			s.served[k] = set{s.version, old[k].resources}
		}
	}
	s.wake()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Grace)
	defer cancel()
	return s.await(ctx)
}

// try serves what next puts, and waits until Envoy has it. On an error the state before is served
// again.
func (s *Server) try(next func() error) error {
	old := s.sets()
	if err := next(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Grace)
	defer cancel()
	err := s.await(ctx)
	if err == nil {
		return nil
	}
	if back := s.again(old); back != nil {
		return fmt.Errorf("%w; the configuration before is served again, but: %w", err, back)
	}
	return fmt.Errorf("%w; the configuration before is served again and acknowledged", err)
}

// Reload serves another configuration in place of the one before. A policy in force refuses it:
// what it was made of would change under it. The clusters of both are served while the listeners
// change, so that none names a cluster that is not there. What is not served, Envoy has read at its
// start, and keeps.
func (s *Server) Reload(conf *Config) error {
	s.op.Lock()
	defer s.op.Unlock()
	if s.held != nil {
		return fmt.Errorf("%s is in force: restore first, then reload", s.held.change.Kind)
	}
	old := s.conf
	if !old.stays.equal(conf.stays) {
		return errors.New("what is not served has changed in it: start Envoy anew with what --write writes")
	}
	both := slices.Clone(conf.clusters)
	has := map[string]bool{}
	for _, c := range both {
		has[c.text("name")] = true
	}
	for _, c := range old.clusters {
		if !has[c.text("name")] {
			both = append(both, c)
		}
	}
	if err := s.try(func() error { return s.push(both, conf.listeners) }); err != nil {
		return err
	}
	s.conf = conf
	return s.try(func() error { return s.push(conf.clusters, conf.listeners) })
}
