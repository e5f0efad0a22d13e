package enforce

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// found is our table as it was read.
type found struct {
	stamp   stamp
	change  flow.Change
	wrong   string // why it is not what it says; empty: it is
	alive   bool   // the lease holds
	expires time.Time
	refused uint64 // what the counting rules counted
}

// expired says whether it is ours and its time is over.
func (f *found) expired() bool { return f.wrong == "" && !f.alive }

// read reads the table; nil: there is none. One that is there and cannot be read is wrong.
func (k *kernel) read() (*found, error) {
	var failed error
	for range 4 { // it may go, or change, while it is read
		_, err := k.conn.ListTableOfFamily(edits.Table, nftables.TableFamilyINet)
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil, nil
		case errors.Is(err, unix.EPERM):
			return nil, fmt.Errorf("read the table inet %s: %w: it needs root (CAP_NET_ADMIN)", edits.Table, inspect.ErrNoPower)
		case err != nil:
			return nil, fmt.Errorf("read the table inet %s: nftables: %w", edits.Table, err)
		}
		f, again := &found{}, &found{}
		failed = errors.Join(k.readNotes(f), k.readLease(f), k.readRules(f), k.readNotes(again))
		if failed == nil && f.stamp.key != again.stamp.key {
			failed = errors.New("it is another one each time that it is read") // half of one, half of the next
		}
		if failed == nil {
			return f, nil
		}
	}
	return &found{wrong: failed.Error()}, nil
}

// readNotes reads what the table says of itself.
func (k *kernel) readNotes(f *found) error {
	// Only this call of the library's tells which error it was.
	if _, err := k.conn.GetSetByName(k.table, edits.About); errors.Is(err, unix.ENOENT) {
		f.wrong = "it does not say whose it is"
		return nil
	}
	elements, err := k.conn.GetSetElements(k.about())
	if err != nil {
		return err
	}
	slices.SortFunc(elements, func(a, b nftables.SetElement) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	var notes []string
	stamps := 0
	for _, e := range elements {
		if keyOf(e) < firstStamp {
			notes = append(notes, e.Comment)
			continue
		}
		stamps++
		f.stamp, err = readStamp(e)
		if err != nil {
			f.wrong = err.Error()
		}
	}
	if stamps != 1 {
		f.wrong = fmt.Sprintf("it has %d stamps of time", stamps)
	}
	change, err := edits.ReadNotes(notes)
	if err != nil {
		f.wrong = err.Error()
	}
	f.change = change
	f.change.Since = f.stamp.since
	return nil
}

func keyOf(e nftables.SetElement) uint32 {
	if len(e.Key) != 4 {
		return 0
	}
	return binaryutil.NativeEndian.Uint32(e.Key)
}

// readStamp reads what stamp's element writes.
func readStamp(e nftables.SetElement) (stamp, error) {
	s := stamp{key: keyOf(e)}
	since, until, finite := strings.Cut(e.Comment, " until=")
	var err, bad error
	s.since, err = time.Parse("since="+stampTime, since)
	if finite {
		s.until, bad = time.Parse(stampTime, until)
	}
	if err := errors.Join(err, bad); err != nil {
		return stamp{}, fmt.Errorf("its stamp of time is %q", e.Comment)
	}
	return s, nil
}

// readLease reads how long the lease holds: the kernel counts it, not the notes.
func (k *kernel) readLease(f *found) error {
	if f.wrong != "" {
		return nil
	}
	at := time.Now()
	elements, err := k.conn.GetSetElements(k.lease())
	if err != nil {
		return err
	}
	f.expires = f.stamp.until
	for _, p := range edits.Leased(f.change) {
		i := slices.IndexFunc(elements, func(e nftables.SetElement) bool { return len(e.Key) == 1 && e.Key[0] == uint8(p) })
		if i < 0 {
			continue
		}
		e := elements[i]
		if (e.Timeout == 0) != f.change.Permanent {
			f.wrong = fmt.Sprintf("its lease holds for %s, and permanent=%v", e.Timeout, f.change.Permanent)
		}
		f.alive = true
		if e.Timeout != 0 {
			f.expires, f.change.TTL = at.Add(e.Expires), e.Timeout
		}
	}
	if f.change.Permanent && !f.alive {
		f.wrong = "its lease was taken out"
	}
	return nil
}

// readRules compares the chain and its rules with what the notes tell, and adds the counters
// up.
func (k *kernel) readRules(f *found) error {
	if f.wrong != "" {
		return nil
	}
	chains, err := k.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return err
	}
	chains = slices.DeleteFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name != edits.Table })
	h := edits.HookOf(f.change.Kind)
	if len(chains) != 1 || !hangs(chains[0], h) {
		f.wrong = "its chains are not those of " + f.change.Kind.String()
		return nil
	}
	rules, err := k.conn.GetRules(k.table, chains[0])
	if err != nil {
		return err
	}
	want := edits.Rules(f.change)
	for i := range max(len(rules), len(want)) {
		if i >= len(rules) || i >= len(want) || !same(expressions(want[i], 0), rules[i].Exprs) {
			f.wrong = fmt.Sprintf("its rule %d is not the one that was written", i+1)
			return nil
		}
		for _, e := range rules[i].Exprs {
			if c, ok := e.(*expr.Counter); ok {
				f.refused += c.Packets
			}
		}
	}
	return nil
}

func hangs(c *nftables.Chain, h edits.Hook) bool {
	return c.Name == h.Chain && string(c.Type) == h.Type && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookOutput &&
		c.Priority != nil && int(*c.Priority) == h.Priority && c.Policy != nil && *c.Policy == nftables.ChainPolicyAccept
}

// policy is what was read, in the shared words.
func (f *found) policy() flow.Policy {
	c := f.change
	c.Edits, c.Undo = edits.Of(c)
	p := flow.Policy{Change: c, Expires: f.expires}
	if c.Kind == flow.BlockAll {
		p.Refused = f.refused
	}
	what := "the counter of the rule"
	switch {
	case f.wrong != "":
		p.Why = fmt.Sprintf("the table inet %s is not as ours are: %s", edits.Table, f.wrong)
	case !f.alive:
		p.State = flow.StateExpired
	case f.refused == 0:
		because(&p, "the rules are there, and have met no connection yet")
		p.Proof = []flow.Proof{{What: what, Result: "0"}}
	default:
		p.State = flow.StateApplied
		p.Proof = []flow.Proof{{What: what, Result: fmt.Sprint(f.refused), Holds: true}}
	}
	return p
}

// compare says whether what was read is what the change asked for.
func (k *kernel) compare(c flow.Change, mine stamp, f *found) (flow.Policy, error) {
	why := ""
	switch {
	case f == nil, f.wrong == "" && f.stamp.key != mine.key:
		return flow.Policy{}, fmt.Errorf("the table inet %s was written, and somebody removed it this moment", edits.Table)
	case f.wrong != "":
		why = f.wrong
	case !slices.Equal(edits.Notes(f.change), edits.Notes(c)):
		why = "it tells of another policy"
	}
	if why != "" {
		return flow.Policy{}, fmt.Errorf("what was read back is not what was written: %s", why)
	}
	p := flow.Policy{Change: c, Expires: f.expires}
	p.Change.Since = f.stamp.since
	if !f.alive {
		p.State = flow.StateExpired
		because(&p, "its time was over before it could be read back")
	}
	return p, nil
}
