package config

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/tui/style"
)

// A file that says everything.
func TestParse(t *testing.T) {
	s, err := Parse([]byte(`# mine
theme: cvd
color: never
ascii: true
mouse: false
danger:
- prod-*
- "*/live"
keys:
  next-decision: D
  zoom: ["~", f2]
  variant: []
  every-packet: "#"
`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Theme != style.ColourBlind || s.Color != "never" || s.ASCII != "true" || s.Mouse || len(s.Danger) != 2 || s.Danger[1].Line != 8 {
		t.Errorf("%+v", s)
	}
	keys := map[string][]string{}
	for _, a := range s.Keys.Acts() {
		keys[a.Name] = a.Keys
	}
	for name, want := range map[string][]string{"next-decision": {"D"}, "zoom": {"~", "f2"}, "variant": nil, "every-packet": {"#"}, "copy": {"c"}} {
		if got := keys[name]; len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Nothing is a configuration, too.
func TestEmpty(t *testing.T) {
	for _, text := range []string{"", "\n", "# only words\n", "---\n", "keys: {}\n", "danger: []\n"} {
		s, err := Parse([]byte(text))
		if err != nil || s.Theme != style.Auto || !s.Mouse || s.Show() != BuiltIn().Show() {
			t.Errorf("%q: %v %+v", text, err, s)
		}
	}
}

// What is wrong is said with its line, and all of it.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"look: cvd\n":                   `line 1: there is no setting "look": want theme, color`,
		"\nthemes: cvd\n":               `line 2: there is no setting "themes": was theme meant?`,
		"theme: neon\n":                 `line 1: theme: "neon": want auto, 16, hi-contrast, cvd, mono`,
		"theme:\n":                      `line 1: theme: nothing: want`,
		"color: always\n":               `line 1: color: "always": want auto, never`,
		"mouse: 1\n":                    `line 1: mouse: "1": want true, false`,
		"mouse: [true]\n":               `line 1: mouse: a list: want`,
		"danger: {a: b}\n":              "line 1: danger: names with values: want a word",
		"danger: ['']\n":                "line 1: danger: an empty name",
		"danger:\n":                     "line 1: danger: nothing: want",
		"theme: 16\ntheme: 16\n":        "line 2: theme stands in line 1 already",
		"- theme\n":                     "line 1: the file: want names with values",
		"theme: 16\n---\ntheme: cvd\n":  "line 2: a second document begins",
		"theme: 16\nkeys: [a]\n":        "line 2: keys: want names with values",
		"keys:\n  zoom:\n":              "line 2: keys: zoom: nothing: want",
		"keys:\n  zoom: {a: b}\n":       "line 2: keys: zoom: names with values",
		"keys:\n  zoom: x\n  copy: x\n": "line 3: the key x is both zoom (line 2) and copy (line 3) on the screen Overview",
		"keys:\n  zom: x\n":             `line 2: there is no act "zom"`,
		"keys:\n  activity: @\n":        "line 2: found character that cannot start any token",
		"theme: [\n":                    "line ",
		"a: &x auto\ntheme: *x\n":       "line 2: theme: *x: want",
		"theme: neon\ncolour: never\nkeys:\n  zoom: zoom\n": "line 4: zoom: there is no key",
		strings.Repeat("# much\n", 200_000):                 "line 1: 1400000 bytes, more than",
	} {
		s, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
			continue
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			if !strings.HasPrefix(line, "line ") {
				t.Errorf("%.60q: %q has no line", text, line)
			}
		}
		if s.Show() != BuiltIn().Show() {
			t.Errorf("%.60q: a part of it counts", text)
		}
	}
	_, err := Parse([]byte("theme: neon\ncolour: never\nkeys:\n  zoom: zoom\n"))
	if n := strings.Count(err.Error(), "\n"); n != 2 {
		t.Errorf("three mistakes are %d: %v", n+1, err)
	}
}

func TestDangerous(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"prod", "prod", true}, {"prod", "prod-eu", false}, {"prod-*", "prod-eu", true}, {"prod-*", "prod-", true}, {"prod-*", "prod", false},
		{"prod-*", "nonprod-eu", false}, {"*prod*", "nonprod-eu", true}, {"*", "x", true}, {"*", "", false}, {"PROD-*", "prod-EU", true},
		{"*/prod-*", "arn:aws:eks:eu:1:cluster/prod-eu", true}, {"prod-*", "arn:aws:eks:eu:1:cluster/prod-eu", false},
		{"a*b*a", "aba", true}, {"a*b*a", "aa", false}, {"a*a", "a", false}, {"a*bc*c", "abc", false}, {"a*bc*c", "abcc", true}, {"[p]rod", "prod", false},
	} {
		p, got := Settings{Danger: []Pattern{{"other", 1}, {c.pattern, 2}}}.Dangerous(c.name)
		if got != c.want || got && p.Line != 2 {
			t.Errorf("%q %q: %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

// What is shown is a file that says the same.
func TestShowIsAFile(t *testing.T) {
	s, err := Parse([]byte("theme: '16'\nmouse: false\ndanger: [prod-*, '*: x', \"a\\\"b\\\\c\"]\nkeys: {zoom: ['\"', '\\', é], copy: [], form-run: f5, page-down: space, pause: P}\n"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse([]byte(s.Show()))
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Show())
	}
	if again.Show() != s.Show() || again.Danger[2].Text != `a"b\c` || again.Mouse {
		t.Errorf("%s\n---\n%s", s.Show(), again.Show())
	}
}

var write = flag.Bool("keys", false, "write the table of keys into docs/configuration.md")

// The table of the documents is the one of the program.
func TestDocumentedKeys(t *testing.T) {
	const file = "../../docs/configuration.md"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	words, old, ok := strings.Cut(string(doc), "\n\n| name | keys |")
	table := "\n\n" + BuiltIn().TableMarkdown()
	switch {
	case !ok:
		t.Errorf("%s has no table of keys", file)
	case *write:
		if err := os.WriteFile(file, []byte(words+table), 0o644); err != nil {
			t.Fatal(err)
		}
	case "\n\n| name | keys |"+old != table:
		t.Errorf("%s does not end with the table of keys as it is: go test ./tui/config -keys writes it", file)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("theme: cvd\nkeys: {zoom: [Z, ctrl+z], down: []}\ndanger: prod-*\n")
	f.Add("keys:\n  ? [a]\n  : b\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse([]byte(text))
		if err != nil {
			return
		}
		if again, err := Parse([]byte(s.Show())); err != nil || again.Show() != s.Show() {
			t.Errorf("%q: what is shown is no such file: %v\n%s", text, err, s.Show())
		}
	})
}
