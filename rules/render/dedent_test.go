package render

import (
	"strings"
	"testing"
)

func TestDedent(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"one line", "-A OUTPUT -j RETURN", "-A OUTPUT -j RETURN"},
		{"whole", "{\n     \"a\": {\n      \"b\": 1\n     }\n    }", "{\n \"a\": {\n  \"b\": 1\n }\n}"},
		{"cut off between lines", "{\n     \"a\": {\n      \"b\": 1\n…", "{\n \"a\": {\n  \"b\": 1\n…"},
		{"cut off within an indent", "{\n     \"a\": {\n      \"b\": 1,\n      …", "{\n \"a\": {\n  \"b\": 1,\n  …"},
		{"empty line within", "{\n    \"a\": 1\n\n   }", "{\n \"a\": 1\n\n}"},
	} {
		if got := strings.Join(Dedent(strings.Split(c.text, "\n")), "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
