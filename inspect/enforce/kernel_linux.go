package enforce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// patience bounds the whole talk with the kernel: a kernel without nftables answers a batch
// with one error where as many are awaited as it has messages.
const patience = 5 * time.Second

// buffer is what a batch with as many holes as are allowed takes, and more.
const buffer = 4 << 20

// kernel talks to nftables for one operation.
type kernel struct {
	conn  *nftables.Conn
	table *nftables.Table
}

// open opens the talk: the socket is made inside the namespace and stays there.
func (e *Enforcer) open() (*kernel, error) {
	k := &kernel{table: &nftables.Table{Family: nftables.TableFamilyINet, Name: edits.Table}}
	// The answers to a batch are there before the first is read: they must have room.
	limit := func(c *netlink.Conn) error {
		return errors.Join(c.SetDeadline(time.Now().Add(patience)), c.SetWriteBuffer(buffer), c.SetReadBuffer(buffer))
	}
	err := e.space.Do(func() error {
		var err error
		k.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(limit))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return k, nil
}

func (k *kernel) close() { _ = k.conn.CloseLasting() }

// flush sends what was gathered, as one transaction.
func (k *kernel) flush(what string) error {
	err := k.conn.Flush()
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: it needs root (CAP_NET_ADMIN) in the network namespace", what, inspect.ErrNoPower)
	case err != nil:
		return fmt.Errorf("%s: nftables: %w", what, err)
	}
	return nil
}

// lease and about are the two sets of the table. Their numbers count within a batch; the
// library would draw them from a counter that no lock guards.
func (k *kernel) lease() *nftables.Set {
	return &nftables.Set{Table: k.table, Name: edits.Lease, ID: 1, KeyType: nftables.TypeInetProto, HasTimeout: true}
}

func (k *kernel) about() *nftables.Set {
	// The order of a key's bytes is for nft, which could not list it else.
	return &nftables.Set{Table: k.table, Name: edits.About, ID: 2, KeyType: nftables.TypeMark, KeyByteOrder: binaryutil.NativeEndian}
}

// stamp is the one comment of the table that is not of the change: since when and until
// when. Its key is drawn, so that a transaction that deletes it first is about this very
// table, or fails as a whole.
type stamp struct {
	key          uint32
	since, until time.Time // until is zero for a permanent policy
}

// firstStamp parts the keys of stamps from those of notes.
const firstStamp = 1 << 31

const stampTime = "2006-01-02T15:04:05.000Z"

func (s stamp) element() nftables.SetElement {
	text := "since=" + s.since.UTC().Format(stampTime)
	if !s.until.IsZero() {
		text += " until=" + s.until.UTC().Format(stampTime)
	}
	return nftables.SetElement{Key: mark(s.key), Comment: text}
}

// kernelApply puts a block or a way around the proxy into force. Envoy's runtime is asked for a
// policy after the table is written, as the runtime's driver asks for the table after it wrote:
// so one of the two sees the other. A way around the proxy asks before too.
func (e *Enforcer) kernelApply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	ctx = context.WithoutCancel(ctx)
	if c.Kind == flow.AllowAll {
		if _, held := e.runtimeHolds(ctx); held != nil {
			return flow.Policy{}, held
		}
	}
	k, err := e.open()
	if err != nil {
		return flow.Policy{}, err
	}
	defer k.close()
	e.step(Checking)
	var mine stamp
	for try := 0; ; try++ {
		old, err := k.read()
		if err != nil {
			return flow.Policy{}, err
		}
		if err := old.free(); err != nil {
			return flow.Policy{}, err
		}
		e.step(Writing)
		mine, err = k.install(c, old)
		if err == nil {
			break
		}
		// Somebody was quicker: with a policy of their own, or with the clearing of the rest.
		if try < 3 && (errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT)) {
			continue
		}
		return flow.Policy{}, errors.Join(err, e.takeBack(mine))
	}
	other := make(chan func() (string, error), 1)
	go func() {
		unread, held := e.runtimeHolds(ctx)
		other <- func() (string, error) { return unread, held }
	}()
	e.step(Reading)
	now, err := k.read()
	if err != nil {
		return flow.Policy{Change: c, Why: "it was written and could not be read back: " + err.Error()}, nil
	}
	p, err := k.compare(c, mine, now)
	if err != nil {
		return flow.Policy{}, errors.Join(err, e.takeBack(mine))
	}
	e.step(Proving)
	e.prove(k, now, &p)
	unread, held := (<-other)()
	if held != nil {
		return flow.Policy{}, errors.Join(held, e.takeBack(mine))
	}
	if unread != "" {
		because(&p, "%s", unread)
	}
	e.settle(c, nil, &p)
	return p, nil
}

// kernelFree refuses where a table of ours is in the way of a policy.
func (e *Enforcer) kernelFree() error {
	k, err := e.open()
	if err != nil {
		return err
	}
	defer k.close()
	f, err := k.read()
	if err != nil {
		return err
	}
	return f.free()
}

// free says whether a new policy may take this one's place.
func (f *found) free() error {
	switch {
	case f == nil, f.expired():
		return nil
	case f.wrong != "":
		return fmt.Errorf("a table inet %s is there that is not as ours are (%s): restore removes it", edits.Table, f.wrong)
	}
	return &inspect.Held{Policy: f.policy()}
}

// install makes the table in one transaction, in the place of what has expired.
func (k *kernel) install(c flow.Change, old *found) (stamp, error) {
	if old != nil {
		if err := k.claim(old); err != nil {
			return stamp{}, err
		}
		k.conn.DelTable(k.table)
	}
	k.conn.CreateTable(k.table) // NLM_F_EXCL: there is one writer
	lease, about := k.lease(), k.about()
	s := stamp{key: firstStamp + rand.Uint32N(firstStamp), since: time.Now()}
	if !c.Permanent {
		s.until = s.since.Add(c.TTL)
	}
	notes := []nftables.SetElement{s.element()}
	for i, n := range edits.Notes(c) {
		notes = append(notes, nftables.SetElement{Key: mark(uint32(i + 1)), Comment: n})
	}
	if err := errors.Join(k.conn.AddSet(lease, nil), k.conn.AddSet(about, notes)); err != nil {
		return stamp{}, err
	}
	h := edits.HookOf(c.Kind)
	prio, accept := nftables.ChainPriority(h.Priority), nftables.ChainPolicyAccept
	chain := k.conn.AddChain(&nftables.Chain{Table: k.table, Name: h.Chain, Type: nftables.ChainType(h.Type),
		Hooknum: nftables.ChainHookOutput, Priority: &prio, Policy: &accept})
	for _, r := range edits.Rules(c) {
		k.conn.AddRule(&nftables.Rule{Table: k.table, Chain: chain, Exprs: expressions(r, lease.ID)})
	}
	if err := k.conn.SetAddElements(lease, leased(c, c.TTL)); err != nil {
		return stamp{}, err
	}
	return s, k.flush("write the table inet " + edits.Table)
}

// leased are the lease's elements: with a timeout, or for ever.
func leased(c flow.Change, ttl time.Duration) []nftables.SetElement {
	var out []nftables.SetElement
	for _, p := range edits.Leased(c) {
		out = append(out, nftables.SetElement{Key: []byte{uint8(p)}, Timeout: ttl})
	}
	return out
}

// takeBack deletes the table if it is the one that was just written: on an error nothing is
// changed. The answers of the failed talk may still lie in its socket, so it takes a new one.
func (e *Enforcer) takeBack(mine stamp) error {
	if mine.key == 0 {
		return nil
	}
	k, err := e.open()
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.claim(&found{stamp: mine}); err != nil {
		return err
	}
	k.conn.DelTable(k.table)
	if err := k.flush("take the table back"); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// claim lets the transaction fail unless the table is still the one that was read.
func (k *kernel) claim(f *found) error {
	return k.conn.SetDeleteElements(k.about(), []nftables.SetElement{{Key: mark(f.stamp.key)}})
}

// kernelRenew sets the lease anew. Its elements are deleted and added in one transaction,
// so that there is no gap; the deletion fails where the lease has ended meanwhile, and then
// nothing is done.
func (e *Enforcer) kernelRenew(ttl time.Duration) error {
	k, err := e.open()
	if err != nil {
		return err
	}
	defer k.close()
	f, err := k.read()
	switch {
	case err != nil:
		return err
	case f == nil, f.expired():
		return fmt.Errorf("renew: %w", inspect.ErrEnded)
	case f.wrong != "":
		return fmt.Errorf("renew: the table inet %s is not as ours are (%s)", edits.Table, f.wrong)
	case f.change.Permanent:
		return errors.New("renew: the policy is permanent: restore it, and apply one with a time")
	}
	s := f.stamp
	s.until = time.Now().Add(ttl)
	lease, about := k.lease(), k.about()
	err = errors.Join(k.claim(f), k.conn.SetAddElements(about, []nftables.SetElement{s.element()}),
		k.conn.SetDeleteElements(lease, leased(f.change, 0)), k.conn.SetAddElements(lease, leased(f.change, ttl)))
	if err != nil {
		return err
	}
	if err := k.flush("renew the lease"); errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("renew: %w: it ended this moment", inspect.ErrEnded)
	} else {
		return err
	}
}

// kernelRestore removes the table, whoever's it is and whether it can be read or not.
func (e *Enforcer) kernelRestore(c flow.Change) (flow.Policy, error) {
	k, err := e.open()
	if err != nil {
		return flow.Policy{}, err
	}
	defer k.close()
	old, err := k.remove(e.step)
	if err != nil {
		return flow.Policy{}, err
	}
	p := flow.Policy{State: flow.StateNone, Change: c}
	e.step(Reading)
	switch now, err := k.read(); {
	case err != nil:
		return flow.Policy{Change: c, Why: "the table was deleted, and whether it is gone could not be read: " + err.Error()}, nil
	case now != nil && old != nil && now.stamp == old.stamp:
		return flow.Policy{}, fmt.Errorf("the table inet %s is still there after it was deleted", edits.Table)
	case now != nil:
		q := now.policy()
		because(&q, "somebody applied a new policy this moment")
		return q, nil
	}
	p.Proof = append(p.Proof, flow.Proof{What: "table inet " + edits.Table, Result: "gone", Holds: true})
	e.step(Proving)
	e.proveOpen(c, &p)
	if old != nil {
		e.settle(c, &old.change, &p)
	}
	return p, nil
}

// remove deletes the table, and gives what it was; nil: there was none.
func (k *kernel) remove(step func(Step)) (*found, error) {
	for try := 0; ; try++ {
		step(Checking)
		old, err := k.read()
		if err != nil || old == nil {
			return nil, err
		}
		step(Writing)
		if old.wrong == "" && try < 3 {
			if err := k.claim(old); err != nil {
				return nil, err
			}
		}
		k.conn.DelTable(k.table)
		err = k.flush("delete the table inet " + edits.Table)
		if err == nil || !errors.Is(err, unix.ENOENT) || try == 3 {
			return old, err
		}
		// It is another one by now, or gone.
	}
}

// kernelPolicy reads what is in force, and sends nothing.
func (e *Enforcer) kernelPolicy() (flow.Policy, error) {
	k, err := e.open()
	if err != nil {
		return flow.Policy{}, err
	}
	defer k.close()
	f, err := k.read()
	if err != nil || f == nil {
		return flow.Policy{State: flow.StateNone}, err
	}
	return f.policy(), nil
}
