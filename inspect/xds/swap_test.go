package xds

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"

	"github.com/meshtop/meshtop/rules/flow"
)

// many has a listener of each kind that a policy treats in its own way.
const many = `static_resources:
  listeners:
    - { name: in, address: { socket_address: { address: 0.0.0.0, port_value: 15006 } }, traffic_direction: INBOUND, use_original_dst: true, filter_chains: { filters: &tcp [ { name: t, typed_config: &proxy { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: svc } } ] } }
    - { name: in-handed, address: { socket_address: { address: 10.244.1.7, port_value: 80 } }, traffic_direction: INBOUND, bind_to_port: false, filter_chains: { filters: *tcp } }
    - { name: out, address: { socket_address: { address: 0.0.0.0, port_value: 15001 } }, traffic_direction: OUTBOUND, use_original_dst: true, filter_chains: { filters: *tcp } }
    - { name: handed, address: { socket_address: { address: 10.107.42.16, port_value: 80 } }, traffic_direction: OUTBOUND, bind_to_port: false, filter_chains: { filters: *tcp } }
    - { name: old-handed, address: { socket_address: { address: 10.107.42.17, port_value: 80 } }, traffic_direction: OUTBOUND, deprecated_v1: { bind_to_port: false }, filter_chains: { filters: *tcp } }
    - { name: every, address: { socket_address: { address: 0.0.0.0, port_value: 9090 } }, traffic_direction: OUTBOUND, filter_chains: { filters: *tcp } }
    - { name: metrics, address: { socket_address: { address: 0.0.0.0, port_value: 9091 } }, filter_chains: { filters: *tcp } }
  clusters:
    - { name: svc, type: STATIC, connect_timeout: 1s }
    - { name: AllowAll, type: STATIC, connect_timeout: 1s, load_assignment: { cluster_name: AllowAll, endpoints: { lb_endpoints: { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } } } } } }
`

func holes(t *testing.T, texts ...string) (out []flow.Hole) {
	t.Helper()
	for _, s := range texts {
		prefix, port, _ := strings.Cut(s, ":")
		h := flow.Hole{Prefix: netip.MustParsePrefix(prefix)}
		if port != "" {
			h.Port = netip.MustParseAddrPort("0.0.0.0:" + port).Port()
		}
		out = append(out, h)
	}
	return out
}

func block(mod func(*flow.Change)) flow.Change {
	c := flow.Change{Kind: flow.BlockAll, Driver: flow.XDS}
	if mod != nil {
		mod(&c)
	}
	return c
}

func allow(mod func(*flow.Change)) flow.Change {
	c := flow.Change{Kind: flow.AllowAll, Driver: flow.XDS, All: true}
	if mod != nil {
		mod(&c)
	}
	return c
}

// Which listeners stay under a policy, and which of those that stay it does not cover.
func TestListenersUnderPolicy(t *testing.T) {
	c := parse(t, many)
	for _, tc := range []struct {
		about  string
		change flow.Change
		gone   string
		not    string
	}{
		{"what is handed over goes", block(nil), "handed old-handed", "every"},
		{"or stays as asked", block(func(c *flow.Change) { c.KeepHandoff = true }), "", "handed old-handed every"},
		{"or as its address is left out", block(func(c *flow.Change) { c.Except = holes(t, "10.107.42.16/32:80") }), "old-handed", "handed every"},
		{"by port", block(func(c *flow.Change) { c.Except = holes(t, "10.107.42.16/32:81") }), "handed old-handed", "every"},
		{"by prefix", block(func(c *flow.Change) { c.Except = holes(t, "10.107.42.0/24") }), "", "handed old-handed every"},
		{"all is opened", allow(nil), "handed old-handed", "every"},
		{"one is opened", allow(func(c *flow.Change) { c.All, c.Open = false, holes(t, "10.107.42.17/32:80") }), "old-handed", "handed every"},
		{"another is opened", allow(func(c *flow.Change) { c.All, c.Open = false, holes(t, "192.0.2.1/32:80") }), "", "handed old-handed every"},
	} {
		got, err := c.under(tc.change)
		if err != nil {
			t.Errorf("%s: %v", tc.about, err)
			continue
		}
		var gone, not []string
		for _, l := range names(c.listeners) {
			if !slices.Contains(names(got.listeners), l) {
				gone = append(gone, l)
			}
		}
		for _, r := range got.notCovered {
			not = append(not, r.Whose)
		}
		if strings.Join(gone, " ") != tc.gone || strings.Join(not, " ") != tc.not || !slices.Equal(got.capturing, []string{"out"}) {
			t.Errorf("%s: gone %v, want %s; not covered %v, want %s; changed %v", tc.about, gone, tc.gone, not, tc.not, got.capturing)
		}
		for _, l := range got.listeners {
			i := slices.IndexFunc(c.listeners, func(o object) bool { return o.text("name") == l.text("name") })
			if same := l.equal(c.listeners[i]); same != (l.text("name") != "out") {
				t.Errorf("%s: listener %s: as before %v", tc.about, l.text("name"), same)
			}
		}
	}
}

// generated puts a message into its generated type.
func generated(t *testing.T, o object, into proto.Message) {
	t.Helper()
	raw, err := proto.Marshal(o.Interface())
	if err == nil {
		err = proto.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// matches are a listener's chains as the generated types read them: what each matches, and where it
// sends.
func matches(t *testing.T, ls []object, name string) (out []string) {
	t.Helper()
	for _, o := range ls {
		l := &listener.Listener{}
		generated(t, o, l)
		if l.Name != name {
			continue
		}
		for _, ch := range l.FilterChains {
			tcp := &tcpproxy.TcpProxy{}
			if err := ch.Filters[0].GetTypedConfig().UnmarshalTo(tcp); err != nil {
				t.Fatal(err)
			}
			m := ch.FilterChainMatch
			text := tcp.GetCluster()
			if m.GetDestinationPort() != nil && len(m.GetPrefixRanges()) == 0 {
				text = fmt.Sprintf(":%d %s", m.GetDestinationPort().GetValue(), text)
			}
			for _, p := range slices.Backward(m.GetPrefixRanges()) {
				text = fmt.Sprintf("%s/%d:%d %s", p.AddressPrefix, p.PrefixLen.GetValue(), m.GetDestinationPort().GetValue(), text)
			}
			out = append(out, text)
		}
	}
	return out
}

// Where the capturing listener sends. The file's own AllowAll is something else here, so that the
// policy has a cluster of its own.
func TestChainsUnderPolicy(t *testing.T) {
	c := parse(t, many)
	for _, tc := range []struct {
		change flow.Change
		want   []string
	}{
		{block(nil), []string{"BlockAllCluster"}},
		{allow(nil), []string{"meshtop-AllowAll"}},
		{block(func(c *flow.Change) { c.Except = holes(t, "10.0.0.0/8", "192.0.2.1/32:53") }),
			[]string{"BlockAllCluster", "10.0.0.0/8:0 svc", ":53 BlockAllCluster", "10.0.0.0/8:53 svc", "192.0.2.1/32:53 svc"}},
		{allow(func(c *flow.Change) { c.All, c.Open = false, holes(t, "0.0.0.0/0", "0.0.0.0/0") }), []string{"svc", "0.0.0.0/1:0 128.0.0.0/1:0 meshtop-AllowAll"}},
		{allow(func(c *flow.Change) { c.All, c.Open = false, holes(t, "192.0.2.1/32:53") }), []string{"svc", ":53 svc", "192.0.2.1/32:53 meshtop-AllowAll"}},
	} {
		got, err := c.under(tc.change)
		if err != nil {
			t.Fatal(err)
		}
		if chains := matches(t, got.listeners, "out"); !slices.Equal(chains, tc.want) {
			t.Errorf("%s: %q, want %q", tc.change.Kind, chains, tc.want)
		}
	}
	if chains := matches(t, c.listeners, "out"); !slices.Equal(chains, []string{"svc"}) {
		t.Errorf("the configuration itself was changed: %q", chains)
	}
}

// Envoy prefers the chain of the longest prefix: a hole that holds the prefix of another chain cannot
// be made.
func TestHoleAgainstChains(t *testing.T) {
	for _, tc := range []struct {
		match, hole string
		ok          bool
	}{
		{"{}", "10.0.0.0/8", true},
		{"{ server_names: [a] }", "10.0.0.0/8", true},
		{"{ destination_port: 80 }", "10.0.0.0/8", true},
		{"{ destination_port: 80 }", "10.0.0.0/8:81", true},
		{"{ destination_port: 80 }", "10.0.0.0/8:80", true},
		{"{ destination_port: 80, prefix_ranges: { address_prefix: 11.0.0.0, prefix_len: 8 } }", "10.0.0.0/8", true},
		{"{ destination_port: 80, prefix_ranges: { address_prefix: 10.0.0.0, prefix_len: 7 } }", "10.0.0.0/8", true},
		{"{ destination_port: 80, prefix_ranges: { address_prefix: 10.0.0.0, prefix_len: 9 } }", "10.0.0.0/8", false},
		{"{ destination_port: 80, prefix_ranges: { address_prefix: 10.0.0.0, prefix_len: 9 } }", "10.0.0.0/8:81", true},
		{"{ prefix_ranges: { address_prefix: 10.1.0.0, prefix_len: 16 } }", "10.0.0.0/8", false},
		{"{ prefix_ranges: { address_prefix: 10.1.0.0, prefix_len: 16 } }", "10.0.0.0/8:80", false}, // it stands for port 80 too
		{"{ prefix_ranges: { address_prefix: 10.1.0.0, prefix_len: 16 } }", "10.1.2.0/24", true},
		{"{ prefix_ranges: { address_prefix: 10.1.0.0, prefix_len: 16 } }", "10.1.0.0/16", true}, // Envoy's own words
		{"{ prefix_ranges: { address_prefix: 10.1.0.0, prefix_len: 16 }, server_names: [a] }", "10.1.0.0/16", false},
		{"{ prefix_ranges: { address_prefix: 10.1.0.0, prefix_len: 16 } }", "0.0.0.0/0", false},
	} {
		c := parse(t, strings.Replace(many, "name: out, address: { socket_address: { address: 0.0.0.0, port_value: 15001 } }, traffic_direction: OUTBOUND, use_original_dst: true, filter_chains: { filters",
			"name: out, address: { socket_address: { address: 0.0.0.0, port_value: 15001 } }, traffic_direction: OUTBOUND, use_original_dst: true, filter_chains: { filter_chain_match: "+tc.match+", filters", 1))
		_, err := c.under(allow(func(c *flow.Change) { c.All, c.Open = false, holes(t, tc.hole) }))
		if (err == nil) != tc.ok || err != nil && !strings.Contains(err.Error(), "for a part of "+tc.hole) {
			t.Errorf("%s, hole %s: %v, want ok %v", tc.match, tc.hole, err, tc.ok)
		}
	}
}

// What cannot be done is refused with its reason.
func TestRefusedChanges(t *testing.T) {
	for _, tc := range []struct {
		conf   string
		change flow.Change
		want   string
	}{
		{many, flow.Change{Driver: flow.XDS}, `serves no policy "none"`},
		{many, block(func(c *flow.Change) { c.CloseOpen = true }), "ends no open connection"},
		{many, block(func(c *flow.Change) { c.Strong = true }), "cannot block the proxy's own connections"},
		{many, allow(func(c *flow.Change) { c.All = false }), "does neither or both"},
		{many, allow(func(c *flow.Change) { c.Open = holes(t, "10.0.0.0/8") }), "does neither or both"},
		{many, allow(func(c *flow.Change) { c.Except = holes(t, "10.0.0.0/8") }), "leaves nothing out of all"},
		{many, block(func(c *flow.Change) { c.Except = []flow.Hole{{Prefix: netip.MustParsePrefix("10.0.0.1/8")}} }), "10.0.0.1/8 is no prefix"},
		{many, block(func(c *flow.Change) { c.Except = []flow.Hole{{}} }), "is no prefix"},
		{strings.Replace(many, "name: out,", "name: out, filter_chain_matcher: {},", 1), block(func(c *flow.Change) { c.Except = holes(t, "10.0.0.0/8") }), "cannot keep a hole open there"},
		{strings.Replace(many, "traffic_direction: OUTBOUND, bind_to_port", "bind_to_port", 1), block(nil), "listener handed has no traffic_direction, and both in and out hand connections over"},
		{strings.Replace(many, "10.107.42.16,", "0.0.0.0,", 1), block(func(c *flow.Change) { c.Except = holes(t, "10.0.0.0/8:80") }), "listener handed takes every address"},
		{strings.Replace(many, "traffic_direction: OUTBOUND, use_original_dst: true", "traffic_direction: OUTBOUND", 1), block(nil), "no listener captures what the pod sends"},
	} {
		_, err := parse(t, tc.conf).under(tc.change)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
}

// The bootstrap keeps what is not served, and Envoy's reader, which this one is, takes it.
func TestBootstrap(t *testing.T) {
	text := strings.Replace(many, "static_resources:", `node: { id: me }
admin: { address: { socket_address: { address: 0.0.0.0, port_value: 9901 } } }
tracing: { http: { name: z, typed_config: { "@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: svc, collector_endpoint: /x } } }
static_resources:`, 1)
	c := parse(t, text)
	out, err := c.Bootstrap(netip.MustParseAddrPort("127.0.0.1:18000"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`id: "me"`, `cluster: "meshtop"`, `port_value: 9901`, `collector_cluster: "svc"`, `- name: "svc"`, `- name: "meshtop-controlplane"`, `port_value: 18000`, "ads_config:"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "AllowAll") || strings.Contains(string(out), "15001") {
		t.Errorf("what is served is in it too:\n%s", out)
	}
	var served []string
	for _, cl := range c.clusters {
		served = append(served, cl.text("name"))
	}
	if want := []string{"AllowAll", "BlockAllCluster", "meshtop-AllowAll"}; !slices.Equal(served, want) {
		t.Errorf("served %v, want %v: tracing needs svc from the start", served, want)
	}
	if _, err := Parse("ads.yaml", out); err == nil || !strings.Contains(err.Error(), "no listener") && !strings.Contains(err.Error(), "dynamic_resources") {
		t.Errorf("it was not read: %v", err)
	}
}
