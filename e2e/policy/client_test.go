package policy

import (
	"net/netip"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/prober"
)

// pace is between two connections: with what each takes, 1,000 a second and more.
const pace = 500 * time.Microsecond

// client opens connections one after the other, about every pace, as an app's user, until it
// is stopped.
type client struct{ *prober.Prober }

// shoot starts a client in the pod.
func shoot(t testing.TB, l *lab.Lab, dst netip.AddrPort, every time.Duration) *client {
	t.Helper()
	c := &client{prober.Start(l.PodSpace(), appUID, dst, every)}
	t.Cleanup(func() { c.end(t) })
	return c
}

// talk starts a client that sends a byte over each connection and wants it back.
func talk(t testing.TB, l *lab.Lab, dst netip.AddrPort, every time.Duration) *client {
	t.Helper()
	c := &client{prober.StartAsking(l.PodSpace(), appUID, dst, every)}
	t.Cleanup(func() { c.end(t) })
	return c
}

// end stops the client and gives what it did; it may be called twice.
func (c *client) end(t testing.TB) []prober.Shot {
	t.Helper()
	all, err := c.Stop()
	if err != nil {
		t.Errorf("the client: %v", err)
	}
	return all
}

// await waits until the client has tried n connections more.
func (c *client) await(t testing.TB, n int) {
	t.Helper()
	want := c.Count() + n
	for end := time.Now().Add(20 * time.Second); c.Count() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the client tried %d connections, not %d", c.Count(), want)
		}
	}
}

// between are the shots that began within a time.
func between(all []prober.Shot, from, to time.Time) []prober.Shot {
	var out []prober.Shot
	for _, s := range all {
		if s.Begun.After(from) && s.Begun.Before(to) {
			out = append(out, s)
		}
	}
	return out
}
