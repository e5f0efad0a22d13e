package envoy

import (
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// Filters between router and endpoint change what the endpoint gets, or may do anything.
func TestUpstreamFilters(t *testing.T) {
	codec := typedFilter("codec", "upstream_codec.v3.UpstreamCodec", "")
	change := typedFilter("change", "header_mutation.v3.HeaderMutation", `"mutations":{"request_mutations":[{"append":{"header":{"key":"x","value":"1"}}},{"remove":"y"}]}`)
	for _, c := range []struct {
		filters, headers, want string
		verdict                flow.Verdict // of the last variant
	}{
		{change + "," + codec, "y=1", "a / x=1", flow.Continue},
		{codec + "," + change, "y=1", "a / y=1", flow.Continue}, // nothing runs behind the codec
		{typedFilter("odd", "lua.v3.Lua", "") + "," + codec, "y=1", "a / y=1", flow.Unknown},
		{typedFilter("zip", "compressor.v3.Compressor", "") + "," + codec, "accept-encoding=x y=1", "a / y=1", flow.Continue},
	} {
		router := `{"name":"router","typed_config":{"@type":"x/envoy.extensions.filters.http.router.v3.Router","upstream_http_filters":[` + c.filters + `]}}`
		cfg := httpDump(t, oneHost(`{"match":{"prefix":"/"},"route":{"cluster":"c"}}`)+`,"http_filters":[`+router+`]`)
		if got := upstream(t, cfg, "/", c.headers); got != c.want {
			t.Errorf("%s: %s, want %s", c.filters, got, c.want)
		}
		req, verdict := plainRequest(sent("GET", "/", "a")), flow.Continue
		for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
			verdict = cfg.Accept(plainConn(), &req, ch).Verdict
		}
		if verdict != c.verdict {
			t.Errorf("%s: %v, want %v", c.filters, verdict, c.verdict)
		}
	}
}

// What an endpoint gets of unknown value is named, and stays unknown for the next proxy.
func TestUnsureHeaders(t *testing.T) {
	u := ask(httpDump(t, oneHost(`{"match":{"prefix":"/"},"route":{"cluster":"c"},"request_headers_to_add":[{"header":{"key":"x-who","value":"%HOSTNAME%"}}]}`)), sent("GET", "/", "a")).Upstream.HTTP
	if !slices.Equal(u.Unsure, []string{"x-request-id", "x-who"}) || u.Version != "1.1" {
		t.Fatalf("%q, version %s", u.Unsure, u.Version)
	}
	next := httpDump(t, oneHost(answering("one", `"prefix":"/","headers":[{"name":"x-who","string_match":{"exact":"1"}}]`), answering("other", `"prefix":"/"`)))
	req, ends := plainRequest(*u), map[string]bool{}
	for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
		ends[next.Accept(plainConn(), &req, ch).Outcome.Route] = true
	}
	if !ends["one"] || !ends["other"] {
		t.Errorf("the next proxy says %v", ends)
	}
}
