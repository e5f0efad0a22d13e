package xds

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// running is a control plane on the loopback.
type running struct {
	*Server
	t      *testing.T
	addr   string
	socket string
	mu     sync.Mutex
	said   []string
}

func serve(t *testing.T, text string) *running {
	t.Helper()
	out := &running{t: t, socket: filepath.Join(t.TempDir(), "s")}
	s, err := New(parse(t, text), Options{Grace: 2 * time.Second, Say: func(line string) {
		out.mu.Lock()
		defer out.mu.Unlock()
		out.said = append(out.said, line)
	}})
	if err != nil {
		t.Fatal(err)
	}
	out.Server = s
	adsOn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asksOn, err := listenAsks(out.socket)
	if err != nil {
		t.Fatal(err)
	}
	out.addr = adsOn.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, adsOn, asksOn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return out
}

func (s *running) says(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(strings.Join(s.said, "\n"), text)
}

// envoy speaks ADS as Envoy does, and takes or refuses what it is sent.
type envoy struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[discovery.DiscoveryRequest, discovery.DiscoveryResponse]
	close  func()
}

func connect(t *testing.T, addr, node string) *envoy {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e := &envoy{t: t, stream: stream, close: func() { cancel(); conn.Close() }}
	t.Cleanup(e.close)
	for _, url := range typeURLs {
		e.send(&discovery.DiscoveryRequest{TypeUrl: url, Node: &core.Node{Id: node}})
	}
	return e
}

func (e *envoy) send(r *discovery.DiscoveryRequest) {
	e.t.Helper()
	if err := e.stream.Send(r); err != nil {
		e.t.Fatal(err)
	}
}

// next takes a response of a type; each of another type is acknowledged.
func (e *envoy) next(kind int) *discovery.DiscoveryResponse {
	e.t.Helper()
	for {
		r, err := e.stream.Recv()
		if err != nil {
			e.t.Fatal(err)
		}
		if r.TypeUrl == typeURLs[kind] {
			return r
		}
		e.ack(r)
	}
}

func (e *envoy) ack(r *discovery.DiscoveryResponse) {
	e.send(&discovery.DiscoveryRequest{TypeUrl: r.TypeUrl, VersionInfo: r.VersionInfo, ResponseNonce: r.Nonce})
}

func (e *envoy) refuse(r *discovery.DiscoveryResponse, why string) {
	e.send(&discovery.DiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce, ErrorDetail: &status.Status{Message: why}})
}

func wordedBlock(ttl time.Duration) flow.Change {
	c := flow.Change{Kind: flow.BlockAll, Driver: flow.XDS, TTL: ttl, By: "me"}
	c.Edits, c.Undo = edits.Served(c, []string{"out"})
	return c
}

// A version that is refused is not sent again: the one before is, under a name of its own, and the
// refusal waits until that is acknowledged.
func TestRefusedVersion(t *testing.T) {
	s := serve(t, many)
	e := connect(t, s.addr, "a")
	first := e.next(listeners)
	e.ack(first)
	done := make(chan error, 1)
	go func() {
		_, err := s.Apply(context.Background(), wordedBlock(time.Minute))
		done <- err
	}()
	bad := e.next(listeners)
	if len(bad.Resources) != len(first.Resources) { // none is taken away before the rest is taken
		t.Errorf("the first step has %d listeners, the file %d", len(bad.Resources), len(first.Resources))
	}
	e.refuse(bad, "no,\nbecause\n")
	back := e.next(listeners)
	if back.VersionInfo == first.VersionInfo || back.VersionInfo == bad.VersionInfo || len(back.Resources) != len(first.Resources) {
		t.Errorf("after %s and %s came %s with %d listeners", first.VersionInfo, bad.VersionInfo, back.VersionInfo, len(back.Resources))
	}
	for i, r := range back.Resources {
		if string(r.Value) != string(first.Resources[i].Value) {
			t.Errorf("listener %d is not as it was", i)
		}
	}
	select {
	case err := <-done:
		t.Errorf("answered before the old version was acknowledged: %v", err)
	default:
	}
	e.ack(back)
	err := <-done
	var r *Refusal
	if !errors.As(err, &r) || r.Detail != "no,; because" || r.Version != bad.VersionInfo {
		t.Errorf("got %v", err)
	}
	if p, err := s.Policy(context.Background()); err != nil || p.Change.Kind != flow.NoPolicy {
		t.Errorf("%+v, %v", p, err)
	}
}

// An answer about an older version says nothing of the one that is served.
func TestStaleAnswer(t *testing.T) {
	s, err := New(parse(t, many), Options{})
	if err != nil {
		t.Fatal(err)
	}
	me := &stream{node: "a"}
	if err := s.join(me); err != nil {
		t.Fatal(err)
	}
	say := func(kind int, nonce, refusal string) {
		r := fresh(requestType)
		r.set("type_url", typeURLs[kind])
		r.set("response_nonce", nonce)
		if refusal != "" {
			r.set("error_detail.message", refusal)
		}
		s.take(me, r)
	}
	want := func(text string) {
		t.Helper()
		err := s.unacknowledged()
		if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	say(clusters, "", "")
	say(listeners, "", "")
	_, sent := s.due(me)
	if len(sent) != 2 || sent[0].text("type_url") != typeURLs[clusters] {
		t.Fatalf("sent %d, the clusters not first", len(sent))
	}
	say(clusters, sent[0].text("nonce"), "")
	want("has not acknowledged version " + sent[1].text("version_info"))
	say(listeners, sent[1].text("nonce"), "")
	want("")
	if err := s.push(nil, s.conf.listeners[:1]); err != nil {
		t.Fatal(err)
	}
	say(listeners, sent[1].text("nonce"), "")
	want("has not acknowledged")
	_, next := s.due(me)
	if len(next) != 1 {
		t.Fatalf("sent %d again", len(next))
	}
	say(listeners, sent[1].text("nonce"), "")
	say(listeners, sent[1].text("nonce"), "stale")
	say(listeners, "", "")
	want("has not acknowledged version " + next[0].text("version_info"))
	say(listeners, next[0].text("nonce"), "")
	want("")
}

// Without an admin interface nothing is proven: the policy is in force, its state unknown, and it
// ends all the same. An Envoy that says nothing is given up.
func TestUnproven(t *testing.T) {
	s := serve(t, many)
	e := connect(t, s.addr, "a")
	e.ack(e.next(listeners))
	type result struct {
		p   flow.Policy
		err error
	}
	done := make(chan result, 1)
	go func() {
		p, err := s.Apply(context.Background(), wordedBlock(time.Millisecond))
		done <- result{p, err}
	}()
	grown := e.next(listeners)
	e.ack(grown)
	less := e.next(listeners)
	if len(less.Resources) >= len(grown.Resources) || len(grown.Resources) != len(s.conf.listeners) {
		t.Errorf("block-all has %d listeners after %d, the file %d", len(less.Resources), len(grown.Resources), len(s.conf.listeners))
	}
	e.ack(less)
	r := <-done
	if r.err != nil || r.p.State != flow.StateUnknown || !strings.Contains(r.p.Why, "has no admin interface at an address") || r.p.Change.Kind != flow.BlockAll {
		t.Errorf("%+v, %v", r.p, r.err)
	}
	back := e.next(listeners)
	if len(back.Resources) != len(s.conf.listeners) {
		t.Errorf("its time is over, and %d listeners are served", len(back.Resources))
	}
	e.ack(back)

	go func() {
		p, err := s.Apply(context.Background(), wordedBlock(time.Minute))
		done <- result{p, err}
	}()
	e.next(listeners) // and no answer
	e.ack(e.next(listeners))
	if r := <-done; r.err == nil || !strings.Contains(r.err.Error(), "has not acknowledged version") || !strings.Contains(r.err.Error(), "served again and acknowledged") {
		t.Errorf("%+v, %v", r.p, r.err)
	}
}

// An admin interface that hangs holds up neither a policy's end nor, for long, its begin.
func TestHungAdmin(t *testing.T) {
	s := serve(t, many)
	s.opt.Admin = netip.MustParseAddrPort("127.0.0.1:9901")
	s.opt.Dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	e := connect(t, s.addr, "a")
	e.ack(e.next(listeners))
	done := make(chan flow.Policy, 1)
	go func() {
		p, _ := s.Apply(context.Background(), wordedBlock(1500*time.Millisecond))
		done <- p
	}()
	e.ack(e.next(listeners))
	begun := time.Now()
	back := e.next(listeners)
	if late := time.Since(begun); late > 4*time.Second { // the admin's own patience is 5 s, for each question
		t.Errorf("a policy of 1.5 s ended after %s", late)
	}
	e.ack(back)
	if p := <-done; p.State != flow.StateUnknown || !strings.Contains(p.Why, "they cannot be asked") {
		t.Errorf("%+v", p)
	}
}

// One Envoy is served; another may come once it is gone.
func TestOneEnvoy(t *testing.T) {
	s := serve(t, many)
	a := connect(t, s.addr, "a")
	a.ack(a.next(listeners))
	b := connect(t, s.addr, "b")
	if _, err := b.stream.Recv(); err == nil || !strings.Contains(err.Error(), `node "a" is connected`) {
		t.Errorf("a second Envoy: %v", err)
	}
	a.close()
	for !s.says(`Envoy is gone: node "a"`) {
		time.Sleep(time.Millisecond)
	}
	c := connect(t, s.addr, "c")
	c.ack(c.next(listeners))
}

// The socket: errors keep what they are, and nonsense gets a sentence.
func TestSocket(t *testing.T) {
	s := serve(t, many)
	c, err := Dial(context.Background(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	if err := c.Renew(ctx, time.Minute); !errors.Is(err, inspect.ErrEnded) {
		t.Errorf("got %v", err)
	}
	if p, err := c.Policy(ctx); err != nil || p.State != flow.StateUnknown || p.Why != "no Envoy is connected to the control plane" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := c.Apply(ctx, wordedBlock(time.Minute)); err == nil || !strings.Contains(err.Error(), "no Envoy is connected") {
		t.Errorf("got %v", err)
	}
	e := connect(t, s.addr, "a")
	e.ack(e.next(listeners))
	for !s.says("Envoy is connected") {
		time.Sleep(time.Millisecond)
	}
	for want, ch := range map[string]flow.Change{
		"is not what it would do":          func() flow.Change { ch := wordedBlock(time.Minute); ch.KeepHandoff = true; return ch }(),
		"this one is of kernel":            func() flow.Change { ch := wordedBlock(time.Minute); ch.Driver = flow.Kernel; return ch }(),
		"this one says 0s and permanent f": wordedBlock(0),
	} {
		if _, err := c.Apply(ctx, ch); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	raw, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.Write([]byte(`{"Do":"apply","Change":{"Kindd":1}}` + "\n"))
	buf := make([]byte, 4096)
	n, _ := raw.Read(buf)
	if !strings.Contains(string(buf[:n]), "does not understand the question") {
		t.Errorf("got %s", buf[:n])
	}
	if _, err := listenAsks(s.socket); err == nil || !strings.Contains(err.Error(), "another control plane answers there") {
		t.Errorf("a second one at the same socket: %v", err)
	}
}
