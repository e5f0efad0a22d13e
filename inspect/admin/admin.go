// Package admin reads Envoy's admin interface: it finds it, asks one question at a time,
// bounds every answer in size and time, and keeps a large one in a file. It carries bytes
// and knows only as much of them as it needs to find its way.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/spool"
)

// Dialer opens a connection inside the pod.
type Dialer func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

// Options bound what a Client does. The zero value is what meshtop uses.
type Options struct {
	// Patience is how long a small answer may take; 0: 5 s.
	Patience time.Duration
	// LongPatience is how long a whole configuration may take: Envoy's main thread makes all
	// of it before the first byte comes (11 s for 10,000 services); 0: 90 s.
	LongPatience time.Duration
	// MaxBytes bounds one answer; 0: 1 GiB.
	MaxBytes int64
	// InMemory is up to where an answer is kept in memory; 0: 8 MiB.
	InMemory int64
	// Via, if not nil, asks in another way than by a connection of a Dialer's.
	Via func(at netip.AddrPort) http.RoundTripper
}

func (o Options) defaults() Options {
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	if o.LongPatience == 0 {
		o.LongPatience = 90 * time.Second
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.InMemory == 0 {
		o.InMemory = 8 << 20
	}
	return o
}

// Client asks one Envoy. Its methods may be called at once; they wait for each other.
type Client struct {
	addr netip.AddrPort
	opt  Options
	http *http.Client

	mu     sync.Mutex // one question at a time: each takes Envoy's main thread
	spools []*spool.Spool
}

// New is a client for the admin interface at addr.
func New(addr netip.AddrPort, dial Dialer, opt Options) *Client {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if opt.Via != nil {
		return &Client{addr: addr, opt: opt.defaults(), http: &http.Client{Transport: opt.Via(addr), CheckRedirect: stay}}
	}
	t := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, addr) },
		MaxConnsPerHost: 1, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &Client{addr: addr, opt: opt.defaults(), http: &http.Client{Transport: t, CheckRedirect: stay}}
}

// Addr is where the admin interface is.
func (c *Client) Addr() netip.AddrPort { return c.addr }

// Close ends the connection and gives up the files that answers are kept in: what Get
// returned must not be used any more. It may be called twice.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.http.CloseIdleConnections()
	var errs []error
	for _, s := range c.spools {
		errs = append(errs, s.Close())
	}
	c.spools = nil
	return errors.Join(errs...)
}

// ErrHung: the admin interface took the question and gave no answer in time. Further
// questions would only wait as long again.
var ErrHung = errors.New("no answer")

// Refusal is an answer that is none: another status than 200, or a text where JSON was due.
type Refusal struct {
	Status int
	Text   string // the first line of what it said
}

// Error is the status and what was said with it.
func (r *Refusal) Error() string {
	if r.Status == http.StatusOK {
		return fmt.Sprintf("the answer is not JSON but %q", r.Text)
	}
	text := fmt.Sprintf("status %d %s", r.Status, http.StatusText(r.Status))
	if r.Text != "" {
		text += fmt.Sprintf(": %q", r.Text)
	}
	return text
}

// question is one GET, or with post one POST.
type question struct {
	path     string
	post     bool
	json     bool  // an answer that does not begin with { is a refusal
	long     bool  // LongPatience
	max      int64 // 0: the client's bound
	progress func(bytes int64)
}

func (q question) method() string {
	if q.post {
		return http.MethodPost
	}
	return http.MethodGet
}

// Get asks for a path such as "/runtime", whose answer is JSON.
func (c *Client) Get(ctx context.Context, path string) ([]byte, inspect.Call, error) {
	return c.ask(ctx, question{path: path, json: true})
}

// Post changes something, such as "/runtime_modify?key=value", whose answer is a word.
func (c *Client) Post(ctx context.Context, path string) (inspect.Call, error) {
	_, call, err := c.ask(ctx, question{path: path, post: true, max: 64 << 10})
	return call, err
}

// Text asks for a path such as "/stats", whose answer is text.
func (c *Client) Text(ctx context.Context, path string) ([]byte, inspect.Call, error) {
	return c.ask(ctx, question{path: path, max: 64 << 20})
}

// ask asks, and says what was done. Its errors name the place.
func (c *Client) ask(ctx context.Context, q question) ([]byte, inspect.Call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := inspect.Call{What: q.method() + " " + c.addr.String() + q.path, Start: time.Now()}
	data, err := c.do(ctx, q)
	call.Took, call.Bytes = time.Since(call.Start), int64(len(data))
	if err != nil {
		err = fmt.Errorf("%s: %w", call.What, err)
		call.Err = err.Error()
	}
	return data, call, err
}

func (c *Client) do(ctx context.Context, q question) ([]byte, error) {
	patience := c.opt.Patience
	if q.long {
		patience = c.opt.LongPatience
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(within, q.method(), "http://"+c.addr.String()+q.path, nil)
	if err != nil {
		return nil, err
	}
	req.Host = "localhost" // as in curl localhost:9901: an admin interface may check it
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.late(ctx, within, patience, 0, bare(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &Refusal{resp.StatusCode, firstLine(resp.Body)}
	}
	s := &spool.Spool{InMemory: c.opt.InMemory, Max: c.opt.MaxBytes, Progress: q.progress}
	if q.max > 0 && q.max < s.Max {
		s.Max = q.max
	}
	data, err := s.Take(resp.Body)
	if err != nil {
		return nil, errors.Join(c.late(ctx, within, patience, s.Size(), err), s.Close())
	}
	if q.json && !strings.HasPrefix(strings.TrimLeft(string(data[:min(len(data), 64)]), " \t\r\n"), "{") {
		said := &Refusal{resp.StatusCode, firstLine(strings.NewReader(string(data[:min(len(data), 512)])))}
		_ = s.Close() // nobody uses it
		return nil, said
	}
	if s.Mapped() {
		c.spools = append(c.spools, s)
	}
	return data, nil
}

// late tells the caller's own end of patience from ours.
func (c *Client) late(ctx, within context.Context, patience time.Duration, got int64, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case within.Err() != nil && got > 0:
		return fmt.Errorf("%w: after %s it had sent %d bytes and went on", ErrHung, patience, got)
	case within.Err() != nil:
		return fmt.Errorf("%w within %s", ErrHung, patience)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the answer broke off after %d bytes", got)
	}
	return err
}

// bare is a client's error without the method and URL, which the caller adds.
func bare(err error) error {
	var u interface{ Unwrap() error }
	if errors.As(err, &u) {
		if in := u.Unwrap(); in != nil {
			return in
		}
	}
	return err
}

// firstLine is the beginning of a text that is shown to the user.
func firstLine(r io.Reader) string {
	buf, _ := io.ReadAll(io.LimitReader(r, 512))
	line, _, _ := strings.Cut(strings.TrimSpace(string(buf)), "\n")
	if len(line) > 200 {
		line = line[:200] + "..."
	}
	return strings.TrimSpace(line)
}

// Adopt takes over the files of an earlier client, so that its answers stay valid until this
// one is closed.
func (c *Client) Adopt(old *Client) {
	old.mu.Lock()
	defer old.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spools = append(c.spools, old.spools...)
	old.spools = nil
	old.http.CloseIdleConnections()
}
