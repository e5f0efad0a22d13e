package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	oracle "github.com/meshtop/meshtop/e2e/envoy"
	"github.com/meshtop/meshtop/e2e/istio"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// sent is a request of a recorded mesh that the client's own Envoy logged.
type sent struct {
	name   string
	req    flow.Request
	served bool // Envoy passed it on to an endpoint
	hole   bool // it went into Istio's BlackHoleCluster
}

// clients are the snapshots of the scenes' client pods with what they sent.
func clients(t *testing.T) map[string]struct {
	files map[string][]byte
	sent  []sent
} {
	t.Helper()
	fsys, err := oracle.OpenTar("../../e2e/istio/testdata/scenes.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	scenes, err := istio.Scenes(fsys)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]struct {
		files map[string][]byte
		sent  []sent
	}{}
	for _, s := range scenes {
		pod, ok := s.Pods["client"]
		if !ok {
			continue
		}
		one := out[s.Name]
		one.files = pod.Files
		for _, r := range s.Requests {
			for _, l := range r.Logs {
				dst, err := netip.ParseAddrPort(l.Local)
				if r.From != "client" || err != nil || dst.Addr().IsLoopback() {
					continue
				}
				q := flow.Request{Dst: dst, Proto: flow.TCP, UID: 1000, GID: 1000}
				if r.UID != nil {
					q.UID = *r.UID
				}
				one.sent = append(one.sent, sent{s.Name + "/" + r.ID, q, l.Host != "" && l.Cluster != "BlackHoleCluster", l.Cluster == "BlackHoleCluster"})
			}
		}
		out[s.Name] = one
	}
	return out
}

// What a real Envoy passed on, allow-all never sends around it; what went into the
// BlackHoleCluster, it opens. block-all refuses each of them.
func TestIstio(t *testing.T) {
	passed, opened := 0, 0
	for scene, c := range clients(t) {
		s := snapshot(t, c.files)
		all, err := Plan(s, block())
		if err != nil {
			t.Errorf("%s: block-all: %v", scene, err)
			continue
		}
		narrow, err := Plan(s, allow())
		var around *Around
		nothing := errors.Is(err, ErrNothing)
		if err != nil && !nothing && !errors.As(err, &around) {
			t.Errorf("%s: allow-all: %v", scene, err)
			continue
		}
		for _, r := range c.sent {
			if got := decide(edits.Rules(all), r.req); got != edits.Refuse {
				t.Errorf("%s: %v goes on under block-all", r.name, r.req.Dst)
			}
			direct := !nothing && decide(edits.Rules(narrow), r.req) == edits.Direct
			switch {
			case r.served && direct:
				t.Errorf("%s: Envoy passed %v on, and allow-all sends it around", r.name, r.req.Dst)
			case r.served:
				passed++
			case r.hole && !direct && slices.Contains(narrow.NotCovered, flow.Reach{What: "mixed", Whose: fmt.Sprint("port ", r.req.Dst.Port())}):
			case r.hole && !direct:
				t.Errorf("%s: %v went into the BlackHoleCluster, and allow-all leaves it there", r.name, r.req.Dst)
			case r.hole:
				opened++
			}
		}
	}
	if passed < 50 || opened < 1 {
		t.Errorf("only %d that were passed on and %d that were not", passed, opened)
	}
}

// In a mesh the limits are set for the clusters of what leaves, and for none of what comes in.
func TestIstioRuntime(t *testing.T) {
	s := snapshot(t, clients(t)["registry-only"].files)
	c, err := Plan(s, byRuntime())
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for _, set := range c.Runtime {
		has[set.Key] = true
		if strings.Contains(strings.ToLower(set.Key), "inbound") {
			t.Errorf("%s is of what comes in", set.Key)
		}
	}
	for _, key := range []string{"envoy.resource_limits.listener.virtualOutbound.connection_limit", "circuit_breakers.outbound|80||server.mesh.svc.cluster.local.default.max_requests",
		"circuit_breakers.outbound|8080||headless.mesh.svc.cluster.local.high.max_requests"} {
		if !has[key] {
			t.Errorf("%s is not set", key)
		}
	}
	for _, e := range c.Effects {
		if e.After != flow.Refused {
			t.Errorf("%v as %q is %v under the limits", e.Dst, e.Host, e.After)
		}
	}
}
