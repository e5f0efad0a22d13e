package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	for dst, says := range map[string]string{"10.107.42.16:80": "", "10.200.1.7:80": "", "203.0.113.10:80": "", "10.200.1.7:81": "", httpECDS: "418", networkECDS: "denied: by policy all", defaultECDS: "418", secretSDS: "spiffe://lab/x until 20"} {
		r := flow.Request{Dst: netip.MustParseAddrPort(dst), Proto: flow.TCP, UID: 1000, HTTP: &flow.HTTP{Authority: dst}}
		if dst == secretSDS {
			r.TLS = &flow.TLS{}
		}
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
		if text := render.Text(got, render.TextOptions{}); !strings.Contains(text, says) {
			t.Errorf("%s: want %q in\n%s", dst, says, text)
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
	conf = strings.Replace(conf, "  listeners:\n", "  listeners:\n"+discovered(t), 1)
	return []byte(strings.Replace(conf, "  clusters:\n", "  clusters:\n"+clusters.String(), 1))
}

// Listeners of which a part comes by ECDS or SDS, which are not in their own text.
const (
	httpECDS    = "10.201.0.1:80" // an HTTP filter
	networkECDS = "10.201.0.2:80" // a network filter
	defaultECDS = "10.201.0.3:80" // an HTTP filter with a default that ECDS replaced
	secretSDS   = "10.201.0.4:80" // the certificate
)

// discovered are those listeners. What is discovered stands in files.
func discovered(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // Envoy has a uid of its own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, resource string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(`{"version_info": "1", "resources": [`+resource+`]}`), 0o644); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{path_config_source: {path: %q}, resource_api_version: V3}`, path)
	}
	const types, filters = "type.googleapis.com/", "type.googleapis.com/envoy.extensions.filters."
	ecds := func(name, config string) string {
		return put(name, `{"@type": "`+types+`envoy.config.core.v3.TypedExtensionConfig", "name": "`+name+`", "typed_config": `+config+`}`)
	}
	fault := func(code int) string {
		return fmt.Sprintf(`{"@type": "%shttp.fault.v3.HTTPFault", "abort": {"http_status": %d, "percentage": {"numerator": 100}}}`, filters, code)
	}
	manager := func(filter string) string {
		return fmt.Sprintf(`{name: hcm, typed_config: {"@type": %snetwork.http_connection_manager.v3.HttpConnectionManager, stat_prefix: d, route_config: {name: d, virtual_hosts: [{name: d, domains: ["*"],
        routes: [{match: {prefix: "/"}, direct_response: {status: 200}}]}]}, http_filters: [%s{name: router, typed_config: {"@type": %shttp.router.v3.Router}}]}}`, filters, filter, filters)
	}
	var out strings.Builder
	add := func(at, chain string) {
		ip, port, _ := strings.Cut(at, ":")
		fmt.Fprintf(&out, `    - {name: "%s_%s", address: {socket_address: {address: %s, port_value: %s}}, bind_to_port: false, filter_chains: [{%s}]}`+"\n", ip, port, ip, port, chain)
	}
	discovers := func(name, source, more string) string {
		return fmt.Sprintf(`{name: %s, config_discovery: {config_source: %s, type_urls: [%shttp.fault.v3.HTTPFault]%s}}, `, name, source, filters, more)
	}
	add(httpECDS, "filters: ["+manager(discovers("broken", ecds("broken", fault(418)), ""))+"]")
	add(defaultECDS, "filters: ["+manager(discovers("replaced", ecds("replaced", fault(418)), ", default_config: "+fault(419)))+"]")
	deny := `{"@type": "` + filters + `network.rbac.v3.RBAC", "stat_prefix": "d", "rules": {"action": "DENY", "policies": {"all": {"permissions": [{"any": true}], "principals": [{"any": true}]}}}}`
	add(networkECDS, fmt.Sprintf("filters: [{name: denies, config_discovery: {config_source: %s, type_urls: [%snetwork.rbac.v3.RBAC]}}, %s]", ecds("denies", deny), filters, manager("")))
	cert, key := pair(t)
	secret, _ := json.Marshal(map[string]any{"@type": types + "envoy.extensions.transport_sockets.tls.v3.Secret", "name": "own",
		"tls_certificate": map[string]any{"certificate_chain": map[string]string{"inline_string": cert}, "private_key": map[string]string{"inline_string": key}}})
	add(secretSDS, fmt.Sprintf(`transport_socket: {name: tls, typed_config: {"@type": %senvoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {tls_certificate_sds_secret_configs: [{name: own, sds_config: %s}]}}}, filters: [%s]`,
		types, put("own", string(secret)), manager("")))
	return out.String()
}

// pair is a certificate and its key, in PEM.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{{Scheme: "spiffe", Host: "lab", Path: "/x"}}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}
