package edits

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

func hole(s string, port uint16) flow.Hole {
	return flow.Hole{Prefix: netip.MustParsePrefix(s), Port: port}
}

// The lines are what a person would give to `nft -f` (the form that was measured: a lease,
// a return for loopback and the proxy, a reset for a connection's first packet).
func TestBlock(t *testing.T) {
	do, undo := Of(flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, TTL: 90*time.Minute + 250*time.Millisecond, By: "dev@corp", Reason: `a "b"`,
		ProxyUIDs: []uint32{1337}, ProxyGIDs: []uint32{1338}, Except: []flow.Hole{hole("10.96.0.10/32", 53), hole("fd00::/8", 0)}})
	want := []string{
		`create table inet meshtop`,
		`add set inet meshtop lease { type inet_proto; flags timeout; }`,
		`add set inet meshtop about { type mark; }`,
		`# one more comment in about holds since when and until when`,
		`add element inet meshtop about { 1 comment "policy=block-all" }`,
		`add element inet meshtop about { 2 comment "by=dev@corp" }`,
		`add element inet meshtop about { 3 comment "reason=a \x22b\x22" }`,
		`add element inet meshtop about { 4 comment "uid=1337" }`,
		`add element inet meshtop about { 5 comment "gid=1338" }`,
		`add element inet meshtop about { 6 comment "except=10.96.0.10:53" }`,
		`add element inet meshtop about { 7 comment "except=fd00::/8" }`,
		`add chain inet meshtop out { type filter hook output priority -150; policy accept; }`,
		`add rule inet meshtop out oifname "lo" return`,
		`add rule inet meshtop out meta skuid 1337 return`,
		`add rule inet meshtop out meta skgid 1338 return`,
		`add rule inet meshtop out ip daddr 10.96.0.10 tcp dport 53 return`,
		`add rule inet meshtop out ip6 daddr fd00::/8 return`,
		`add rule inet meshtop out meta l4proto @lease tcp flags & (fin | syn | rst | ack) == syn counter reject with tcp reset`,
		`add element inet meshtop lease { tcp timeout 1h30m250ms }`,
	}
	if !slices.Equal(do, want) {
		t.Errorf("got\n%s", strings.Join(do, "\n"))
	}
	if !slices.Equal(undo, []string{"delete table inet meshtop"}) {
		t.Errorf("undo %q", undo)
	}
}

// The strong block leaves no user out and takes UDP; a hole with a port is then one of both
// protocols. A permanent one has no timeout.
func TestStrong(t *testing.T) {
	do, _ := Of(flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, Permanent: true, Strong: true, ProxyUIDs: []uint32{1337}, Except: []flow.Hole{hole("0.0.0.0/0", 53)}})
	text := strings.Join(do, "\n")
	for _, want := range []string{
		"out meta nfproto ipv4 tcp dport 53 return\n", "out meta nfproto ipv4 udp dport 53 return\n",
		"out meta l4proto udp meta l4proto @lease counter reject with icmpx type admin-prohibited\n", "lease { tcp }\n", "lease { udp }",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "skuid") || strings.Contains(text, "timeout 0") {
		t.Errorf("got\n%s", text)
	}
}

// allow-all opens what it names and nothing else, each family by its own rule.
func TestAllow(t *testing.T) {
	for _, c := range []struct {
		change flow.Change
		want   []string
	}{
		{flow.Change{All: true}, []string{"meta nfproto ipv4 meta l4proto @lease counter dnat ip to ip daddr", "meta nfproto ipv6 meta l4proto @lease counter dnat ip6 to ip6 daddr"}},
		{flow.Change{Open: []flow.Hole{hole("10.0.0.9/32", 443), hole("fd00::/20", 0)}},
			[]string{"ip daddr 10.0.0.9 tcp dport 443 meta l4proto @lease counter dnat ip to ip daddr", "ip6 daddr fd00::/20 meta l4proto @lease counter dnat ip6 to ip6 daddr"}},
	} {
		c.change.Kind, c.change.ProxyUIDs = flow.AllowAll, []uint32{7}
		var got []string
		for _, r := range Rules(c.change) {
			got = append(got, r.String())
		}
		if want := append([]string{`oifname "lo" return`, "meta skuid 7 return"}, c.want...); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRuntime(t *testing.T) {
	do, undo := Of(flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, Runtime: []flow.Setting{{Key: "a.b", Value: "0"}, {Key: "c", Value: "0", Before: "5", Had: true}}})
	if !slices.Equal(do, []string{"runtime_modify a.b=0", "runtime_modify c=0", "runtime_modify meshtop.about=(who, why, since when, until when, and what was before)"}) ||
		!slices.Equal(undo, []string{"runtime_modify a.b=", "runtime_modify c=5", "runtime_modify meshtop.about="}) {
		t.Errorf("%q, undo %q", do, undo)
	}
}

// Whatever a change says of itself is read back from its notes, each of which nft can hold
// and none of which ends the quotes it stands in.
func TestNotesReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"", "dev@corp", `"; flush ruleset; "`, "line\nline", "\x1b[2J", "größer 漢字", strings.Repeat("x", 126), strings.Repeat("é\\", 200), "\xff"}
	for range 2000 {
		c := flow.Change{Driver: flow.Kernel, Kind: flow.PolicyKind(1 + r.IntN(2)), By: words[r.IntN(len(words))], Reason: words[r.IntN(len(words))],
			Strong: r.IntN(2) == 0, All: r.IntN(2) == 0, Hold: r.IntN(2) == 0, CloseOpen: r.IntN(2) == 0, Permanent: r.IntN(2) == 0}
		for range r.IntN(3) {
			c.ProxyUIDs = append(c.ProxyUIDs, r.Uint32())
			c.ProxyGIDs = append(c.ProxyGIDs, r.Uint32())
			c.Capture = append(c.Capture, uint16(r.Uint32()))
			c.Except = append(c.Except, hole([]string{"10.0.0.0/8", "0.0.0.0/0", "fd00::1/128", "::/0", "192.0.2.1/32"}[r.IntN(5)], uint16(r.IntN(2)*443)))
			c.Open = append(c.Open, hole("10.1.2.3/32", uint16(r.IntN(2)*80)))
		}
		notes := Notes(c)
		for _, n := range notes {
			if len(n) > maxNote || strings.ContainsFunc(n, func(c rune) bool { return c == '"' || c < ' ' || c > '~' }) {
				t.Fatalf("note %q", n)
			}
		}
		got, err := ReadNotes(notes)
		// A byte that is no UTF-8 stays what it is.
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, c)
		}
	}
}

// A note that nobody of ours wrote is refused, not passed over.
func TestForeignNotes(t *testing.T) {
	for _, notes := range [][]string{{}, {"by=x"}, {"policy=none"}, {"policy=restore"}, {"policy=block-all", "x=y"}, {"policy=block-all", "uid=-1"}, {"policy=block-all", "capture=65536"},
		{"policy=block-all", "except=10.0.0.0/8:"}, {"policy=block-all", "except=10.0.0.1/32"}, {"policy=block-all", "strong=no"}, {"policy=block-all", `by=\q`}, {"policy=block-all", "all"}} {
		if c, err := ReadNotes(notes); err == nil {
			t.Errorf("%q: %+v", notes, c)
		}
	}
}

func FuzzReadNotes(f *testing.F) {
	f.Add("policy=block-all\nby=a\nexcept=[fd00::/8]:1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ReadNotes(strings.Split(text, "\n"))
		if err != nil {
			return
		}
		again, err := ReadNotes(Notes(c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%v\n got %+v\nwant %+v", err, again, c)
		}
	})
}

// Every kind and driver has its words or none, and never those of another.
func TestOthers(t *testing.T) {
	for _, d := range []flow.Driver{flow.NoDriver, flow.XDS, flow.Sidecar, flow.NetworkPolicy} {
		if do, undo := Of(flow.Change{Kind: flow.BlockAll, Driver: d, CloseOpen: true}); do != nil || undo != nil {
			t.Errorf("%s: %q %q", d, do, undo)
		}
	}
	do, undo := Of(flow.Change{Kind: flow.Restore, Driver: flow.Kernel})
	if !slices.Equal(do, []string{"delete table inet meshtop"}) || undo != nil {
		t.Errorf("restore: %q %q", do, undo)
	}
}
