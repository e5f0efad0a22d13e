package egress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// layered is a scene whose Envoy was started with these layers of the runtime.
func layered(t *testing.T, f map[string][]byte, layers, runtime string) map[string][]byte {
	t.Helper()
	if layers != "" {
		f = edit(t, f, "config_dump.json", `"bootstrap": {`, `"bootstrap": {"layered_runtime": `+layers+`,`)
	}
	return with(f, "runtime.json", runtime)
}

const (
	twoLayers = `{"layers": [{"name": "static", "static_layer": {}}, {"name": "by hand", "admin_layer": {}}]}`
	noEntries = `{"layers": ["static", "by hand"], "entries": {}}`
)

func byRuntime() Ask {
	a := block()
	a.Driver = flow.EnvoyRuntime
	return a
}

// The listener that captures takes no connection any more, and with it none that is handed
// over; the clusters behind HTTP take no request of connections that are open. What a key had
// in the admin layer is kept for the way back.
func TestRuntime(t *testing.T) {
	f := layered(t, files(t, "mesh"), twoLayers, `{"layers": ["static", "by hand"], "entries": {
		"circuit_breakers.outbound|myngxsvc.default.max_requests": {"layer_values": ["3", "7"], "final_value": "7"},
		"circuit_breakers.outbound|myngxsvc.high.max_requests": {"layer_values": ["5", ""], "final_value": "5"}}}`)
	c, err := Plan(snapshot(t, f), byRuntime())
	if err != nil {
		t.Fatal(err)
	}
	want := []flow.Setting{
		{Key: "envoy.resource_limits.listener.virtualOutbound.connection_limit", Value: "0"},
		{Key: "circuit_breakers.outbound|myngxsvc.default.max_requests", Value: "0", Before: "7", Had: true},
		{Key: "circuit_breakers.outbound|myngxsvc.high.max_requests", Value: "0"},
	}
	same(t, "settings", fmt.Sprintf("%+v", c.Runtime), fmt.Sprintf("%+v", want))
	same(t, "effects", effects(c), []string{"10.107.42.16:80: delivered>refused", "else 4: delivered>refused", "else 6: delivered>delivered"})
	same(t, "covers", reach(c.Covers), "tcp4, handoff, http requests on open connections")
	if not := reach(c.NotCovered); !strings.Contains(not, "tcp6 not redirected") || !strings.Contains(not, "proxy uid 1337") {
		t.Errorf("not covered: %s", not)
	}
	back := Back(c, Ask{})
	same(t, "back", fmt.Sprintf("%+v", back.Runtime), fmt.Sprintf("%+v", []flow.Setting{
		{Key: want[0].Key, Before: "0", Had: true}, {Key: want[1].Key, Value: "7", Before: "0", Had: true}, {Key: want[2].Key, Before: "0", Had: true}}))
}

// The scene has a listener for what comes in too (port 15006, cluster shadow_cluster_config):
// that goes on.
func TestRuntimeLeavesInbound(t *testing.T) {
	f := layered(t, files(t, "both"), twoLayers, noEntries)
	c, err := Plan(snapshot(t, f), byRuntime())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, s := range c.Runtime {
		keys = append(keys, s.Key)
	}
	same(t, "keys", keys, []string{"envoy.resource_limits.listener.virtualOutbound.connection_limit",
		"circuit_breakers.outbound|myngxsvc.default.max_requests", "circuit_breakers.outbound|myngxsvc.high.max_requests"})
}

func TestRuntimeRefuses(t *testing.T) {
	mesh := files(t, "mesh")
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"none":                    {mesh, "no admin layer"},
		"a static layer":          {layered(t, mesh, `{"layers": [{"name": "static", "static_layer": {}}]}`, noEntries), "no admin layer"},
		"/runtime was not read":   {layered(t, mesh, twoLayers, "no JSON"), "is not known"},
		"an empty list of layers": {layered(t, mesh, `{"layers": []}`, `{"layers": [""], "entries": {}}`), ""},
		"a gateway":               {layered(t, files(t, "header-match"), twoLayers, noEntries), "no connection of this pod is redirected"},
		"no configuration":        {map[string][]byte{"iptables-save": mesh["iptables-save"]}, "the configuration of Envoy was not read"},
	} {
		s := snapshot(t, unread(c.files, c.want == "is not known"))
		got, err := Plan(s, byRuntime())
		switch {
		case c.want == "" && (err != nil || len(got.Runtime) == 0):
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || got.Edits != nil):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// unread leaves runtime.json out.
func unread(in map[string][]byte, leave bool) map[string][]byte {
	if !leave {
		return in
	}
	out := map[string][]byte{}
	for k, v := range in {
		if k != "runtime.json" {
			out[k] = v
		}
	}
	return out
}

// By a configuration of ours: the listeners that are handed over to go, or stay.
func TestXDS(t *testing.T) {
	mesh := files(t, "mesh")
	blocking := edit(t, mesh, "config_dump.json", `"cluster": "AllowAll"`, `"cluster": "BlockAllCluster"`)
	hole := []flow.Hole{{Prefix: netip.MustParsePrefix("10.107.42.16/32"), Port: 80}}
	for name, c := range map[string]struct {
		files   map[string][]byte
		ask     Ask
		effects []string
		keeps   bool
	}{
		"block":                  {mesh, Ask{Kind: flow.BlockAll}, []string{"10.107.42.16:80: delivered>refused", "else 4: delivered>refused", "else 6: delivered>delivered"}, false},
		"block, keep hand-offs":  {mesh, Ask{Kind: flow.BlockAll, KeepHandoff: true}, []string{"10.107.42.16:80: delivered>delivered", "else 4: delivered>refused", "else 6: delivered>delivered"}, true},
		"block, with a hole":     {mesh, Ask{Kind: flow.BlockAll, Except: hole}, []string{"10.107.42.16:80: delivered>delivered", "else 4: delivered>refused", "else 6: delivered>delivered"}, false},
		"allow what is blocked":  {blocking, Ask{Kind: flow.AllowAll}, []string{"10.107.42.16:80: delivered>delivered", "else 4: refused>delivered", "else 6: delivered>delivered"}, true},
		"allow all of block-all": {files(t, "block-all"), Ask{Kind: flow.AllowAll, All: true}, []string{"else 4: refused>delivered", "else 6: delivered>delivered"}, false},
	} {
		c.ask.Driver, c.ask.TTL = flow.XDS, 1
		got, err := Plan(snapshot(t, c.files), c.ask)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		same(t, name, effects(got), c.effects)
		if got.KeepHandoff != c.keeps || len(got.Edits) == 0 || len(got.Undo) == 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
