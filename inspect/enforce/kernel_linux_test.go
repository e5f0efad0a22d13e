package enforce

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// space makes a network namespace of the test's own. Its eth0 leads nowhere; anything that is
// sent there gets no answer.
func space(t testing.TB) *netns.Space {
	t.Helper()
	power.Root(t)
	power.Tools(t, "ip", "nft")
	name := fmt.Sprintf("mt-enforce-%d", time.Now().UnixNano())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	s, err := netns.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, line := range []string{"link set lo up", "link add eth0 type veth peer name far0", "link set far0 up", "addr add 10.244.1.7/24 dev eth0", "link set eth0 up", "route add default via 10.244.1.1",
		"neigh add 10.244.1.1 lladdr 02:00:00:00:00:01 dev eth0", "addr add fd00:244:1::7/64 dev eth0 nodad", "route add default via fd00:244:1::1",
		"neigh add fd00:244:1::1 lladdr 02:00:00:00:00:01 dev eth0"} {
		run(t, s, "ip", strings.Fields(line)...)
	}
	// The kernel makes the route to an IPv6 address of its own a moment after the address: until
	// then what is sent to it, a reset too, leaves by the device.
	for end := time.Now().Add(10 * time.Second); !strings.Contains(run(t, s, "ip", "-6", "route", "show", "table", "local"), "local fd00:244:1::7 "); {
		if time.Now().After(end) {
			t.Fatal("the address has no local route")
		}
	}
	return s
}

// run runs a program in a namespace.
func run(t testing.TB, s *netns.Space, name string, args ...string) string {
	t.Helper()
	var out []byte
	if err := s.Do(func() error {
		var err error
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	}); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// planned fills in the edits, as the plan does.
func planned(c flow.Change) flow.Change {
	if c.Driver == flow.NoDriver {
		c.Driver = flow.Kernel
	}
	if c.TTL == 0 && !c.Permanent && c.Kind != flow.Restore {
		c.TTL = time.Minute
	}
	c.Edits, c.Undo = edits.Of(c)
	return c
}

func apply(t testing.TB, s *netns.Space, c flow.Change) flow.Policy {
	t.Helper()
	p, err := New(s, Options{}).Apply(context.Background(), planned(c))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func hole(s string, port uint16) flow.Hole {
	return flow.Hole{Prefix: netip.MustParsePrefix(s), Port: port}
}

// forms are changes of every form that the table has.
var forms = map[string]flow.Change{
	"block": {Kind: flow.BlockAll, By: "dev@corp", Reason: "INC-4711", ProxyUIDs: []uint32{1337}, ProxyGIDs: []uint32{1337}},
	"block with holes": {Kind: flow.BlockAll, By: "dev@corp", ProxyUIDs: []uint32{1337, 7},
		Except: []flow.Hole{hole("10.96.0.10/32", 53), hole("10.0.0.0/8", 0), hole("10.16.0.0/12", 443), hole("0.0.0.0/0", 80), hole("fd00::/20", 0), hole("fd00::1/128", 443), hole("::/0", 8443)}},
	"strong":           {Kind: flow.BlockAll, Strong: true, ProxyUIDs: []uint32{1337}, ProxyGIDs: []uint32{1337}, Except: []flow.Hole{hole("10.96.0.10/32", 53)}},
	"permanent":        {Kind: flow.BlockAll, Permanent: true},
	"no proxy":         {Kind: flow.BlockAll, Reason: "a \"quote\"; \x1b[2J\n" + strings.Repeat("long ", 100), CloseOpen: true, Hold: true, Capture: []uint16{15001}},
	"allow every one":  {Kind: flow.AllowAll, All: true, ProxyUIDs: []uint32{1337}, ProxyGIDs: []uint32{1337}},
	"allow some":       {Kind: flow.AllowAll, Open: []flow.Hole{hole("203.0.113.0/24", 0), hole("10.0.0.9/32", 443), hole("fd00:107::/32", 80)}, ProxyUIDs: []uint32{1337}, Except: []flow.Hole{hole("203.0.113.7/32", 0)}},
	"allow for ever":   {Kind: flow.AllowAll, All: true, Permanent: true},
	"allow one family": {Kind: flow.AllowAll, Open: []flow.Hole{hole("fd00:107::16/128", 80)}},
}

// volatile is what differs from table to table: the stamp of time, the lease's rest, counters.
var volatile = regexp.MustCompile(`(, )?0x[89a-f][0-9a-f]{7} comment "since=[^"]*"(, )?| expires [0-9a-z]+|packets \d+ bytes \d+`)

func listing(t *testing.T, s *netns.Space) string {
	t.Helper()
	text := volatile.ReplaceAllString(run(t, s, "nft", "list", "table", "inet", "meshtop"), "")
	// A set's elements come in the order of a hash.
	return regexp.MustCompile(`elements = \{([^}]*)\}`).ReplaceAllStringFunc(text, func(m string) string {
		all := regexp.MustCompile(`(0x\w+ comment "[^"]*"|\w+ timeout \w+|tcp|udp)`).FindAllString(m, -1)
		slices.Sort(all)
		return strings.Join(all, "\n")
	})
}

// The table that is written is the one that the edits say, by nft's own judgement: it lists
// the same for both. And it reads back as what was asked.
func TestTableIsItsText(t *testing.T) {
	ours, nfts := space(t), space(t)
	for name, c := range forms {
		t.Run(name, func(t *testing.T) {
			p := apply(t, ours, c)
			if p.State != flow.StateApplied {
				t.Errorf("%+v", p)
			}
			script := strings.Join(planned(c).Edits, "\n") + "\n"
			if i := strings.Index(script, "destroy sockets"); i > 0 {
				script = script[:i]
			}
			if err := nfts.Do(func() error {
				cmd := exec.Command("nft", "-f", "-")
				cmd.Stdin = strings.NewReader(script)
				out, err := cmd.CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if got, want := listing(t, ours), listing(t, nfts); got != want {
				t.Errorf("the table is\n%s\nand its text\n%s", got, want)
			}
			shown, err := New(ours, Options{}).Policy(context.Background())
			if err != nil || shown.State != flow.StateApplied {
				t.Errorf("shown %+v, %v", shown, err)
			}
			want := planned(c)
			got := shown.Change
			if got.By != want.By || got.Reason != want.Reason || got.TTL != want.TTL || !slices.Equal(got.Edits, want.Edits) || time.Since(got.Since) > time.Minute {
				t.Errorf("read back\n%+v, want\n%+v", got, want)
			}
			if d := time.Until(shown.Expires); !c.Permanent && (d > time.Minute || d < 50*time.Second) || c.Permanent != shown.Expires.IsZero() {
				t.Errorf("it ends in %s", d)
			}
			if p := apply(t, ours, flow.Change{Kind: flow.Restore}); p.State != flow.StateNone {
				t.Errorf("restored: %+v", p)
			}
			run(t, nfts, "nft", "delete", "table", "inet", "meshtop")
			if left := run(t, ours, "nft", "list", "ruleset"); strings.TrimSpace(left) != "" {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}
