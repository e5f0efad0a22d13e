package agent

import (
	"context"
	"net"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// relay is a pod that hands sessions and changes on to a keeper behind another stream, as the
// agent's serve does.
type relay struct {
	inspect.Pod
	behind *Pod
}

func (r relay) Greet(ctx context.Context, session string) (bool, error) {
	return r.behind.Greet(ctx, session)
}
func (r relay) Leave(ctx context.Context, session string) error {
	return r.behind.Leave(ctx, session)
}
func (r relay) Policy(ctx context.Context) (flow.Policy, error) { return r.behind.Policy(ctx) }
func (r relay) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	return r.behind.Apply(ctx, c)
}
func (r relay) Renew(ctx context.Context, ttl time.Duration) error { return r.behind.Renew(ctx, ttl) }

// visit is a session's stream to pod. cut ends it as a network does, without a word, and waits
// until the other side knows.
func visit(t *testing.T, pod inspect.Pod, session string) (client *Pod, cut func()) {
	t.Helper()
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), there, pod, ServeOptions{}) }()
	client, err := Dial(t.Context(), here, DialOptions{Session: session})
	if err != nil {
		t.Fatal(err)
	}
	return client, func() {
		_ = here.Close()
		if err := <-served; err != nil {
			t.Errorf("the stream of %s: %v", session, err)
		}
		_ = client.Close()
	}
}

// throughServe is a session's stream to a keeper by way of one that hands on.
func throughServe(t *testing.T, k *Keeper, session string) (*Pod, func()) {
	t.Helper()
	behind, end := visit(t, k, "")
	client, ahead := visit(t, relay{k, behind}, session)
	return client, func() { ahead(); end() }
}

// What a session holds is kept while its stream is away, and is its own again when it is back:
// it can be renewed, and ends when the session leaves, for which no other can speak.
func TestSessionTakesUpWhatItHolds(t *testing.T) {
	held := block
	held.Hold, held.Driver = true, flow.Kernel
	for way, open := range map[string]func(*testing.T, *Keeper, string) (*Pod, func()){
		"by serve": throughServe,
		"directly": func(t *testing.T, k *Keeper, s string) (*Pod, func()) { return visit(t, k, s) },
	} {
		t.Run(way, func(t *testing.T) {
			f := &fake{}
			k := keep(t, f)
			first, cut := open(t, k, "mine")
			if !first.hello.Keeps {
				t.Fatal("the session is not kept")
			}
			if _, err := first.Apply(t.Context(), held); err != nil {
				t.Fatal(err)
			}
			cut()
			other, gone := open(t, k, "another")
			if err := other.Leave(t.Context(), "another"); err != nil {
				t.Fatal(err)
			}
			gone()
			if got := kinds(f.changes()); len(got) != 1 {
				t.Fatalf("it was away, and %v", got)
			}
			second, cut := open(t, k, "mine")
			if err := second.Renew(t.Context(), time.Minute); err != nil || len(f.renewals()) != 1 {
				t.Errorf("renewed %v: %v", f.renewals(), err)
			}
			cut()
			third, cut := open(t, k, "mine")
			defer cut()
			if err := third.Leave(t.Context(), "mine"); err != nil {
				t.Fatal(err)
			}
			if got := kinds(f.changes()); !reflect.DeepEqual(got, []flow.PolicyKind{flow.BlockAll, flow.Restore}) || k.Promises() {
				t.Errorf("it left, and %v", got)
			}
		})
	}
}

// A session that does not come back leaves what it holds to its time; a client without a session,
// and one whose pod keeps none, to the end of the stream.
func TestSessionThatStaysAway(t *testing.T) {
	held := block
	held.Hold, held.Driver = true, flow.Kernel
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		k := keep(t, f)
		client, cut := visit(t, k, "mine")
		if _, err := client.Apply(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		cut()
		time.Sleep(held.TTL - time.Second)
		if got := kinds(f.changes()); len(got) != 1 {
			t.Fatalf("before its time: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := kinds(f.changes()); !reflect.DeepEqual(got, []flow.PolicyKind{flow.BlockAll, flow.Restore}) {
			t.Errorf("after its time: %v", got)
		}
	})
	for name, pod := range map[string]func(*fake) inspect.Pod{
		"":     func(f *fake) inspect.Pod { return keep(t, f) },
		"mine": func(f *fake) inspect.Pod { return f },
	} {
		f := &fake{}
		client, cut := visit(t, pod(f), name)
		if client.hello.Keeps {
			t.Errorf("session %q is kept", name)
		}
		if _, err := client.Apply(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		cut()
		if got := kinds(f.changes()); !reflect.DeepEqual(got, []flow.PolicyKind{flow.BlockAll, flow.Restore}) {
			t.Errorf("session %q: %v", name, got)
		}
	}
}

// A change that another holder has renewed does not end at its old time.
func TestKeeperSeesAnothersRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		k := keep(t, f)
		if _, err := k.Apply(t.Context(), block); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.policy.Expires = time.Now().Add(3 * time.Minute)
		f.mu.Unlock()
		time.Sleep(3*time.Minute - time.Second)
		synctest.Wait()
		if got := kinds(f.changes()); len(got) != 1 || !k.Promises() {
			t.Fatalf("before its new time: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := kinds(f.changes()); !reflect.DeepEqual(got, []flow.PolicyKind{flow.BlockAll, flow.Restore}) || k.Promises() {
			t.Errorf("after its new time: %v", got)
		}
	})
}
