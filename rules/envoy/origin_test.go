package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

const trust = ".11111111-2222-3333-4444-555555555555.consul"

// Consul's names, as its own golden files and agent/connect/sni.go write them.
func TestConsulClusterNames(t *testing.T) {
	c := &Config{}
	for name, want := range map[string]string{
		"db.default.dc1.internal" + trust:                               "Consul service db namespace default datacenter dc1",
		"v1.db.default.dc1.internal" + trust:                            "Consul service db namespace default datacenter dc1, subset v1 of its service-resolver",
		"db.ns1.part1.dc2.internal-v1" + trust:                          "Consul service db namespace ns1 partition part1 datacenter dc2",
		"v1.db.ns1.part1.dc2.internal-v1" + trust:                       "Consul service db namespace ns1 partition part1 datacenter dc2, subset v1 of its service-resolver",
		"dc2.internal" + trust:                                          "Consul datacenter dc2 by its mesh gateways",
		"geo-cache.default.dc1.query" + trust:                           "Consul prepared query geo-cache datacenter dc1",
		"s2.default.primary-to-alpha.external" + trust:                  "Consul service s2 namespace default peer primary-to-alpha",
		"s2.default.default.primary-to-alpha.external" + trust:          "Consul service s2 namespace default partition default peer primary-to-alpha",
		"passthrough~foo.default.dc1.internal" + trust:                  "Consul service foo namespace default datacenter dc1, its instances by their own addresses",
		"failover-target~db.default.dc1.internal" + trust:               "Consul service db namespace default datacenter dc1, a failover target",
		"failover-target~1~db.default.dc2.internal" + trust:             "Consul service db namespace default datacenter dc2, a failover target",
		"78ebd528~db.default.dc1.internal" + trust:                      "Consul service db namespace default datacenter dc1",
		"exported~cash.default.dc1.internal" + trust:                    "Consul service cash namespace default datacenter dc1, exported to peers",
		"db.default.dc1.internal.11111111-2222-3333-4444-555555555555x": "",
		"consul":                       "",
		".consul":                      "",
		"a.b.consul":                   "",
		"db.service.consul":            "", // a DNS name, no SNI
		"a.b.c.d.e.f.internal" + trust: "",
		"x.y.z.other" + trust:          "",
		// These say nothing without the bootstrap of a Consul proxy.
		"local_app": "", "original-destination": "",
	} {
		if got := c.clusterOrigin(node(t, `{"name":"`+name+`"}`)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Kuma's names (pkg/xds/envoy/names, pkg/core/kri): of a proxy that says it is Kuma's.
func TestKumaNames(t *testing.T) {
	kuma := &Config{maker: maker{plane: kumaPlane, self: "default.web-01"}}
	for name, want := range map[string]string{
		"backend_kuma-demo_svc_3001":                           "Kuma Service kuma-demo/backend port 3001",
		"backend_kuma-demo_svc":                                "Kuma Service kuma-demo/backend",
		"localhost:8080":                                       "Kuma Dataplane default.web-01, its app on port 8080",
		"mesh-1_backend_kuma-demo_us-east-2_msvc_80":           "Kuma MeshService kuma-demo/backend port 80 mesh mesh-1 zone us-east-2",
		"mesh-1_es1__kuma-4_extsvc_80":                         "Kuma MeshExternalService es1 port 80 mesh mesh-1 zone kuma-4",
		"kri_msvc_mesh-1_us-east-2_kuma-demo_backend_httpport": "Kuma MeshService kuma-demo/backend section httpport mesh mesh-1 zone us-east-2",
		"kri_extsvc_mesh-1__kuma-system_es1_":                  "Kuma MeshExternalService kuma-system/es1 mesh mesh-1",
		"kri_msvc_grpc_kuma-3__test-server_80":                 "Kuma MeshService test-server section 80 mesh grpc zone kuma-3",
		"kri_newkind_m_z_n_x_rule_0":                           "Kuma newkind n/x section rule_0 mesh m zone z",
		"outbound:passthrough:ipv4":                            "Kuma transparent proxy of default.web-01, outbound passthrough",
		"inbound:passthrough:ipv6":                             "Kuma transparent proxy of default.web-01, inbound passthrough",
		"kuma:envoy:admin":                                     "Kuma, for Envoy's admin",
		"ads_cluster":                                          "",
		"backend":                                              "",
		"kri_":                                                 "",
		"kri_msvc_a_b_c_d":                                     "",
		"a_b_c_d_nokind_80":                                    "",
	} {
		if got := kuma.clusterOrigin(node(t, `{"name":"`+name+`"}`)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"backend_kuma-demo_svc_3001", "localhost:8080", "mesh-1_backend_kuma-demo_us-east-2_msvc_80"} {
		if got := new(Config).clusterOrigin(node(t, `{"name":"`+name+`"}`)); got != "" {
			t.Errorf("%s of nobody's proxy: %q", name, got)
		}
	}
}

// made are the steps of a trace that say who made their object: SUBJECT: OBJECT.
func made(c *Config, conn Conn, req *flow.Request) string {
	if !conn.Src.IsValid() {
		conn.Src = addr("10.9.9.9:40000")
	}
	conn.Proto = flow.TCP
	var out []string
	for _, s := range c.Accept(conn, req, new(flow.Choices)).Steps {
		if s.Origin != "" {
			out = append(out, s.Subject+": "+s.Origin)
		}
	}
	return strings.Join(out, "\n")
}

// A sidecar of Consul, in the shape of its golden file transparent-proxy.
func TestConsulOrigins(t *testing.T) {
	db := "db.default.dc1.internal" + trust
	m := mesh{
		bootstrap: `'node': {'id': 'web-sidecar-proxy', 'cluster': 'web'}, 'dynamic_resources': {'ads_config': {'grpc_services': [{'envoy_grpc': {'cluster_name': 'consul-dataplane'}}]}}`,
		listeners: lis("public_listener:0.0.0.0:9999", "0.0.0.0", 9999, `'traffic_direction': 'INBOUND'`, chainList(chainOf("", "", netFilter("rbac", "RBAC", `'stat_prefix': 'connect_authz', 'rules': {'policies': {'consul-intentions-layer4': {'permissions': [{'any': true}], 'principals': [{'direct_remote_ip': {'address_prefix': '10.9.9.9', 'prefix_len': 32}}]}}}`), tcp("local_app")))) +
			lis("outbound_listener:127.0.0.1:15001", "127.0.0.1", 15001, lfilters(originalDst), `'traffic_direction': 'OUTBOUND'`, chainList(chainOf("", `'prefix_ranges': [{'address_prefix': '240.0.0.1', 'prefix_len': 32}]`, tcp(db))), `'default_filter_chain': `+chainOf("", "", tcp("original-destination"))) +
			lis("db:127.0.0.1:9191", "127.0.0.1", 9191, `'traffic_direction': 'OUTBOUND'`, chainList(chainOf("", "", tcp(db)))) +
			lis("prepared_query:geo-cache:127.10.10.10:8181", "127.10.10.10", 8181, `'traffic_direction': 'OUTBOUND'`, chainList(chainOf("", "", tcp(db)))) +
			lis("exposed_path_health_8443", "0.0.0.0", 8443, chainList(chainOf("", "", tcp("local_app")))),
		clusters: static("local_app", "127.0.0.1:8080") + static(db, "10.1.0.1:80") + `{'name': 'original-destination', 'type': 'ORIGINAL_DST', 'lb_policy': 'CLUSTER_PROVIDED'}`,
	}
	c := m.load(t)
	for _, row := range []struct {
		conn Conn
		want string
	}{
		{Conn{Accept: addr("10.5.5.5:9999")}, `public_listener:0.0.0.0:9999: Consul proxy of web, its public listener
local_app: Consul proxy of web, its local app
envoy.filters.network.rbac: Consul intentions for web`},
		{Conn{Accept: addr("10.5.5.5:9999"), Src: addr("10.9.9.8:1")}, `public_listener:0.0.0.0:9999: Consul proxy of web, its public listener
local_app: Consul proxy of web, its local app
envoy.filters.network.rbac: Consul intentions for web`},
		{Conn{Accept: addr("127.0.0.1:15001"), Orig: addr("240.0.0.1:80")}, "outbound_listener:127.0.0.1:15001: Consul transparent proxy of web\n" + db + ": Consul service db namespace default datacenter dc1"},
		{Conn{Accept: addr("127.0.0.1:15001"), Orig: addr("8.8.8.8:80")}, "outbound_listener:127.0.0.1:15001: Consul transparent proxy of web\noriginal-destination: Consul transparent proxy of web, what is no service of the mesh"},
		{Conn{Accept: addr("127.0.0.1:9191")}, "db:127.0.0.1:9191: Consul upstream of web, service db\n" + db + ": Consul service db namespace default datacenter dc1"},
		{Conn{Accept: addr("127.10.10.10:8181")}, "prepared_query:geo-cache:127.10.10.10:8181: Consul upstream of web, prepared query geo-cache\n" + db + ": Consul service db namespace default datacenter dc1"},
		{Conn{Accept: addr("10.5.5.5:8443")}, "local_app: Consul proxy of web, its local app"},
	} {
		if got := made(c, row.conn, raw()); got != row.want {
			t.Errorf("%v:\n%s\nwant\n%s", row.conn.Accept, got, row.want)
		}
	}
	// Without a bootstrap that is Consul's, only names that are Consul's alone say so.
	m.bootstrap = `'node': {'id': 'x', 'cluster': 'web'}`
	if got, want := made(m.load(t), Conn{Accept: addr("127.0.0.1:9191")}, raw()), db+": Consul service db namespace default datacenter dc1"; got != want {
		t.Errorf("somebody's upstream: %q, want %q", got, want)
	}
	if got := made(m.load(t), Conn{Accept: addr("10.5.5.5:8443")}, raw()); got != "" {
		t.Errorf("somebody's local_app: %q", got)
	}
}

// A sidecar of Kuma: listeners say their tags, or nothing beyond their address.
func TestKumaOrigins(t *testing.T) {
	tags := func(list string) string {
		return `'metadata': {'filter_metadata': {'io.kuma.tags': {` + list + `}}}`
	}
	rbac := netFilter("rbac", "RBAC", `'stat_prefix': 'inbound_10_5_5_5_8080.', 'rules': {'policies': {'MeshTrafficPermission': {'permissions': [{'any': true}], 'principals': [{'any': true}]}}}`)
	m := mesh{
		bootstrap: `'node': {'id': 'default.web-01', 'cluster': 'web', 'metadata': {'dataplane.proxyType': 'dataplane'}}`,
		listeners: lis("inbound:10.5.5.5:8080", "10.5.5.5", 8080, tags(`'kuma.io/service': 'web_kuma-demo_svc_80'`), chainList(chainOf("", "", rbac, tcp("localhost:80")))) +
			lis("inbound:10.5.5.5:8081", "10.5.5.5", 8081, tags(``), chainList(chainOf("", "", tcp("localhost:80")))) +
			lis("outbound:240.0.0.1:80", "240.0.0.1", 80, tags(`'kuma.io/service': 'backend'`), chainList(chainOf("", "", tcp("backend_kuma-demo_svc_80")))) +
			lis("outbound:240.0.0.2:80", "240.0.0.2", 80, chainList(chainOf("", "", tcp("backend_kuma-demo_svc_80")))) +
			lis("outbound:240.0.0.3:80", "240.0.0.3", 80, tags(`'kuma.io/unified-name': 'kri_msvc_m_z_ns_backend_http'`), chainList(chainOf("", "", tcp("backend_kuma-demo_svc_80")))) +
			lis("outbound:passthrough:ipv4", "0.0.0.0", 15001, useOriginal, chainList(chainOf("", "", tcp("outbound:passthrough:ipv4")))),
		clusters: static("localhost:80", "127.0.0.1:80") + static("backend_kuma-demo_svc_80", "10.1.0.1:80") + `{'name': 'outbound:passthrough:ipv4', 'type': 'ORIGINAL_DST', 'lb_policy': 'CLUSTER_PROVIDED'}`,
	}
	app, backend := "\nlocalhost:80: Kuma Dataplane default.web-01, its app on port 80", "backend_kuma-demo_svc_80: Kuma Service kuma-demo/backend port 80"
	c := m.load(t)
	for _, row := range []struct {
		conn Conn
		want string
	}{
		{Conn{Accept: addr("10.5.5.5:8080")}, "inbound:10.5.5.5:8080: Kuma Dataplane default.web-01, inbound of Service kuma-demo/web port 80" + app + "\nenvoy.filters.network.rbac: Kuma MeshTrafficPermission"},
		{Conn{Accept: addr("10.5.5.5:8081")}, "inbound:10.5.5.5:8081: Kuma Dataplane default.web-01" + app},
		{Conn{Accept: addr("240.0.0.1:80")}, "outbound:240.0.0.1:80: Kuma service backend\n" + backend},
		{Conn{Accept: addr("240.0.0.2:80")}, backend},
		{Conn{Accept: addr("240.0.0.3:80")}, "outbound:240.0.0.3:80: Kuma MeshService ns/backend section http mesh m zone z\n" + backend},
		{Conn{Accept: addr("127.0.0.1:15001"), Orig: addr("8.8.8.8:81")}, "outbound:passthrough:ipv4: Kuma transparent proxy of default.web-01, outbound passthrough\noutbound:passthrough:ipv4: Kuma transparent proxy of default.web-01, outbound passthrough"},
	} {
		if got := made(c, row.conn, raw()); got != row.want {
			t.Errorf("%v:\n%s\nwant\n%s", row.conn.Accept, got, row.want)
		}
	}
}

// Istio names namespace, policy and rule in each RBAC policy.
func TestPolicyOrigin(t *testing.T) {
	c := new(Config)
	for policy, want := range map[string]string{
		"ns[mesh]-policy[deny-admin]-rule[0]": "AuthorizationPolicy mesh/deny-admin rule 0",
		"ns[a]-policy[b]-rule[12]":            "AuthorizationPolicy a/b rule 12",
		"consul-intentions-layer7-3":          "Consul intentions",
		"MeshTrafficPermission":               "", // of no proxy of Kuma's
		"":                                    "", "ns[a]": "", "ns[a]-policy[b]": "", "ns[a]-policy[b]-rule[1": "", "xns[a]-policy[b]-rule[1]": "",
	} {
		if got := c.policyOrigin(policy, ""); got != want {
			t.Errorf("%q: %q, want %q", policy, got, want)
		}
	}
	filter := typedFilter("f", "rbac.v3.RBAC", `"rules":{"action":"DENY","policies":{"ns[mesh]-policy[deny-admin]-rule[0]":{"permissions":[{"url_path":{"path":{"prefix":"/admin"}}}],"principals":[{"any":true}]}}}`)
	cfg := httpDump(t, withFilters(oneHost(answering("r", `"prefix":"/"`)), filter))
	for path, want := range map[string]string{"/admin/x": "f: AuthorizationPolicy mesh/deny-admin rule 0", "/": ""} {
		req := plainRequest(sent("GET", path, "a"))
		if got := made(cfg, plainConn(), &req); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
