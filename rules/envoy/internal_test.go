package envoy

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// An internal listener is found by its name; original_dst finds there what the endpoint's
// metadata hands over, and nothing where the socket hands nothing.
func TestInternalListener(t *testing.T) {
	host := `{'endpoint': {'address': {'envoy_internal_address': {'server_listener_name': 'inner'}}}, 'metadata': {'filter_metadata': {'envoy.filters.listener.original_dst': {'local': '10.0.0.7:9000'}}}}`
	cl := func(name, more string) string {
		return `{'name': '` + name + `', 'load_assignment': {'endpoints': [{'lb_endpoints': [` + host + `]}]}` + more + `}`
	}
	c := mesh{
		listeners: lis("out", "0.0.0.0", 1, chainList(chainOf("f", "", tcp("hands")))) + lis("bare", "0.0.0.0", 2, chainList(chainOf("f", "", tcp("bare")))) +
			`{'name': 'inner', 'internal_listener': {}, ` + lfilters(originalDst) + `, ` + chainList(chainOf("p9000", `'destination_port': 9000`, tcp("odst")), chainOf("other", "", tcp("odst"))) + `}`,
		clusters: dstCluster + cl("bare", "") + cl("hands", `, 'transport_socket': {'name': 'i', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport',
			'passthrough_metadata': [{'kind': {'host': {}}, 'name': 'envoy.filters.listener.original_dst'}], 'transport_socket': {'name': 'r', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}}`),
	}.load(t)
	for _, row := range []struct{ accept, want string }{
		{"10.5.5.5:1", "continue inner/p9000 odst 10.0.0.7:9000"},
		{"10.5.5.5:2", "refused inner/other odst UH"},
	} {
		r := c.Accept(Conn{Accept: addr(row.accept), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, raw(), new(flow.Choices))
		if r.Verdict != flow.Continue || r.Upstream.Internal != "inner" || r.Outcome.Endpoint != "envoy://inner/" {
			t.Fatalf("%s: %s, upstream %+v", row.accept, end(r), r.Upstream)
		}
		if got := ends(c, Conn{Listener: r.Upstream.Internal, Orig: r.Upstream.Orig, Src: addr("10.9.9.9:1")}, raw()); got != row.want {
			t.Errorf("%s: %s, want %s", row.accept, got, row.want)
		}
	}
	if got := ends(c, Conn{Listener: "nosuch"}, raw()); got != "unknown /" {
		t.Errorf("an internal listener that is not there: %s", got)
	}
}
