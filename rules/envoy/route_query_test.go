package envoy

import (
	"encoding/json"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules/flow"
)

func TestQueryValue(t *testing.T) {
	for _, c := range []struct{ path, name, want string }{
		{"/?x=1", "x", "1"}, {"/?x=1&x=2", "x", "1"}, {"/?y&x", "x", ""}, {"/?x=%31", "x", "%31"}, {"/?a%20b=1", "a%20b", "1"}, {"/?a%20b=1", "a b", "none"},
		{"/?x=1?y=2", "x", "1?y=2"}, {"/?x=a=b", "x", "a=b"}, {"/x", "x", "none"}, {"/?", "x", "none"}, {"/?", "", "none"}, {"/?xx=1", "x", "none"}, {"/?&x=1", "x", "1"},
	} {
		got, ok := queryValue(c.path, c.name)
		if !ok {
			got = "none"
		}
		if got != c.want {
			t.Errorf("%q %q: %q, want %q", c.path, c.name, got, c.want)
		}
	}
}

// Cookies as real Envoys read them.
func TestCookieVectors(t *testing.T) {
	var v struct {
		Matchers map[string]json.RawMessage
		Requests map[string][]string
		Results  map[string]map[string]map[string]string
	}
	packed.JSON(t, "testdata/cookies.json.gz", &v)
	n := 0
	for ver, results := range v.Results {
		if !version(t, ver).atLeast(1, 37, 0) {
			continue // such an Envoy does not know the field
		}
		for name, m := range v.Matchers {
			test := readCookieMatcher(node(t, string(m)), version(t, ver))
			for req, lines := range v.Requests {
				var h headers
				for _, l := range lines {
					h.decode("Cookie", l)
				}
				n++
				if got, want := test.match(&h), results[name][req]; got != flow.Is(want == "1") {
					t.Errorf("%s %s on %s: %v, Envoy %s", ver, name, req, got, want)
				}
			}
		}
	}
	if n < 200 {
		t.Errorf("only %d vectors", n)
	}
}

// Spaces before a name are skipped, and nothing else (C4).
func TestCookieSpaces(t *testing.T) {
	for line, want := range map[string]string{"s =v": "none", " s=v": "v", "s= v": " v", "a;  s=v ; b": "v ", `s="v"`: "v", `s="v`: `"v`, "s": "none", "s=": ""} {
		var h headers
		h.decode("cookie", line)
		got, ok, _ := cookieValue(&h, "s")
		if !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		template, path string
		want           bool
	}{
		{"/user/{id}", "/user/1", true}, {"/user/{id}", "/user/a.b", true}, {"/user/{id}", "/user/", false}, {"/user/{id}", "/user/1/2", false},
		{"/api/**", "/api/v1/users", true}, {"/api/**", "/api/", true}, {"/api/**", "/api", false},
		{"/*/v1", "/api/v1", true}, {"/*/v1", "/api/x/v1", false}, {"/{a=*}/{b=**}", "/api/v1/users", true},
		{"/static/{f=*}.js", "/static/app.js", true}, {"/static/{f=*}.js", "/static/.js", false}, {"/static/{f=*}.js", "/static/app.jsx", false},
		{"/{x=v1/*}/y", "/v1/q/y", true}, {"/{x=v1/*}/y", "/v2/q/y", false}, {"/a.b", "/axb", false}, {"/{a}", "/x|y", false},
	} {
		tm, ok := readTemplate(c.template)
		if !ok || tm.match(c.path) != c.want {
			t.Errorf("%s on %s: want %v", c.template, c.path, c.want)
		}
	}
	tm, _ := readTemplate("/{a=*}/{b=**}")
	if got, ok := tm.rewrite("/x/y/z", "/{b}/{a}-"); !ok || got != "/y/z/x-" {
		t.Errorf("rewritten to %q", got)
	}
	for _, s := range []string{"/{", "/{}", "/{=*}", "/}", "/{a={b}}"} {
		if _, ok := readTemplate(s); ok {
			t.Errorf("%q is taken", s)
		}
	}
	if _, ok := tm.rewrite("/x/y", "/{nosuch}"); ok {
		t.Error("an unknown variable is filled in")
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("/{a=*}/{b=**}.js", "/x/y.js", "/{b}")
	f.Fuzz(func(t *testing.T, template, path, rewrite string) {
		if tm, ok := readTemplate(template); ok {
			tm.match(path)
			tm.rewrite(path, rewrite)
		}
	})
}

func FuzzCookie(f *testing.F) {
	f.Add("a=1; b=\"2\"", "b")
	f.Fuzz(func(t *testing.T, line, name string) {
		var h headers
		h.decode("cookie", line)
		cookieValue(&h, name)
		queryValue(line, name)
	})
}
