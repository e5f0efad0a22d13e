package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// Of an Envoy with many listeners only what a trace needs is read, and the answer is that of
// the whole configuration.
func TestLargeEnvoy(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh", Config: large(t, admin.Large+100)})
	pod, err := local.Named(l.Pod(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	ctx := context.Background()
	some, err := session.Read(ctx, pod, inspect.Want{})
	if err != nil || len(some.Gaps) > 0 {
		t.Fatalf("%v, gaps %v", err, some.Gaps)
	}
	full, err := session.Read(ctx, pod, inspect.Want{Full: true})
	if err != nil || len(full.Gaps) > 0 {
		t.Fatalf("%v, gaps %v", err, full.Gaps)
	}
	if len(some.Files["clusters.json"]) > 0 || len(full.Files["clusters.json"]) == 0 || len(full.Files["stats"]) == 0 {
		t.Error("the hosts with their health and the statistics belong to all, and to all only")
	}
	if _, whole := some.Files["config_dump.json"]; whole || len(full.Files["config_dump.json"]) < 500_000 {
		t.Fatalf("whole %v, the full dump has %d bytes", whole, len(full.Files["config_dump.json"]))
	}
	for _, dst := range []string{"10.107.42.16:80", "10.200.1.7:80", "203.0.113.10:80", "10.200.1.7:81"} {
		r := flow.Request{Dst: netip.MustParseAddrPort(dst), Proto: flow.TCP, UID: 1000, HTTP: &flow.HTTP{Authority: dst}}
		read, got, err := session.Trace(ctx, pod, some, r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, want, err := session.Trace(ctx, pod, full, r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Verdict != want.Verdict || got.Outcome != want.Outcome || got.Caller != want.Caller || len(got.Needs) > 0 || want.Verdict == flow.Unknown {
			t.Errorf("%s: by parts %v %+v, needs %v\nby all %v %+v\n%s", dst, got.Verdict, got.Outcome, got.Needs, want.Verdict, want.Outcome, render.Text(got, render.TextOptions{}))
		}
		for _, c := range read.Calls[len(some.Calls):] {
			if strings.HasSuffix(c.What, "/config_dump?include_eds") || c.Bytes > 100_000 || c.Err != "" {
				t.Errorf("%s: call %+v", dst, c)
			}
		}
	}
}

// large is the mesh scene with n listeners more, each with a cluster of its own.
func large(t *testing.T, n int) []byte {
	t.Helper()
	s, err := scenes.Named("mesh")
	if err != nil {
		t.Fatal(err)
	}
	var listeners, clusters bytes.Buffer
	for i := range n {
		addr := fmt.Sprintf("10.200.%d.%d", i/250, i%250+1)
		fmt.Fprintf(&listeners, `    - {name: "%[1]s_80", address: {socket_address: {address: %[1]s, port_value: 80}}, bind_to_port: false, filter_chains: [{filters: [{name: hcm, typed_config: {
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: "s%[2]d",
        route_config: {name: "r%[2]d", virtual_hosts: [{name: "v%[2]d", domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: "outbound|80||s%[2]d"}}]}]},
        http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}
`, addr, i)
		fmt.Fprintf(&clusters, `    - {name: "outbound|80||s%d", type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: 8080}}}}]}]}}
`, i, addr)
	}
	conf := strings.Replace(string(s.Envoy), "  listeners:\n", "  listeners:\n"+listeners.String(), 1)
	return []byte(strings.Replace(conf, "  clusters:\n", "  clusters:\n"+clusters.String(), 1))
}
