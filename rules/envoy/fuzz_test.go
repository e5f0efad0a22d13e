package envoy

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// seeds are small configurations in which everything of this package occurs.
func seeds() [][]byte {
	rich := mesh{
		bootstrap: `'layered_runtime': {'layers': [{'static_layer': {'a': {'b': 1}}}]}, 'admin': {'address': ` + sockaddr("127.0.0.1", 9901) + `}`,
		listeners: lis("out", "0.0.0.0", 15001, useOriginal, lfilters(tlsInspector, httpInspect), toC("out")) +
			lis("vip", "10.0.0.1", 80, noBind, lfilters(proxyProto, originalDst), chainList(chainOf("a", `'server_names': ['*.x.com'], 'prefix_ranges': `+nets("10.0.0.0/8"), tcp("odst")), withTLS(chainOf("b", `'source_type': 'EXTERNAL', 'destination_port': 80`, tcp("w")), ""))) +
			lis("m", "0.0.0.0", 81, noBind, chainList(chainOf("a", "", tcp("c"))), `'filter_chain_matcher': {'matcher_tree': {'input': {'typed_config': {'@type': 'x/y.DestinationIPInput'}}, 'prefix_match_map': {'map': {'1': {'action': {'typed_config': {'@type': 'x/google.protobuf.StringValue', 'value': 'a'}}}}}}}`),
		clusters: static("c", "10.1.0.1:80", "10.1.0.2:80") + dstCluster + `{'name': 'w', 'lb_subset_config': {'subset_selectors': [{'keys': ['v']}]}, 'load_assignment': {'endpoints': [` + group(1, "", ep("1.0.0.1", bad, lbMeta(`'v': 1`))) + `]}}`,
		routes:   `{'name': 'r', 'virtual_hosts': [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c'}}]}]}`,
	}
	return [][]byte{rich.dump(), mesh{listeners: lis("a", "::", 80, toC("a"))}.dump(), []byte(`{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump.DynamicListener","name":"n","error_state":{}}]}`)}
}

// FuzzLoad: any bytes give a Config or an error, and a Config answers everything.
func FuzzLoad(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, name := range []string{dumpPart, "config_dump/dynamic_listeners/a.json", "clusters.json", "listeners.json", "runtime.json", "server_info.json", "meta.json"} {
			c, _, err := Load(map[string][]byte{name: raw})
			if err != nil || c == nil {
				continue
			}
			c.Summary()
			endpoints, _ := c.Endpoints(1000)
			for _, o := range append(c.Objects(), endpoints...) {
				if _, ok := c.Raw(o.Ref); !ok {
					t.Errorf("no text at %q", o.Ref)
				}
			}
		}
	})
}

// FuzzAccept: any configuration and any connection give an answer, the same one twice.
func FuzzAccept(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, []byte{127, 0, 0, 1}, uint16(15001), []byte{10, 0, 0, 1}, uint16(80), "a.x.com", "GET / HTTP/1.1\r\n")
		f.Add(s, []byte{127, 0, 0, 1}, uint16(15001), []byte{1, 0, 0, 1}, uint16(81), "", "")
	}
	f.Fuzz(func(t *testing.T, raw, accept []byte, aport uint16, orig []byte, oport uint16, sni, payload string) {
		c, _, err := Load(map[string][]byte{dumpPart: raw})
		if err != nil {
			return
		}
		conn := Conn{Accept: fuzzAddr(accept, aport), Orig: fuzzAddr(orig, oport), Src: addr("10.9.9.9:1"), Proto: flow.TCP}
		req := &flow.Request{Payload: []byte(payload)}
		if sni != "" {
			req.TLS = &flow.TLS{SNI: sni}
		}
		n := 0
		for ch := new(flow.Choices); ch != nil && n < 20; ch = ch.Next() {
			n++
			r := c.Accept(conn, req, ch)
			for _, s := range r.Steps {
				for _, m := range s.Passed {
					s.Explain.Explain(m)
				}
			}
		}
		if n == 20 {
			return
		}
		if a, b := ends(c, conn, req), ends(c, conn, req); a != b {
			t.Errorf("%s, then %s", a, b)
		}
	})
}

func fuzzAddr(b []byte, port uint16) netip.AddrPort {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, port)
}
