package xds

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect/xds"
)

// small is a configuration in which a case replaces one part.
const small = `static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: 15999 } }
    bind_to_port: false
    filter_chains:
      filters:
        name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          cluster: c
          stat_prefix: x
          max_connect_attempts: 1
  clusters:
    name: c
    type: STATIC
    connect_timeout: 1s
`

// tcp is its filter, and mutation another, as the rule for the deprecated field in it: it is not asked.
const (
	tcp = `name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          cluster: c
          stat_prefix: x
          max_connect_attempts: 1
`
	mutation = `name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          route_config: {virtual_hosts: {name: a, domains: "*", routes: {match: {prefix: /}, direct_response: {status: 200}}}}
          http_filters:
          - name: m
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations: {query_parameter_mutations: {append: {record: {key: a, value: b}, entry: {key: ""}}}}
          - {name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`
)

// The reader takes what a real Envoy takes, and refuses what it refuses.
func TestReaderIsEnvoys(t *testing.T) {
	envoy := power.Envoy(t)
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	for _, c := range []struct{ old, new string }{
		{"stat_prefix: x", "stat_prefix: 18"}, {"stat_prefix: x", "stat_prefix: yes"}, {"stat_prefix: x", "stat_prefix: 1.50"},
		{"stat_prefix: x", "stat_prefix: true"}, {"stat_prefix: x", "stat_prefix: 010"}, {"stat_prefix: x", "stat_prefix: 0x1f"}, {"stat_prefix: x", "stat_prefix: -5"},
		{"stat_prefix: x", "stat_prefix: +5"}, {"stat_prefix: x", `stat_prefix: ""`}, {"stat_prefix: x", "stat_prefix: |\n            x"},
		{"stat_prefix: x", "stat_prefix: n"}, {"stat_prefix: x", "stat_prefix: On"}, {"stat_prefix: x", "stat_prefix: oN"}, {"stat_prefix: x", "stat_prefix: ~"},
		{"stat_prefix: x", "stat_prefix: [x]"}, {"stat_prefix: x", "stat_prefix: 1e3"}, {"stat_prefix: x", "stat_prefix: 2026-01-01"},
		{"bind_to_port: false", `bind_to_port: "false"`}, {"bind_to_port: false", "bind_to_port: no"}, {"bind_to_port: false", "bind_to_port: {value: false}"},
		{"bind_to_port: false", "bind_to_port: 0"}, {"bind_to_port: false", `bind_to_port: "no"`}, {"bind_to_port: false", "bind_to_port: 'T'"}, {"bind_to_port: false", `bind_to_port: "on"`}, {"bind_to_port: false", `bind_to_port: "1"`}, {"bind_to_port: false", "bind_to_port: ~"},
		{"15999", `"15999"`}, {"15999", "15999.0"}, {"15999", "0x3E7F"}, {"15999", "007"}, {"15999", "65536"}, {"15999", "-1"}, {"15999", "1_5"}, {"15999", "1.5"},
		{"15999", `"0x10"`}, {"15999", `"0xZZ"`}, {"15999", `"1e3"`}, {"15999", `"010"`}, {"stat_prefix: x", `stat_prefix: "18"`}, {"stat_prefix: x", "stat_prefix: 'yes'"}, {"15999", "1.5e3"}, {"15999", `" 1"`}, {"15999", "+80"}, {"15999", "true"},
		{"type: STATIC", "type: static"}, {"type: STATIC", "type: 0"}, {"type: STATIC", `type: "0"`}, {"type: STATIC", "type: strict-dns"}, {"type: STATIC", "type: NONE"}, {"type: STATIC", "type: 77"},
		{"1s", "{seconds: 1}"}, {"1s", "1"}, {"1s", "1.5s"}, {"1s", "1ms"}, {"1s", "soon"}, {"1s", "0s"}, {"1s", "-1s"},
		{"max_connect_attempts: 1", "maxConnectAttempts: 1"}, {"max_connect_attempts: 1", "max_connectAttempts: 1"}, {"max_connect_attempts: 1", "foo: 1"},
		{"max_connect_attempts: 1", "<<: {idle_timeout: 1s}"}, {"max_connect_attempts: 1", "access_log: []"},
		{"max_connect_attempts: 1", "metadata_match: {filter_metadata: {a: {b: 1, c: [x, true, ~, 1.5]}}}"}, {"max_connect_attempts: 1", "metadata_match: {filter_metadata: {1: {yes: 1}}}"},
		{"max_connect_attempts: 1", "tunneling_config: {hostname: x}\n          tunnelingConfig: {hostname: y}"}, {"max_connect_attempts: 1", "weighted_clusters: {clusters: [{name: a, weight: 1}]}"},
		{"max_connect_attempts: 1", "idle_timeout: &a 1s\n          max_downstream_connection_duration: *a"}, {"max_connect_attempts: 1", "on_demand: {timeout: 1s, odcds_config: x}"},
		{"tcp_proxy.v3.TcpProxy", "tcp_proxy.v3.TcpPoxy"}, {`"@type"`, "type"}, {tcp, mutation}, {tcp, strings.Replace(mutation, "key: a", `key: ""`, 1)}, {"cluster: c", "cluster: ~"}, {"max_connect_attempts: 1", "filter: {}"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if text == small {
			t.Fatalf("%q is not in the configuration", c.old)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, envoyErr := exec.Command(envoy, "--mode", "validate", "--log-level", "error", "-c", file).CombinedOutput()
		_, err := xds.Parse(file, []byte(text))
		if (err == nil) != (envoyErr == nil) {
			t.Errorf("%q: here %v, Envoy %v\n%s", c.new, err, envoyErr, out)
		}
	}
}
