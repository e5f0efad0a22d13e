package envoy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

func node(t testing.TB, s string) tree.Node {
	t.Helper()
	d, err := tree.Parse([]byte(s), 0)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return d.Root()
}

// Every kind of header matcher on repeated, empty and missing values, as four Envoys answered.
func TestHeaderVectors(t *testing.T) {
	var v struct {
		Matchers map[string]map[string]any
		Requests map[string][]string
		Results  map[string]map[string]string
	}
	packed.JSON(t, "testdata/headers.json.gz", &v)
	n := 0
	for ver, results := range v.Results {
		ev := version(t, ver)
		for name, m := range v.Matchers {
			m["name"] = "X-T"
			text, _ := json.Marshal(m)
			test := readHeaderMatcher(node(t, string(text)), ev, ev.atLeast(1, 39, 0))
			for req, values := range v.Requests {
				var h headers
				for _, s := range values {
					h.decode("x-t", s)
				}
				n++
				if got, want := test.match(&h), results[name+" / "+req]; got != flow.Is(want == "1") {
					t.Errorf("%s %s on %s: %v, Envoy %s", ver, name, req, got, want)
				}
			}
		}
	}
	if n < 1800 {
		t.Errorf("only %d vectors", n)
	}
}

// Inline headers are one value in every version.
func TestInlineHeadersJoin(t *testing.T) {
	var h headers
	h.decode("Content-Type", "application/grpc")
	h.decode("content-type", "application/grpc")
	h.decode("X-A", "1")
	h.decode("x-a", "2")
	if v, ok, _ := h.first("content-type"); !ok || v != "application/grpc,application/grpc" || isGRPC(v) {
		t.Errorf("content-type is %q", v)
	}
	if v := h.value("x-a"); v != "1" {
		t.Errorf("x-a is %q", v)
	}
	h.set("x-a", "3")
	if v, _, _ := h.joined("x-a"); v != "3" || len(h.list) != 2 {
		t.Errorf("after set x-a is %q in %v", v, h.list)
	}
	if !h.remove("x-a") || h.remove("x-a") || h.has("x-a") {
		t.Error("x-a cannot be removed once")
	}
}

// A value that nobody can know makes a Maybe, unless another value decides.
func TestHeaderUnsure(t *testing.T) {
	var h headers
	h.setUnsure("x-a")
	exact := readHeaderMatcher(node(t, `{"name":"x-a","string_match":{"exact":"1"}}`), Version{}, true)
	present := readHeaderMatcher(node(t, `{"name":"x-a","present_match":true}`), Version{}, true)
	if exact.match(&h) != flow.Maybe || present.match(&h) != flow.Maybe {
		t.Error("an unknown value decides")
	}
	h.list = append(h.list, header{name: "x-a", value: "1"})
	if exact.match(&h) != flow.Yes {
		t.Error("a known value among unknown ones does not decide")
	}
}

func TestUnmodelledHeaderMatcher(t *testing.T) {
	var h headers
	h.decode("x-a", "1")
	for _, s := range []string{`{"name":"x-a","brand_new":{"x":1}}`, `{"name":"x-a","string_match":{"custom":{"name":"lua"}}}`, `{"name":"x-a","string_match":{"safe_regex":{"regex":"(unclosed"}}}`} {
		m := readHeaderMatcher(node(t, s), Version{}, true)
		if got := m.match(&h); got != flow.Maybe {
			t.Errorf("%s: %v, want maybe", s, got)
		}
	}
}

// RE2 reads Latin-1 from 1.40 on: one byte is one character.
func TestRegexLatin1(t *testing.T) {
	for _, c := range []struct {
		v    Version
		re   string
		s    string
		want flow.Answer
	}{
		{Version{1, 40, 0}, "a.b", "a\xe9b", flow.Yes}, {Version{1, 40, 0}, "a..b", "a\xc3\xa9b", flow.Yes}, {Version{1, 40, 0}, "a.b", "a\xc3\xa9b", flow.No},
		{Version{1, 39, 0}, "a.b", "a\xc3\xa9b", flow.Maybe}, {Version{1, 39, 0}, "a.b", "axb", flow.Yes},
		{Version{}, "a|ab", "ab", flow.Yes}, {Version{}, "b", "abc", flow.No}, {Version{}, ".*", "x", flow.Yes}, {Version{}, ".*", "x\ny", flow.No},
	} {
		m := regexTest(c.re, c.v)
		if got := m.match(c.s); got != c.want {
			t.Errorf("%v %q on %q: %v, want %v", c.v, c.re, c.s, got, c.want)
		}
	}
}

func FuzzHeaderMatcher(f *testing.F) {
	for _, s := range []string{`{"name":"x","string_match":{"prefix":"A","ignore_case":true}}`, `{"name":"x","safe_regex_match":{"regex":"a+"}}`, `{"name":"x","range_match":{"start":"1"}}`, `{"name":"Host","invert_match":true}`, `[]`} {
		f.Add([]byte(s), "a", "A,b")
	}
	f.Fuzz(func(t *testing.T, raw []byte, a, b string) {
		d, err := tree.Parse(raw, 0)
		if err != nil {
			return
		}
		var h headers
		h.decode("x", a)
		h.decode("x", b)
		for _, single := range []bool{true, false} {
			m := readHeaderMatcher(d.Root(), Version{}, single)
			first := m.match(&h)
			if second := m.match(&h); second != first || strings.TrimSpace(m.String()) == "" {
				t.Fatal("not a function of its input")
			}
		}
	})
}
