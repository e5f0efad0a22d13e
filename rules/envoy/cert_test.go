package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules/flow"
)

// What Istio's certificates say, inline by SDS; and what /certs knows of a file.
func TestCertificates(t *testing.T) {
	c, _, err := Load(map[string][]byte{dumpPart: packed.Read(t, "testdata/dumps/istio-routing-client-config_dump.json.gz")})
	if err != nil {
		t.Fatal(err)
	}
	p := &pass{cfg: c, ch: new(flow.Choices), req: raw()}
	p.toCluster("outbound|80||server.mesh.svc.cluster.local", lbHints{})
	got := ""
	for _, s := range p.res.Steps {
		if s.Reason.Kind == flow.WhyTLSUpstream {
			got = strings.Join(s.Reason.Args[:], " / ")
		}
	}
	const own = "spiffe://cluster.local/ns/mesh/sa/client until 2026-11-24T"
	if parts := strings.Split(got, " / "); len(parts) != 3 || !strings.Contains(parts[1], "spiffe://cluster.local/ns/mesh/sa/server") || !strings.HasPrefix(parts[2], own) {
		t.Errorf("upstream TLS: %q", got)
	}
	chain := func(ds string) string {
		return chainList(chainOf("f", "", tcp("c"))[:len(chainOf("f", "", tcp("c")))-1] + `, 'transport_socket': {'name': 't', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
			'common_tls_context': {'tls_certificates': [{'certificate_chain': {` + ds + `}}]}}}}`)
	}
	c = mesh{
		listeners: lis("a", "0.0.0.0", 1, chain(`'filename': '/a.pem'`)) + lis("b", "0.0.0.0", 2, chain(`'filename': '/b.pem'`)) + lis("c", "0.0.0.0", 3, chain(`'inline_bytes': '[redacted]'`)),
		clusters:  static("c", "10.1.0.1:80"),
		files:     map[string]string{"certs.json": `{'certificates': [{'cert_chain': [{'path': '/a.pem', 'subject_alt_names': [{'dns': 'a.test'}], 'expiration_time': '2030-01-01T00:00:00Z'}]}]}`},
	}.load(t)
	for port, want := range map[string]string{"1": "a.test until 2030-01-01T00:00:00Z", "2": "file /b.pem", "3": ""} {
		for _, s := range c.Accept(Conn{Accept: addr("10.5.5.5:" + port), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, hello("x"), new(flow.Choices)).Steps {
			if s.Reason.Kind == flow.WhyTLSTerminated && s.Reason.Args[2] != want {
				t.Errorf("port %s: %q, want %q", port, s.Reason.Args[2], want)
			}
		}
	}
}
