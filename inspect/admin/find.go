package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/meshtop/meshtop/inspect"
)

// Listening is a TCP socket of the pod that listens.
type Listening struct {
	Addr    netip.AddrPort
	Process string // empty: not known
	PID     int
}

// usual are the ports where admin interfaces are: Istio's and the seed's sidecar 15000,
// Gateway API implementations 19000, Envoy's own examples 9901.
var usual = []uint16{15000, 19000, 9901}

// Usual are the ports where admin interfaces are, in the order in which they are asked.
func Usual() []uint16 { return slices.Clone(usual) }

// Candidates are the addresses worth asking, in order: the usual ports of an Envoy's
// process, then the usual ports whoever listens on them. Envoy's other ports are not
// asked: a request to a capture port would be proxied, and may loop until a breaker opens.
func Candidates(all []Listening) []netip.AddrPort {
	var own, others []netip.AddrPort
	for _, l := range all {
		i := slices.Index(usual, l.Addr.Port())
		if i < 0 {
			continue
		}
		a := dialable(l.Addr)
		if IsEnvoy(l.Process) {
			own = append(own, a)
		} else {
			others = append(others, a)
		}
	}
	byUse := func(s []netip.AddrPort) {
		sort.SliceStable(s, func(i, j int) bool {
			a, b := slices.Index(usual, s[i].Port()), slices.Index(usual, s[j].Port())
			return a < b || a == b && s[i].Addr().Is4() && s[j].Addr().Is6()
		})
	}
	byUse(own)
	byUse(others)
	return unique(append(own, others...))
}

// IsEnvoy says whether a process of that name is an Envoy, or what stands in for its admin.
// A name is at most 15 bytes long (proc(5), comm).
func IsEnvoy(process string) bool {
	return process == "envoy" || strings.HasPrefix(process, "envoy-") || process == "envoyproxy" || process == "pilot-agent" || process == "cilium-envoy"
}

// dialable is an address to dial for one that is listened on.
func dialable(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr().Unmap()
	if ip.IsUnspecified() {
		// [::] may be v6 only, but then ::1 is in it.
		if ip.Is4() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		} else {
			ip = netip.IPv6Loopback()
		}
	}
	return netip.AddrPortFrom(ip, a.Port())
}

func unique(s []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range s {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// ErrNone: no admin interface was found; the text says what was tried.
var ErrNone = errors.New("no Envoy admin interface found")

// ErrUnclear stands beside ErrNone where there may be an admin interface all the same: something
// that was asked gave no answer, or one that another than Envoy would not give.
var ErrUnclear = errors.New("whether there is one is not known")

// unclear is an error that is ErrUnclear too, in its own words.
type unclear struct{ error }

func (u unclear) Unwrap() error        { return u.error }
func (u unclear) Is(target error) bool { return target == ErrUnclear }

// Found is an admin interface with its first answer.
type Found struct {
	*Client
	Listeners []byte // /listeners?format=json; nil: that path was refused
	Refused   error  // why
	Names     []string
}

// Find asks the candidates in order for /listeners?format=json, which is cheap at any size,
// until one answers as an Envoy does.
func Find(ctx context.Context, dial Dialer, candidates []netip.AddrPort, opt Options) (*Found, []inspect.Call, error) {
	var calls []inspect.Call
	var tried []error
	for _, a := range candidates {
		c := New(a, dial, opt)
		body, call, err := c.Get(ctx, listenersPath)
		calls = append(calls, call)
		f := &Found{Client: c, Listeners: body}
		var no *Refusal
		if err == nil {
			f.Names, err = listenerNames(body)
			if err == nil {
				return f, calls, nil
			}
			err = fmt.Errorf("%s: %w", call.What, err)
		} else if errors.As(err, &no) && no.Status != 200 && c.isEnvoy(ctx, &calls) {
			// allow_paths may forbid the listeners and leave the rest.
			f.Refused = err
			return f, calls, nil
		} else if no == nil || no.Status == http.StatusForbidden {
			err = unclear{err}
		}
		tried = append(tried, err)
		c.Close()
		if ctx.Err() != nil {
			return nil, calls, ctx.Err()
		}
	}
	if len(tried) == 0 {
		return nil, calls, fmt.Errorf("%w: nothing listens on %s", ErrNone, ports())
	}
	return nil, calls, fmt.Errorf("%w: %w", ErrNone, errors.Join(tried...))
}

// isEnvoy says whether /server_info answers as Envoy's does.
func (c *Client) isEnvoy(ctx context.Context, calls *[]inspect.Call) bool {
	body, call, err := c.Get(ctx, "/server_info")
	*calls = append(*calls, call)
	var info struct {
		Version *string `json:"version"`
		State   *string `json:"state"`
	}
	return err == nil && json.Unmarshal(body, &info) == nil && info.Version != nil && info.State != nil
}

// listenersPath names every listener with its address, non-binding ones too: 0.04 s where
// the whole configuration takes 11 s.
const listenersPath = "/listeners?format=json"

func listenerNames(body []byte) ([]string, error) {
	var l struct {
		Statuses *[]struct {
			Name string `json:"name"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(body, &l); err != nil {
		return nil, err
	}
	// Without any listener Envoy answers {}.
	if l.Statuses == nil {
		if strings.TrimSpace(string(body)) != "{}" {
			return nil, errors.New(`the answer has no "listener_statuses"`)
		}
		return nil, nil
	}
	names := make([]string, 0, len(*l.Statuses))
	for _, s := range *l.Statuses {
		names = append(names, s.Name)
	}
	return names, nil
}

func ports() string {
	var s []string
	for _, p := range usual {
		s = append(s, fmt.Sprint(p))
	}
	return strings.Join(s[:len(s)-1], ", ") + " or " + s[len(s)-1]
}
