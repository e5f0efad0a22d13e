package xds

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// one is a configuration with one listener, whose parts a case replaces.
const one = `admin: { address: { socket_address: { address: 0.0.0.0, port_value: 9901 } } }
static_resources:
  listeners:
    - name: out
      address: { socket_address: { address: 0.0.0.0, port_value: 15001 } }
      use_original_dst: true
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: out
                cluster: AllowAll
  clusters:
    - { name: AllowAll, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s }
`

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("envoy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What Envoy's own reader refuses is refused here, with the line and the field (e2e/xds asks a real
// Envoy about such cases), and so is what the control plane could not serve.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"stat_prefix: out", "statprefix: out", `envoy.yaml: line 12: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy has no field "statprefix"`},
		{"stat_prefix: out", "stat_prefix: 18", `line 12: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefix: Envoy reads 18 as a number or bool, and a string belongs here: quote it`},
		{"stat_prefix: out", "stat_prefix: yes", `Envoy reads yes as a number or bool`},
		{"stat_prefix: out", `stat_prefix: ""`, `line 11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: invalid TcpProxy.stat_prefix: value length must be at least 1 runes`},
		{"stat_prefix: out", "stat_prefix: out\n                max_connect_attempts: 1.5", `line 13: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.max_connect_attempts: "1.5" is no uint32`},
		{"stat_prefix: out", "stat_prefix: out\n                max_connect_attempts: 4294967296", `"4294967296" is no uint32`},
		{"stat_prefix: out", "stat_prefix: out\n                max_connect_attempts: -1", `"-1" is no uint32`},
		{"stat_prefix: out", "stat_prefix: out\n                idle_timeout: 1", `Envoy reads 1 as a number or bool, and a google.protobuf.Duration belongs here`},
		{"stat_prefix: out", "stat_prefix: out\n                idle_timeout: soon", `"soon" is no duration`},
		{"stat_prefix: out", "stat_prefix: out\n                weighted_clusters: { clusters: { name: a, weight: 1 } }", `.cluster: it excludes weighted_clusters, which is given too`},
		{"stat_prefix: out", "stat_prefix: out\n                <<: { idle_timeout: 1s }", `has no field "<<"`},
		{"stat_prefix: out", "stat_prefix: out\n                statPrefix: out", `line 13: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefix: the field is given twice`},
		{"use_original_dst: true", "use_original_dst: 1", `line 6: static_resources.listeners[0].use_original_dst: "1" is no bool`},
		{"type: ORIGINAL_DST", "type: original-dst", `static_resources.clusters[0].type: "original-dst" is no value of envoy.config.cluster.v3.Cluster.DiscoveryType`},
		{"name: out", "name: [out]", `line 4: static_resources.listeners[0].name: a string belongs here, not a list`},
		{"address: { socket_address: { address: 0.0.0.0, port_value: 15001 } }", "address: x", `line 5: static_resources.listeners[0].address: a envoy.config.core.v3.Address belongs here, not "x"`},
		{`"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`, "a: b", `line 11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: there is no "@type"`},
		{"tcp_proxy.v3.TcpProxy", "tcp_proxy.v3.TcpPoxy", `the type "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpPoxy" is not one that this build can serve`},
		{"admin:", "    admin:", "envoy.yaml: yaml: "},
		{one, "", "envoy.yaml: the file is empty"},
		{one, one + "---\na: b\n", "envoy.yaml: line 16: a second document begins"},
		{one, "admin: {}\n", "envoy.yaml: static_resources has no listener: there is nothing to serve"},
		{one, "- a\n", "envoy.yaml: line 1: the whole: a envoy.config.bootstrap.v3.Bootstrap belongs here, not a list"},
		{one, one + "dynamic_resources: {}\n", "envoy.yaml: it has dynamic_resources: another control plane serves this Envoy"},
		{"  clusters:", "    - *l\n  clusters:", "unknown anchor"},
		{"  clusters:\n", "  clusters:\n    - { name: AllowAll, type: STATIC }\n", `envoy.yaml: two clusters are named "AllowAll"`},
		{"  clusters:\n", "  clusters:\n    - { name: meshtop-controlplane, type: STATIC }\n", `a cluster is named "meshtop-controlplane", which is the control plane's own name here`},
		{"  clusters:\n", "  clusters:\n    - { name: e, type: EDS, eds_cluster_config: { eds_config: { ads: {}, resource_api_version: V3 } } }\n", "envoy.yaml: cluster e: its configuration asks ADS for more, and only listeners and clusters are served"},
	} {
		text := strings.Replace(one, c.old, c.new, 1)
		if text == one {
			t.Fatalf("%q is not in the configuration", c.old)
		}
		_, err := Parse("envoy.yaml", []byte(text))
		switch {
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s\n got %v\nwant %s", c.new, err, c.want)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: more than a sentence: %v", c.new, err)
		}
	}
}

// Every type of the API can be served, one in another too, and one that only Envoy's contrib build has;
// its rules are asked.
func TestEveryType(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`"@type": type.googleapis.com/envoy.extensions.filters.network.golang.v3alpha.Config, library_id: a, library_path: b, plugin_name: c`, ""},
		{`"@type": type.googleapis.com/envoy.extensions.filters.network.golang.v3alpha.Config, library_id: a, library_path: b`,
			"line 10: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: invalid Config.plugin_name: value length must be at least 1 runes"},
		{`"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: out, cluster: AllowAll,
                  access_log: { name: a, typed_config: { "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null } }`, ""},
		{`"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: out, cluster: AllowAll,
                  access_log: { name: a, typed_config: { "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "" } }`,
			"line 11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.access_log[0].typed_config: invalid FileAccessLog.path: value length must be at least 1 runes"},
		{`"@type": type.googleapis.com/google.protobuf.Struct, value: { a: [1, x, { b: ~ }] }`, ""},
		{`"@type": type.googleapis.com/envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy, stat_prefix: x, drds: { config_source: {} }`, "invalid ConfigSource.config_source_specifier: value is required"},
	} {
		before, rest, _ := strings.Cut(one, "typed_config:\n")
		_, after, _ := strings.Cut(rest, "cluster: AllowAll\n")
		got, err := Parse("envoy.yaml", []byte(before+"typed_config: { "+c.config+" }\n"+after))
		if c.want == "" {
			if err != nil || len(got.listeners) != 1 {
				t.Errorf("%s: %v", c.config, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.config, err, c.want)
		}
	}
}

// Anchors that repeat each other do not fill the memory.
func TestAnchorsAreBounded(t *testing.T) {
	text := "node: { metadata: { a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		before := string(rune(n[0] - 1))
		text += ", a" + n + ": &a" + n + " [" + strings.Repeat("*a"+before+", ", 9) + "*a" + before + "]\n"
	}
	_, err := Parse("envoy.yaml", []byte(text+"} }\n"+one))
	if err == nil || !strings.Contains(err.Error(), "counting what its anchors repeat") && !strings.Contains(err.Error(), "excessive aliasing") {
		t.Errorf("got %v", err)
	}
}

// A listener without a name gets one, since ADS knows it by nothing else.
func TestUnnamedListener(t *testing.T) {
	c := parse(t, strings.Replace(one, "- name: out\n      address", "- address", 1))
	if got := c.listeners[0].text("name"); got != "0.0.0.0_15001" {
		t.Errorf("got %q", got)
	}
}

func names(ls []object) (out []string) {
	for _, l := range ls {
		out = append(out, l.text("name"))
	}
	return out
}

// No text makes the reader panic, and what it takes can be served. This is no fuzz target: one
// would build some 300 packages of Envoy's API anew for it.
func TestDamagedFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	bits := []string{"{", "}", "[", "]", ":", "\n", " ", "*a", "&a ", "~", "\"", "-", "1e9", "@type", "\xff", "|", "<<", "null", "!!binary "}
	taken := 0
	for range 3000 {
		text := one
		if r.IntN(2) == 0 {
			text = many
		}
		for range 1 + r.IntN(3) {
			at, to := r.IntN(len(text)), 0
			to = min(at+r.IntN(4), len(text))
			text = text[:at] + bits[r.IntN(len(bits))] + text[to:]
		}
		c, err := Parse("f", []byte(text))
		if err != nil {
			continue
		}
		taken++
		if _, err := pack(c.listeners); err != nil && !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%v\n%s", err, text)
		}
	}
	if taken == 0 {
		t.Error("not one was taken")
	}
}
