package xds

import (
	"strings"
	"testing"

	config "github.com/meshtop/meshtop/rules/envoy"
)

// What Envoy is started with reads as what it would have, in both spellings of a field; what a
// control plane adds to is none of ours.
func TestDump(t *testing.T) {
	const static = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: out
    address: {socketAddress: {address: 0.0.0.0, portValue: 15001}}
    useOriginalDst: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: all, statPrefix: x}
  clusters:
  - {name: all, type: ORIGINAL_DST, lbPolicy: CLUSTER_PROVIDED, connect_timeout: 1s}
`
	raw, err := Dump("ConfigMap a, envoy.yaml", []byte(static))
	if err != nil {
		t.Fatal(err)
	}
	c, gaps, err := config.Load(map[string][]byte{"config_dump.json": raw})
	if err != nil || len(gaps) > 0 || len(c.Unmodelled()) > 0 {
		t.Fatalf("%v, gaps %v, not modelled %v in\n%s", err, gaps, c.Unmodelled(), raw)
	}
	for _, want := range []string{`"use_original_dst": true`, `"port_value": 15001`, `"lb_policy": "CLUSTER_PROVIDED"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in\n%s", want, raw)
		}
	}
	for want, text := range map[string]string{
		"what Envoy has besides comes from a control plane": static + "dynamic_resources: {lds_config: {ads: {}, resource_api_version: V3}}\n",
		"a.yaml: line 1": "static: 1\n",
	} {
		if _, err := Dump("a.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
