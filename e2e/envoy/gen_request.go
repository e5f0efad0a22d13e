package envoy

import "strings"

// hostFor is a host that the domain pattern takes, usually.
func (d *dice) hostFor(domain string) string {
	labels := []string{"a", "b", "www", "x-x", "foo", "q.w", "z", ""}
	if domain == "*" {
		return pick(d, "any.test", "foo", "a.example.com")
	}
	if rest, ok := strings.CutPrefix(domain, "*"); ok {
		return pick(d, labels...) + rest
	}
	if rest, ok := strings.CutSuffix(domain, "*"); ok {
		return rest + pick(d, append(labels, "com", ":8080")...)
	}
	return domain
}

// wishFor is a request for one of the routes, spoilt in up to two places.
func (d *dice) wishFor(hosts []virtualHost) *wish {
	w := &wish{path: "/", method: pick(d, "GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS")}
	h := pick(d, hosts...)
	w.host = d.hostFor(pick(d, h.domains...))
	if d.chance(0.9) {
		pick(d, h.grants...)(w)
	}
	for range pick(d, 0, 0, 1, 1, 1, 2) {
		switch n := d.IntN(22); {
		case n < 4:
			d.spoilHost(w, n, hosts)
		case n < 8:
			d.spoilPath(w, n-4)
		case n == 8:
			d.spoilHeader(w)
		case n < 17:
			d.addHeader(w, n-9)
		default:
			d.spoilLine(w, n-17)
		}
	}
	if d.chance(0.25) {
		d.rare(w)
	}
	return w
}

func (d *dice) spoilHost(w *wish, n int, hosts []virtualHost) {
	switch n {
	case 0:
		w.host = strings.ToUpper(w.host)
	case 1:
		if !strings.Contains(w.host, ":") || strings.HasSuffix(w.host, "]") {
			w.host += pick(d, ":8080", ":80", ":10000", ":443", ":")
		}
	case 2:
		w.host += "."
	case 3:
		w.host = d.hostFor(pick(d, pick(d, hosts...).domains...))
	}
}

func (d *dice) spoilPath(w *wish, n int) {
	switch n {
	case 0:
		w.path += "/"
	case 1:
		w.path = strings.TrimSuffix(w.path, "/") + "x"
	case 2:
		w.path = strings.Replace(w.path, "/", pick(d, "//", "/./", "/%2F", "/x/../", "/%2e%2e/", "/%5C", "\\", "/;p=1"), 1+d.IntN(2))
	case 3:
		w.path = strings.ToUpper(w.path)
	}
}

// spoilHeader drops, doubles, empties or shouts one header.
func (d *dice) spoilHeader(w *wish) {
	if len(w.headers) == 0 {
		return
	}
	i := d.IntN(len(w.headers))
	switch d.IntN(4) {
	case 0:
		w.headers = append(w.headers[:i:i], w.headers[i+1:]...)
	case 1:
		w.headers = append(w.headers, w.headers[i])
	case 2:
		w.headers[i][1] = ""
	case 3:
		w.headers[i][1] = strings.ToUpper(w.headers[i][1])
	}
}

func (d *dice) addHeader(w *wish, n int) {
	switch n {
	case 0:
		w.header(pick(d, headerNames...), pick(d, headerValues...))
	case 1:
		w.query = append(w.query, pick(d, "x=1", "y", "z=/api", "x=abc", "a%20b=1", "x", "", "x=1#f"))
	case 2:
		w.header("x-cluster", pick(d, "c3", "c4", "nosuch", "", "c.empty"))
	case 3:
		w.header("x-rand", pick(d, "0", "1", "2", "3", "7", "x", "-1", "18446744073709551615", ""))
	case 4:
		w.header(pick(d, "x-envoy-original-dst-host", "x-my-dst"), pick(d, up(7), "127.9.0.8:18080", "garbage", "127.9.0.9", dead))
	case 5:
		w.header("x-forwarded-for", pick(d, "10.1.1.1", "8.8.8.8", "10.1.1.1, 8.8.8.8", "bogus"))
	case 6:
		w.header("x-forwarded-proto", pick(d, "https", "http", "bogus"))
	case 7:
		w.header(pick(d, "x_under", "x-vhost", "x-newhost", "origin", "referer"), pick(d, "a.example.com", "b.example.com", "https://ok.test", "1"))
	}
}

// spoilLine changes the request line, or what belongs to the connection.
func (d *dice) spoilLine(w *wish, n int) {
	switch n {
	case 0:
		w.method = pick(d, "GET", "POST", "DELETE", "FOO", "CONNECT", "get", "PATCH", "TRACE", "QUERY")
	case 1:
		w.version = pick(d, "HTTP/1.0", "HTTP/1.1")
	case 2:
		w.header(pick(d, "connection", "te", "keep-alive", "proxy-connection", "upgrade", "expect"), pick(d, "close", "keep-alive", "trailers", "x-a"))
	case 3:
		w.path = pick(d, "", "*", "http://abs.example.com/api", "https://a.example.com:8080/x?x=1", "noslash", "/api?x=1?y=2", "/%00", "/a%zz",
			"/\x7f", "/api#frag", "/\u00e9", "//", "/..", "/a/%2E%2E/b", "/%41pi", "/a%5cb", "/a\\b")
	case 4:
		if w.method == "OPTIONS" || d.chance(0.5) {
			w.method = "OPTIONS"
			w.header("origin", pick(d, "https://ok.test", "https://bad.test"))
			w.header("access-control-request-method", "GET")
		}
	}
}

// httpRequest says the wish as a case.
func (d *dice) httpRequest(w *wish) Request {
	target := w.path
	if len(w.query) > 0 {
		target += "?" + strings.Join(w.query, "&")
	}
	if w.method == "CONNECT" && d.chance(0.6) {
		target = w.host
	}
	h := &HTTP{Method: w.method, Target: target, Version: w.version, Headers: w.headers, Host: &w.host}
	if d.chance(0.01) {
		h.Host = nil
	}
	if w.method == "POST" && d.chance(0.3) {
		h.Body = "body"
	}
	return Request{HTTP: h}
}
