package envoy

import (
	"fmt"
	"maps"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func load(t *testing.T, files map[string]string) *Config {
	t.Helper()
	raw := map[string][]byte{}
	for k, v := range files {
		raw[k] = []byte(v)
	}
	c, gaps, err := Load(raw)
	if err != nil || len(gaps) > 0 {
		t.Fatal(err, gaps)
	}
	return c
}

// Where a listener takes connections, with what /listeners has beside the dump's parts. An
// unnamed listener has a UUID there and is still the same.
func TestPlaces(t *testing.T) {
	c := load(t, map[string]string{
		"config_dump.json": `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": [
			{"listener": {"name": "out", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}}, "traffic_direction": "OUTBOUND",
				"additional_addresses": [{"address": {"socket_address": {"address": "::", "port_value": 15001}}}, {"address": {"socket_address": {"protocol": "UDP", "address": "::", "port_value": 53}}}]}},
			{"listener": {"name": "vip", "address": {"socket_address": {"address": "10.1.1.1", "port_value": 80}}, "bind_to_port": false}},
			{"listener": {"address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}}, "traffic_direction": "INBOUND"}},
			{"listener": {"name": "inner", "internal_listener": {}}}]}]}`,
		"listeners.json": `{"listener_statuses": [
			{"name": "vip", "local_address": {"socket_address": {"address": "10.1.1.1", "port_value": 80}}},
			{"name": "a44d9f12-0000", "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}}},
			{"name": "unread", "local_address": {"socket_address": {"address": "10.1.1.2", "port_value": 81}}}]}`,
	})
	want := []string{
		"out [0.0.0.0:15001 [::]:15001] true outbound true true", "vip [10.1.1.1:80] false outbound false true",
		" [0.0.0.0:15006] true inbound true true", "unread [10.1.1.2:81] false outbound false false",
	}
	got := c.Places()
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, p := range got {
		if s := fmt.Sprint(p.Name, " ", p.Addrs, " ", p.Binds, " ", p.Direction, " ", p.Directed, " ", p.Ref != ""); s != want[i] {
			t.Errorf("place %d: %s, want %s", i, s, want[i])
		}
	}
}

// Which layer the admin interface writes (bootstrap), and what it holds (/runtime).
func TestAdminLayer(t *testing.T) {
	const runtime = `{"layers": ["a", "b"], "entries": {"k": {"layer_values": ["1", "2"], "final_value": "2"}, "l": {"layer_values": ["1", ""], "final_value": "1"}, "m": {"layer_values": ["1"]}}}`
	for name, c := range map[string]struct {
		layered, runtime string
		answer           flow.Answer
		values           map[string]string
	}{
		"none":        {"", runtime, flow.No, nil},
		"static only": {`"layered_runtime": {"layers": [{"name": "a", "static_layer": {"k": 1}}]},`, runtime, flow.No, nil},
		"second":      {`"layered_runtime": {"layers": [{"name": "a", "static_layer": {}}, {"name": "b", "admin_layer": {}}]},`, runtime, flow.Yes, map[string]string{"k": "2"}},
		"first":       {`"layered_runtime": {"layers": [{"name": "a", "admin_layer": {}}, {"name": "b", "static_layer": {}}]},`, runtime, flow.Yes, map[string]string{"k": "1", "l": "1", "m": "1"}},
		"no layers":   {`"layered_runtime": {},`, `{"layers": [""], "entries": {"k": {"layer_values": ["7"]}}}`, flow.Yes, map[string]string{"k": "7"}},
		"not read":    {`"layered_runtime": {"layers": [{"name": "b", "admin_layer": {}}]},`, "", flow.Maybe, nil},
	} {
		files := map[string]string{"config_dump.json": `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {` + c.layered + `"node": {}}}]}`}
		if c.runtime != "" {
			files["runtime.json"] = c.runtime
		}
		values, answer := load(t, files).AdminLayer()
		if answer != c.answer || !maps.Equal(values, c.values) {
			t.Errorf("%s: %v %v, want %v %v", name, answer, values, c.answer, c.values)
		}
	}
	if _, answer := (*Config)(nil).AdminLayer(); answer != flow.Maybe {
		t.Errorf("nothing was read: %v", answer)
	}
}
