package tree

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// The scanner and the tree agree on what JSON is.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":"\u00e9"}],"c":null,"d":-1.5e3}`, `[[[]],{},{"a":{}}]`, "{\n  \"name\": \"12345678\\\\90é\"\n}", `{"a" : 1 , "b":[ ]}`, `[1,]`, `{"a":1]`, `"`, `nul`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, want := Parse(raw, 0)
		s := Scanner{Raw: raw, Notes: new(Notes)}
		i, err := s.Skip(s.Space(0))
		if err == nil && s.Space(i) != len(raw) {
			err = s.fail(i, "more")
		}
		if (err == nil) != (want == nil) {
			t.Fatalf("Skip: %v, Parse: %v", err, want)
		}
		if err == nil && (len(s.Notes.names) > 0 || s.Notes.More == 0 && utf8.Valid(raw) == strings.Contains(s.Notes.said(), "UTF-8")) {
			t.Fatalf("%d names are left, notes %v", len(s.Notes.names), s.Notes.List)
		}
	})
}

// said are the notes' words.
func (n *Notes) said() string {
	var out []string
	for _, x := range n.List {
		out = append(out, strconv.Itoa(x.At)+" "+x.What)
	}
	return strings.Join(out, "; ")
}

// Object and List visit what they should and end where the value ends.
func TestWalk(t *testing.T) {
	s := Scanner{Raw: []byte(`{"a": {"x": [1, {"k": "v"}]}, "bb":"t\"", "c": 7} tail`)}
	var seen []string
	var member func(name []byte, at int) (int, error)
	member = func(name []byte, at int) (int, error) {
		seen = append(seen, string(name))
		switch string(name) {
		case "a":
			return s.Object(at, member)
		case "x":
			return s.List(at, func(_, at int) (int, error) { return s.Object(at, member) })
		case "bb":
			text, end, err := s.String(at)
			seen = append(seen, text)
			return end, err
		}
		return s.Skip(at)
	}
	end, err := s.Object(0, member)
	if err != nil || string(s.Raw[end:]) != " tail" || s.depth != 0 {
		t.Fatalf("ends at %d with %v, depth %d", end, err, s.depth)
	}
	if got := strings.Join(seen, " "); got != `a x k bb t" c` {
		t.Errorf("visited %q", got)
	}
}

func TestPlain(t *testing.T) {
	for _, pad := range []int{0, 1, 6, 7, 8, 9, 15, 16, 30} {
		for _, c := range []byte{'"', '\\', 0x1f, 0, 0x80, 0xff} {
			s := strings.Repeat("a", pad) + string([]byte{c}) + strings.Repeat("~ ", 9)
			if got := plain([]byte(s)); got != pad {
				t.Errorf("%d bytes before %#x: %d", pad, c, got)
			}
		}
	}
}

// BenchmarkSkip is a walk over every byte, with and without a look for what is odd.
func BenchmarkSkip(b *testing.B) {
	one := `      {
       "name": "outbound|80||svc.default.svc.cluster.local",
       "type": "EDS", "connect_timeout": "10s", "weight": 128, "ok": true,
       "metadata": {"filter_metadata": {"istio": {"services": [{"host": "svc.default.svc.cluster.local", "name": "svc"}]}}}
      },
`
	raw := []byte("[" + strings.Repeat(one, 1000) + "1]")
	for name, notes := range map[string]*Notes{"plain": nil, "notes": new(Notes)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				s := Scanner{Raw: raw, Notes: notes}
				if _, err := s.Skip(0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
