package envoy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// What Envoy says to an endpoint: the HTTP versions it offers, and the ClientHello
// (each row stands against a real Envoy in the end-to-end tests).
func TestUpstreamHello(t *testing.T) {
	const auto = `'upstream_http_protocol_options':{'auto_sni':true}`
	for _, c := range []struct{ tls, options, authority, want string }{
		{"", "", "a", `1.1 sni "" alpn [http/1.1]`}, {"", "'explicit_http_config':{'http2_protocol_options':{}}", "a", `2 sni "" alpn [h2]`}, {"", "'auto_config':{}", "a", `2,1.1 sni "" alpn [h2 http/1.1]`},
		{"", "'use_downstream_protocol_config':{'http2_protocol_options':{}}", "a", `1.1 sni "" alpn [http/1.1]`}, {"", "'use_downstream_protocol_config':{}", "a h2", `2 sni "" alpn [h2]`}, {"", "", "a h2", `1.1 sni "" alpn [http/1.1]`},
		{"'common_tls_context':{'alpn_protocols':['istio']}", "", "a", `1.1 sni "" alpn [istio]`}, {"'sni':'s'", "", "a", `1.1 sni "s" alpn [http/1.1]`}, {"'sni':'s'", auto, "a:80", `1.1 sni "a" alpn [http/1.1]`},
		{"'sni':'s'", auto, "10.0.0.1:80", `1.1 sni "s" alpn [http/1.1]`}, {"'sni':'s'", auto, "[::1]:80", `1.1 sni "s" alpn [http/1.1]`}, {"'auto_host_sni':true,'sni':'s'", "", "a", `1.1 sni "h" alpn [http/1.1]`}, {"'auto_host_sni':true", auto, "a", `1.1 sni "a" alpn [http/1.1]`},
		{"'sni':'s'", auto, "a:80,b", `1.1 sni "a:80,b" alpn [http/1.1]`}, {"'sni':'s'", auto, "a:99999", `1.1 sni "a:99999" alpn [http/1.1]`}, {"'sni':'s'", auto, "[a]:80", `1.1 sni "[a]" alpn [http/1.1]`}, {"'sni':'s'", auto, "[::1]", `1.1 sni "s" alpn [http/1.1]`},
	} {
		cfg := mesh{clusters: fmt.Sprintf(`{'name':'c','type':'STATIC',
			'typed_extension_protocol_options':{'envoy.extensions.upstreams.http.v3.HttpProtocolOptions':{'@type':'x/HttpProtocolOptions'%s}},
			'transport_socket':{'name':'tls','typed_config':{'@type':'x/UpstreamTlsContext'%s}},
			'load_assignment':{'endpoints':[{'lb_endpoints':[{'endpoint':{'hostname':'h','address':%s}}]}]}}`, comma(nonEmpty(c.options)), comma(nonEmpty(c.tls)), sockaddr("1.0.0.1", 80))}.load(t)
		p := &pass{cfg: cfg, ch: new(flow.Choices)}
		name, h2 := strings.CutSuffix(c.authority, " h2")
		f := p.toCluster("c", lbHints{http: true, h2: h2, authority: name})
		u := p.res.Upstream.TLS
		if !f.ok || u == nil {
			t.Fatalf("%+v: no host: %+v", c, f)
		}
		if got := fmt.Sprintf("%s sni %q alpn %v", strings.Join(f.cluster.versions(h2), ","), u.SNI, u.ALPN); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
