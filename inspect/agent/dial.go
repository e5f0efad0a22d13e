package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/spool"
	"github.com/meshtop/meshtop/rules/flow"
)

// DialOptions adjust Dial. The zero value is what meshtop uses.
type DialOptions struct {
	Name                string        // what the user calls the pod; empty: what its own side calls it
	Session             string        // by which what this client holds is kept while it has no stream (Sessions); empty: it is not
	Heartbeat, Patience time.Duration // 0: Heartbeat and Patience of the package
	// Ended, if not nil, gives the reason why the stream ended in the transport's own words: a
	// pipe's end alone says nothing. It is asked once the stream has ended.
	Ended func() error
}

// Pod is a pod at the other end of a stream. It is an inspect.Pod, an inspect.Resolver and
// an inspect.Enforcer; what the pod behind it cannot do is an error of the call.
type Pod struct {
	conn  *pipe
	http  *http.ClientConn
	hello hello
	opt   DialOptions

	mu     sync.Mutex
	spools []*spool.Spool
}

var (
	_ inspect.Pod      = (*Pod)(nil)
	_ inspect.Resolver = (*Pod)(nil)
	_ inspect.Enforcer = (*Pod)(nil)
)

// ErrProtocol says that the two ends are of different builds.
var ErrProtocol = errors.New("the agent speaks another version")

// Dial greets the other end. Pod.Close closes the stream; so does an error here.
func Dial(ctx context.Context, rw io.ReadWriteCloser, opt DialOptions) (*Pod, error) {
	conn := newPipe(rw)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	t := &http.Transport{
		Protocols: &protocols, DisableCompression: true, MaxResponseHeaderBytes: 1 << 16,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		HTTP2:       &http.HTTP2Config{SendPingTimeout: or(opt.Heartbeat, Heartbeat), PingTimeout: or(opt.Patience, Patience)},
	}
	// A stream that takes nothing would hold HTTP/2's first write for ever, whatever ctx says.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	p := &Pod{conn: conn, opt: opt}
	var err error
	if p.http, err = t.NewClientConn(ctx, "http", "agent:80"); err != nil {
		err = p.broken(ctx, err)
		_ = conn.Close()
		return nil, fmt.Errorf("greet the agent: %w", err)
	}
	if err := p.call(ctx, pathHello, greeting{opt.Session}, &p.hello); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("greet the agent: %w", err)
	}
	if p.hello.Protocol != Protocol {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %d (build %q), this one %d: use an agent of this build", ErrProtocol, p.hello.Protocol, p.hello.Version, Protocol)
	}
	return p, nil
}

// Name is what the user calls the pod.
func (p *Pod) Name() string {
	if p.opt.Name != "" {
		return p.opt.Name
	}
	return p.hello.Name
}

// Done is closed when the stream has ended.
func (p *Pod) Done() <-chan struct{} { return p.conn.done }

// Close closes the stream; it may be called twice. Files of earlier reads must not be used
// after it.
func (p *Pod) Close() error {
	_ = p.conn.Close()
	_ = p.http.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.spools {
		errs = append(errs, s.Close())
	}
	p.spools = nil
	return errors.Join(errs...)
}

// Resolve is what a process of this user in the pod would get for a name.
func (p *Pod) Resolve(ctx context.Context, name string, uid, gid uint32) (flow.Named, error) {
	var a resolved
	if err := p.call(ctx, pathResolve, lookup{name, uid, gid}, &a); err != nil {
		return flow.Named{}, err
	}
	n := a.Named
	n.Name = name
	n.Addrs = n.Addrs[:min(len(n.Addrs), maxAddrs)]
	for i, addr := range n.Addrs {
		if n.Addrs[i] = addr.Unmap(); !addr.IsValid() {
			return flow.Named{}, fmt.Errorf("resolve %s: the agent's answer holds no address", name)
		}
	}
	return n, a.Error.err()
}

// Send makes one real request from inside.
func (p *Pod) Send(ctx context.Context, r flow.Request) (inspect.Sent, error) {
	var a sent
	if err := p.call(ctx, pathSend, r, &a); err != nil {
		return inspect.Sent{}, err
	}
	return a.Sent, a.Error.err()
}

// Policy reads what is in force.
func (p *Pod) Policy(ctx context.Context) (flow.Policy, error) {
	return p.policy(ctx, pathPolicy, struct{}{})
}

// Apply puts the change into force. The other end carries it out even if this one goes.
func (p *Pod) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	return p.policy(ctx, pathApply, c)
}

// Renew sets the lease of what is in force to ttl from now.
func (p *Pod) Renew(ctx context.Context, ttl time.Duration) error {
	_, err := p.policy(ctx, pathRenew, ttl)
	return err
}

func (p *Pod) policy(ctx context.Context, path string, q any) (flow.Policy, error) {
	var a policy
	if err := p.call(ctx, path, q, &a); err != nil {
		return flow.Policy{}, err
	}
	return a.Policy, a.Error.err()
}

// call asks one question whose answer is one value.
func (p *Pod) call(ctx context.Context, path string, q, a any) error {
	raw, err := json.Marshal(q)
	if err != nil {
		return err
	}
	body, err := p.ask(ctx, path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAsked)).Decode(a); err != nil {
		return p.broken(ctx, fmt.Errorf("the answer cannot be read: %w", err))
	}
	return nil
}

// ask asks one question. The answer must be closed.
func (p *Pod) ask(ctx context.Context, path string, q io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, q)
	if err != nil {
		return nil, err
	}
	resp, err := p.http.RoundTrip(req)
	if err != nil {
		return nil, p.broken(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return nil, fmt.Errorf("the agent: %s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return resp.Body, nil
}

// broken is err, or, where the stream has ended, why it has.
func (p *Pod) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case <-p.conn.done:
	default:
		return err
	}
	return &EndedError{p.why()}
}

// why is the reason why the stream has ended, in the transport's words where it has some. Of an
// end that HTTP/2 gave up because no heartbeat was answered the transport knows nothing yet.
func (p *Pod) why() error {
	patience := or(p.opt.Patience, Patience)
	if errors.Is(p.conn.err, errClosed) && p.conn.silent >= patience {
		return fmt.Errorf("nothing was heard of the agent for %v", p.conn.silent.Round(min(patience, time.Second)))
	}
	if p.opt.Ended != nil {
		if said := p.opt.Ended(); said != nil {
			return said
		}
	}
	return p.conn.err
}

// Ended is the reason why the stream has ended; nil: it has not.
func (p *Pod) Ended() error {
	select {
	case <-p.conn.done:
		return &EndedError{p.why()}
	default:
		return nil
	}
}

// EndedError says that the stream to the agent has ended. What was on its way may have been done.
type EndedError struct{ Why error }

// Error is the reason in the transport's words.
func (e *EndedError) Error() string {
	return fmt.Sprintf("the stream to the agent has ended: %v", e.Why)
}

// Unwrap is the reason.
func (e *EndedError) Unwrap() error { return e.Why }
