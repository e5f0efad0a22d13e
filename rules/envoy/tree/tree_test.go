package tree

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, s string) Node {
	t.Helper()
	d, err := Parse([]byte(s), 0)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return d.Root()
}

func TestFieldNames(t *testing.T) {
	n := parse(t, `{"bind_to_port": true, "useOriginalDst": "true", "ipv4Compat": {"value": false}, "a\u005fb": 1, "@type": "x/y.Z"}`)
	for name, want := range map[string]bool{"bind_to_port": true, "use_original_dst": true, "ipv4_compat": false, "nothing": true} {
		if got := n.Field(name).Bool(true); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if n.Field("a_b").Uint(0) != 1 || n.Field("bind_to").Exists() {
		t.Error("an escaped name is not found, or a part of a name is")
	}
	if u := n.Unknown("bind_to_port", "use_original_dst"); strings.Join(u, " ") != "ipv4Compat a_b" {
		t.Errorf("unknown fields: %q", u)
	}
}

func TestScalars(t *testing.T) {
	n := parse(t, `{"n": 7, "s": "7", "w": {"value": 7}, "f": 7.0, "neg": -3, "enum": "Static", "d": "1.5s", "z": "0s", "sn": {"seconds": "2", "nanos": 1},
		"long": "9223372036s", "esc": "a\"\u00e9\ud83d\ude00\ud800x", "null": null, "list": [1,2], "one": {"a": 1}}`)
	for _, name := range []string{"n", "s", "w", "f"} {
		if got := n.Field(name).Uint(0); got != 7 {
			t.Errorf("%s = %d, want 7", name, got)
		}
	}
	if n.Field("neg").Int(0) != -3 || n.Field("neg").Uint(9) != 9 || n.Field("enum").Enum() != "STATIC" {
		t.Error("a negative number or an enum is read wrong")
	}
	for name, want := range map[string]time.Duration{"d": 1500 * time.Millisecond, "z": 0, "sn": 2*time.Second + 1, "long": 9223372036 * time.Second} {
		if got, ok := n.Field(name).Duration(); !ok || got != want {
			t.Errorf("%s = %v %v, want %v", name, got, ok, want)
		}
	}
	if got := n.Field("esc").Str(); got != "a\"é😀\ufffdx" {
		t.Errorf("esc = %q", got)
	}
	if n.Field("null").Exists() || n.Field("list").Len() != 2 || n.Field("one").Len() != 1 || n.Field("gone").Len() != 0 {
		t.Error("null, list or single element is read wrong")
	}
}

func TestAny(t *testing.T) {
	for s, want := range map[string]string{
		`{"@type":"type.googleapis.com/a.B","v":1}`: "a.B",
		`{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"type.googleapis.com/a.B","value":{"v":1}}`:                                          "a.B",
		`{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","typeUrl":"a.B","value":{"@type":"x/xds.type.v3.TypedStruct","type_url":"a.B","value":{"v":1}}}`: "a.B",
	} {
		name, n := parse(t, s).Any()
		if name != want || n.Field("v").Uint(0) != 1 {
			t.Errorf("%s: %q %s", s, name, n.Raw())
		}
	}
	name, n := parse(t, `{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"c"}`).Any()
	if name != "google.protobuf.StringValue" || n.Str() != "c" {
		t.Errorf("wrapper: %q %q", name, n.Str())
	}
}

func TestPointer(t *testing.T) {
	n := parse(t, `{"a": [{"x": 1}, {"b/~c": [0, 5]}]}`)
	v := n.Field("a").Index(1).Key("b/~c").Index(1)
	if got := v.Pointer(); got != "/a/1/b~1~0c/1" {
		t.Errorf("pointer %q", got)
	}
	if got := n.At(v.Pointer()); got != v {
		t.Errorf("At does not go back: %s", got.Raw())
	}
	if string(v.Raw()) != "5" || v.Offset() != 30 {
		t.Errorf("raw %q at %d", v.Raw(), v.Offset())
	}
}

func TestRefuses(t *testing.T) {
	for _, s := range []string{``, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `[1`, `[1,]`, `{"a":1,}`, `"x`, `"\q"`, `"\u12g4"`, `"\u12`, "\"\n\"", `tru`, `01`, `-`, `1.`, `1e`, `{} x`,
		`{1:2}`, `nul`, strings.Repeat("[", MaxDepth+2)} {
		if _, err := Parse([]byte(s), 0); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	s := Scanner{Raw: []byte(deep)}
	if _, err := s.Skip(0); err != nil {
		t.Errorf("%d levels: %v", MaxDepth, err)
	}
	s = Scanner{Raw: []byte("[" + deep + "]")}
	if _, err := s.Skip(0); err == nil {
		t.Errorf("%d levels are taken", MaxDepth+1)
	}
	_, err := Parse([]byte(`{"a": 1`), 100)
	if err == nil || err.Error() != "byte 107: the text ends too early" {
		t.Errorf("truncation: %v", err)
	}
}

// What is odd is noted with its place, wherever it stands; of members of one name the last
// one counts.
func TestNotes(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`"` + strconv.Itoa(i) + `":0,`)
		}
		return b.String()
	}
	const again = " is there again: the last one counts"
	for _, c := range []struct{ text, want string }{
		{`{"a":1,"b":"x","c":2}`, ""},
		{`{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}`, ""},
		{`{"a":1,"ab":2,"a":3}`, `15 member "a"` + again},
		{`{"a":1,"a":2,"a":3}`, `8 member "a"` + again + `; 14 member "a"` + again},
		{`[{"x":{"k":1,"k":2},"k":3}]`, `14 member "k"` + again},
		{"{\"b\":\"\xff\",\"\xfe\":[\"é\"]}", `6 a string that is not UTF-8; 10 a string that is not UTF-8`},
		{`{` + many(16) + `"7":1}`, `104 member "7"` + again},
		{`{` + many(16) + `"16":1}`, ""},
		{`{` + many(17) + `"7":1}`, `111 member "7"` + again},
		{`{` + many(maxNames+1) + `"7":1}`, strconv.Itoa(len(many(maxNames-1))+2) + " more members than are compared: one may be there twice"},
	} {
		for _, text := range []string{c.text, "[" + c.text + "]"} {
			s := Scanner{Raw: []byte(text), Notes: new(Notes)}
			member := func(_ []byte, at int) (int, error) { return s.Skip(at) }
			var err error
			if text == c.text {
				_, err = s.Object(0, member)
			} else {
				_, err = s.Skip(0)
				for i := range s.Notes.List {
					s.Notes.List[i].At--
				}
			}
			if got := s.Notes.said(); err != nil || got != c.want {
				t.Errorf("%.60s: %s %v, want %s", text, got, err, c.want)
			}
		}
	}
	s := Scanner{Raw: []byte(`{` + strings.Repeat(`"a":1,`, 40) + `"a":1}`), Notes: new(Notes)}
	if _, err := s.Skip(0); err != nil || len(s.Notes.List) != maxNotes || s.Notes.More != 40-maxNotes {
		t.Errorf("%d notes and %d more, %v", len(s.Notes.List), s.Notes.More, err)
	}
	if d, err := Parse([]byte(`{"a":1,"a":2}`), 0); err != nil || d.Root().Field("a").Uint(0) != 2 {
		t.Errorf("the last one does not count: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":"\u00e9"}],"c":null,"d":-1.5e3}`, `[[[]]]`, `{"@type":"x/xds.type.v3.TypedStruct"}`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(raw, 0)
		if err != nil {
			return
		}
		s := Scanner{Raw: raw, Notes: new(Notes)}
		if _, err := s.Skip(s.Space(0)); err != nil {
			t.Fatal(err)
		}
		var visit func(n Node)
		visit = func(n Node) {
			if got := d.Root().At(n.Pointer()); string(got.Raw()) != string(n.Raw()) && len(s.Notes.List) == 0 {
				t.Fatalf("At(%q) = %q, want %q", n.Pointer(), got.Raw(), n.Raw())
			}
			n.Str()
			n.Duration()
			n.Any()
			n.Int(0)
			for _, e := range n.All() {
				if e != n {
					visit(e)
				}
			}
			for _, m := range n.Members() {
				visit(m)
			}
		}
		visit(d.Root())
	})
}
