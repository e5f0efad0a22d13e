package enforce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// envoy stands in for Envoy's runtime, to fail as a real one does not on demand. That a real one
// takes keys so is e2e/policy's to judge.
type envoy struct {
	addr netip.AddrPort

	mu     sync.Mutex
	values map[string]string
	before func(keys map[string]string) // a call that modifies is about to be carried out
	after  func(http.ResponseWriter, *http.Request)
}

func newEnvoy(t *testing.T) *envoy {
	t.Helper()
	v := &envoy{values: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /listeners", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	mux.HandleFunc("GET /stats", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /runtime", func(w http.ResponseWriter, _ *http.Request) {
		v.mu.Lock()
		defer v.mu.Unlock()
		type entry struct {
			Final  string   `json:"final_value"`
			Layers []string `json:"layer_values"`
		}
		all := map[string]entry{}
		for k, s := range v.values {
			all[k] = entry{s, []string{s}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"entries": all})
	})
	mux.HandleFunc("POST /runtime_modify", func(w http.ResponseWriter, r *http.Request) {
		set := map[string]string{}
		for k, s := range r.URL.Query() {
			set[k] = s[0]
		}
		v.mu.Lock()
		before, after := v.before, v.after
		v.mu.Unlock()
		if before != nil {
			before(set)
		}
		v.put(set)
		if after != nil {
			after(w, r)
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	v.addr = netip.MustParseAddrPort(srv.Listener.Addr().String())
	return v
}

func (v *envoy) put(set map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.Copy(v.values, set)
	maps.DeleteFunc(v.values, func(_, s string) bool { return s == "" })
}

func (v *envoy) all() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.values)
}

// fails sets what happens around calls that modify.
func (v *envoy) fails(before func(map[string]string), after func(http.ResponseWriter, *http.Request)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.before, v.after = before, after
}

// at makes an enforcer that finds its admin interface at these addresses.
func at(s *netns.Space, patience time.Duration, addrs ...netip.AddrPort) *Enforcer {
	return New(s, Options{Admin: func(ctx context.Context) (*admin.Client, error) {
		dial := func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", a.String())
		}
		f, _, err := admin.Find(ctx, dial, addrs, admin.Options{Patience: patience})
		if err != nil {
			return nil, err
		}
		return f.Client, nil
	}})
}

const limit = "envoy.resource_limits.listener.out.connection_limit"

func limits(by string) flow.Change {
	return planned(flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, By: by, Runtime: []flow.Setting{{Key: limit, Value: "0"}}})
}

func kernelBlock() flow.Change { return planned(flow.Change{Kind: flow.BlockAll, By: "kernel@corp"}) }

func restoreOf(d flow.Driver) flow.Change { return planned(flow.Change{Kind: flow.Restore, Driver: d}) }

// done wants no error.
func done(t *testing.T, p flow.Policy, err error) flow.Policy {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func holds(err error, by string) bool {
	var held *inspect.Held
	return errors.As(err, &held) && held.Policy.Change.By == by
}

// The rest of a table that has expired hides no limits that are in force; restoring takes both
// away, whichever driver it is planned for.
func TestExpiredTableHidesNoLimits(t *testing.T) {
	for _, driver := range []flow.Driver{flow.Kernel, flow.EnvoyRuntime} {
		s, v := space(t), newEnvoy(t)
		e := at(s, time.Minute, v.addr)
		ctx := context.Background()
		apply(t, s, flow.Change{Kind: flow.BlockAll, TTL: time.Millisecond})
		awaitState(t, s, flow.StateExpired)
		if p, err := e.Policy(ctx); err != nil || p.State != flow.StateExpired {
			t.Errorf("no limits: %+v, %v", p, err)
		}
		if _, err := e.Apply(ctx, limits("runtime@corp")); err != nil {
			t.Fatal(err)
		}
		if p, err := e.Policy(ctx); err != nil || p.State != flow.StateApplied || p.Change.By != "runtime@corp" || !strings.Contains(p.Why, "expired") {
			t.Errorf("limits: %+v, %v", p, err)
		}
		p, err := e.Apply(ctx, restoreOf(driver))
		if done(t, p, err); p.State != flow.StateNone || len(v.all()) > 0 || ruleset(t, s) != "" {
			t.Errorf("%s: restored: %+v; %v; %s", driver, p, v.all(), ruleset(t, s))
		}
	}
}

// Of an admin interface that hangs, or answers as none does, nothing is known; where none listens
// there is nothing. The kernel's driver waits for none.
func TestHungEnvoyIsUnknown(t *testing.T) {
	s := space(t)
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hung.Close)
	forbids := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(forbids.Close)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	t.Cleanup(app.Close)
	ctx := context.Background()
	for _, c := range []struct {
		name  string
		srv   *httptest.Server
		state flow.PolicyState
	}{{"hangs", hung, flow.StateUnknown}, {"forbids", forbids, flow.StateUnknown}, {"an app", app, flow.StateNone}, {"nothing", nil, flow.StateNone}} {
		e := at(s, 50*time.Millisecond)
		if c.srv != nil {
			e = at(s, 50*time.Millisecond, netip.MustParseAddrPort(c.srv.Listener.Addr().String()))
		}
		unknown := c.state == flow.StateUnknown
		if p, err := e.Policy(ctx); err != nil || p.State != c.state || unknown != (p.Why != "") {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
		if p, err := e.Apply(ctx, kernelBlock()); err != nil || p.State != flow.StateApplied || unknown != (p.Why != "") {
			t.Errorf("%s: kernel: %+v, %v", c.name, p, err)
		}
		if p, err := e.Apply(ctx, restoreOf(flow.Kernel)); err != nil || p.State != c.state || unknown != (p.Why != "") {
			t.Errorf("%s: restore: %+v, %v", c.name, p, err)
		}
	}
	// The client's own patience is longer than the kernel's driver has.
	e := at(s, time.Hour, netip.MustParseAddrPort(hung.Listener.Addr().String()))
	if p, err := e.Apply(ctx, kernelBlock()); err != nil || p.State != flow.StateApplied || !strings.Contains(p.Why, "no answer within") {
		t.Errorf("%+v, %v", p, err)
	}
}

// One policy holds at a time, whichever driver's it is.
func TestOnePolicyOfBothDrivers(t *testing.T) {
	s, v := space(t), newEnvoy(t)
	e := at(s, time.Minute, v.addr)
	ctx := context.Background()
	if _, err := e.Apply(ctx, limits("runtime@corp")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []flow.Change{kernelBlock(), planned(flow.Change{Kind: flow.AllowAll, All: true})} {
		if _, err := e.Apply(ctx, c); !holds(err, "runtime@corp") || ruleset(t, s) != "" {
			t.Errorf("%s over limits: %v; %s", c.Kind, err, ruleset(t, s))
		}
	}
	if _, err := e.Apply(ctx, restoreOf(flow.EnvoyRuntime)); err != nil {
		t.Fatal(err)
	}
	// A table that met nothing yet is of unknown state, and a policy all the same.
	run(t, s, "ip", "route", "del", "default")
	run(t, s, "ip", "-6", "route", "del", "default")
	apply(t, s, kernelBlock())
	if p, err := e.Policy(ctx); err != nil || p.State != flow.StateUnknown {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := e.Apply(ctx, limits("runtime@corp")); !holds(err, "kernel@corp") || len(v.all()) > 0 {
		t.Errorf("limits over a table: %v; %v", err, v.all())
	}
	if _, err := e.Apply(ctx, restoreOf(flow.Kernel)); err != nil {
		t.Fatal(err)
	}
	// A table that comes while the limits are written is seen too.
	v.fails(func(set map[string]string) {
		if set[edits.RuntimeAbout] != "" {
			apply(t, s, kernelBlock())
		}
	}, nil)
	if _, err := e.Apply(ctx, limits("runtime@corp")); !holds(err, "kernel@corp") || len(v.all()) > 0 {
		t.Errorf("at the same moment: %v; %v", err, v.all())
	}
}

// Of several who set limits at once one at most is told that it did, and its note is the one
// that is there.
func TestOneWriterOfLimits(t *testing.T) {
	s, v := space(t), newEnvoy(t)
	for range 5 {
		won := make(chan string, 6)
		var all sync.WaitGroup
		for i := range cap(won) {
			all.Go(func() {
				by := fmt.Sprint("writer ", i)
				if _, err := at(s, time.Minute, v.addr).Apply(context.Background(), limits(by)); err == nil {
					won <- by
				}
			})
		}
		all.Wait()
		close(won)
		names := slices.Collect(func(yield func(string) bool) {
			for by := range won {
				yield(by)
			}
		})
		p, err := at(s, time.Minute, v.addr).Policy(context.Background())
		if err != nil || len(names) > 1 || len(names) == 1 && p.Change.By != names[0] || len(names) == 0 && len(v.all()) > 0 {
			t.Fatalf("%q were told that theirs is in force, and that of %q is; %v", names, p.Change.By, v.all())
		}
		if p, err = at(s, time.Minute, v.addr).Apply(context.Background(), restoreOf(flow.EnvoyRuntime)); err != nil || len(v.all()) > 0 {
			t.Fatalf("%+v, %v; %v", p, err, v.all())
		}
	}
}

// A writer that tells of nothing before it writes is found out by its note.
func TestNoteOfAnother(t *testing.T) {
	s, v := space(t), newEnvoy(t)
	v.fails(func(set map[string]string) {
		if set[edits.RuntimeAbout] != "" {
			set[edits.RuntimeAbout] = fmt.Sprintf(`{"By":"other@corp","Settings":[{"Key":"k","Value":"0"}],"Until":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
			set["k"] = "0"
		}
	}, nil)
	_, err := at(s, time.Minute, v.addr).Apply(context.Background(), limits("me"))
	if all := v.all(); !holds(err, "other@corp") || all[limit] != "" || all["k"] != "0" || all[edits.RuntimeAbout] == "" {
		t.Errorf("%v; %v", err, all)
	}
}

// A writer that died while it was about to write is in nobody's way, once its claim is old.
func TestClaimOfTheDead(t *testing.T) {
	s, v := space(t), newEnvoy(t)
	e := at(s, time.Minute, v.addr)
	v.put(map[string]string{claim + "1": fmt.Sprint(time.Now().Add(-time.Hour).UnixMilli())})
	if _, err := e.Apply(context.Background(), limits("me")); err != nil {
		t.Errorf("%v", err)
	}
	if p, err := e.Apply(context.Background(), restoreOf(flow.EnvoyRuntime)); err != nil || p.State != flow.StateNone || len(v.all()) > 0 {
		t.Errorf("%+v, %v; %v", p, err, v.all())
	}
	v.put(map[string]string{claim + "1": fmt.Sprint(time.Now().UnixMilli())})
	if _, err := e.Apply(context.Background(), limits("me")); err == nil || !strings.Contains(err.Error(), "at this very moment") || len(v.all()) != 1 {
		t.Errorf("%v; %v", err, v.all())
	}
}

// A call whose answer is lost may have been carried out: it is taken back, or said to be unknown.
func TestLostAnswer(t *testing.T) {
	s, v := space(t), newEnvoy(t)
	lost := false
	v.fails(nil, func(http.ResponseWriter, *http.Request) {
		if v.all()[edits.RuntimeAbout] != "" && !lost {
			lost = true
			panic(http.ErrAbortHandler)
		}
	})
	e := at(s, 200*time.Millisecond, v.addr)
	if _, err := e.Apply(context.Background(), limits("me")); err == nil || len(v.all()) > 0 {
		t.Errorf("an answer that was lost: %v; %v", err, v.all())
	}
	ctx, stop := context.WithCancel(context.Background())
	v.fails(func(set map[string]string) {
		if set[edits.RuntimeAbout] != "" {
			stop()
		}
	}, nil)
	if _, err := e.Apply(ctx, limits("me")); !errors.Is(err, context.Canceled) || len(v.all()) > 0 {
		t.Errorf("interrupted: %v; %v", err, v.all())
	}
	v.fails(nil, func(_ http.ResponseWriter, r *http.Request) {
		if v.all()[edits.RuntimeAbout] != "" {
			<-r.Context().Done()
		} else if r.URL.Query().Has(limit) {
			panic(http.ErrAbortHandler) // the undo is lost too
		}
	})
	p, err := e.Apply(context.Background(), limits("me"))
	if err != nil || p.State != flow.StateUnknown || p.Change.Since.IsZero() || p.Expires.IsZero() || !strings.Contains(p.Why, "restore") {
		t.Errorf("both are lost: %+v, %v", p, err)
	}
	v.fails(nil, nil)
	if _, err := e.Apply(context.Background(), limits("me")); err != nil {
		t.Fatal(err)
	}
	v.fails(nil, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if p, err := e.Apply(context.Background(), restoreOf(flow.EnvoyRuntime)); err != nil || p.State != flow.StateUnknown || !strings.Contains(p.Why, "restore again") {
		t.Errorf("a restore whose answer is lost: %+v, %v", p, err)
	}
}

// Limits whose time is over and that nobody took back are not called applied.
func TestOverdueLimits(t *testing.T) {
	s, v := space(t), newEnvoy(t)
	e := at(s, time.Minute, v.addr)
	if _, err := e.Apply(context.Background(), planned(flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, TTL: time.Millisecond, Runtime: limits("").Runtime})); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		p, err := e.Policy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if p.State == flow.StateUnknown && strings.Contains(p.Why, "its time is over") && strings.Contains(p.Why, "nobody took it back") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", p)
		}
	}
}
