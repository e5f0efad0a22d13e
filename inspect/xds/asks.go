package xds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// ask is one question over the socket, a JSON object a line; each gets one reply.
type ask struct {
	Do     string // "policy", "apply", "renew" or "version"
	Change *flow.Change
	TTL    time.Duration
}

// reply is an answer. Held is the policy of an *inspect.Held.
type reply struct {
	Policy  flow.Policy
	Version string // of the listeners that are served
	Error   string
	Held    *flow.Policy
	// Altered and Ended say that the error is one of inspect.ErrAltered, inspect.ErrEnded.
	Altered, Ended bool
}

// answer answers who asks over ln until ctx ends, each connection on its own.
func (s *Server) answer(ctx context.Context, ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return // closed: Serve ends
		}
		wg.Go(func() { s.talk(ctx, conn) })
	}
}

// talk answers one connection. A policy that is held by it ends with it.
func (s *Server) talk(ctx context.Context, conn net.Conn) {
	defer s.gone(conn)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	defer stop()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	in.DisallowUnknownFields() // another version of meshtop would be half understood
	for {
		var a ask
		if err := in.Decode(&a); err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				out.Encode(reply{Error: fmt.Sprintf("the control plane does not understand the question: %v", err)})
			}
			return
		}
		if err := out.Encode(s.reply(a, conn)); err != nil {
			return
		}
	}
}

func (s *Server) reply(a ask, from net.Conn) reply {
	var r reply
	var err error
	ctx := context.Background() // a swap under way is ended by its own bounds, never halfway
	switch {
	case a.Do == "policy":
		r.Policy, err = s.Policy(ctx)
	case a.Do == "version":
		r.Version = s.current()
	case a.Do == "renew":
		err = s.Renew(ctx, a.TTL)
	case a.Do == "apply" && a.Change != nil:
		r.Policy, err = s.apply(ctx, *a.Change, from)
	default:
		err = fmt.Errorf("the control plane does not know how to do %q", a.Do)
	}
	var h *inspect.Held
	if errors.As(err, &h) {
		r.Held = &h.Policy
	}
	if err != nil {
		r.Error, r.Altered, r.Ended = err.Error(), errors.Is(err, inspect.ErrAltered), errors.Is(err, inspect.ErrEnded)
	}
	return r
}

// Client asks a control plane over its socket. It is an inspect.Server.
type Client struct {
	socket string
	mu     sync.Mutex // one question at a time
	conn   net.Conn
	in     *json.Decoder
}

// Dial opens the socket of a control plane.
func Dial(ctx context.Context, socket string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("ask the control plane: %w: is meshtop controlplane running, and this its --socket?", err)
	}
	return &Client{socket: socket, conn: conn, in: json.NewDecoder(conn)}, nil
}

// Close ends the connection, and with it what was applied to be held. It may be called twice.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Policy reads what is in force.
func (c *Client) Policy(ctx context.Context) (flow.Policy, error) {
	r, err := c.ask(ctx, ask{Do: "policy"})
	return r.Policy, err
}

// Apply puts a change into force, as inspect.Enforcer says.
func (c *Client) Apply(ctx context.Context, ch flow.Change) (flow.Policy, error) {
	r, err := c.ask(ctx, ask{Do: "apply", Change: &ch})
	return r.Policy, err
}

// Renew sets the end of what is in force to ttl from now.
func (c *Client) Renew(ctx context.Context, ttl time.Duration) error {
	_, err := c.ask(ctx, ask{Do: "renew", TTL: ttl})
	return err
}

// Serves says whether the Envoy that was read has the listeners of this control plane
// (inspect.Server): every version that any control plane serves has a name of its own.
func (c *Client) Serves(ctx context.Context, parts inspect.Files) (bool, error) {
	var dump struct {
		Configs []struct {
			Type    string `json:"@type"`
			Version string `json:"version_info"`
		}
	}
	raw, ok := parts["config_dump.json"]
	if !ok {
		return false, errors.New("the configuration dump was not read whole: say --full")
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return false, fmt.Errorf("config_dump.json: %w", err)
	}
	r, err := c.ask(ctx, ask{Do: "version"})
	if err != nil {
		return false, err
	}
	for _, d := range dump.Configs {
		if strings.HasSuffix(d.Type, ".ListenersConfigDump") && d.Version == r.Version {
			return true, nil
		}
	}
	return false, nil
}

func (c *Client) ask(ctx context.Context, a ask) (reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Now()) })
	defer stop()
	var r reply
	err := json.NewEncoder(c.conn).Encode(a)
	if err == nil {
		err = c.in.Decode(&r)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return reply{}, fmt.Errorf("ask the control plane at %s: %w: what it did is not known; ask again with policy show", c.socket, err)
	}
	switch {
	case r.Held != nil:
		return reply{}, &inspect.Held{Policy: *r.Held}
	case r.Altered:
		return reply{}, &told{r.Error, inspect.ErrAltered}
	case r.Ended:
		return reply{}, &told{r.Error, inspect.ErrEnded}
	case r.Error != "":
		return reply{}, errors.New(r.Error)
	}
	return r, nil
}

// told is an error of the control plane in its own words, and what it is.
type told struct {
	text string
	is   error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.is }

// listenAsks opens the socket by which policies are asked for. Only its owner may connect: it is made
// in a folder that only the owner may enter, and moved to its place once it has its rights. One
// that a dead control plane left is replaced; one that is answered is not.
func listenAsks(path string) (*net.UnixListener, error) {
	if at, err := os.Lstat(path); err == nil {
		if at.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("socket %s: something else is there", path)
		}
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("socket %s: another control plane answers there", path)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".meshtop-")
	if err != nil {
		return nil, fmt.Errorf("make the socket: %w", err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // it knows the path before the move
	err = os.Chmod(made, 0o600)
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the socket: %w", err), ln.Close())
	}
	return ln, nil
}
