package enforce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// The runtime driver sets limits of 0 in the layer of Envoy's runtime that its admin interface
// writes. Nothing in Envoy ends them: who applies them has to take them back, and a restart
// of Envoy does. One key of ours says whose they are, so that another process can.

// about is what that key holds.
type about struct {
	By, Reason   string
	Since, Until time.Time
	Permanent    bool           `json:",omitempty"`
	Hold         bool           `json:",omitempty"`
	CloseOpen    bool           `json:",omitempty"`
	UIDs, GIDs   []uint32       `json:",omitempty"`
	Capture      []uint16       `json:",omitempty"`
	Settings     []flow.Setting `json:",omitempty"`
}

// layers is Envoy's runtime (envoy/admin, /runtime).
type layers struct {
	Entries map[string]struct {
		Final  string   `json:"final_value"`
		Layers []string `json:"layer_values"`
	} `json:"entries"`
}

// runtime is Envoy's runtime for one operation.
type runtime struct {
	admin *admin.Client
	now   layers
	held  *about // nil: no limit of ours
	wrong string // our key is there and cannot be read
}

func (e *Enforcer) openRuntime(ctx context.Context) (*runtime, error) {
	if e.opt.Admin == nil {
		return nil, errors.New("there is no way to Envoy's admin interface from here, and so none to its runtime")
	}
	c, err := e.opt.Admin(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach Envoy's runtime: %w", err)
	}
	r := &runtime{admin: c}
	if err := r.read(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return r, nil
}

// read reads the runtime, and what our key tells.
func (r *runtime) read(ctx context.Context) error {
	body, _, err := r.admin.Get(ctx, "/runtime")
	if err != nil {
		return fmt.Errorf("read Envoy's runtime: %w", err)
	}
	r.now, r.held, r.wrong = layers{}, nil, ""
	if err := json.Unmarshal(body, &r.now); err != nil {
		return fmt.Errorf("read Envoy's runtime: %w", err)
	}
	if note, ok := r.now.Entries[edits.RuntimeAbout]; ok && note.Final != "" {
		r.held = &about{}
		if err := json.Unmarshal([]byte(note.Final), r.held); err != nil {
			r.wrong = fmt.Sprintf("the key %s of Envoy's runtime is not as ours are", edits.RuntimeAbout)
		}
	}
	return nil
}

// policy is what was read, in the shared words.
func (r *runtime) policy() flow.Policy {
	h := r.held
	switch {
	case r.wrong != "":
		return flow.Policy{Why: r.wrong}
	case h == nil:
		return flow.Policy{State: flow.StateNone}
	}
	c := flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, Permanent: h.Permanent, Hold: h.Hold, CloseOpen: h.CloseOpen, By: h.By, Reason: h.Reason, Since: h.Since,
		ProxyUIDs: h.UIDs, ProxyGIDs: h.GIDs, Capture: h.Capture, Runtime: h.Settings}
	if !h.Permanent {
		c.TTL = h.Until.Sub(h.Since)
	}
	c.Edits, c.Undo = edits.Of(c)
	p := flow.Policy{State: flow.StateApplied, Change: c, Expires: h.Until}
	for _, s := range h.Settings {
		got := r.now.Entries[s.Key].Final
		p.Proof = append(p.Proof, flow.Proof{What: "runtime " + s.Key, Result: got, Holds: got == s.Value})
		if got != s.Value {
			p.State = flow.StateUnknown
			because(&p, "%s is %q and not %q", s.Key, got, s.Value)
		}
	}
	if !h.Permanent && time.Now().After(h.Until) {
		because(&p, "its time was over at %s, and nobody has taken it back: Envoy still has the limits", h.Until.UTC().Format(time.RFC3339))
	}
	return p
}

// runtimePolicy reads what is in force. Without an admin interface nothing of ours can be.
func (e *Enforcer) runtimePolicy(ctx context.Context) (flow.Policy, error) {
	r, err := e.openRuntime(ctx)
	switch {
	case errors.Is(err, admin.ErrNone):
		return flow.Policy{State: flow.StateNone}, nil
	case err != nil:
		return flow.Policy{State: flow.StateNone, Why: "limits in Envoy's runtime aside, which could not be read: " + err.Error()}, nil
	}
	defer r.admin.Close()
	return r.policy(), nil
}

// runtimeApply sets limits, or takes them away.
func (e *Enforcer) runtimeApply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	e.step(Checking)
	if p, err := e.kernelPolicy(); err == nil && c.Kind != flow.Restore && p.State == flow.StateApplied {
		return flow.Policy{}, &inspect.Held{Policy: p}
	}
	r, err := e.openRuntime(ctx)
	if err != nil {
		return flow.Policy{}, err
	}
	defer r.admin.Close()
	if c.Kind == flow.Restore {
		return e.runtimeRestore(ctx, r, c)
	}
	if len(c.Runtime) == 0 {
		return flow.Policy{}, errors.New("the change sets no limit in Envoy's runtime")
	}
	if r.held != nil {
		return flow.Policy{}, &inspect.Held{Policy: r.policy()}
	}
	c.Since = time.Now().UTC().Truncate(time.Millisecond)
	h := about{By: c.By, Reason: c.Reason, Since: c.Since, Permanent: c.Permanent, Hold: c.Hold, CloseOpen: c.CloseOpen,
		UIDs: c.ProxyUIDs, GIDs: c.ProxyGIDs, Capture: c.Capture, Settings: c.Runtime}
	if !c.Permanent {
		h.Until = c.Since.Add(c.TTL)
	}
	e.step(Writing)
	overflows := r.overflows(ctx)
	if err := r.modify(ctx, c.Runtime, &h); err != nil {
		return flow.Policy{}, err
	}
	// From here on the change is there, whether or not the caller still waits for it.
	ctx = context.WithoutCancel(ctx)
	e.step(Reading)
	p, err := r.readBack(ctx, c)
	if err != nil || p.State == flow.StateUnknown {
		return p, err
	}
	e.step(Proving)
	p.State = flow.StateUnknown
	e.proveClosed(c, &p, func() bool { return r.overflows(ctx) > overflows })
	e.settle(c, nil, &p)
	return p, nil
}

// readBack reads the limits. A layer above Envoy's admin layer may say otherwise: then they
// do not bind, and are taken back.
func (r *runtime) readBack(ctx context.Context, c flow.Change) (flow.Policy, error) {
	if err := r.read(ctx); err != nil {
		return flow.Policy{Change: c, Why: "it was written and could not be read back: " + err.Error()}, nil
	}
	for _, s := range c.Runtime {
		if got := r.now.Entries[s.Key].Final; got != s.Value {
			err := fmt.Errorf("what was read back is not what was written: %s is %q, since another layer of Envoy's runtime sets it", s.Key, got)
			return flow.Policy{}, errors.Join(err, r.modify(ctx, back(c.Runtime), nil))
		}
	}
	p := r.policy()
	p.Change = c
	return p, nil
}

// back are the settings that take others back.
func back(all []flow.Setting) []flow.Setting {
	var out []flow.Setting
	for _, s := range all {
		b := flow.Setting{Key: s.Key, Before: s.Value, Had: true}
		if s.Had {
			b.Value = s.Before
		}
		out = append(out, b)
	}
	return out
}

// modify writes keys and what they are for, in one call. An empty value takes a key away.
func (r *runtime) modify(ctx context.Context, set []flow.Setting, h *about) error {
	note := ""
	if h != nil {
		text, err := json.Marshal(h)
		if err != nil {
			return err
		}
		note = string(text)
	}
	var q []string
	for _, s := range set {
		q = append(q, url.QueryEscape(s.Key)+"="+url.QueryEscape(s.Value))
	}
	q = append(q, edits.RuntimeAbout+"="+url.QueryEscape(note))
	// Envoy takes a plus for itself, not for a space.
	_, err := r.admin.Post(ctx, "/runtime_modify?"+strings.ReplaceAll(strings.Join(q, "&"), "+", "%20"))
	var no *admin.Refusal
	switch {
	case errors.As(err, &no) && strings.Contains(no.Text, "admin layer"):
		return errors.New("this Envoy's runtime has no admin layer (bootstrap, layered_runtime), so that it takes no limits while it runs: use the driver kernel")
	case errors.As(err, &no):
		return fmt.Errorf("set limits in Envoy's runtime: %w", no)
	case err != nil:
		return fmt.Errorf("set limits in Envoy's runtime: %w", err)
	}
	return nil
}

// overflows is how many connections Envoy's listeners refused for their limit so far; -1: it
// did not say.
func (r *runtime) overflows(ctx context.Context) int64 {
	body, _, err := r.admin.Text(ctx, "/stats?filter="+url.QueryEscape(`^listener\..*\.downstream_cx_overflow$`))
	if err != nil {
		return -1
	}
	var n int64
	for line := range strings.Lines(string(body)) {
		if _, v, ok := strings.Cut(line, ": "); ok {
			var one int64
			if _, err := fmt.Sscan(v, &one); err == nil {
				n += one
			}
		}
	}
	return n
}

// runtimeRestore takes the limits away that the change names, and those that our key tells of.
func (e *Enforcer) runtimeRestore(ctx context.Context, r *runtime, c flow.Change) (flow.Policy, error) {
	set := slices.Clone(c.Runtime)
	var ended *flow.Change
	if r.held != nil {
		for _, s := range back(r.held.Settings) {
			if !slices.ContainsFunc(set, func(has flow.Setting) bool { return has.Key == s.Key }) {
				set = append(set, s)
			}
		}
		was := r.policy().Change
		ended = &was
	}
	p := flow.Policy{State: flow.StateNone, Change: c}
	if len(set) > 0 || r.held != nil {
		e.step(Writing)
		if err := r.modify(ctx, set, nil); err != nil {
			return flow.Policy{}, err
		}
	}
	e.step(Reading)
	if err := r.read(ctx); err != nil {
		return flow.Policy{Change: c, Why: "the limits were taken away, and whether they are gone could not be read: " + err.Error()}, nil
	}
	for _, s := range set {
		got := r.now.Entries[s.Key]
		proof := flow.Proof{What: "runtime " + s.Key, Result: "gone", Holds: s.Value == "" && !slices.Contains(got.Layers, "0") || s.Value != "" && got.Final == s.Value}
		if s.Value != "" || !proof.Holds {
			proof.Result = fmt.Sprintf("%q", got.Final)
		}
		p.Proof = append(p.Proof, proof)
		if !proof.Holds {
			p.State = flow.StateUnknown
			because(&p, "%s is still %q", s.Key, got.Final)
		}
	}
	if r.held != nil || r.wrong != "" {
		p.State = flow.StateUnknown
		because(&p, "the key %s is still there", edits.RuntimeAbout)
	}
	e.settle(c, ended, &p)
	return p, nil
}

// runtimeRenew sets when the limits are to end. That they do is up to who holds them.
func (e *Enforcer) runtimeRenew(ctx context.Context, ttl time.Duration) error {
	r, err := e.openRuntime(ctx)
	if errors.Is(err, admin.ErrNone) {
		return fmt.Errorf("renew: %w", inspect.ErrEnded)
	}
	if err != nil {
		return err
	}
	defer r.admin.Close()
	switch {
	case r.held == nil:
		return fmt.Errorf("renew: %w", inspect.ErrEnded)
	case r.wrong != "":
		return errors.New("renew: " + r.wrong)
	case r.held.Permanent:
		return errors.New("renew: the policy is permanent: restore it, and apply one with a time")
	}
	r.held.Until = time.Now().UTC().Truncate(time.Millisecond).Add(ttl)
	return r.modify(ctx, nil, r.held)
}
