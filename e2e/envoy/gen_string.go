package envoy

import "strings"

// wish is what a request should look like to satisfy something.
type wish struct {
	host, path, method, version string
	query                       []string
	headers                     [][2]string
}

func (w *wish) header(name, value string) { w.headers = append(w.headers, [2]string{name, value}) }

// grant changes a request so that it satisfies a condition, usually.
type grant func(*wish)

// Values of headers, queries and cookies.
var (
	headerNames  = []string{"x-a", "x-b", "x-c", "X-Upper"}
	headerValues = []string{"1", "v", "abc", "ABC", "abcdef", "", "a,b", "42", "-5", "100", "v1", "x y"}
)

// stringMatch is a StringMatcher (type.matcher.v3) and a source of values that match it.
func (d *dice) stringMatch() (M, func() string) {
	v := pick(d, "1", "v", "abc", "ABC", "abcdef", "a,b", "42", "v1")
	var m M
	var value func() string
	switch d.IntN(6) {
	case 0, 1:
		m, value = M{"exact": v}, func() string { return v }
	case 2:
		p := v[:1+d.IntN(len(v))]
		m, value = M{"prefix": p}, func() string { return p + pick(d, "", "z", ",q") }
	case 3:
		p := v[d.IntN(len(v)):]
		m, value = M{"suffix": p}, func() string { return pick(d, "", "z", "q,") + p }
	case 4:
		m, value = M{"contains": v}, func() string { return pick(d, "", "z") + v + pick(d, "", "z") }
	case 5:
		x := pick(d, [2]string{"[a-c]+", "abc"}, [2]string{"v[0-9]?", "v1"}, [2]string{"a,b", "a,b"}, [2]string{".*", "abc"},
			[2]string{"[0-9]*", "42"}, [2]string{"ab", "ab"}, [2]string{"1|1,1", "1"})
		return M{"safe_regex": M{"regex": x[0]}}, func() string { return x[1] }
	}
	if d.chance(0.2) {
		m["ignore_case"] = true
		cased := value
		value = func() string {
			if d.chance(0.5) {
				return strings.ToUpper(cased())
			}
			return cased()
		}
	}
	return m, value
}

// invert sets invert_match now and then.
func (d *dice) invert(m M) M {
	if d.chance(0.25) {
		m["invert_match"] = true
	}
	return m
}

// headerMatcher is a HeaderMatcher (config.route.v3) of any kind.
func (d *dice) headerMatcher() (M, grant) {
	kind := d.IntN(13)
	if kind == 9 {
		return d.pseudoMatcher()
	}
	name := pick(d, headerNames...)
	m := M{"name": name}
	value := func() string { return pick(d, headerValues...) }
	fixed := func(s string) func() string { return func() string { return s } }
	switch kind {
	case 0:
	case 1:
		m["present_match"] = true
	case 2:
		m["present_match"] = false
	case 3:
		s := pick(d, "1", "abc", "", "a,b")
		m["exact_match"], value = s, fixed(s)
	case 4:
		m["range_match"] = M{"start": pick(d, -10, 0, 42), "end": pick(d, 43, 100, 101)}
		value = func() string { return pick(d, "42", "100", "0", "-5", "99", "42 ", "+42", "4x", "42,42") }
	case 5:
		m["prefix_match"], value = "ab", fixed("abc")
	case 6:
		m["suffix_match"], value = "c", fixed("abc")
	case 7:
		m["contains_match"], value = "b", fixed("abc")
	case 8:
		m["safe_regex_match"] = M{"regex": pick(d, "[a-z]+", "abc", "a,b", ".*")}
		value = func() string { return pick(d, "abc", "a,b") }
	default:
		m["string_match"], value = d.stringMatch()
	}
	if d.chance(0.2) {
		m["treat_missing_header_as_empty"] = true
	}
	d.invert(m)
	return m, func(w *wish) { d.grantHeader(w, m, name, value) }
}

// grantHeader adds the header; inverted and absent ones now and then not, some twice.
func (d *dice) grantHeader(w *wish, m M, name string, value func() string) {
	inverted := m["invert_match"] == true
	if m["present_match"] == false && d.chance(0.7) || inverted && d.chance(0.2) {
		return
	}
	x := value()
	if inverted && d.chance(0.6) {
		x = pick(d, headerValues...)
	}
	w.header(strings.ToLower(name), x)
	if !d.chance(0.25) {
		return
	}
	second := pick(d, headerValues...)
	if d.chance(0.3) {
		second = value()
	}
	w.header(name, second)
	if n := len(w.headers); d.chance(0.5) {
		w.headers[n-1], w.headers[n-2] = w.headers[n-2], w.headers[n-1]
	}
}

// pseudoMatcher matches on what Envoy sets or treats in a way of its own.
func (d *dice) pseudoMatcher() (M, grant) {
	name := pick(d, ":method", ":authority", "host", "Host", "content-type", "user-agent", ":path", ":scheme",
		"x-forwarded-proto", "x-envoy-internal", "cookie")
	m := M{"name": name}
	give := func(*wish) {}
	switch name {
	case ":method":
		method := pick(d, "GET", "POST", "PUT")
		m["string_match"] = M{"exact": method}
		give = func(w *wish) { w.method = method }
	case ":authority", "host", "Host":
		m["string_match"] = pick(d, M{"prefix": "a."}, M{"suffix": "example.com"}, M{"contains": ":"},
			M{"exact": "a.example.com"}, M{"exact": "a.example.com:8080"})
	case ":path":
		m["string_match"] = pick(d, M{"prefix": "/api"}, M{"contains": "?"}, M{"suffix": "x=1"})
	case ":scheme", "x-forwarded-proto":
		m["string_match"] = M{"exact": pick(d, "http", "https")}
		give = func(w *wish) {
			if d.chance(0.4) {
				w.header("x-forwarded-proto", pick(d, "http", "https", "ftp"))
			}
		}
	case "x-envoy-internal":
		m["string_match"] = M{"exact": "true"}
		give = func(w *wish) {
			if d.chance(0.6) {
				w.header("x-forwarded-for", pick(d, "10.1.1.1", "8.8.8.8", "10.1.1.1, 10.2.2.2"))
			}
		}
	default:
		var value func() string
		m["string_match"], value = d.stringMatch()
		give = func(w *wish) { w.header(name, value()) }
	}
	return d.invert(m), give
}
