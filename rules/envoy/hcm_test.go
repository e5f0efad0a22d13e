package envoy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// ended is what the first variant ends with: code, details, flags, route, cluster and
// location, empty ones left out.
func ended(r Result) string {
	s := fmt.Sprint(r.Caller.Code, " ", r.Caller.Details)
	for _, f := range []string{r.Caller.Flags, r.Outcome.Route, r.Outcome.Cluster, r.Caller.Location} {
		if f != "" {
			s += " " + f
		}
	}
	return s
}

// sent is a request byte for byte.
func sent(method, target, host string, headers ...[2]string) flow.HTTP {
	return flow.HTTP{Method: method, Path: target, Authority: host, Headers: headers, Version: "1.1", Exact: true}
}

const plainRoutes = `"route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[
	{"name":"rc","match":{"connect_matcher":{}},"direct_response":{"status":201}},
	{"name":"r0","match":{"prefix":"/"},"direct_response":{"status":200}}]}]}`

// What the codec answers, as Envoy 1.40 did on these bytes.
func TestCodec(t *testing.T) {
	plain := httpDump(t, plainRoutes)
	old := httpDump(t, plainRoutes+`,"http_protocol_options":{"accept_http_10":true}`)
	few := httpDump(t, plainRoutes+`,"common_http_protocol_options":{"max_headers_count":3}`)
	const codec, chars, url = "400 http1.codec_error DPE", "400 http1.invalid_characters DPE", "400 http1.invalid_url DPE"
	v := func(h flow.HTTP, version string) flow.HTTP { h.Version = version; return h }
	for _, c := range []struct {
		cfg  *Config
		h    flow.HTTP
		want string
	}{
		{plain, sent("GET", "/", "a"), "200 direct_response r0"},
		{plain, sent("GET", "/\x01", "a"), chars}, {plain, sent("GET", "/\x7f", "a"), chars}, {plain, sent("GET", "/\x80", "a"), codec},
		{plain, sent("GET", "/a b", "a"), codec}, {plain, sent("GET", "", "a"), codec}, {plain, sent("GET", "noslash", "a"), codec}, {plain, sent("GET", "*", "a"), url},
		{plain, sent("BREW", "/", "a"), codec}, {plain, sent("get", "/", "a"), codec}, {plain, sent("M-SEARCH", "/", "a"), codec},
		{plain, sent("PURGE", "/", "a"), "200 direct_response r0"}, {plain, sent("QUERY", "/", "a"), "400 query_missing_content_type"}, {plain, sent("QUERY", "/", "a", [2]string{"content-type", ""}), "400 query_missing_content_type"},
		{plain, sent("QUERY", "/", "a", [2]string{"content-type", "x"}), "200 direct_response r0"},
		{plain, v(sent("GET", "/", "a"), "1.2"), "426 low_version DPE"}, {plain, v(sent("GET", "/", "a"), "1.0"), "426 low_version DPE"},
		{old, v(sent("GET", "/", "a"), "1.0"), "200 direct_response r0"}, {old, v(sent("GET", "/", "a"), "0.9"), "200 direct_response r0"},
		{old, v(flow.HTTP{Method: "GET", Path: "/", Exact: true, NoHost: true}, "1.0"), "400 missing_host_header"},
		{plain, sent("GET", "/", "a", [2]string{"x y", "1"}), codec}, {plain, sent("GET", "/", "a", [2]string{"x(y)", "1"}), codec}, {plain, sent("GET", "/", "a", [2]string{"", "1"}), codec},
		{plain, sent("GET", "/", "a", [2]string{"x", "a\x01b"}), chars}, {plain, sent("GET", "/", "a", [2]string{"x", "a\x7fb"}), chars}, {plain, sent("GET", "/", "a", [2]string{"x", "a\x80\tb"}), "200 direct_response r0"},
		{plain, sent("GET", "/", "a b"), "400 http.invalid_authority DPE"}, {plain, sent("GET", "/", "a/b"), "400 http.invalid_authority DPE"}, {plain, sent("GET", "/", `a"b`), "400 http.invalid_authority DPE"},
		{plain, sent("GET", "/", "a@b"), "200 direct_response r0"}, {plain, sent("GET", "/", ""), "200 direct_response r0"}, {plain, sent("GET", "/", "a", [2]string{"Host", "b"}), "200 direct_response r0"},
		{plain, sent("GET", "/", "a", [2]string{"content-length", "x"}), codec},
		{plain, sent("GET", "/", "a", [2]string{"content-length", "1"}, [2]string{"transfer-encoding", "chunked"}), "400 http1.content_length_and_chunked_not_allowed DPE"},
		{plain, sent("GET", "/", "a", [2]string{"transfer-encoding", "gzip"}), "501 http1.invalid_transfer_encoding DPE"},
		{plain, sent("GET", "/", "a", [2]string{"connection", "x-forwarded-for"}), "400 http1.connection_header_rejected DPE"}, {plain, sent("GET", "/", "a", [2]string{"connection", ":path"}), "400 http1.connection_header_rejected DPE"},
		{few, sent("GET", "/", "a", [2]string{"a", ""}, [2]string{"b", ""}, [2]string{"c", ""}), "431 http1.too_many_headers DPE"},
		{plain, sent("GET", "/", "a", [2]string{"x", strings.Repeat("a", 70000)}), "431 http1.headers_too_large DPE"},
	} {
		if got := ended(ask(c.cfg, c.h)); got != c.want {
			t.Errorf("%q: %s, want %s", c.h.Method+" "+c.h.Path, got, c.want)
		}
	}
}

// Absolute URLs, CONNECT and upgrades, as Envoy 1.40 answered.
func TestTargets(t *testing.T) {
	plain := httpDump(t, plainRoutes)
	edge := httpDump(t, plainRoutes+`,"use_remote_address":true`)
	ws := [][2]string{{"connection", "Upgrade"}, {"upgrade", "websocket"}}
	for _, c := range []struct {
		cfg  *Config
		h    flow.HTTP
		want string
	}{
		{plain, sent("GET", "http://u@b:81/x?y", "a"), "200 direct_response r0"}, {plain, sent("GET", "http://b", "a"), "200 direct_response r0"}, {plain, sent("OPTIONS", "http://b", "a"), "200 direct_response r0"},
		{plain, sent("GET", "http://b?x=1", "a"), "404 absolute_path_rejected"}, {plain, sent("GET", "http:///x", "a"), "400 http1.invalid_url DPE"},
		{plain, sent("GET", "ftp://b/x", "a"), "400 http1.invalid_scheme DPE"}, {plain, sent("OPTIONS", "*", "a"), "404 absolute_path_rejected"},
		{plain, sent("GET", "HTTPS://b/x", "a"), "200 direct_response r0"}, {edge, sent("GET", "https://b/x", "a"), "403 http1.https_url_on_plaintext_connection DPE"},
		{plain, sent("GET", "https://b/x#f", "a"), "400 path_normalization_failed"}, {plain, sent("GET", "/x?a#f", "a"), "400 path_normalization_failed"},
		{plain, sent("CONNECT", "a:80", "a"), "403 upgrade_failed rc"}, {plain, sent("CONNECT", "[::1]:80", "a"), "403 upgrade_failed rc"},
		{plain, sent("CONNECT", "a:99999", "a"), "400 http1.invalid_url DPE"}, {plain, sent("CONNECT", "a", "a"), "400 http1.invalid_url DPE"}, {plain, sent("CONNECT", "/x", "a"), "400 http1.invalid_url DPE"},
		{plain, sent("CONNECT", "a:80/x", "a"), "400 http1.invalid_url DPE"}, {plain, sent("CONNECT", ":80", "a"), "400 http1.invalid_url DPE"}, {plain, sent("CONNECT", "", "a"), "400 http1.invalid_url DPE"},
		{plain, sent("GET", "/", "a", ws...), "403 upgrade_failed r0"}, {plain, sent("GET", "/", "a", ws[1]), "200 direct_response r0"},
		{plain, sent("GET", "/", "a", ws[0], [2]string{"upgrade", "h2c"}), "200 direct_response r0"}, {plain, sent("GET", "/", "a", ws[0], [2]string{"upgrade", ""}), "403 upgrade_failed r0"},
		{plain, flow.HTTP{}, "200 direct_response r0"}, {plain, flow.HTTP{NoHost: true}, "400 missing_host_header"},
	} {
		if c.h.Authority == "" && !c.h.Exact && !c.h.NoHost {
			c.h.Authority = "a"
		}
		if got := ended(ask(c.cfg, c.h)); got != c.want {
			t.Errorf("%q: %s, want %s", c.h.Method+" "+c.h.Path, got, c.want)
		}
	}
}

const headerRoutes = `"route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[
	{"name":"xa","match":{"prefix":"/","headers":[{"name":"x-a"}]},"direct_response":{"status":200}},
	{"name":"te","match":{"prefix":"/","headers":[{"name":"te"}]},"direct_response":{"status":200}},
	{"name":"internal","match":{"prefix":"/","headers":[{"name":"x-envoy-internal"}]},"direct_response":{"status":200}},
	{"name":"retry","match":{"prefix":"/","headers":[{"name":"x-envoy-max-retries"}]},"direct_response":{"status":200}},
	{"name":"expect","match":{"prefix":"/","headers":[{"name":"expect"}]},"direct_response":{"status":200}},
	{"name":"https","match":{"prefix":"/","headers":[{"name":":scheme","string_match":{"exact":"https"}}]},"direct_response":{"status":200}},
	{"name":"last","match":{"prefix":"/"},"direct_response":{"status":202}}]}],"internal_only_headers":["x-a"]}`

// What sanitising leaves for the routes to see.
func TestSanitize(t *testing.T) {
	plain := httpDump(t, strings.Replace(headerRoutes, `,"internal_only_headers":["x-a"]`, "", 1))
	secret := httpDump(t, headerRoutes)
	trusting := httpDump(t, headerRoutes+`,"internal_address_config":{"cidr_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]}`)
	edge := httpDump(t, headerRoutes+`,"use_remote_address":true,"internal_address_config":{"cidr_ranges":[{"address_prefix":"127.0.0.0","prefix_len":8}]}`)
	for _, c := range []struct {
		cfg     *Config
		headers string
		want    string
	}{
		{plain, "x-a=1", "xa"}, {plain, "x-a=1 connection=x-a", "last"}, {secret, "x-a=1", "last"},
		{plain, "te=trailers", "te"}, {plain, "te=gzip", "last"}, {plain, "te=x,trailers connection=te", "te"},
		{plain, "x-envoy-internal=true", "last"}, {plain, "x-envoy-max-retries=1", "last"},
		{plain, "expect=100-continue", "last"}, {plain, "expect=x", "expect"},
		{plain, "x-forwarded-proto=https", "https"}, {plain, "x-forwarded-proto=ftp", "last"}, {edge, "x-forwarded-proto=https x-forwarded-for=8.8.8.8", "last"},
		// Internal by the one address of X-Forwarded-For.
		{trusting, "x-forwarded-for=10.1.1.1", "internal"}, {trusting, "x-forwarded-for=10.1.1.1,10.2.2.2", "last"}, {trusting, "x-forwarded-for=8.8.8.8", "last"}, {trusting, "", "last"},
		{trusting, "x-forwarded-for=10.1.1.1 x-a=1", "xa"},
		// Internal by the peer, when nobody claims to have forwarded.
		{edge, "", "internal"}, {edge, "x-forwarded-for=10.1.1.1", "last"},
	} {
		var hs [][2]string
		for _, f := range strings.Fields(c.headers) {
			k, v, _ := strings.Cut(f, "=")
			hs = append(hs, [2]string{k, v})
		}
		if r := ask(c.cfg, sent("GET", "/", "a", hs...)); r.Outcome.Route != c.want {
			t.Errorf("%s: route %q, want %s", c.headers, r.Outcome.Route, c.want)
		}
	}
}

func TestLastXFF(t *testing.T) {
	for _, c := range []struct {
		xff    string
		skip   uint64
		want   string
		single bool
	}{
		{"10.1.1.1", 0, "10.1.1.1", true}, {"10.1.1.1, 8.8.8.8", 0, "8.8.8.8", false}, {"10.1.1.1, 8.8.8.8", 1, "10.1.1.1", false}, {"10.1.1.1", 1, "invalid IP", false},
		{"bogus", 0, "invalid IP", false}, {"::1", 0, "::1", true}, {"10.1.1.1:80", 0, "invalid IP", false}, {"[::1]", 0, "invalid IP", false}, {"10.1.1.1:80,1S", 1, "invalid IP", false}, {"10.1.1.1,,", 0, "invalid IP", false}, {"10.1.1.1,,", 2, "10.1.1.1", false}, {"", 0, "invalid IP", false}, {"a,", 9, "invalid IP", false},
	} {
		if a, single := lastXFF(c.xff, c.skip); a.String() != c.want || single != c.single {
			t.Errorf("%q skip %d: %v %v", c.xff, c.skip, a, single)
		}
	}
}

func TestNormalization(t *testing.T) {
	routes := `"route_config":{"name":"r","virtual_hosts":[{"name":"b","domains":["b"],"routes":[{"name":"b","match":{"path":"/b"},"direct_response":{"status":200}}]},
		{"name":"other","domains":["*"],"routes":[{"name":"other","match":{"prefix":""},"direct_response":{"status":200}}]}]}`
	for _, c := range []struct{ options, host, path, want string }{
		{`"normalize_path":true`, "b", "/a/../b", "200 direct_response b"}, {`"merge_slashes":true`, "b", "//b", "200 direct_response b"}, {`"normalize_path":true`, "b", "/%00", "400 path_normalization_failed"},
		{`"path_with_escaped_slashes_action":"UNESCAPE_AND_FORWARD"`, "b", "%2Fb", "400 http1.codec_error DPE"}, {`"path_with_escaped_slashes_action":"REJECT_REQUEST"`, "b", "/%2fb", "400 path_normalization_failed"},
		{`"path_with_escaped_slashes_action":"UNESCAPE_AND_REDIRECT"`, "b", "/x%5Cb?q", `307 path_normalization_failed /x\b?q`}, {`"path_with_escaped_slashes_action":"UNESCAPE_AND_FORWARD","merge_slashes":true`, "b", "/%2fb", "200 direct_response b"},
		{`"strip_any_host_port":true`, "b:81", "/b", "200 direct_response b"}, {`"strip_any_host_port":true`, "b:", "/b", "200 direct_response other"}, {`"strip_matching_host_port":true`, "b:80", "/b", "200 direct_response b"},
		{`"strip_matching_host_port":true`, "b:81", "/b", "200 direct_response other"}, {`"strip_trailing_host_dot":true`, "b.", "/b", "200 direct_response b"}, {`"strip_trailing_host_dot":true,"strip_any_host_port":true`, "b.:80", "/b", "200 direct_response b"},
		{`"via":""`, "B", "/b", "200 direct_response b"}, {`"via":""`, "b", "/B", "404 route_not_found NR"},
	} {
		cfg := httpDump(t, routes+","+c.options)
		if got := ended(ask(cfg, sent("GET", c.path, c.host))); got != c.want {
			t.Errorf("%s %s%s: %s, want %s", c.options, c.host, c.path, got, c.want)
		}
	}
}
