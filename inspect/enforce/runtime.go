package enforce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
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
	ID           uint64 // drawn: a policy is told from any other by it
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
	// rivals are the claims of others who write at this moment, and dead those of who died at it.
	rivals, dead []string
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
	r.now, r.held, r.wrong, r.rivals, r.dead = layers{}, nil, "", nil, nil
	if err := json.Unmarshal(body, &r.now); err != nil {
		return fmt.Errorf("read Envoy's runtime: %w", err)
	}
	if note, ok := r.now.Entries[edits.RuntimeAbout]; ok && note.Final != "" {
		r.held = &about{}
		if err := json.Unmarshal([]byte(note.Final), r.held); err != nil {
			r.wrong = fmt.Sprintf("the key %s of Envoy's runtime is not as ours are", edits.RuntimeAbout)
		}
	}
	for key, e := range r.now.Entries {
		if !strings.HasPrefix(key, claim) || e.Final == "" {
			continue
		}
		if ms, err := strconv.ParseInt(e.Final, 10, 64); err == nil && time.Since(time.UnixMilli(ms)).Abs() < claimLife {
			r.rivals = append(r.rivals, key)
		} else {
			r.dead = append(r.dead, key)
		}
	}
	return nil
}

// has says whether there is anything of ours to take away.
func (r *runtime) has() bool { return r.held != nil || r.wrong != "" || len(r.dead) > 0 }

// free refuses where a policy of ours is in the way of another.
func (r *runtime) free() error {
	switch {
	case r.wrong != "":
		return errors.New(r.wrong + ": restore takes it away")
	case r.held != nil:
		return &inspect.Held{Policy: r.policy()}
	}
	return nil
}

// nobody says whether an error means that no Envoy is there whose runtime could hold anything.
func nobody(err error) bool {
	return errors.Is(err, admin.ErrNone) && !errors.Is(err, admin.ErrUnclear)
}

// glanceTime is how long the kernel's driver asks whether Envoy's runtime holds a policy.
const glanceTime = time.Second

// glance reads Envoy's runtime if it can be read at once.
func (e *Enforcer) glance(ctx context.Context) (*runtime, error) {
	soon, stop := context.WithTimeout(ctx, glanceTime)
	defer stop()
	r, err := e.openRuntime(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("the admin interface of Envoy: %w within %s", admin.ErrHung, glanceTime)
	}
	return r, err
}

// runtimeHolds refuses where a policy in Envoy's runtime is in the way of the kernel's. unread
// says why it is not known whether there is one.
func (e *Enforcer) runtimeHolds(ctx context.Context) (unread string, held error) {
	if e.opt.Admin == nil {
		return "", nil
	}
	r, err := e.glance(ctx)
	switch {
	case nobody(err):
		return "", nil
	case err != nil:
		return "whether Envoy's runtime holds a policy of ours too could not be read: " + err.Error(), nil
	}
	defer r.admin.Close()
	return "", r.free()
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
	if !h.Permanent && !time.Now().Before(h.Until) {
		p.State = flow.StateUnknown
		because(&p, "its time is over (%s) and nobody took it back: Envoy still has the limits, until somebody restores", h.Until.UTC().Format(time.RFC3339))
	}
	return p
}

// runtimePolicy reads what is in force. Where no admin interface listens nothing of ours can be;
// of one that gives no answer it is not known.
func (e *Enforcer) runtimePolicy(ctx context.Context) (flow.Policy, error) {
	r, err := e.openRuntime(ctx)
	switch {
	case nobody(err):
		return flow.Policy{State: flow.StateNone}, nil
	case err != nil && ctx.Err() != nil:
		return flow.Policy{}, ctx.Err()
	case err != nil:
		return flow.Policy{Why: "the kernel has no policy of ours in force, and whether Envoy's runtime has could not be read: " + err.Error()}, nil
	}
	defer r.admin.Close()
	return r.policy(), nil
}

// runtimeApply sets limits.
func (e *Enforcer) runtimeApply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	e.step(Checking)
	if err := e.kernelFree(); err != nil {
		return flow.Policy{}, err
	}
	r, err := e.openRuntime(ctx)
	if err != nil {
		return flow.Policy{}, err
	}
	defer r.admin.Close()
	if len(c.Runtime) == 0 {
		return flow.Policy{}, errors.New("the change sets no limit in Envoy's runtime")
	}
	overflows := r.overflows(ctx)
	h := about{ID: rand.Uint64(), By: c.By, Reason: c.Reason, Permanent: c.Permanent, Hold: c.Hold, CloseOpen: c.CloseOpen,
		UIDs: c.ProxyUIDs, GIDs: c.ProxyGIDs, Capture: c.Capture, Settings: c.Runtime}
	if err := r.claim(ctx, h.claim()); err != nil {
		return flow.Policy{}, err
	}
	c.Since = time.Now().UTC().Truncate(time.Millisecond)
	if h.Since = c.Since; !c.Permanent {
		h.Until = c.Since.Add(c.TTL)
	}
	e.step(Writing)
	note, err := h.note()
	if err == nil {
		err = r.modify(ctx, slices.Concat(c.Runtime, []flow.Setting{note, {Key: h.claim()}}))
	}
	if err != nil {
		return r.takeBack(ctx, c, h, err)
	}
	// From here on the change is there, whether or not the caller still waits for it.
	ctx = context.WithoutCancel(ctx)
	e.step(Reading)
	p, err := e.readBack(ctx, r, c, h)
	if err != nil || p.State == flow.StateUnknown {
		return p, err
	}
	e.step(Proving)
	p.State = flow.StateUnknown
	e.proveClosed(c, &p, func() bool { return r.overflows(ctx) > overflows })
	e.settle(c, nil, &p)
	return p, nil
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
	for _, key := range r.dead {
		set = append(set, flow.Setting{Key: key})
	}
	p := flow.Policy{State: flow.StateNone, Change: c}
	if len(set) > 0 || r.held != nil {
		e.step(Writing)
		err := r.modify(ctx, append(slices.Clone(set), flow.Setting{Key: edits.RuntimeAbout}))
		switch {
		case refused(err):
			return flow.Policy{}, err
		case err != nil:
			return flow.Policy{Change: c, Why: "whether the limits were taken away is not known: " + err.Error() + ": restore again once Envoy answers"}, nil
		}
	}
	ctx = context.WithoutCancel(ctx)
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
	if nobody(err) {
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
	note, err := r.held.note()
	if err != nil {
		return err
	}
	return r.modify(ctx, []flow.Setting{note})
}
