package agent

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

var block = flow.Change{
	Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, TTL: time.Minute, By: "ann", Since: time.Unix(1, 0).UTC(),
	Edits: []string{"do"}, Undo: []string{"undo"}, Runtime: []flow.Setting{{Key: "had", Value: "0", Before: "3", Had: true}, {Key: "new", Value: "0"}},
}

func kinds(cs []flow.Change) []flow.PolicyKind {
	var out []flow.PolicyKind
	for _, c := range cs {
		out = append(out, c.Kind)
	}
	return out
}

func keep(t *testing.T, f *fake) *Keeper {
	t.Helper()
	k, err := Keep(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeeperEndsAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		k := keep(t, f)
		if _, err := k.Apply(t.Context(), block); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - 1)
		if got := kinds(f.changes()); !reflect.DeepEqual(got, []flow.PolicyKind{flow.BlockAll}) || !k.Promises() {
			t.Fatalf("before its time: %v", got)
		}
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		got := f.changes()
		if !reflect.DeepEqual(kinds(got), []flow.PolicyKind{flow.BlockAll, flow.Restore}) || k.Promises() {
			t.Fatalf("after its time: %v", got)
		}
		want := []flow.Setting{{Key: "had", Value: "3", Before: "3", Had: true}, {Key: "new"}}
		if r := got[1]; r.Driver != flow.EnvoyRuntime || !reflect.DeepEqual(r.Runtime, want) || r.By != "ann" ||
			!reflect.DeepEqual(r.Edits, []string{"runtime_modify had=3", "runtime_modify new=", "runtime_modify meshtop.about="}) {
			t.Errorf("undone by %+v", r)
		}
	})
}

func TestKeeperRenews(t *testing.T) {
	for _, driver := range []flow.Driver{flow.EnvoyRuntime, flow.Kernel} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			k := keep(t, f)
			c := block
			c.Driver = driver
			if err := k.Renew(t.Context(), time.Hour); !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("renewed nothing: %v", err)
			}
			if _, err := k.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			if err := k.Renew(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			if len(f.renewals()) != 1 {
				t.Errorf("%s: renewed %v in the pod", driver, f.renewals())
			}
			time.Sleep(59 * time.Second)
			if len(f.changes()) != 1 {
				t.Fatalf("%s: ended at its old end", driver)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if len(f.changes()) != 2 {
				t.Errorf("%s: not ended", driver)
			}
		})
	}
}

// What cannot be undone stays promised and is tried again.
func TestKeeperTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		var told []error
		k, err := Keep(f, func(err error) { told = append(told, err) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Apply(t.Context(), block); err != nil {
			t.Fatal(err)
		}
		f.fail(2)
		time.Sleep(time.Minute + again + time.Second)
		synctest.Wait()
		if len(told) != 2 || !errors.Is(told[0], errBusy) || !k.Promises() {
			t.Fatalf("told %v", told)
		}
		time.Sleep(again)
		synctest.Wait()
		if got := kinds(f.changes()); !reflect.DeepEqual(got, []flow.PolicyKind{flow.BlockAll, flow.Restore}) || k.Promises() {
			t.Errorf("%v", got)
		}
	})
}

// A change that failed leaves the earlier promise, and one that another replaced is not
// undone in its stead.
func TestKeeperKeepsTheRightOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		k := keep(t, f)
		if _, err := k.Apply(t.Context(), block); err != nil {
			t.Fatal(err)
		}
		f.fail(1)
		other := block
		other.TTL = time.Hour
		if _, err := k.Apply(t.Context(), other); !errors.Is(err, errBusy) {
			t.Fatal(err)
		}
		foreign := block
		foreign.By, foreign.Since = "bob", time.Unix(9, 0)
		f.become(foreign)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := kinds(f.changes()); len(got) != 1 || k.Promises() {
			t.Errorf("another's change was ended: %v", got)
		}
	})
}

func TestKeeperReleases(t *testing.T) {
	f := &fake{}
	k := keep(t, f)
	if err := k.Release(); err != nil || len(f.changes()) != 0 {
		t.Errorf("released nothing: %v, %v", err, f.changes())
	}
	permanent := block
	permanent.TTL, permanent.Permanent = 0, true
	if _, err := k.Apply(t.Context(), permanent); err != nil {
		t.Fatal(err)
	}
	if err := k.Release(); err != nil || len(f.changes()) != 1 {
		t.Errorf("what was to be permanent was ended: %v, %v", err, f.changes())
	}
	leased := block
	leased.Driver = flow.Kernel
	if _, err := k.Apply(t.Context(), leased); err != nil {
		t.Fatal(err)
	}
	if !k.Promises() || k.OnlyPromises() {
		t.Error("the kernel's lease is promised, and not by the keeper alone")
	}
	if err := k.Release(); err != nil || len(f.changes()) != 2 || k.Promises() {
		t.Errorf("what the kernel ends was ended: %v, %v", err, f.changes())
	}
	if _, err := k.Apply(t.Context(), block); err != nil || !k.OnlyPromises() {
		t.Fatal(err)
	}
	if err := k.Release(); err != nil || len(f.changes()) != 4 || k.Promises() {
		t.Errorf("%v, %v", err, f.changes())
	}
}

// A holder that starts takes over what one before it was to end.
func TestKeeperAdopts(t *testing.T) {
	for name, c := range map[string]struct {
		state     flow.PolicyState
		left      time.Duration
		permanent bool
		promised  bool
		undone    int
	}{
		"nothing":   {state: flow.StateNone},
		"in force":  {state: flow.StateApplied, left: time.Minute, promised: true},
		"unknown":   {state: flow.StateUnknown, left: time.Minute, promised: true},
		"overdue":   {state: flow.StateUnknown, left: -time.Second, undone: 1},
		"expired":   {state: flow.StateExpired, left: -time.Second, undone: 1},
		"permanent": {state: flow.StateApplied, permanent: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			if c.state != flow.StateNone {
				f.become(block)
				f.policy.State, f.policy.Expires, f.policy.Change.Permanent = c.state, time.Now().Add(c.left), c.permanent
			}
			k := keep(t, f)
			if err := k.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
			if k.Promises() != c.promised || len(f.changes()) != c.undone {
				t.Errorf("%s: promised %v, undone by %v", name, k.Promises(), f.changes())
			}
			if c.promised {
				time.Sleep(c.left + 1)
				synctest.Wait()
				if got := kinds(f.changes()); !reflect.DeepEqual(got, []flow.PolicyKind{flow.Restore}) {
					t.Errorf("%s: not ended: %v", name, got)
				}
			}
		})
	}
}

// A change that holds while somebody watches ends with the stream, and only that one does.
func TestHoldEndsWithTheStream(t *testing.T) {
	held, other := block, block
	held.Hold = true
	other.Since = time.Unix(2, 0).UTC()
	for name, c := range map[string]struct {
		change flow.Change
		now    *flow.Change // by other means
		want   int
	}{
		"hold":                    {change: held, want: 2},
		"for a time":              {change: block, want: 1},
		"hold, another's by then": {change: held, now: &other, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			pod, served := pair(t, f)
			if _, err := pod.Apply(t.Context(), c.change); err != nil {
				t.Fatal(err)
			}
			if c.now != nil {
				f.become(*c.now)
			}
			if err := pod.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
			if got := f.changes(); len(got) != c.want {
				t.Errorf("%+v", got)
			}
		})
	}
}
