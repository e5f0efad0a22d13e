package envoy

import (
	"fmt"
	"sort"
	"strings"
	"testing"
)

// The Location of redirects (Http::Utility::newUri).
func TestRedirects(t *testing.T) {
	for _, c := range []struct{ redirect, host, path, headers, want string }{
		{`"https_redirect":true`, "a", "/x?q", "", "301 https://a/x?q"}, {`"https_redirect":true`, "a:80", "/", "", "301 https://a/"}, {`"https_redirect":true`, "a:81", "/", "", "301 https://a:81/"},
		{`"https_redirect":true`, "a:443", "/", "x-forwarded-proto=https", "301 https://a:443/"}, {`"scheme_redirect":"http"`, "a:443", "/", "x-forwarded-proto=https", "301 http://a/"}, {`"scheme_redirect":"ftp"`, "a", "/", "", "301 ftp://a/"},
		{`"host_redirect":"b:81"`, "a", "/", "", "301 http://b:81/"}, {`"host_redirect":"b:81","port_redirect":8443`, "a", "/", "", "301 http://b:81:8443/"}, {`"port_redirect":8443`, "a:80", "/", "", "301 http://a:8443/"}, {`"port_redirect":8443`, "[::1]:80", "/", "", "301 http://[::1]:8443/"},
		{`"port_redirect":8443`, "[::1]", "/", "", "301 http://[::1]:8443/"}, {`"path_redirect":"/new"`, "a", "/x?q=1", "", "301 http://a/new?q=1"}, {`"path_redirect":"/new?z=1"`, "a", "/x?q=1", "", "301 http://a/new?z=1"}, {`"path_redirect":"new"`, "a", "/x", "", "301 http://a/new"},
		{`"path_redirect":"/new","strip_query":true`, "a", "/x?q=1", "", "301 http://a/new"}, {`"path_redirect":"/new?z=1","strip_query":true`, "a", "/x?q=1", "", "301 http://a/new?z=1"}, {`"prefix_rewrite":"/pre"`, "a", "/x?q", "", "301 http://a/prex?q"},
		{`"regex_rewrite":{"pattern":{"regex":"^/(.*)/(.*)$"},"substitution":"/\\2/\\1"}`, "a", "/x/y?q", "", "301 http://a/y/x?q"}, {`"response_code":"FOUND"`, "a", "/", "", "302 http://a/"}, {`"response_code":"SEE_OTHER"`, "a", "/", "", "303 http://a/"},
		{`"response_code":"TEMPORARY_REDIRECT"`, "a", "/", "", "307 http://a/"}, {`"response_code":"PERMANENT_REDIRECT"`, "a", "/", "content-type=application/grpc", "200 http://a/"},
	} {
		r := ask(httpDump(t, oneHost(`{"match":{"prefix":"/"},"redirect":{`+c.redirect+`}}`)), sent("GET", c.path, c.host, fields(c.headers)...))
		if got := fmt.Sprint(r.Caller.Code, " ", r.Caller.Location); got != c.want {
			t.Errorf("%s of %s%s: %s, want %s", c.redirect, c.host, c.path, got, c.want)
		}
	}
}

// What the endpoint receives.
func TestUpstreamRequest(t *testing.T) {
	template := `"path_match_policy":{"name":"x","typed_config":{"@type":"x/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"/{a=*}/{b=**}"}}`
	for _, c := range []struct{ match, route, path, headers, want string }{
		{`"prefix":"/api"`, `"prefix_rewrite":"/v2"`, "/api/x?q", "", "a /v2/x?q x-envoy-original-path=/api/x?q"}, {`"prefix":"/api"`, `"prefix_rewrite":"/api"`, "/api", "", "a /api x-envoy-original-path=/api"}, {`"path":"/api"`, `"prefix_rewrite":"/v2"`, "/api?q", "", "a /v2?q x-envoy-original-path=/api?q"},
		{`"prefix":"/API","case_sensitive":false`, `"prefix_rewrite":"/v2"`, "/api/x", "", "a /v2/x x-envoy-original-path=/api/x"}, {`"path_separated_prefix":"/api"`, `"prefix_rewrite":"/"`, "/api/x", "", "a //x x-envoy-original-path=/api/x"},
		{`"safe_regex":{"regex":"/a.*"}`, `"prefix_rewrite":"/v2"`, "/api/x?q", "", "a /v2?q x-envoy-original-path=/api/x?q"}, {`"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"a*"},"substitution":"Z"}`, "/aab", "", "a Z/ZbZ x-envoy-original-path=/aab"},
		{`"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"/.*"},"substitution":""}`, "/x", "", "a /x"}, {template, `"path_rewrite_policy":{"typed_config":{"@type":"x/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig","path_template_rewrite":"/{b}-{a}"}}`, "/x/y/z?q", "", "a /y/z-x?q x-envoy-original-path=/x/y/z?q"},
		{`"prefix":"/"`, `"host_rewrite_literal":"b"`, "/", "", "b / x-envoy-original-host=a"}, {`"prefix":"/"`, `"host_rewrite_header":"x-to"`, "/", "x-to=c", "c / x-envoy-original-host=a x-to=c"}, {`"prefix":"/"`, `"host_rewrite_header":"x-to"`, "/", "", "a /"},
		{`"prefix":"/"`, `"host_rewrite_path_regex":{"pattern":{"regex":"^/([a-z]+)/.*$"},"substitution":"\\1.host"}`, "/sub/x?q", "", "sub.host /sub/x?q x-envoy-original-host=a"}, {`"prefix":"/"`, `"host_rewrite_path_regex":{"pattern":{"regex":"^/([a-z]+)/.*$"},"substitution":"\\1.host"}`, "/api", "", "/api /api x-envoy-original-host=a"},
		{`"prefix":"/"`, `"host_rewrite":"%REQ(x-to)%.svc"`, "/", "x-to=c", "c.svc / x-envoy-original-host=a x-to=c"}, {`"prefix":"/"`, `"host_rewrite":"%REQ(x-to)%.svc"`, "/", "", "-.svc / x-envoy-original-host=a"}, {`"prefix":"/"`, `"path_rewrite":"/p/%REQ(x-to)%"`, "/x?q", "", "a /p/?q x-envoy-original-path=/x?q"}, {`"prefix":"/"`, `"path_rewrite":"/p/%REQ(x-to)%"`, "/x?q", "x-to=c", "a /p/c?q x-envoy-original-path=/x?q x-to=c"},
		{`"prefix":"/"`, `"host_rewrite_literal":"b","append_x_forwarded_host":true`, "/", "", "b / x-envoy-original-host=a x-forwarded-host=a"}, {`"prefix":"/"`, `"auto_host_rewrite":true`, "/", "", "a /"},
	} {
		cfg := httpDump(t, oneHost(fmt.Sprintf(`{"match":{%s},"route":{"cluster":"c",%s}}`, c.match, c.route)))
		if got := upstream(t, cfg, c.path, c.headers); got != c.want {
			t.Errorf("%s of %s %s: %s, want %s", c.route, c.path, c.headers, got, c.want)
		}
	}
}

// upstream is what the endpoint receives: host, path, and the headers but X-Forwarded-Proto
// and the time that is left (TestBounds).
func upstream(t *testing.T, cfg *Config, path, headers string) string {
	t.Helper()
	r := ask(cfg, sent("GET", path, "a", fields(headers)...))
	u := r.Upstream.HTTP
	if u == nil {
		t.Fatalf("%s is not forwarded: %+v", path, r.Caller)
	}
	var hs []string
	for _, h := range u.Headers {
		if h[0] != "x-forwarded-proto" && h[0] != headerExpected {
			hs = append(hs, h[0]+"="+h[1])
		}
	}
	sort.Strings(hs)
	return strings.TrimSpace(u.Authority + " " + u.Path + " " + strings.Join(hs, " "))
}

// Header mutations: removal first, then what exists is asked, then overwriting, then
// adding; the later level wins.
func TestHeaderMutations(t *testing.T) {
	add := func(name, value, action string) string {
		return fmt.Sprintf(`{"header":{"key":%q,"value":%q},"append_action":%q}`, name, value, action)
	}
	const appendTo, absent, overwrite, ifExists = "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"
	for _, c := range []struct{ route, vhost, table, headers, want string }{
		{add("x", "1", appendTo), "", "", "x=0", "x=0 x=1"}, {add("x", "1", absent), "", "", "x=0", "x=0"}, {add("x", "1", absent), "", "", "", "x=1"}, {add("x", "1", overwrite), "", "", "x=0", "x=1"}, {add("x", "1", ifExists), "", "", "", ""},
		{add("x", "1", absent) + "," + add("x", "2", absent), "", "", "", "x=1 x=2"}, {add("x", "1", overwrite), add("x", "2", overwrite), add("x", "3", overwrite), "", "x=3"},
		{add("x", "1", overwrite), "", add("x", "3", overwrite) + `],"most_specific_header_mutations_wins":true,"request_headers_to_remove":[`, "", "x=1"},
		{add("x", "1", appendTo) + `],"request_headers_to_remove":["X","y"],"z":[`, "", "", "x=0 y=0", "x=1"}, {add("x", "", appendTo), "", "", "", ""},
		{add("x", "%REQ(y?z):2%", appendTo), "", "", "z=abc", "x=ab z=abc"}, {add("x", "100%%", appendTo), "", "", "", "x=100%"}, {add("x", "%PROTOCOL%", appendTo), "", "", "", "x=HTTP/1.1"}, {add("x", "%DOWNSTREAM_LOCAL_PORT%", appendTo), "", "", "", "x=80"},
		{add("x", "%HOSTNAME%", appendTo), "", "", "", ""}, {`{"header":{"key":"x","value":"1"},"append":false}`, "", "", "x=0", "x=1"}, {`{"header":{"key":"x"},"keep_empty_value":true}`, "", "", "", "x="},
	} {
		list := func(s string) string {
			if s == "" {
				return ""
			}
			return `,"request_headers_to_add":[` + s + `]`
		}
		table := `"route_config":{"name":"rt"` + list(c.table) + `,"virtual_hosts":[{"name":"v","domains":["*"]` + list(c.vhost) + `,"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"}` + list(c.route) + `}]}]}`
		if got := upstream(t, httpDump(t, table), "/", c.headers); got != strings.TrimSpace("a / "+c.want) {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestHeaderMutationFilter(t *testing.T) {
	m := func(list string) string { return `"mutations":{"request_mutations":[` + list + `]}` }
	set := func(v string) string {
		return `{"append":{"header":{"key":"x","value":"` + v + `"},"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"}}`
	}
	per := func(v string) string {
		return `"typed_per_filter_config":{"f":` + typedAny("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", m(set(v))) + `}`
	}
	table := `"route_config":{"name":"rt",` + per("table") + `,"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/r"},` + per("route") + `,"route":{"cluster":"c"}},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`
	for _, c := range []struct{ config, path, headers, want string }{
		{m(set("filter")), "/r", "", "a /r x=table"}, {m(set("filter")), "/", "", "a / x=table"}, {m(set("filter")) + `,"most_specific_header_mutations_wins":true`, "/r", "", "a /r x=route"},
		{m(`{"remove":"y"},{"remove_on_match":{"key_matcher":{"prefix":"z"}}}`), "/", "y=1 z-a=1 w=1", "a / w=1 x=table"},
	} {
		cfg := httpDump(t, withFilters(table, typedFilter("f", "header_mutation.v3.HeaderMutation", c.config)))
		if got := upstream(t, cfg, c.path, c.headers); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.config, c.path, got, c.want)
		}
	}
}

func TestGoTemplate(t *testing.T) {
	for in, want := range map[string]string{`\1`: "${1}", `a\\b`: `a\b`, `$1`: "$$1", `\2\10`: "${2}${1}0", `\`: `\`, "": ""} {
		if got := goTemplate(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
