package envoy

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// A version that does not serve is told of where the one that serves is met: refused,
// warming, and draining with when it was loaded.
func TestVersions(t *testing.T) {
	const dump = `{"configs": [
	{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
	 "dynamic_active_clusters": [{"cluster": {"name": "c", "type": "STATIC"}, "error_state": {"details": "no such type"}}],
	 "dynamic_warming_clusters": [{"cluster": {"name": "w"}}]},
	{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [
	 {"name": "l", "active_state": {"listener": {"name": "l", "address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}},
	  "filter_chains": [{"filters": [{"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster": "c"}}]}]}},
	  "error_state": {"details": "bad chain"}, "draining_state": {"version_info": "1", "listener": {"name": "l"}, "last_updated": "2026-08-27T12:45:20.113Z"}},
	 {"name": "m", "active_state": {"listener": {"name": "m", "address": {"socket_address": {"address": "1.2.3.4", "port_value": 81}}}},
	  "warming_state": {"listener": {"name": "m"}}}]}]}`
	c, _, err := Load(map[string][]byte{dumpPart: []byte(dump)})
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16][]flow.Reason{
		80: {flow.Because(flow.WhyUpdateRejected, "bad chain"), flow.Because(flow.WhyVersionDrains, "2026-08-27T12:45:20.113Z"), flow.Because(flow.WhyUpdateRejected, "no such type")},
		81: {flow.Because(flow.WhyUpdateWarming)},
	} {
		at := netip.AddrPortFrom(netip.MustParseAddr("1.2.3.4"), port)
		res := c.Accept(Conn{Accept: at, Proto: flow.TCP}, &flow.Request{Dst: at, Payload: []byte("x")}, new(flow.Choices))
		var got []flow.Reason
		for _, s := range res.Steps {
			for _, a := range s.Assumed {
				switch a.Reason.Kind {
				case flow.WhyUpdateRejected, flow.WhyUpdateWarming, flow.WhyVersionDrains:
					got = append(got, a.Reason)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("port %d: %v, want %v", port, got, want)
		}
	}
}

// A listener that only drains, or only warms, takes no connection: the address says that it
// is there, and a connection to another address does not.
func TestIdleListeners(t *testing.T) {
	state := func(kind, name, ip string, port int, more string) string {
		return `{'name': '` + name + `', '` + kind + `': {'listener': ` + lis(name, ip, port, toC(name)) + more + `}}`
	}
	c := mesh{more: `, {'@type': 'type.googleapis.com/envoy.admin.v3.ListenersConfigDump', 'dynamic_listeners': [` +
		state("draining_state", "old", "0.0.0.0", 3, `, 'last_updated': '2026-08-27T12:45:20.113Z'`) + "," +
		state("draining_state", "untold", "10.0.0.1", 4, `, 'last_updated': 7`) + "," +
		state("warming_state", "new", "10.0.0.1", 3, "") + `]}`}.load(t)
	drains, untold, warms := flow.Because(flow.WhyListenerDrains, "old", "2026-08-27T12:45:20.113Z"), flow.Because(flow.WhyListenerDrains, "untold", ""), flow.Because(flow.WhyListenerWarms, "new")
	for _, row := range []struct {
		conn Conn
		want []flow.Reason
	}{
		{Conn{Accept: addr("10.0.0.1:3")}, []flow.Reason{drains, warms}},
		{Conn{Accept: addr("10.0.0.2:3")}, []flow.Reason{drains}},
		{Conn{Accept: addr("10.0.0.1:4")}, []flow.Reason{untold}},
		{Conn{Accept: addr("10.0.0.2:4")}, nil},
		{Conn{Accept: addr("[::1]:3")}, nil},
		{Conn{Listener: "new"}, []flow.Reason{warms}},
	} {
		row.conn.Proto = flow.TCP
		res := c.Accept(row.conn, raw(), new(flow.Choices))
		s := res.Steps[len(res.Steps)-1]
		if s.Verdict != flow.Unknown || !slices.Equal(s.Facts, row.want) || len(s.Evidence) != len(row.want) {
			t.Errorf("%v %q: %v %v, want %v", row.conn.Accept, row.conn.Listener, s.Verdict, s.Facts, row.want)
		}
	}
}
