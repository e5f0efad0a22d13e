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

	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// claim begins the keys by which writers tell each other that they are about to write: Envoy has
// no way to write a key only where it is not there.
const claim = "meshtop.claim."

// claimLife is after which time a claim is that of a writer who died: each step of one takes the
// admin client's patience at most.
const claimLife = 30 * time.Second

// claim tells others that a policy is about to be written, and looks whether they do: as each
// tells before it looks, no two go on.
func (r *runtime) claim(ctx context.Context, key string) error {
	for try := range 6 {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(rand.N(50 * time.Millisecond)):
			}
			if err := r.read(ctx); err != nil {
				return err
			}
		}
		if alone, err := r.alone(ctx, key); alone || err != nil {
			return err
		}
	}
	return errors.New("others are setting limits in Envoy's runtime at this very moment: look which policy is in force, and try again")
}

// alone writes a claim and says whether it is the only one. One that is not does not stay.
func (r *runtime) alone(ctx context.Context, key string) (bool, error) {
	if err := r.free(); err != nil {
		return false, err
	}
	err := r.modify(ctx, []flow.Setting{{Key: key, Value: strconv.FormatInt(time.Now().UnixMilli(), 10)}})
	if err == nil {
		err = r.read(ctx)
	}
	if err == nil {
		err = r.free()
	}
	if err == nil && !slices.ContainsFunc(r.rivals, func(k string) bool { return k != key }) {
		return true, nil
	}
	if !refused(err) {
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer stop()
		_ = r.modify(ctx, []flow.Setting{{Key: key}}) // else it dies by itself
	}
	return false, err
}

// claim is the key by which who writes this policy tells so.
func (h *about) claim() string { return claim + strconv.FormatUint(h.ID, 16) }

// note is the key that says whose the limits are.
func (h *about) note() (flow.Setting, error) {
	text, err := json.Marshal(h)
	return flow.Setting{Key: edits.RuntimeAbout, Value: string(text)}, err
}

// undoTime bounds the taking back of what was written, for which nobody waits any more.
const undoTime = 3 * time.Second

// takeBack takes back what was written, or may have been: Envoy may carry a call out whose answer
// was lost. cause is why, and is the error if nothing is left. What cannot be taken back is
// in force as far as is known, and that is no error but a policy whose state is unknown.
func (r *runtime) takeBack(ctx context.Context, c flow.Change, h about, cause error) (flow.Policy, error) {
	if refused(cause) {
		return flow.Policy{}, cause
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer stop()
	undo := append(back(c.Runtime), flow.Setting{Key: edits.RuntimeAbout}, flow.Setting{Key: h.claim()})
	bad := errors.New("it comes back")
	for try := range 3 {
		if err := r.read(ctx); err != nil {
			bad = err
			break
		}
		if r.held != nil && r.held.ID != h.ID || try > 0 && r.held == nil {
			return flow.Policy{}, cause
		}
		if err := r.modify(ctx, undo); err != nil {
			bad = err
			break
		}
	}
	return flow.Policy{Change: c, Expires: h.Until, Why: fmt.Sprintf("%v; and it could not be taken back: %v; so whether Envoy has the limits is not known: restore once it answers", cause, bad)}, nil
}

// readBack reads the limits. Where a policy of somebody else's came at the same moment, or a
// layer above Envoy's admin layer says otherwise so that they do not bind, they are taken back.
func (e *Enforcer) readBack(ctx context.Context, r *runtime, c flow.Change, h about) (flow.Policy, error) {
	if err := r.read(ctx); err != nil {
		return flow.Policy{Change: c, Expires: h.Until, Why: "it was written and could not be read back: " + err.Error()}, nil
	}
	switch {
	case r.held == nil:
		return flow.Policy{}, errors.New("the limits were set, and somebody took them back this moment")
	case r.wrong != "" || r.held.ID != h.ID:
		return flow.Policy{}, errors.Join(r.free(), r.yield(ctx, c))
	}
	if err := e.kernelFree(); err != nil {
		return r.takeBack(ctx, c, h, err)
	}
	for _, s := range c.Runtime {
		if got := r.now.Entries[s.Key].Final; got != s.Value {
			return r.takeBack(ctx, c, h, fmt.Errorf("what was read back is not what was written: %s is %q, since another layer of Envoy's runtime sets it", s.Key, got))
		}
	}
	p := r.policy()
	p.Change = c
	return p, nil
}

// yield takes back the limits that another's policy, which is in force by now, does not set.
func (r *runtime) yield(ctx context.Context, c flow.Change) error {
	mine := slices.DeleteFunc(back(c.Runtime), func(s flow.Setting) bool {
		return slices.ContainsFunc(r.held.Settings, func(o flow.Setting) bool { return o.Key == s.Key })
	})
	if len(mine) == 0 {
		return nil
	}
	return r.modify(ctx, mine)
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

// errNoLayer: this Envoy's runtime cannot be written.
var errNoLayer = errors.New("this Envoy's runtime has no admin layer (bootstrap, layered_runtime), so that it takes no limits while it runs: use the driver kernel")

// refused says whether Envoy answered that it does not take what was to be written.
func refused(err error) bool {
	var no *admin.Refusal
	return errors.As(err, &no) || errors.Is(err, errNoLayer)
}

// modify writes keys in one call. An empty value takes a key away.
func (r *runtime) modify(ctx context.Context, set []flow.Setting) error {
	var q []string
	for _, s := range set {
		q = append(q, url.QueryEscape(s.Key)+"="+url.QueryEscape(s.Value))
	}
	// Envoy takes a plus for itself, not for a space.
	_, err := r.admin.Post(ctx, "/runtime_modify?"+strings.ReplaceAll(strings.Join(q, "&"), "+", "%20"))
	var no *admin.Refusal
	switch {
	case errors.As(err, &no) && strings.Contains(no.Text, "admin layer"):
		return errNoLayer
	case errors.As(err, &no):
		return fmt.Errorf("set limits in Envoy's runtime: %w", no)
	case err != nil:
		return fmt.Errorf("set limits in Envoy's runtime: %w", err)
	}
	return nil
}
