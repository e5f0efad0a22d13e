package envoy

import (
	"math/rand/v2"
	"strings"
)

// dice is a seeded source of choices: the same seed and stream give the same batch.
type dice struct {
	*rand.Rand
	// certain forbids what is drawn anew for each request (weights, several endpoints):
	// where state decides too, chance beside it could not be told apart.
	certain bool
}

func newDice(seed, stream uint64) *dice { return &dice{Rand: rand.New(rand.NewPCG(seed, stream))} }

// chance is true with probability p.
func (d *dice) chance(p float64) bool { return d.Float64() < p }

func pick[T any](d *dice, from ...T) T { return from[d.IntN(len(from))] }

// some are up to n different ones.
func some[T any](d *dice, n int, from []T) (out []T) {
	for _, i := range d.Perm(len(from))[:min(n, len(from))] {
		out = append(out, from[i])
	}
	return out
}

// mix is the share of the families: l4 and handoff two in ten each, http five, lb one.
var mix = []string{"l4", "http", "handoff", "http", "l4", "http", "handoff", "http", "lb", "http"}

// Generate makes the stream-th batch of a seed. family: l4, handoff, http, lb, or empty
// for the usual mix.
func Generate(seed, stream uint64, family string) *Batch {
	if family == "" {
		family = mix[stream%uint64(len(mix))]
	}
	d := newDice(seed, stream)
	b := &Batch{World: World{ID: family, Family: family}}
	b.World.ID = strings.Join([]string{family, itoa(seed), itoa(stream)}, "-")
	switch family {
	case "l4":
		d.l4(b)
	case "handoff":
		d.handoff(b)
	case "http":
		d.http(b)
	case "lb":
		d.lb(b)
	}
	return b
}

// Values that cases are made of. Few of each, so that they meet.
var (
	ips4        = []string{"10.1.2.3", "10.1.2.77", "10.1.9.9", "10.200.0.1", "192.168.5.5", "172.16.0.9", "127.0.0.1", "127.0.0.2", "10.1.2.2"}
	ips6        = []string{"2001:db8::1", "2001:db8:0:1::5", "fd00::7", "::1"}
	clients     = []string{"127.0.0.1", "127.1.2.3", "127.1.2.77", "127.200.0.1", "127.0.0.2"} // direct peers
	lengths4    = []int{0, 8, 8, 12, 16, 16, 20, 24, 24, 28, 30, 31, 32, 32}
	lengths6    = []int{0, 16, 32, 48, 64, 128, 128}
	ports       = []int{80, 443, 8080, 15001, 3306}
	sourcePorts = []int{1111, 2222, 40000, 1112}
	names       = []string{"a.example.com", "b.a.example.com", "example.com", "x.b.a.example.com", "foo.org", "x.foo.org", "com", "A.Example.COM", "a.example.com.", "EXAMPLE.com", "localhost", "a_b.example.com"}
	patterns    = []string{"a.example.com", "b.a.example.com", "example.com", "*.example.com", "*.a.example.com", "*.com", "*.org", "*.foo.org", "foo.org", "*.EXAMPLE.com", "A.example.com", "com", "localhost", "*.com."}
	protocols   = []string{"h2", "http/1.1", "http/1.0", "h2c", "istio", "foo"}
)

func (d *dice) ip() string {
	if d.chance(0.15) {
		return pick(d, ips6...)
	}
	return pick(d, ips4...)
}
