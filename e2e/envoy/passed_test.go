package envoy

import (
	"fmt"
	"testing"
)

// passedGaps are requests with headers that a codec or a filter which lets every request pass
// treats by rules of its own: what the endpoint gets of them.
func passedGaps() (g headerRows) {
	http2 := M{"explicit_http_config": M{"http2_protocol_options": M{}}}
	over2 := func(i int) (M, M) {
		c := speaking(static(fmt.Sprint("p.h2.", i), endpoint(h2Up(30))), http2)
		return c, oneRoute(routeTo(c["name"].(string), everything, nil))
	}
	for i, te := range []string{"trailers", "gzip", "gzip, trailers", "trailers;q=0.5", "TRAILERS", ""} {
		for k, version := range []string{"", "HTTP/2"} {
			c, rc := over2(10*i + k)
			g.row(fmt.Sprintf("TE %s from %q to HTTP/2", te, version), `"client"`, with("te", te).with("GET", version), rc, nil)
			g[len(g)-1].clusters = []M{c}
			if version != "" {
				g.row(fmt.Sprintf("TE %s from %q to HTTP/1", te, version), `"client"`, with("te", te).with("GET", version), table(nil, nil, nil, nil), nil)
			}
		}
	}
	upgrade := func(kv ...string) Request {
		return with(append([]string{"connection", "Upgrade, HTTP2-Settings", "upgrade", "h2c", "http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"}, kv...)...)
	}
	g.row("h2c", `"upstream"`, upgrade(), table(nil, nil, nil, nil), nil)
	g.row("h2c and more", `"upstream"`, with("connection", "Upgrade, HTTP2-Settings, x-hop", "upgrade", "h2c", "http2-settings", "AAMAAABkAAQ", "x-hop", "1"), table(nil, nil, nil, nil), nil)
	g.row("h2c without its connection header", `"upstream"`, with("connection", "Upgrade", "upgrade", "h2c", "http2-settings", "AAMAAABkAAQ"), table(nil, nil, nil, nil), nil)
	g.row("http2-settings alone", `"upstream"`, with("http2-settings", "AAMAAABkAAQ"), table(nil, nil, nil, nil), nil)
	c, rc := over2(99)
	g.row("h2c to HTTP/2", `"upstream"`, upgrade(), rc, nil)
	g[len(g)-1].clusters = []M{c}

	filter := func(kind, message string, m M) M {
		return M{"http_filters": A{ext("f", filterNS+"http."+kind+".v3."+message, m), router()}}
	}
	connect := filter("connect_grpc_bridge", "FilterConfig", nil)
	web := filter("grpc_web", "GrpcWeb", nil)
	post := func(body string, kv ...string) Request {
		q := get("a.test", "/pkg.Svc/Do", pairs(kv...)...).with("POST", "")
		q.HTTP.Body = body
		return q
	}
	for name, options := range map[string]M{"connect": connect, "web": web} {
		g.row(name+": another request", `"upstream"`, with("accept-encoding", "gzip", "te", "trailers", "content-type", "text/plain"), table(nil, nil, nil, nil), options)
		g.row(name+": gRPC", `"upstream"`, post("", "content-type", "application/grpc", "te", "trailers", "grpc-timeout", "1S"), table(nil, nil, nil, nil), options)
		g.row(name+": JSON", `"upstream"`, post("{}", "content-type", "application/json", "accept-encoding", "gzip"), table(nil, nil, nil, nil), options)
	}
	g.row("connect: a call", `"upstream"`, post("{}", "content-type", "application/json", "connect-protocol-version", "1", "connect-timeout-ms", "900", "accept-encoding", "gzip", "content-encoding", "gzip"), table(nil, nil, nil, nil), connect)
	g.row("connect: a call in protobuf", `"upstream"`, post("", "content-type", "application/proto", "connect-protocol-version", "1"), table(nil, nil, nil, nil), connect)
	g.row("connect: another version", `"upstream"`, post("", "content-type", "application/proto", "connect-protocol-version", "2", "connect-timeout-ms", "1"), table(nil, nil, nil, nil), connect)
	g.row("connect: a stream", `"upstream"`, post("", "content-type", "application/connect+proto", "connect-content-encoding", "gzip", "connect-accept-encoding", "gzip"), table(nil, nil, nil, nil), connect)
	g.row("connect: GET", `"upstream"`, get("a.test", "/pkg.Svc/Do?connect=v1&encoding=json&message=%7B%7D", pairs("accept-encoding", "gzip")...), table(nil, nil, nil, nil), connect)
	g.row("connect: GET in base64", `"upstream"`, get("a.test", "/pkg.Svc/Do?message=e30&base64=1&encoding=json&connect=v1&compression=gzip"), table(nil, nil, nil, nil), connect)
	g.row("connect: GET of something else", `"upstream"`, get("a.test", "/pkg.Svc/Do?encoding=json&message=%7B%7D"), table(nil, nil, nil, nil), connect)
	for _, path := range []string{"connect=v2&encoding=json&message=%7B%7D", "connect=v1&message=%7B%7D", "connect=v1&encoding=json", "connect=v1&encoding=json&message=e&x=1"} {
		g.row("connect: GET "+path, `"upstream"`, get("a.test", "/pkg.Svc/Do?"+path), table(nil, nil, nil, nil), connect)
	}
	g.row("connect: HEAD", `"c1"`, get("a.test", "/pkg.Svc/Do?connect=v1&encoding=json&message=e").with("HEAD", ""), table(nil, nil, nil, nil), connect)
	for _, typ := range []string{"application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web-text+proto", "application/grpc-webx"} {
		g.row("web: "+typ, `"client"`, post("AAAAAAA=", "content-type", typ, "accept", "application/grpc-web-text", "x-grpc-web", "1"), table(nil, nil, nil, nil), web)
	}
	return g
}

// The endpoint gets what a real Envoy sends it.
func TestPassedHeaders(t *testing.T) {
	if !Isolated(t) {
		return
	}
	runGaps(t, passedGaps())
}
