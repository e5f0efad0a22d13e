package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/rules/flow"
)

// everyPart is what a read of a live pod brings.
var everyPart = []string{"addr.json", "certs.json", "clusters.json", "config_dump.json", "conntrack", "ip6tables-legacy-save", "ip6tables-save", "iptables-legacy-save",
	"iptables-save", "listeners.json", "nft.json", "route.json", "route6.json", "rule.json", "rule6.json", "runtime.json", "server_info.json", "sockets", "stats", "sysctl"}

func live(t *testing.T, l *lab.Lab) *Pod {
	t.Helper()
	p, err := Named(l.Pod(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func read(t *testing.T, p *Pod, want inspect.Want) inspect.Snapshot {
	t.Helper()
	s, err := p.Read(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// All parts come, of both back ends, without a gap, and hold what the pod has.
func TestReadsAPod(t *testing.T) {
	power.Tools(t, "conntrack")
	for _, b := range []lab.Backend{lab.NFT, lab.Legacy} {
		t.Run(string(b), func(t *testing.T) {
			l := lab.New(t, lab.Options{Scene: "mesh", Backend: b})
			p := live(t, l)
			s := read(t, p, inspect.Want{})
			if got := names(s); !slices.Equal(got, everyPart) {
				t.Errorf("parts %v\nwant  %v", got, everyPart)
			}
			if len(s.Gaps) > 0 {
				t.Errorf("gaps: %v", s.Gaps)
			}
			part := map[lab.Backend]string{lab.NFT: "iptables-save", lab.Legacy: "iptables-legacy-save"}
			for back, name := range part {
				if has := strings.Contains(string(s.Files[name]), "--to-ports 15001"); has != (back == b) {
					t.Errorf("%s has the rule: %v\n%s", name, has, s.Files[name])
				}
			}
			for _, want := range [][2]string{{"addr.json", `"10.244.1.7"`}, {"route.json", `"10.244.1.1"`}, {"route6.json", `"fd00:244:1::1"`}, {"rule.json", `"main"`},
				{"sysctl", "net.ipv4.conf.eth0.route_localnet = 0\n"}, {"config_dump.json", `"virtualOutbound"`}, {"listeners.json", `"10.107.42.16_80"`},
				{"clusters.json", `outbound|myngxsvc`}, {"runtime.json", `"layers"`}, {"server_info.json", `"LIVE"`}, {"stats", "listener_manager"}} {
				if !strings.Contains(string(s.Files[want[0]]), want[1]) {
					t.Errorf("%s has no %s", want[0], want[1])
				}
			}
			if p.Name() != "netns "+l.Pod() {
				t.Errorf("name %q", p.Name())
			}
		})
	}
}

// Reading changes nothing: neither tables nor hooks come to be in a namespace without any.
func TestReadLeavesNoTrace(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "header-match"})
	state := func() string {
		var all strings.Builder
		for _, c := range [][]string{{"cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"}, {"nft", "list", "ruleset"}, {"ip", "addr"}, {"ip", "rule"}} {
			out, err := l.InPod(c[0], c[1:]...)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(out)
		}
		return all.String()
	}
	before := state()
	read(t, live(t, l), inspect.Want{})
	if after := state(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if strings.Contains(before, "nat") {
		t.Error("the scene has nat tables, so the test shows nothing")
	}
}

// The socket table says who listens, as ss does.
func TestSocketsAsSS(t *testing.T) {
	power.Tools(t, "ss")
	l := lab.New(t, lab.Options{Scene: "block-all"})
	p := live(t, l)
	got := listening(t, string(read(t, p, inspect.Want{Parts: []string{"sockets"}}).Files["sockets"]), 1)
	text, err := l.InPod("ss", "-tanpe")
	if err != nil {
		t.Fatal(err)
	}
	want := listening(t, text, 0)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nss says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, row := range []string{fmt.Sprintf(`0.0.0.0:15001 users:(("envoy",pid=%d,`, l.EnvoyPID()), "[fd00:244:1::7]:80"} {
		if !strings.Contains(strings.Join(got, "\n"), row) {
			t.Errorf("no %s in\n%s", row, strings.Join(got, "\n"))
		}
	}
}

// A socket that is bound to a device shows it, as in ss.
func TestSocketOfADevice(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	p := live(t, l)
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) {
			err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "eth0")
		})
		return err
	}}
	err := l.PodSpace().Do(func() error {
		for network, addr := range map[string]string{"tcp4": "0.0.0.0:8443", "tcp6": "[::]:8444"} {
			ln, err := lc.Listen(context.Background(), network, addr)
			if err != nil {
				return err
			}
			t.Cleanup(func() { ln.Close() })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text := string(read(t, p, inspect.Want{Parts: []string{"sockets"}}).Files["sockets"])
	for _, want := range []string{" 0.0.0.0%eth0:8443 ", " [::]%eth0:8444 "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// listening are the rows that listen, with address, owner and inode; skip is the number of
// columns before the state.
func listening(t *testing.T, text string, skip int) []string {
	t.Helper()
	var rows []string
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) < 5+skip || f[skip] != "LISTEN" {
			continue
		}
		row := f[skip+3]
		for _, w := range f[skip+5:] {
			if strings.HasPrefix(w, "users:") || strings.HasPrefix(w, "uid:") || strings.HasPrefix(w, "ino:") {
				row += " " + w
			}
		}
		rows = append(rows, row)
	}
	sort.Strings(rows)
	return rows
}

// Only what is asked for is read.
func TestReadsSomeParts(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "weights"})
	p := live(t, l)
	for _, parts := range [][]string{{"addr.json"}, {"sockets", "sysctl"}, {"listeners.json"}, {"config_dump.json", "iptables-save"}} {
		s := read(t, p, inspect.Want{Parts: parts})
		got := names(s)
		sort.Strings(parts)
		if !slices.Equal(got, parts) || len(s.Gaps) > 0 {
			t.Errorf("asked for %v, got %v, gaps %v", parts, got, s.Gaps)
		}
	}
}

// Needs bring single objects of Envoy, and an empty answer for what does not exist.
func TestReadsNeeds(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := live(t, l)
	s := read(t, p, inspect.Want{Needs: []flow.Need{{Part: "listener", Name: "10.107.42.16_80"}, {Part: "cluster", Name: "outbound|myngxsvc"}, {Part: "route", Name: "no/such"}}})
	if len(s.Gaps) > 0 {
		t.Errorf("gaps %v", s.Gaps)
	}
	const listener = "config_dump/dynamic_listeners,static_listeners/10.107.42.16_80.json"
	for name, has := range map[string]string{
		listener: `"myngxsvc_host"`,
		"config_dump/dynamic_active_clusters,static_clusters,dynamic_warming_clusters/outbound%7Cmyngxsvc.json": `"outbound|myngxsvc"`,
		"config_dump/dynamic_route_configs,static_route_configs/no%2Fsuch.json":                                 "RoutesConfigDump\"\n",
		"clusters/outbound%7Cmyngxsvc.json":                                                                     `"10.107.42.16"`,
	} {
		if !strings.Contains(string(s.Files[name]), has) {
			t.Errorf("%s: %q has no %s", name, s.Files[name], has)
		}
	}
	if _, ok := s.Files["config_dump.json"]; ok {
		t.Error("the whole dump was read")
	}
	if strings.Contains(string(s.Files[listener]), "virtualOutbound") {
		t.Error("another listener came along")
	}
}

// The calls tell the activity screen what was done, and each part is announced.
func TestCallsAndProgress(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "inbound"})
	p := live(t, l)
	done := map[string]bool{}
	s := read(t, p, inspect.Want{Progress: func(pr inspect.Progress) { done[pr.Part] = done[pr.Part] || pr.Done }})
	for _, n := range names(s) {
		if !done[n] {
			t.Errorf("no word of %s", n)
		}
	}
	var what []string
	for _, c := range s.Calls {
		what = append(what, c.What)
		if c.Start.IsZero() || c.Err != "" {
			t.Errorf("call %+v", c)
		}
	}
	for _, w := range []string{"iptables-nft-save -c", "iptables-legacy-save -c", "GET 127.0.0.1:15000/config_dump?include_eds", "sock_diag: TCP and UDP sockets"} {
		if !slices.Contains(what, w) {
			t.Errorf("no call %q in %q", w, what)
		}
	}
}

// Without an Envoy the kernel's parts still come, and each part of Envoy is a gap.
func TestWithoutEnvoy(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	s := read(t, live(t, l), inspect.Want{})
	if _, ok := s.Files["iptables-save"]; !ok {
		t.Error("no rules")
	}
	for _, part := range envoyParts {
		if g := gapOf(s, part); g != "no Envoy admin interface found: nothing listens on 15000, 19000 or 9901" {
			t.Errorf("%s: %q", part, g)
		}
	}
}

// An admin interface at another place is found when it is named, and else the sentence says
// what Envoy listens on.
func TestAdminElsewhere(t *testing.T) {
	power.Root(t)
	conf := []byte(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: 7777}}}
static_resources: {listeners: []}`)
	l := lab.New(t, lab.Options{Scene: "mesh", Config: conf})
	g := gapOf(read(t, live(t, l), inspect.Want{}), "config_dump.json")
	if !strings.Contains(g, "127.0.0.1:7777") || !strings.Contains(g, "--admin") || strings.Contains(g, "\n") {
		t.Errorf("gap %q", g)
	}
	p, err := Named(l.Pod(), Options{Admin: netip.MustParseAddrPort("127.0.0.1:7777")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if s := read(t, p, inspect.Want{}); len(s.Files["config_dump.json"]) == 0 || string(s.Files["listeners.json"]) == "" {
		t.Errorf("gaps %v", s.Gaps)
	}
}

// A real Envoy whose allow_paths leaves little: it is found all the same, and each refusal is
// a gap with place and cause.
func TestForbiddenByEnvoy(t *testing.T) {
	conf := []byte(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}, allow_paths: [{exact: /server_info}, {prefix: /runtime}]}
static_resources: {listeners: []}`)
	l := lab.New(t, lab.Options{Scene: "mesh", Config: conf})
	s := read(t, live(t, l), inspect.Want{})
	for part, path := range map[string]string{"listeners.json": "/listeners?format=json", "config_dump.json": "/config_dump?include_eds", "clusters.json": "/clusters?format=json", "stats": "/stats"} {
		want := fmt.Sprintf(`GET 127.0.0.1:15000%s: status 403 Forbidden: "request to path %s not allowed"`, path, path)
		if got := gapOf(s, part); got != want {
			t.Errorf("%s: %q\nwant %q", part, got, want)
		}
	}
	for _, part := range []string{"server_info.json", "runtime.json", "iptables-save"} {
		if _, ok := s.Files[part]; !ok {
			t.Errorf("no %s; gaps %v", part, s.Gaps)
		}
	}
}

// An admin interface that takes the question and gives no answer costs its patience once.
func TestAdminHangs(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	err := l.PodSpace().Do(func() error {
		ln, err := net.Listen("tcp4", "127.0.0.1:9901")
		if err == nil {
			t.Cleanup(func() { ln.Close() }) // the kernel takes connections; nobody answers
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Named(l.Pod(), Options{Reader: admin.Options{Patience: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s := read(t, p, inspect.Want{})
	for _, part := range envoyParts {
		if got, want := gapOf(s, part), "no Envoy admin interface found: GET 127.0.0.1:9901/listeners?format=json: no answer within 50ms"; got != want {
			t.Errorf("%s: %q, want %q", part, got, want)
		}
	}
	if len(s.Files["iptables-save"]) == 0 {
		t.Error("no rules")
	}
}

// A target that is gone is one sentence and the sentinel that callers decide by.
func TestGone(t *testing.T) {
	power.Root(t)
	if _, err := Named("mt-never-was", Options{}); !errors.Is(err, inspect.ErrNotFound) || err.Error() != "netns mt-never-was: no such network namespace: /run/netns/mt-never-was does not exist" {
		t.Errorf("%v", err)
	}
	if _, err := OfPid(1<<30, Options{}); !errors.Is(err, inspect.ErrNotFound) || err.Error() != "pid 1073741824: no such network namespace: no process 1073741824" {
		t.Errorf("%v", err)
	}
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	p := live(t, l)
	// The name goes while the pod is open: what is open lives on.
	if out, err := exec.Command("ip", "netns", "del", l.Pod()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s := read(t, p, inspect.Want{Parts: []string{"iptables-save"}}); len(s.Files["iptables-save"]) == 0 {
		t.Errorf("gaps %v", s.Gaps)
	}
	p.Close()
	if _, err := p.Read(context.Background(), inspect.Want{}); err == nil {
		t.Error("a closed pod was read")
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// A caller that gives up gets what was read so far.
func TestCancelled(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	p := live(t, l)
	ctx, cancel := context.WithCancel(context.Background())
	s, err := p.Read(ctx, inspect.Want{Progress: func(pr inspect.Progress) {
		if pr.Part == "addr.json" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if len(s.Files["iptables-save"]) == 0 || len(s.Files["config_dump.json"]) != 0 {
		t.Errorf("parts %v", names(s))
	}
}

func TestBounds(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	s := read(t, live(t, l), inspect.Want{Parts: []string{"iptables-save"}, MaxBytes: 40})
	if g := gapOf(s, "iptables-save"); g != "iptables-nft-save -c: its output is larger than 40 bytes" {
		t.Errorf("gap %q", g)
	}
}

func names(s inspect.Snapshot) []string {
	var n []string
	for name := range s.Files {
		n = append(n, name)
	}
	sort.Strings(n)
	return n
}

func gapOf(s inspect.Snapshot, part string) string {
	for _, g := range s.Gaps {
		if g.Part == part {
			return g.Reason
		}
	}
	return ""
}
