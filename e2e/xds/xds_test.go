package xds

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

var swaps = flag.Int("xds.swaps", 2, "how often each policy is applied under pounding clients")

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "mt-xds-bin-")
	if err != nil {
		panic(err)
	}
	built = filepath.Join(dir, "meshtop")
	out, err := exec.Command("go", "build", "-o", built, "../..").CombinedOutput()
	if err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const (
	svc   = "10.107.42.16:80" // has a listener of its own in the scene mesh
	baidu = "203.0.113.10:80" // has none
)

// ways wants what requests get to the service and elsewhere.
func (p *plane) ways(when, toSvc, toBaidu string) {
	p.t.Helper()
	if got := p.way(svc); got != toSvc {
		p.t.Errorf("%s: to the service: %s, want %s", when, got, toSvc)
	}
	if got := p.way(baidu); got != toBaidu {
		p.t.Errorf("%s: elsewhere: %s, want %s", when, got, toBaidu)
	}
}

func hole(t *testing.T, s string) []flow.Hole {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return []flow.Hole{{Prefix: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Port: a.Port()}}
}

// Of the seed's three scenes with egress, each policy can be swapped for each, and back to the file.
// Nothing that began after "applied" goes another way, however hard clients try.
func TestSwapUnderLoad(t *testing.T) {
	for _, c := range []struct {
		scene          string
		backend        lab.Backend
		svc, elsewhere string // as the file has it
	}{
		{"mesh", lab.NFT, "200 svc mesh", "200 baidu"},
		{"block-all", lab.Legacy, "cut", "cut"},
		{"allow-all", lab.NFT, "200 svc", "200 baidu"},
	} {
		t.Run(c.scene, func(t *testing.T) {
			p := in(t, c.scene, c.backend)
			ask := p.ask()
			p.ways("as the file has it", c.svc, c.elsewhere)
			load := pound(p.lab, svc, baidu)
			type span struct {
				what     string
				from, to time.Time
				open     bool
			}
			var spans []span
			for range *swaps {
				for _, kind := range []flow.PolicyKind{flow.BlockAll, flow.Restore, flow.AllowAll, flow.Restore} {
					p.applied(ask, change(kind))
					s := span{what: kind.String(), from: time.Now(), open: kind == flow.AllowAll || kind == flow.Restore && c.svc != "cut"}
					load.more(500)
					s.to = time.Now()
					spans = append(spans, s)
				}
			}
			all := load.end()
			var seconds float64
			for _, s := range spans {
				n, through := between(all, s.from, s.to)
				seconds += s.to.Sub(s.from).Seconds()
				if n < 400 || through != 0 && !s.open || through != n && s.open {
					t.Errorf("%s: of %d connections that began after it was applied %d went through", s.what, n, through)
				}
			}
			rate := float64(500*len(spans)) / seconds
			t.Logf("%d connections in all, %d spans, %.0f a second", len(all), len(spans), rate)
			if *swaps >= 20 && rate < 1000 {
				t.Errorf("%.0f connections a second, not 1,000", rate)
			}
			p.ways("restored", c.svc, c.elsewhere)
		})
	}
}

// block-all takes the listeners along that are only handed connections, or leaves them; the trace
// of the pod, read live, says the same.
func TestKeepHandoff(t *testing.T) {
	p := in(t, "mesh", lab.NFT)
	ask := p.ask()
	keep := change(flow.BlockAll)
	keep.KeepHandoff = true
	got := p.applied(ask, keep)
	p.ways("block-all, handoff kept", "200 svc mesh", "cut")
	if !reaches(got.Change.NotCovered, "handoff", "10.107.42.16_80") {
		t.Errorf("not covered: %v", got.Change.NotCovered)
	}
	p.traces(svc, flow.Delivered)
	p.traces(baidu, flow.Refused)

	p.applied(ask, change(flow.Restore))
	got = p.applied(ask, change(flow.BlockAll))
	p.ways("block-all", "cut", "cut")
	if reaches(got.Change.NotCovered, "handoff", "10.107.42.16_80") {
		t.Errorf("not covered: %v", got.Change.NotCovered)
	}
	p.traces(svc, flow.Refused)

	p.applied(ask, change(flow.Restore))
	open := change(flow.AllowAll)
	open.KeepHandoff = true
	p.applied(ask, open)
	p.ways("allow-all, handoff kept", "200 svc mesh", "200 baidu")
	p.traces(svc, flow.Delivered)
}

// Both families are blocked by one listener of both; what comes in goes on as before.
func TestFamiliesAndInbound(t *testing.T) {
	const svc6 = "[fd00:107::16]:80"
	p := in(t, "dual", lab.NFT)
	ask := p.ask()
	want := func(when, toSvc6, toBaidu string) {
		t.Helper()
		for dst, way := range map[string]string{svc6: toSvc6, baidu: toBaidu} {
			if got := p.way(dst); got != way {
				t.Errorf("%s: to %s: %s, want %s", when, dst, got, way)
			}
		}
		in := flow.Request{Dir: flow.Inbound, Dst: netip.MustParseAddrPort(lab.PodAddr + ":80"), HTTP: &flow.HTTP{Authority: "app"}}
		a, err := p.lab.Send(context.Background(), in)
		if err != nil || said(a) != "200 app" {
			t.Errorf("%s: from outside: %s, error %v", when, said(a), err)
		}
	}
	want("as the file has it", "200 svc6 mesh", "200 baidu")
	p.applied(ask, change(flow.BlockAll))
	want("block-all", "cut", "cut")
	p.applied(ask, change(flow.Restore))
	want("restored", "200 svc6 mesh", "200 baidu")
}

func reaches(rs []flow.Reach, what, whose string) bool {
	for _, r := range rs {
		if r.What == what && (whose == "" || r.Whose == whose) {
			return true
		}
	}
	return false
}

// traces wants the verdict of the trace of the pod as it is now.
func (p *plane) traces(dst string, want flow.Verdict) {
	p.t.Helper()
	pod, err := local.Named(p.lab.Pod(), local.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer pod.Close()
	read, err := pod.Read(context.Background(), inspect.Want{})
	if err != nil {
		p.t.Fatal(err)
	}
	snap, err := rules.ParseSnapshot(read.Files, read.Gaps)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, c := range p.lab.Scene.Cases {
		if c.Request.Dst.String() == dst && c.Request.UID != lab.EnvoyUID && c.Request.HTTP != nil {
			if tr := rules.Trace(snap, c.Request); tr.Verdict != want {
				p.t.Errorf("trace of %s: %s, want %s", dst, tr.Verdict, want)
			}
			return
		}
	}
	p.t.Fatalf("no request of the scene goes to %s", dst)
}

// Holes stay open in a block; a narrow allow-all opens what it lists and nothing else. Destinations
// that share a hole's port or its address go the way of the rest.
func TestHoles(t *testing.T) {
	const other, far, port8080 = "10.107.42.22:80", "10.107.42.21:80", "10.107.42.16:8080"
	ways := func(p *plane, when string, want map[string]string) {
		t.Helper()
		for dst, way := range want {
			if got := p.way(dst); got != way {
				t.Errorf("%s: to %s: %s, want %s", when, dst, got, way)
			}
		}
	}
	p := in(t, "mesh", lab.NFT)
	ask := p.ask()
	block := change(flow.BlockAll)
	block.Except = append(hole(t, baidu), flow.Hole{Prefix: netip.MustParsePrefix("10.107.42.21/32")})
	p.applied(ask, block)
	ways(p, "block-all but for two", map[string]string{svc: "cut", baidu: "200 baidu", far: "200 v1", other: "cut", port8080: "cut"})
	p.applied(ask, change(flow.Restore))
	block.Except = []flow.Hole{{Prefix: netip.MustParsePrefix("10.107.42.16/32")}}
	p.applied(ask, block)
	ways(p, "block-all but for the service", map[string]string{svc: "200 svc mesh", port8080: "200 svc8080", baidu: "cut", far: "cut"})
	p.applied(ask, change(flow.Restore))
	block.Except = []flow.Hole{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Port: 8080}}
	p.applied(ask, block)
	ways(p, "block-all but for a port", map[string]string{svc: "cut", port8080: "200 svc8080", baidu: "cut"})
	p.applied(ask, change(flow.Restore))
	allow := change(flow.AllowAll) // of what goes its way anyway: nothing else may change
	allow.All, allow.Open = false, hole(t, baidu)
	p.applied(ask, allow)
	ways(p, "allow-all of baidu where all is open", map[string]string{svc: "200 svc mesh", baidu: "200 baidu", other: "200 v2", port8080: "200 svc8080"})

	p = in(t, "block-all", lab.NFT)
	ask = p.ask()
	p.applied(ask, allow)
	ways(p, "allow-all of baidu", map[string]string{svc: "cut", baidu: "200 baidu", other: "cut"})
	p.applied(ask, change(flow.Restore))
	allow.Open = []flow.Hole{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
	p.applied(ask, allow)
	ways(p, "allow-all of IPv4", map[string]string{svc: "200 svc", baidu: "200 baidu", other: "200 v2", port8080: "200 svc8080"})
}

// A version that Envoy refuses is applied by nobody: its words are told, and the one before is in
// force, be it a policy or another file that is refused.
func TestRefused(t *testing.T) {
	p := bare(t, "block-all", lab.NFT)
	// A chain of the same match as the hole's: Envoy takes no two of them.
	p.serves(strings.Replace(string(p.lab.Scene.Envoy), "        - filters:\n",
		"        - filter_chain_match: { destination_port: 80, prefix_ranges: { address_prefix: 203.0.113.10, prefix_len: 32 } }\n          filters:\n", 1))
	p.start()
	p.envoy()
	ask := p.ask()
	allow := change(flow.AllowAll)
	allow.All, allow.Open = false, hole(t, baidu)
	_, err := ask.Apply(context.Background(), worded(allow))
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "has the same matching rules defined as 'virtualOutbound-tcp'") ||
		!strings.HasSuffix(err.Error(), "the configuration before is served again and acknowledged") {
		t.Errorf("error %v", err)
	}
	p.says("has the same matching rules defined as 'virtualOutbound-tcp'")
	p.none(ask)
	p.ways("refused", "cut", "cut")

	good, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	p.serves(strings.Replace(string(good), "destination_port: 80, ", "destination_port: 80, source_prefix_ranges: { address_prefix: nowhere, prefix_len: 8 }, ", 1))
	p.cmd.Process.Signal(syscall.SIGHUP)
	line := p.says("is not reloaded")
	if !strings.Contains(line, "Envoy refused version") || !strings.Contains(line, "served again and acknowledged") {
		t.Errorf("said %q", line)
	}
	p.none(ask)
	p.forget()
	p.serves(strings.Replace(string(good), "port_value: 9901", "port_value: 9902", 1))
	p.cmd.Process.Signal(syscall.SIGHUP)
	if line := p.says("is not reloaded"); !strings.Contains(line, "start Envoy anew") {
		t.Errorf("said %q", line)
	}
	p.serves(strings.Replace(string(good), "cluster: BlockAllCluster", "cluster: Other", 1) + "    - { name: Other, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s }\n")
	p.cmd.Process.Signal(syscall.SIGHUP)
	p.says("is reloaded")
	if got := p.way(baidu); got != "200 baidu" {
		t.Errorf("after a reload: %s", got)
	}
}

// What Envoy refuses changes nothing at all, though it would have taken a listener away too: that
// one stays, and no connection is drained.
func TestRefusedDrainsNothing(t *testing.T) {
	p := bare(t, "mesh", lab.NFT)
	const proxy = "        - filters:\n            - name: envoy.filters.network.tcp_proxy\n"
	clash := "        - filter_chain_match: { destination_port: 80, prefix_ranges: { address_prefix: 203.0.113.10, prefix_len: 32 } }\n" + strings.Replace(proxy, "        - filters", "          filters", 1)
	if !strings.Contains(string(p.lab.Scene.Envoy), proxy) {
		t.Fatal("the scene is another")
	}
	p.serves(strings.Replace(string(p.lab.Scene.Envoy), proxy, clash, 1))
	p.start()
	p.envoy()
	ask := p.ask()
	before := p.moved()
	allow := change(flow.AllowAll) // of the service too: its listener goes
	allow.All, allow.Open = false, append(hole(t, baidu), hole(t, svc)...)
	if _, err := ask.Apply(context.Background(), worded(allow)); err == nil || !strings.Contains(err.Error(), "has the same matching rules defined as") {
		t.Fatalf("error %v", err)
	}
	if after := p.moved(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if got := p.way(svc); got != "200 svc mesh" {
		t.Errorf("to the service: %s", got)
	}
	p.none(ask)
}

// moved is what Envoy counts of listeners that it removed or drains.
func (p *plane) moved() string {
	p.t.Helper()
	all, err := p.lab.InPod("curl", "-sS", "http://127.0.0.1:9901/stats?filter=listener_manager")
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for l := range strings.Lines(all) {
		if strings.Contains(l, "listener_removed") || strings.Contains(l, "draining") {
			out = append(out, l)
		}
	}
	if len(out) < 3 {
		p.t.Fatalf("Envoy counts\n%s", all)
	}
	return strings.Join(out, "")
}

func (p *plane) serves(text string) {
	p.t.Helper()
	if err := os.WriteFile(p.file, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// none wants no policy to be in force, and that to be proven.
func (p *plane) none(ask inspect.Enforcer) {
	p.t.Helper()
	if got, err := ask.Policy(context.Background()); err != nil || got.State != flow.StateNone || len(got.Proof) == 0 {
		p.t.Errorf("%+v, error %v", got, err)
	}
}

// The control plane holds the end of a policy: by time, and by who held it.
func TestEnd(t *testing.T) {
	p := in(t, "mesh", lab.NFT)
	ask := p.ask()
	short := change(flow.BlockAll)
	short.TTL = 300 * time.Millisecond
	got := p.applied(ask, short)
	if d := got.Expires.Sub(got.Change.Since); d != short.TTL {
		t.Errorf("it expires after %s", d)
	}
	p.says("block-all ended (its time is over)")
	p.none(ask)
	p.ways("after its time", "200 svc mesh", "200 baidu")

	p.forget()
	short.TTL = 500 * time.Millisecond
	got = p.applied(ask, short)
	if err := ask.Renew(context.Background(), time.Hour); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	if line := p.says("is not reloaded"); !strings.Contains(line, "block-all is in force: restore first") {
		t.Errorf("reloaded under a policy: %q", line)
	}
	renewed, err := ask.Policy(context.Background())
	if err != nil || renewed.State != flow.StateApplied || renewed.Expires.Before(got.Expires.Add(time.Minute)) {
		t.Errorf("renewed: %+v, error %v", renewed, err)
	}
	var held *inspect.Held
	other := change(flow.AllowAll)
	other.By = "somebody else"
	altered := worded(other)
	altered.All, altered.Open = false, hole(t, baidu)
	if _, err := ask.Apply(context.Background(), worded(other)); !errors.As(err, &held) || held.Policy.Change.By != "test" {
		t.Errorf("a second writer: %v", err)
	}
	p.applied(ask, change(flow.Restore))
	if _, err := ask.Apply(context.Background(), altered); !errors.Is(err, inspect.ErrAltered) {
		t.Errorf("a change that is not what it says: %v", err)
	}
	if err := ask.Renew(context.Background(), time.Hour); !errors.Is(err, inspect.ErrEnded) {
		t.Errorf("renewed after its end: %v", err)
	}
	p.none(ask)

	watching := p.ask()
	held2 := change(flow.BlockAll)
	held2.Hold = true
	p.applied(watching, held2)
	p.ways("held", "cut", "cut")
	watching.Close()
	p.says("block-all ended (who held it is gone)")
	p.none(ask)
	p.ways("no longer held", "200 svc mesh", "200 baidu")
}

// Its own end: asked to, it takes the policy back first. Killed, it leaves Envoy as it is, and the
// next one serves the file again. An Envoy that starts anew gets the policy.
func TestRestart(t *testing.T) {
	p := bare(t, "mesh", lab.NFT)
	p.start()
	if _, err := p.ask().Apply(context.Background(), worded(change(flow.BlockAll))); err == nil || err.Error() != "no Envoy is connected to the control plane: nothing was changed" {
		t.Errorf("without an Envoy: %v", err)
	}
	p.envoy()
	p.applied(p.ask(), change(flow.BlockAll))
	if err := p.lab.StopEnvoy(); err != nil {
		t.Fatal(err)
	}
	p.says("Envoy is gone")
	if got, err := p.ask().Policy(context.Background()); err != nil || got.State != flow.StateUnknown || got.Change.Kind != flow.BlockAll {
		t.Errorf("without an Envoy: %+v, error %v", got, err)
	}
	p.envoy()
	p.ways("a new Envoy", "cut", "cut")
	if got, err := p.ask().Policy(context.Background()); err != nil || got.State != flow.StateApplied {
		t.Errorf("a new Envoy: %+v, error %v", got, err)
	}

	p.kill()
	p.ways("the control plane was killed", "cut", "cut")
	p.start()
	p.says("Envoy is connected")
	for ask := p.ask(); ; time.Sleep(10 * time.Millisecond) {
		if got, err := ask.Policy(context.Background()); err != nil {
			t.Fatal(err)
		} else if got.State == flow.StateNone {
			break
		}
	}
	p.ways("a new control plane", "200 svc mesh", "200 baidu")

	p.applied(p.ask(), change(flow.BlockAll))
	if code := p.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d\n%s", code, strings.Join(p.lines, "\n"))
	}
	p.says("block-all ended (the control plane ends)")
	p.ways("the control plane has ended", "200 svc mesh", "200 baidu")
	if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket: %v", err)
	}
}
