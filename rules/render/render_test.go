package render

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// Every reason that a room can give has a sentence.
func TestEveryReasonHasWords(t *testing.T) {
	for _, room := range []func() (flow.ReasonKind, flow.ReasonKind){flow.JoinReasons, flow.NetfilterReasons, flow.EnvoyL4Reasons, flow.EnvoyHTTPReasons, flow.ConfirmReasons, flow.EgressReasons} {
		from, to := room()
		for k := from; k < to; k++ {
			if s := Reason(flow.Because(k, "a", "b", "c")); s == "" || strings.HasPrefix(s, "reason ") {
				t.Errorf("reason %d has no sentence", k)
			}
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain -j RETURN":         "plain -j RETURN",
		"\x1b]52;c;aGk=\a":        `\x1b]52;c;aGk=\a`,
		"a\u202eb\u200bc\u2066d":  `a\u202eb\u200bc\u2066d`,
		"\xff\xfe":                `\xff\xfe`,
		"line\nfeed\ttab":         `line\nfeed\ttab`,
		"naïve 漢字 →":              "naïve 漢字 →",
		"\u009b31m":               `\u009b31m`,
		"e\u0301":                 `e\u0301`,
		"\ufeffbom\U000e0041 tag": `\ufeffbom\U000e0041 tag`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %s, want %s", in, got, want)
		}
	}
}
