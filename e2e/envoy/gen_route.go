package envoy

import (
	"fmt"
	"strings"
)

// Paths of requests and matches.
var paths = []string{"/", "/api", "/api/", "/api/v1", "/api/v1/users", "/API", "/static/app.js", "/a%2Fb", "/user/123", "/user/abc",
	"/user/123/edit", "/b;p=1/c", "/foo.bar", "/x"}

// probed is a pattern with paths that match it and paths that just do not.
type probed struct {
	pattern   string
	good, bad []string
}

var pathRegexes = []probed{
	{`/user/[0-9]+`, []string{"/user/1", "/user/123"}, []string{"/user/12a", "/user/", "/user/123/edit", "/x/user/1"}},
	{`/api/.*`, []string{"/api/", "/api/v1/users"}, []string{"/api", "/API/v1"}},
	{`/(a|b)/?`, []string{"/a", "/b/"}, []string{"/ab", "/c", "/a//"}},
	{`.*\.js`, []string{"/static/app.js"}, []string{"/static/app.jsx", "/static/app.js/"}},
	{`/b;p=1/.*`, []string{"/b;p=1/c"}, []string{"/b/c"}},
	{`/a%2Fb`, []string{"/a%2Fb"}, []string{"/a%2fb", "/a/b"}},
	{`(?i)/api`, []string{"/api", "/API"}, []string{"/api/"}},
	{`/[^/]+/edit`, []string{"/x/edit"}, []string{"/x/y/edit"}},
	{`/|/x`, []string{"/", "/x"}, []string{"/xx"}},
}

var pathTemplates = []probed{
	{"/user/{id}", []string{"/user/1", "/user/a.b"}, []string{"/user/", "/user/1/2", "/user"}},
	{"/user/{id}/edit", []string{"/user/1/edit"}, []string{"/user/1/edit/"}},
	{"/api/**", []string{"/api/v1/users", "/api/x"}, []string{"/api", "/api/", "/ap/x"}},
	{"/*/v1", []string{"/api/v1"}, []string{"/api/x/v1", "//v1"}},
	{"/{a=*}/{b=**}", []string{"/api/v1/users", "/a/b"}, []string{"/api", "/api/"}},
	{"/static/{f=*}.js", []string{"/static/app.js"}, []string{"/static/app.jsx", "/static/.js"}},
	{"/{x=v1/*}/y", []string{"/v1/q/y"}, []string{"/v2/q/y", "/v1/y"}},
}

// probe takes a path of the pattern, a bad one in three of ten.
func (d *dice) probe(p probed) grant {
	return func(w *wish) {
		w.path = pick(d, p.good...)
		if d.chance(0.3) {
			w.path = pick(d, p.bad...)
		}
	}
}

// pathMatch is the path specifier of a RouteMatch.
func (d *dice) pathMatch() (M, grant) {
	p := pick(d, paths...)
	m := M{}
	if d.chance(0.2) {
		m["case_sensitive"] = false
	}
	cased := func(s string) string {
		if m["case_sensitive"] == false && d.chance(0.5) {
			return strings.ToUpper(s)
		}
		return s
	}
	switch n := d.IntN(12); {
	case n < 4:
		m["prefix"] = p
		return m, func(w *wish) { w.path = cased(p) + pick(d, "", "", "x", "/x", "/", "/v1") }
	case n < 6:
		m["path"] = p
		return m, func(w *wish) { w.path = cased(p) }
	case n < 8:
		p = strings.TrimSuffix(p, "/") // refused with one
		if p == "" {
			p = "/foo.bar"
		}
		m["path_separated_prefix"] = p
		return m, func(w *wish) { w.path = cased(p) + pick(d, "", "/", "/x", "x", "//x", ";q") }
	case n < 10:
		x := pick(d, pathRegexes...)
		return M{"safe_regex": M{"regex": x.pattern}}, d.probe(x)
	case n == 10:
		x := pick(d, pathTemplates...)
		return M{"path_match_policy": ext("envoy.path.match.uri_template.uri_template_matcher",
			"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", M{"path_template": x.pattern})}, d.probe(x)
	}
	m["prefix"] = "/"
	return m, func(w *wish) { w.path = pick(d, paths...) }
}

// routeMatch is a RouteMatch with any of its conditions.
func (d *dice) routeMatch() (M, grant) {
	m, give := d.pathMatch()
	grants := []grant{give}
	put := func(key string, most int, make func() (M, grant)) {
		var l A
		for range 1 + d.IntN(most) {
			x, g := make()
			l, grants = append(l, x), append(grants, g)
		}
		m[key] = l
	}
	if d.chance(0.45) {
		put("headers", 2, d.headerMatcher)
	}
	if d.chance(0.15) {
		put("query_parameters", 2, d.queryMatcher)
	}
	if d.chance(0.07) {
		put("cookies", 1, d.cookieMatcher)
	}
	if d.chance(0.05) {
		m["grpc"] = M{}
		grants = append(grants, func(w *wish) {
			w.header("content-type", pick(d, "application/grpc", "application/grpc+proto", "application/grpc-web",
				"application/grpc;x=1", "application/json", "Application/Grpc"))
		})
	}
	d.rareConditions(m)
	return m, func(w *wish) {
		for _, g := range grants {
			g(w)
		}
	}
}

// rareConditions are those that no header of the request decides.
func (d *dice) rareConditions(m M) {
	if d.chance(0.08) {
		of := func(n int) M { return M{"numerator": n} }
		m["runtime_fraction"] = pick(d, M{"default_value": of(0)}, M{"default_value": of(100)},
			M{"default_value": M{"numerator": 10000, "denominator": "TEN_THOUSAND"}},
			M{"default_value": of(0), "runtime_key": "rt.on"}, M{"default_value": of(100), "runtime_key": "rt.off"},
			M{"default_value": of(100), "runtime_key": "rt.unset"}, M{"default_value": of(0), "runtime_key": "rt.frac"})
	}
	if d.chance(0.04) {
		m["tls_context"] = pick(d, M{"presented": true}, M{"presented": false}, M{"validated": false}, M{"validated": true},
			M{"presented": false, "validated": true})
	}
	if d.chance(0.03) {
		m["dynamic_metadata"] = A{M{"filter": "eo", "path": A{M{"key": "k"}}, "value": M{"string_match": M{"exact": "v"}}, "invert": d.chance(0.5)}}
	}
	if d.chance(0.02) {
		m["filter_state"] = A{M{"key": "eo.k", "string_match": M{"exact": "v"}}}
	}
}

func (d *dice) queryMatcher() (M, grant) {
	name := pick(d, "x", "y", "a%20b")
	m := M{"name": name}
	add := func(s string) grant { return func(w *wish) { w.query = append(w.query, s) } }
	switch d.IntN(4) {
	case 0:
		m["present_match"] = d.chance(0.7)
		return m, add(name + pick(d, "", "=", "=1"))
	case 1:
		return m, add(name + pick(d, "", "=", "=1"))
	}
	sm, value := d.stringMatch()
	m["string_match"] = sm
	return m, func(w *wish) {
		v := value()
		if d.chance(0.15) {
			v = fmt.Sprintf("%%%02x%s", v[0], v[1:])
		}
		w.query = append(w.query, name+"="+v)
		if d.chance(0.2) {
			w.query = append(w.query, name+"=zz")
		}
	}
}

func (d *dice) cookieMatcher() (M, grant) {
	name := pick(d, "ck", "sess")
	sm, value := d.stringMatch()
	m := M{"name": name, "string_match": sm}
	if d.chance(0.4) {
		m["invert_match"] = true
	}
	return m, func(w *wish) {
		if d.chance(0.15) {
			return
		}
		v := value()
		if d.chance(0.2) {
			v = `"` + v + `"`
		}
		if d.chance(0.2) {
			w.header("cookie", "first=1")
		}
		before := pick(d, "", "o=1; ", name+"=zzz; ", name+"x=1;")
		after := pick(d, "", "; p=2", "; "+name+"=zzz", ";q")
		w.header("cookie", before+name+pick(d, "=", "=", "=", " =", "= ")+v+after)
	}
}
