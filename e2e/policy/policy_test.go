// Package policy judges egress policies on live pods: real rules of both back ends, a real
// Envoy, and clients whose every connection is timed.
package policy

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// Where clients connect to: servers of the lab.
var (
	echo = netip.MustParseAddrPort("10.107.42.16:7000")
	web  = netip.MustParseAddrPort("203.0.113.10:80")
	svc  = netip.MustParseAddrPort("10.107.42.16:80")
	web6 = netip.MustParseAddrPort("[fd00:107::16]:80")
)

// appUID is a client's user: neither the proxy's nor that of the pod's servers.
const appUID = 1000

// TestMain is also the process that applies a policy and is killed (killed_test.go).
func TestMain(m *testing.M) {
	if os.Getenv(victimEnv) != "" {
		victim()
	}
	os.Exit(m.Run())
}

// scene is a pod to change.
type scene struct {
	name    string
	opt     lab.Options
	proxied bool // its rules redirect what leaves
	open    bool // what leaves arrives
}

func scenes(b lab.Backend) []scene {
	return []scene{
		{"mesh", lab.Options{Scene: "mesh", Backend: b}, true, true},
		{"block-all", lab.Options{Scene: "block-all", Backend: b}, true, false},
		{"allow-all", lab.Options{Scene: "allow-all", Backend: b}, true, true},
		{"no rules", lab.Options{Scene: "auth", NoEnvoy: true, Backend: b}, false, true},
	}
}

// pod opens the lab's pod.
func pod(t testing.TB, l *lab.Lab, opt local.Options) *local.Pod {
	t.Helper()
	p, err := local.Named(l.Pod(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// change is a kernel change as a plan has it for the lab's pods.
func change(k flow.PolicyKind, with ...func(*flow.Change)) flow.Change {
	c := flow.Change{Kind: k, Driver: flow.Kernel, By: "judge@lab", Reason: "a test", ProxyUIDs: []uint32{lab.EnvoyUID}, ProxyGIDs: []uint32{lab.EnvoyUID}, Capture: []uint16{15001}}
	if k != flow.Restore {
		c.TTL = time.Minute
	}
	c.All = k == flow.AllowAll
	for _, f := range with {
		f(&c)
	}
	c.Edits, c.Undo = edits.Of(c)
	return c
}

// apply applies, and wants a state.
func apply(t testing.TB, p *local.Pod, want flow.PolicyState, c flow.Change) flow.Policy {
	t.Helper()
	got, err := p.Apply(context.Background(), c)
	if err != nil {
		t.Fatalf("%s: %v", c.Kind, err)
	}
	if got.State != want {
		t.Errorf("%s is %s, not %s: %s; %+v", c.Kind, got.State, want, got.Why, got.Proof)
	}
	return got
}

var counters = regexp.MustCompile(`\[\d+:\d+\]|packets \d+ bytes \d+| # handle \d+|^#.*\n`)

// rules are the pod's rules of every kind, without counters, handles and comments on when
// they were read.
func rules(t testing.TB, l *lab.Lab) string {
	t.Helper()
	var b strings.Builder
	for _, cmd := range []string{"iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft list ruleset"} {
		args := strings.Fields(cmd)
		out, err := l.InPod(args[0], args[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "#") {
				b.WriteString(counters.ReplaceAllString(line, ""))
			}
		}
	}
	return b.String()
}

// ask sends one request from the pod as a user, and gives the answer.
func ask(t testing.TB, l *lab.Lab, uid uint32, dst netip.AddrPort) lab.Answer {
	t.Helper()
	r := flow.Request{Dst: dst, Proto: flow.TCP, UID: uid, GID: uid}
	if dst != echo {
		r.HTTP = &flow.HTTP{Authority: dst.Addr().String()}
	}
	a, err := l.Send(context.Background(), r)
	if err != nil {
		t.Fatalf("uid %d to %s: %v", uid, dst, err)
	}
	return a
}

// direct says whether a request came to the server from the client itself, not from Envoy.
func direct(a lab.Answer) bool {
	return a.Seen != nil && a.Seen.Peer == a.Local.String()
}

// bystanders are what no policy of the plain form touches: the proxy's own connections, the
// loopback, the pod's own address, and what comes in.
func bystanders(t *testing.T, l *lab.Lab, when string) {
	t.Helper()
	for what, a := range map[string]lab.Answer{
		"the proxy's user": ask(t, l, lab.EnvoyUID, web),
		"loopback":         ask(t, l, appUID, netip.MustParseAddrPort("127.0.0.1:8081")),
	} {
		if a.Code != 200 {
			t.Errorf("%s: %s: %+v", when, what, a)
		}
	}
	for _, dst := range []string{lab.PodAddr + ":8081", "[" + lab.PodAddr6 + "]:80"} {
		a, err := l.Send(context.Background(), flow.Request{Dir: flow.Inbound, Dst: netip.MustParseAddrPort(dst), Proto: flow.TCP, HTTP: &flow.HTTP{Authority: "app"}})
		if err != nil || a.Code != 200 {
			t.Errorf("%s: inbound to %s: %+v, %v", when, dst, a, err)
		}
	}
}

func name(s scene, b lab.Backend) string { return fmt.Sprintf("%s/%s", s.name, b) }

// at is another port of an address.
func at(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }
