package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func mustDoc(t testing.TB, part, s string) *doc {
	t.Helper()
	d, err := newDoc(part, "", []byte(s))
	if err != nil {
		t.Fatal(err)
	}
	if d.root != nil {
		d.root.unfold(d.data, 400)
		d.layOut()
	}
	return d
}

func rowsOf(d *doc) string {
	var b strings.Builder
	for i := range d.size() {
		b.WriteString(strings.TrimRight(d.row(i).String(), " ") + "\n")
	}
	return b.String()
}

const small = `{"name":"a","list":[{"x":1,"y":[true,null]},"s",[1,[2]],{}],"port":"80","on":"yes","e":{},"script":"one\n\ttwo\n","q":"say \"hi\""}`

func TestYAMLRows(t *testing.T) {
	want := `  name: a
▾ list:
  - x: 1
▾   y:
    - true
    - null
  - s
  - - 1
    - - 2
  - {}
  port: "80"
  on: "yes"
  e: {}
  script: |
    one
        two
  q: "say \"hi\""
`
	if got := rowsOf(mustDoc(t, "a.json", small)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestJSONRows(t *testing.T) {
	d := mustDoc(t, "a.json", `{"a":[1,{"b":"c"}],"d":{}}`)
	d.asJSON = true
	d.layOut()
	want := "  {\n▾   \"a\": [\n      1,\n▾     {\n        \"b\": \"c\"\n      }\n    ],\n    \"d\": {}\n  }\n"
	if got := rowsOf(d); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Folding, and finding what is folded away.
func TestFoldAndFind(t *testing.T) {
	d := mustDoc(t, "a.json", small)
	s := &configScreen{hit: -1}
	d.unfold(nil)
	s.open(d, nil, 0)
	s.sel = 1
	s.fold(false)
	if got := d.row(1).String(); got != "▸ list: [ 4 items ]" {
		t.Errorf("folded: %q", got)
	}
	s.what = "null"
	if s.look(1); s.hits != 1 || s.nth != 1 {
		t.Fatalf("%d of %d hits", s.nth, s.hits)
	}
	if got := d.row(s.sel).String(); !strings.Contains(got, "null") {
		t.Errorf("found %q", got)
	}
	if p := s.node().path(d.data); p != "list[0].y[1]" {
		t.Errorf("path %q", p)
	}
	if p := s.pointer(); p != "/list/0/y/1" {
		t.Errorf("pointer %q", p)
	}
	s.fold(false) // of a leaf: what it is in
	if got := d.row(s.sel).String(); !strings.Contains(got, "y: [ 2 items ]") {
		t.Errorf("after folding the parent: %q", got)
	}
	if s.what = "Nope"; s.look(1).hit >= 0 {
		t.Error("found what is not there")
	}
}

// look searches as the keys do, but at once.
func (t *configScreen) look(by int) found {
	f := seek{doc: t.doc, what: t.what, from: t.hit, by: by, hits: -1}.run()
	adopt(f.kids)
	t.take(f)
	return f
}

func TestFindAnyCase(t *testing.T) {
	d := mustDoc(t, "x", "alpha\nBETA beta\nAl\n")
	for _, c := range []struct {
		what string
		from int
		want int
	}{{"beta", 0, 6}, {"beta", 7, 11}, {"BETA", 7, -1}, {"al", 1, 16}, {"zz", 0, -1}, {"", 0, -1}, {"a", 100, -1}} {
		if got := d.find(c.what, c.from); got != c.want {
			t.Errorf("%q from %d: %d, want %d", c.what, c.from, got, c.want)
		}
	}
}

// Private keys and tokens are not shown.
func TestSecretsAreMasked(t *testing.T) {
	d := mustDoc(t, "config_dump.json", `{"tls_certificate":{"private_key":{"inline_string":"-----BEGIN RSA PRIVATE KEY-----\nSECRET\n-----END RSA PRIVATE KEY-----"}},"authorization":"Bearer SECRET"}`)
	if got := rowsOf(d); strings.Contains(got, "SECRET") || d.masked == 0 {
		t.Errorf("%d masked\n%s", d.masked, got)
	}
}

func FuzzDoc(f *testing.F) {
	f.Add([]byte(small), "null")
	f.Add([]byte("*nat\n-A X\n"), "x")
	f.Add([]byte(`{"a":[[[[]]]],"\u0000":{"":1}}`), "a")
	f.Fuzz(func(t *testing.T, data []byte, what string) {
		d, err := newDoc("x.json", "", data)
		if err != nil {
			return
		}
		s := &configScreen{hit: -1}
		s.open(d, nil, 0)
		for _, asJSON := range []bool{false, true} {
			d.asJSON = asJSON
			s.again(s.node())
			for i := range min(d.size(), 200) {
				c := newCanvas(40, 1)
				s.drawLine(c, rect{0, 0, 40, 1}, i)
			}
			s.what = what
			s.next(1)
			s.next(-1)
			s.fold(false)
			s.fold(true)
			if n := s.node(); n != nil && d.root != nil && !twins(n, d.data) {
				if got, ok := d.root.at(d.data, n.pointer(d.data)); !ok || got != n {
					t.Errorf("pointer %q leads elsewhere", n.pointer(d.data))
				}
			}
		}
	})
}

// twins says whether a member on the way to n has a name twice: a pointer means the last.
func twins(n *node, data []byte) bool {
	for ; n.parent != nil; n = n.parent {
		if n.parent.list(data) {
			continue
		}
		for _, k := range n.parent.look(data) {
			if k != n && k.key == n.key {
				return true
			}
		}
	}
	return false
}

// A document of tens of megabytes costs what is open: its rows are few, and a frame is
// drawn in no time.
func TestBigDocIsCheap(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"configs":[`)
	for i := range 40000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"listener_%d","address":{"socket_address":{"address":"10.0.0.1","port_value":%d}},"filter_chains":[{"filters":[{"name":"hcm","typed_config":{"stat_prefix":"x%d"}}]}]}`, i, i%65536, i)
	}
	b.WriteString(`]}`)
	d := mustDoc(t, "config_dump.json", b.String())
	if d.size() > 2000 {
		t.Errorf("%d rows of %d bytes", d.size(), len(d.data))
	}
	s := &configScreen{hit: -1}
	d.unfold(nil)
	s.open(d, nil, 0)
	s.what = "x39999"
	start := time.Now()
	s.look(1)
	if got := d.row(s.sel).String(); !strings.Contains(got, "x39999") {
		t.Errorf("found %q", got)
	}
	t.Logf("%d bytes: search and reveal took %v", len(d.data), time.Since(start))
}
