package envoy

import (
	"maps"
	"slices"
	"strings"
)

// What is rare in traffic, and where an evaluator is most easily wrong: values in odd case,
// empty ones, doubled ones, ones with spaces, and headers that Envoy itself sets or reads.

// oddValues are those of headers that Envoy treats in a way of its own.
var oddValues = map[string][]string{
	"x-forwarded-proto":                      {"HTTPS", "Https", "HTTP", "", " https", "https,http", "wss", "h2"},
	"x-forwarded-for":                        {"", ",", " ", "10.1.1.1,", ",10.1.1.1", "10.1.1.1:80", "[2001:db8::1]", "2001:db8::1", "::1", "10.1.1.1 , 8.8.8.8 ", "127.0.0.1", "10.1.1.1,,8.8.8.8", "unknown"},
	"x-forwarded-host":                       {"a.example.com", "", "b.example.com"},
	"x-forwarded-port":                       {"443", "", "x"},
	"x-envoy-internal":                       {"true", "TRUE", "false", ""},
	"x-envoy-external-address":               {"8.8.8.8", ""},
	"x-envoy-original-dst-host":              {"", " " + "127.9.0.8:18080", "[::1]:18080", "127.9.0.8:0", "127.9.0.8:99999", "127.9.0.8:018080", "127.9.0.8:18080,127.9.0.9:18080", "localhost:18080"},
	"x-my-dst":                               {"", "127.9.0.8:18080", "[::1]:18080", "127.9.0.8"},
	"x-envoy-original-path":                  {"/orig", ""},
	"x-envoy-decorator-operation":            {"op", ""},
	"x-envoy-max-retries":                    {"0", "3", "x"},
	"x-envoy-retry-on":                       {"5xx", ""},
	"x-envoy-upstream-rq-timeout-ms":         {"5000", "x", ""},
	"x-envoy-upstream-rq-per-try-timeout-ms": {"4000", "x", "", "0"},
	"x-envoy-expected-rq-timeout-ms":         {"6000", "x", ""},
	"x-envoy-hedge-on-per-try-timeout":       {"true", "false", ""},
	"x-envoy-attempt-count":                  {"3", ""},
	"x-forwarded-client-cert":                {"By=spiffe://a;Hash=1", ""},
	"via":                                    {"first", ""},
	wantsUpgrade:                             {"1"},
	"x-envoy-force-trace":                    {"1"},
	"x-request-id":                           {"1", "", "5f3c1d2e-0000-4000-8000-000000000000"},
	"content-type":                           {"application/grpc", "APPLICATION/GRPC", "application/grpc+proto", "application/grpcx", "application/grpc ", ""},
	"grpc-timeout":                           {"1S", "x"},
	"te":                                     {"trailers", "TRAILERS", "gzip", "trailers,gzip", ""},
	"expect":                                 {"100-continue", "100-CONTINUE", "x"},
	"upgrade":                                {"websocket", "WebSocket", "h2c", ""},
	"connection":                             {"upgrade", "Upgrade, close", "close, x-a", "CLOSE", "x-a", "keep-alive, x-b", ""},
	"proxy-connection":                       {"close", "keep-alive"},
	"keep-alive":                             {"timeout=5"},
	"origin":                                 {"https://OK.test", "", "null", "https://ok.test:443", "http://a.example.com"},
	"referer":                                {"http://a.example.com/x", "/x", ""},
	"access-control-request-method":          {"", "get", "POST"},
	"cookie":                                 {"", ";", "ck", "ck=", "=v", "CK=1", "ck=1;ck=2", " ck=1", "ck=\"", "ck=a=b", "sess=abc; ck=v1", "ck\t=1"},
	"user-agent":                             {"", "abc", "ABC"},
	"accept":                                 {"*/*", ""},
	"x-rand":                                 {"00", "+1", " 2", "1,2", "4294967296", "0x1", "1.5"},
	"x-cluster":                              {"C3", " c4", "c3,c4", "c3 "},
	"x-a":                                    {"", " abc ", "Abc", "aBC", "042", "+42", "42.0", "9223372036854775807", "9223372036854775808", "-0", "\tabc", "abc,abc", ",", "V1", "\u00e9"},
	"x-b":                                    {"", " 1", "1 ", "1,1", "01", "V"},
	"X-C":                                    {"", "abc", "A,B", "a, b"},
}

// oddNames are the names of oddValues in the order in which they are drawn.
var oddNames = slices.Sorted(maps.Keys(oddValues))

// rare makes a request odd in one to three places.
func (d *dice) rare(w *wish) {
	for range 1 + d.IntN(3) {
		switch n := d.IntN(10); {
		case n < 4:
			d.oddHeader(w)
		case n < 6:
			d.oddSpelling(w)
		case n == 6:
			d.oddHost(w)
		case n == 7:
			d.oddPath(w)
		case n == 8:
			w.query = append(w.query, pick(d, "X=1", "x=", "x==1", "x=1=2", "=1", "&", "x=1&x=2", "x=%31", "%78=1", "x=a+b", "x=A%2fb", "x=%zz", "x;y=1", "y=&y=1", "a b=1", "x=ABC", "?"))
		default:
			w.method = pick(d, "OPTIONS", "HEAD", "PUT", "PATCH", "Get", "POST", "CONNECT", "PROPFIND", "MKCOL")
		}
	}
}

// oddHeader adds one, now and then twice or in other letters.
func (d *dice) oddHeader(w *wish) {
	name := pick(d, oddNames...)
	value := pick(d, oddValues[name]...)
	if d.chance(0.2) {
		name = strings.ToUpper(name)
	}
	w.header(name, value)
	if d.chance(0.25) {
		w.header(strings.ToLower(name), pick(d, oddValues[pick(d, oddNames...)]...))
	}
}

// oddSpelling changes how a header that is there is written.
func (d *dice) oddSpelling(w *wish) {
	if len(w.headers) == 0 {
		return
	}
	h := &w.headers[d.IntN(len(w.headers))]
	switch d.IntN(9) {
	case 0:
		h[0] = strings.ToUpper(h[0])
	case 1:
		h[1] = strings.ToUpper(h[1])
	case 2:
		h[1] = strings.ToLower(h[1])
	case 3:
		h[1] = " " + h[1]
	case 4:
		h[1] += pick(d, " ", "\t", "  ")
	case 5:
		h[1] = ""
	case 6:
		h[1] += pick(d, ",", ", ", ",1", ";")
	case 7:
		w.headers = append(w.headers, [2]string{strings.ToUpper(h[0]), pick(d, h[1], "", strings.ToUpper(h[1]))})
	case 8:
		if h[1] != "" {
			h[1] = strings.ToUpper(h[1][:1]) + h[1][1:]
		}
	}
}

func (d *dice) oddHost(w *wish) {
	switch d.IntN(6) {
	case 0:
		w.host = pick(d, "", ".", ":", ":80", "a.example.com:0", "a.example.com:99999", "a.example.com:80:80", "[::1", "[::1]:", "[::1]:8080", "::1", "user@a.example.com",
			"a.example.com,b.example.com", "a..example.com", ".example.com", "a.example.com..", "A.EXAMPLE.COM:8080", "x-x.example.com.:80", "a.example.com:80.", "*", "*.example.com", "10.0.0.1:08080", "b_x.example.com")
	case 1:
		w.host = strings.ToUpper(w.host[:len(w.host)/2]) + w.host[len(w.host)/2:]
	case 2:
		w.host += pick(d, ".:80", ":8080.", ":080", ":+80", ":80 ", ".")
	case 3:
		w.host = " " + w.host
	case 4:
		w.header("host", pick(d, w.host, "b.example.com", ""))
	case 5:
		w.host = strings.TrimSuffix(w.host, "m")
	}
}

func (d *dice) oddPath(w *wish) {
	switch d.IntN(6) {
	case 0:
		w.path += pick(d, ";a=1", ";", "?", "??", "#", "#x", "%", "%2", "%00", "%2f", "%2F", "%5c", "%3F", "%23", "%2e", "/.", "/..", "/.;x", "/..;x/y", "//", "/%2e%2e", "/%2E./x", "+", "~", "%7e", "%41", "|", "\"", "<", "{x}", "^", "`")
	case 1:
		w.path = pick(d, "/.", "/./", "/..//", "/%2e", "/%2E%2E/api", "//api", "///", "/api/../api", "/api//v1", "/api/./v1", "/api%2fv1", "/api%2Fv1", "/api;v=1/v1", "/api;v=1", "/user//1", "/USER/1", "/Api", "/api/%2e%2e/x", "/%2f", "/\\api", "/api\\..\\x", "/%5Capi", "/%61pi", "/api%20", "/x/..;/api")
	case 2:
		w.path = strings.ToUpper(w.path)
	case 3:
		if i := strings.LastIndexByte(w.path, '/'); i > 0 {
			w.path = w.path[:i] + pick(d, "//", "/./", "/x/../", "%2F", "%2f", "%5C", "\\") + w.path[i+1:]
		}
	case 4:
		w.path = pick(d, "http://", "HTTP://", "https://", "http:/", "ftp://", "ws://", "//") + w.host + w.path
	case 5:
		w.version = pick(d, "HTTP/1.0", "HTTP/1.1", "HTTP/1.1", "HTTP/2.0", "HTTP/0.9")
	}
}
