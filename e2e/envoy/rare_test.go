package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// rareGaps are members that few configurations have and that decide: what meshtop does not
// model of them it must leave open.
func rareGaps() []gap {
	rc := oneRoute(routeTo("c1", everything, nil))
	h1 := func(m M) M { return M{"http_protocol_options": m} }
	behind := func(kind string, m M) func(M) M {
		return func(l M) M {
			l = web(rc, nil)(l)
			l["listener_filters"] = A{ext("f", filterNS+"listener."+kind, m)}
			return l
		}
	}
	strict := M{"http_filters": A{ext("envoy.filters.http.router", filterNS+"http.router.v3.Router", M{"strict_check_headers": A{"x-envoy-upstream-rq-timeout-ms"}})}}
	inside := M{"http_filters": strict["http_filters"], "use_remote_address": true, "internal_address_config": M{"cidr_ranges": A{cidr("127.0.0.0/8")}}}
	upgrade := get("a.test", "/", [2]string{"connection", "Upgrade"}, [2]string{"upgrade", "websocket"})
	proxied := get("a.test", "/")
	proxied.Proxy = &Proxy{"1.2.3.4:5", "9.9.9.9:99"}
	http11 := static("c.h11", endpoint(up(20)))
	http11["transport_socket"] = ext("p", "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport",
		M{"transport_socket": ext("raw", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", nil), "default_proxy_address": socket("127.9.0.31", 18080)})
	whole := static("c.fq", endpoint(up(21)))
	whole["typed_extension_protocol_options"] = M{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed("envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
		M{"explicit_http_config": M{"http_protocol_options": M{"send_fully_qualified_url": true}}})}
	script := func(s string) M {
		return M{"http_filters": A{ext("lua", filterNS+"http.lua.v3.Lua", M{"default_source_code": M{"inline_string": s}}), router()}}
	}
	limited := M{"http_filters": A{ext("buffer", filterNS+"http.buffer.v3.Buffer", M{"max_request_bytes": 7}), router()}}
	posted := func(n int, version string) Request {
		q := get("a.test", "/").with("POST", version)
		q.HTTP.Body = strings.Repeat("x", n)
		return q
	}
	return []gap{
		{name: "rare: a body at the limit", listener: web(rc, limited), request: posted(7, "HTTP/1.1"), want: `"c1"`},
		{name: "rare: a body over the limit", listener: web(rc, limited), request: posted(8, "HTTP/1.1"), want: "413"},
		{name: "rare: a body over the limit in one frame", listener: web(rc, limited), request: posted(8, "HTTP/2"), want: `"c1"`, unknown: flow.WhyBodyFrames},
		{name: "rare: a body over the limit in two frames", listener: web(rc, limited), request: posted(16385, "HTTP/2"), want: "413"},
		{name: "rare: a method of its own", listener: web(rc, h1(M{"allow_custom_methods": true})), request: get("a.test", "/").with("FOO", ""), want: `"c1"`},
		{name: "rare: no method at all", listener: web(rc, h1(M{"allow_custom_methods": true})), request: get("a.test", "/").with("F@O", ""), want: "codec_error"},
		{name: "rare: an upgrade that is ignored", listener: web(rc, h1(M{"ignore_http_11_upgrade": A{M{"exact": "websocket"}}})), request: upgrade, want: `"c1"`, unknown: flow.WhyNotModelled},
		{name: "rare: strict header, wrong", listener: web(rc, inside), request: get("a.test", "/", [2]string{"x-envoy-upstream-rq-timeout-ms", "abc"}), want: "400", unknown: flow.WhyNotModelled},
		{name: "rare: strict header of a client outside", listener: web(rc, strict), request: get("a.test", "/", [2]string{"x-envoy-upstream-rq-timeout-ms", "abc"}), want: `"c1"`},
		{name: "rare: strict header, not there", listener: web(rc, strict), request: get("a.test", "/"), want: `"c1"`},
		{name: "rare: version of PROXY that is not taken", listener: behind("proxy_protocol.v3.ProxyProtocol", M{"disallowed_versions": A{"V2"}}), request: proxied, want: `{`, unknown: flow.WhyNotModelled},
		{name: "rare: plain text closed by the inspector", listener: behind("tls_inspector.v3.TlsInspector", M{"close_connection_on_client_hello_parsing_errors": true}), request: get("a.test", "/"), want: `{`, unknown: flow.WhyNotModelled},
		{name: "rare: by an HTTP/1.1 proxy", listener: web(oneRoute(routeTo("c.h11", everything, nil)), nil), request: get("a.test", "/"), want: `"c.h11"`, clusters: []M{http11}, unknown: flow.WhyNotModelled},
		{name: "rare: the whole URL upstream", listener: web(oneRoute(routeTo("c.fq", everything, nil)), nil), request: get("a.test", "/"), want: `"c.fq"`, clusters: []M{whole}, unknown: flow.WhyNotModelled},
		{name: "rare: a script that hides its handler", listener: web(rc, script(`local e = getfenv() e["envoy_on_" .. "request"] = function(h) h:respond({[":status"]="418"}, "x") end`)), request: get("a.test", "/"), want: "418", unknown: flow.WhyFilterOpaque},
	}
}

func TestRareGaps(t *testing.T) {
	if Isolated(t) {
		runGaps(t, rareGaps())
	}
}
