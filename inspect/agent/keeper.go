package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Keeper is a pod whose changes end when their time is over, whoever asked for them and
// whether or not they are still there. The kernel ends its own lease; the Keeper takes away
// what then lies about, and undoes what no kernel ends. It changes and does nothing else.
type Keeper struct {
	name    string
	enforce inspect.Enforcer
	told    func(error) // of an end that failed

	mu      sync.Mutex
	promise *promise
}

// promise is a change with the timer of its end.
type promise struct {
	change  flow.Change
	session string // who holds it; empty: nobody, it only has its time
	timer   *time.Timer
}

var (
	_ inspect.Enforcer = (*Keeper)(nil)
	_ inspect.Pod      = (*Keeper)(nil)
)

// Keep makes pod, which must be an inspect.Enforcer, keep its promises. told hears of an end
// that failed; nil: nobody does.
func Keep(pod inspect.Pod, told func(error)) (*Keeper, error) {
	e, ok := pod.(inspect.Enforcer)
	if !ok {
		return nil, fmt.Errorf("%s: %w", pod.Name(), errNoEnforcer)
	}
	if told == nil {
		told = func(error) {}
	}
	return &Keeper{name: pod.Name(), enforce: e, told: told}, nil
}

// Name is the pod's.
func (k *Keeper) Name() string { return k.name }

// Close does nothing: the pod is its owner's.
func (k *Keeper) Close() error { return nil }

var errKeeper = errors.New("a holder of changes neither reads nor sends")

// Read is refused.
func (k *Keeper) Read(context.Context, inspect.Want) (inspect.Snapshot, error) {
	return inspect.Snapshot{}, errKeeper
}

// Observe is refused.
func (k *Keeper) Observe(context.Context, []flow.Leg, inspect.ObserveOptions) (inspect.Watch, error) {
	return nil, errKeeper
}

// Send is refused.
func (k *Keeper) Send(context.Context, flow.Request) (inspect.Sent, error) {
	return inspect.Sent{}, errKeeper
}

// Policy reads what is in force.
func (k *Keeper) Policy(ctx context.Context) (flow.Policy, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.enforce.Policy(ctx)
}

// Apply promises the end first: a change that is in force without anybody to end it must not
// be, not even for a moment.
func (k *Keeper) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.promise
	var next *promise
	if c.Kind != flow.Restore && c.TTL > 0 {
		next = k.keep(c, c.TTL)
	}
	p, err := k.enforce.Apply(ctx, c)
	if err != nil {
		next.drop()
		return p, err
	}
	if next != nil {
		next.change = begun(c, p)
	}
	before.drop()
	k.promise = next
	return p, nil
}

// Adopt promises the end of what is in force already: a holder before this one may have been
// killed. What is over, or overdue, is taken away at once.
func (k *Keeper) Adopt(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, err := k.enforce.Policy(ctx)
	c := p.Change
	if err != nil || c.Kind == flow.NoPolicy || c.Kind == flow.Restore || c.Permanent && p.State != flow.StateExpired {
		return err
	}
	left := time.Until(p.Expires)
	if p.State != flow.StateExpired && (p.Expires.IsZero() || left > 0) {
		if !p.Expires.IsZero() {
			k.promise = k.keep(c, left)
		}
		return nil
	}
	return undo(ctx, k.enforce, c)
}

// Renew sets the end to ttl from now, in the pod too.
func (k *Keeper) Renew(ctx context.Context, ttl time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.promise == nil {
		return fmt.Errorf("renew: no change is in force here: %w", inspect.ErrNotFound)
	}
	before := k.promise
	if err := k.enforce.Renew(ctx, ttl); err != nil {
		return err
	}
	before.drop()
	k.promise = k.keep(before.change, ttl)
	k.promise.session = before.session
	return nil
}

// Promises says whether an end is still owed.
func (k *Keeper) Promises() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.promise != nil
}

// OnlyPromises says whether an end is still owed that the kernel does not bring by itself.
func (k *Keeper) OnlyPromises() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.promise != nil && k.promise.change.Driver != flow.Kernel
}

// Release ends at once what only the Keeper would end. It is how a holder that is asked to end
// ends. The kernel's lease needs no holder and goes on.
func (k *Keeper) Release() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.promise
	k.promise = nil
	if p == nil {
		return nil
	}
	p.drop()
	if p.change.Driver == flow.Kernel {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoPatience)
	defer cancel()
	return undo(ctx, k.enforce, p.change)
}

// keep starts the timer of c's end.
func (k *Keeper) keep(c flow.Change, ttl time.Duration) *promise {
	p := &promise{change: c}
	p.timer = time.AfterFunc(ttl, func() { k.end(p) })
	return p
}

// drop stops the timer; one that had begun finds that the promise is another's.
func (p *promise) drop() {
	if p != nil {
		p.timer.Stop()
	}
}

// again is how long the Keeper waits before it tries once more to end what it could not.
const again = 5 * time.Second

// end undoes p's change if it is still the one that is promised. What cannot be undone, such
// as a setting of an Envoy that hangs, stays promised and is tried again.
func (k *Keeper) end(p *promise) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.promise != p {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoPatience)
	defer cancel()
	if left := k.left(ctx, p.change); left > 0 {
		k.promise = k.keep(p.change, left)
		k.promise.session = p.session
		return
	}
	k.promise = nil
	if err := undo(ctx, k.enforce, p.change); err != nil {
		k.told(fmt.Errorf("end %s, whose time is over: %w; next try in %v", p.change.Kind, err, again))
		k.promise = k.keep(p.change, again)
	}
}

// left is how long c is still to be in force: somebody may have renewed it by another way, such
// as another holder. What cannot be read has no time left.
func (k *Keeper) left(ctx context.Context, c flow.Change) time.Duration {
	now, err := k.enforce.Policy(ctx)
	if err != nil || now.Expires.IsZero() || !same(now.Change, c) {
		return 0
	}
	return time.Until(now.Expires)
}
