package istio

import (
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"

	oracle "github.com/meshtop/meshtop/e2e/envoy"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

var (
	scenesDir = flag.String("scenes", "", "folder of recorded scenes; empty: the committed ones")
	onlyScene = flag.String("scene", "", "only SCENE/REQUEST")
)

// mostUnknown is the share of hops that may be unknown.
const mostUnknown = 0.05

func scenesFS(t testing.TB) fs.FS {
	t.Helper()
	if *scenesDir != "" {
		return os.DirFS(*scenesDir)
	}
	fsys, err := oracle.OpenTar("testdata/scenes.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// count is what became of the hops of one kind.
type count [3]int

func (c *count) add(w Word) { c[w]++ }

func (c count) String() string {
	return fmt.Sprintf("%d right, %d wrong, %d unknown of %d", c[Right], c[Wrong], c[Unknown], c[Right]+c[Wrong]+c[Unknown])
}

func (c count) sum() int { return c[Right] + c[Wrong] + c[Unknown] }

func (c count) check(t *testing.T, what string) {
	t.Helper()
	t.Logf("%s: %v", what, c)
	if c.sum() == 0 && *onlyScene == "" {
		t.Errorf("%s: nothing was judged", what)
	}
	if float64(c[Unknown]) > mostUnknown*float64(c.sum()) {
		t.Errorf("%s: more than %.0f %% unknown", what, 100*mostUnknown)
	}
}

// golden traces the recorded requests of all scenes.
type golden struct {
	t             *testing.T
	bare          bool  // by Envoy's parts alone
	out, in, free count // free: requests that no Envoy logged, or none on this side
	silent        int   // that no Envoy logged and that timed out: what became of them is not known
	sent, met     int   // requests of pods, and lines of their Envoys that are none of the pod's own
}

// floor fails where less was judged than was recorded, or than the committed scenes hold.
func (g *golden) floor(out, in int) {
	g.t.Helper()
	if g.sent+g.met == 0 {
		g.t.Error("nothing was judged")
	}
	if n := g.out.sum() + g.free.sum() + g.silent; n != g.sent {
		g.t.Errorf("%d of %d requests were judged", n, g.sent)
	}
	if g.in.sum() != g.met {
		g.t.Errorf("%d of %d lines of servers were judged", g.in.sum(), g.met)
	}
	if *scenesDir == "" && *onlyScene == "" && (g.out.sum() < out || g.in.sum() < in) {
		g.t.Errorf("%d outbound and %d inbound are fewer than the %d and %d that are committed", g.out.sum(), g.in.sum(), out, in)
	}
}

// Each recorded request ends where the real Envoys say, on both sides:
//
//	go test ./e2e/istio -run TestRecorded -v [-scenes DIR]
func TestRecorded(t *testing.T) {
	g := &golden{t: t}
	g.all()
	g.out.check(t, "outbound")
	g.in.check(t, "inbound")
	g.free.check(t, "uncaptured")
	g.floor(171, 143)
}

// The same with a config_dump alone: without rules a trace begins at the listener that
// captures.
func TestRecordedWithoutRules(t *testing.T) {
	g := &golden{t: t, bare: true}
	g.all()
	g.out.check(t, "outbound")
	g.in.check(t, "inbound")
	g.floor(171, 143)
}

// timedOut is curl's exit status for a time-out.
const timedOut = 28

func (g *golden) all() {
	scenes, err := Scenes(scenesFS(g.t))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, s := range scenes {
		g.scene(&s)
	}
}

func (g *golden) scene(s *Scene) {
	snaps := map[string]*rules.Snapshot{}
	for name, p := range s.Pods {
		files := p.Files
		if g.bare {
			files = envoyOnly(files)
		}
		snap, err := rules.ParseSnapshot(files, nil)
		if err != nil {
			g.t.Errorf("%s/%s: %v", s.Name, name, err)
		}
		snaps[name] = snap
	}
	for i := range s.Requests {
		r := &s.Requests[i]
		if !strings.HasPrefix(s.Name+"/"+r.ID, *onlyScene) {
			continue
		}
		g.outbound(s, r, snaps)
		for _, l := range append(r.Logs, r.Next...) {
			g.inbound(s, r, &l, snaps)
		}
		g.recorded(s, r)
	}
}

// recorded counts what of a request there is to judge.
func (g *golden) recorded(s *Scene, r *Request) {
	if _, ok := s.Pods[r.From]; ok || r.From == "envoy" {
		g.sent++
	}
	for _, l := range append(r.Logs, r.Next...) {
		if p, ok := s.Pods[l.By]; ok && netip.MustParseAddrPort(l.Peer).Addr() != netip.MustParseAddr(p.Meta.IP) && !netip.MustParseAddrPort(l.Peer).Addr().IsLoopback() {
			g.met++
		}
	}
}

// envoyOnly are the parts that an Envoy's admin interface gives.
func envoyOnly(files map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, n := range []string{"config_dump.json", "clusters.json", "listeners.json", "runtime.json", "server_info.json"} {
		out[n] = files[n]
	}
	return out
}

// outbound traces the request in the pod that made it.
func (g *golden) outbound(s *Scene, r *Request, snaps map[string]*rules.Snapshot) {
	pod := r.From
	if pod == "envoy" {
		pod = "client"
	}
	p, ok := s.Pods[pod]
	if !ok {
		return
	}
	req, err := r.Outbound(p)
	if err != nil {
		g.t.Error(err)
		return
	}
	tr := rules.Trace(snaps[pod], req)
	where := fmt.Sprintf("%s/%s from %s", s.Name, r.ID, r.From)
	for i := range r.Logs {
		if r.Logs[i].By == r.From {
			g.say(&g.out, where, &tr, &r.Logs[i])
			return
		}
	}
	// Nobody logged it: it was not captured, or never became a request.
	switch {
	case g.bare, r.Client.Exit == timedOut:
		g.silent++
	case tr.Verdict == flow.Unknown:
		g.free.add(Unknown)
		g.t.Logf("unknown: %s: %s", where, lastStep(tr.Legs))
	case tr.Outcome.RouteConfig != "" || tr.Outcome.Cluster != "":
		g.free.add(Wrong)
		g.t.Errorf("%s: no Envoy logged it, meshtop says %+v", where, tr.Outcome)
	default:
		g.free.add(Right)
	}
}

// inbound traces one hop in the pod whose Envoy logged it. What the pod itself sent was
// traced as outbound.
func (g *golden) inbound(s *Scene, r *Request, l *Log, snaps map[string]*rules.Snapshot) {
	p, ok := s.Pods[l.By]
	if !ok || strings.HasPrefix(l.Peer, p.Meta.IP+":") || strings.HasPrefix(l.Peer, "127.") {
		return
	}
	req, err := r.Inbound(l)
	if err != nil {
		g.t.Error(err)
		return
	}
	tr := rules.Trace(snaps[l.By], req)
	g.say(&g.in, fmt.Sprintf("%s/%s into %s", s.Name, r.ID, l.By), &tr, l)
}

func (g *golden) say(c *count, where string, tr *flow.Trace, l *Log) {
	w, why := judge(tr, l)
	c.add(w)
	switch w {
	case Wrong:
		g.t.Errorf("%s: %s", where, why)
	case Unknown:
		g.t.Logf("unknown: %s: %s", where, why)
	}
	if *onlyScene != "" {
		for _, leg := range tr.Legs {
			for _, s := range leg.Steps {
				g.t.Logf("  %v %q %v: reason %d %q", s.Stage, s.Subject, s.Verdict, s.Reason.Kind, s.Reason.Args)
			}
		}
	}
}

// Every recorded configuration loads, and nothing in it is dropped in silence: what is
// not modelled is counted.
func TestLoads(t *testing.T) {
	fsys := scenesFS(t)
	dumps, err := fs.Glob(fsys, "*/*/config_dump.json")
	if err != nil || len(dumps) == 0 {
		t.Fatalf("no dump: %v", err)
	}
	for _, d := range append(dumps, "stock/istiod-config_dump.json", "stock/config_dump-mask-bootstrap.json",
		"stock/config_dump-resource-dynamic_active_clusters.json") {
		b, err := fs.ReadFile(fsys, d)
		if err != nil {
			if *scenesDir == "" {
				t.Error(err)
			}
			continue
		}
		loads(t, d, b)
	}
}

// A refused dump is a text under HTTP 200: an error, not an empty configuration.
func TestRefusedDump(t *testing.T) {
	b, err := fs.ReadFile(scenesFS(t), "stock/config_dump.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := envoy.Load(map[string][]byte{"config_dump.json": b}); err == nil || !strings.Contains(err.Error(), "Failed to convert protobuf message") {
		t.Errorf("error %v, want Envoy's own text in it", err)
	}
}

func loads(t *testing.T, name string, dump []byte) {
	t.Helper()
	cfg, gaps, err := envoy.Load(map[string][]byte{"config_dump.json": dump})
	if err != nil || len(gaps) > 0 {
		t.Errorf("%s: %v, gaps %v", name, err, gaps)
		return
	}
	dropped, err := oracle.Dropped(dump, cfg)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, d := range dropped {
		t.Errorf("%s: dropped in silence: %s", name, d)
	}
	if s := cfg.Summary(); s.Listeners+s.Clusters+s.Rejected == 0 && !strings.Contains(name, "mask") {
		t.Errorf("%s: nothing was loaded: %+v", name, s)
	}
}
