package render

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/diff"
	"github.com/meshtop/meshtop/rules/flow"
)

// Every kind of a row has a word of its own that fits its column.
func TestDiffKinds(t *testing.T) {
	var seen []string
	for _, k := range diff.Kinds() {
		word := DiffKind(k)
		if word == "" || len(word) > 8 || slices.Contains(seen, word) || k.String() == "invalid" {
			t.Errorf("%s: %q", k, word)
		}
		seen = append(seen, word)
	}
}

// Whatever two traces hold, it is lines of at most TextWidth columns without control characters,
// and where they differ is said.
func TestDiffIsCleanAndSaid(t *testing.T) {
	evil := "a\x1b[2J\nb\u202e" + strings.Repeat("界", 200)
	leg := func(subject string, v flow.Verdict) []flow.Leg {
		return []flow.Leg{{Steps: []flow.Step{{Stage: flow.Cluster, Subject: subject, Verdict: v, Origin: subject, Reason: flow.Because(flow.WhyDomainsAre, subject)}}}}
	}
	base := flow.Trace{Verdict: flow.Delivered, Legs: leg("c", flow.Continue)}
	for _, b := range []flow.Trace{
		{Verdict: flow.Refused, Legs: leg(evil, flow.Refused), Outcome: flow.Outcome{Cluster: evil}, Caller: flow.Symptom{Code: 503, Details: evil}, Intent: []string{evil}},
		{Verdict: flow.Delivered}, {Verdict: flow.Delivered, Legs: append(leg("c", flow.Continue), leg(evil, flow.Continue)...)},
		{Verdict: flow.Depends, Legs: base.Legs, Variants: []flow.Variant{{Verdict: flow.Refused, Computable: true, Probability: 0.5}, {Verdict: flow.Delivered}}},
	} {
		for _, d := range []diff.Diff{diff.Traces(base, b), diff.Traces(b, base)} {
			if d.Alike() {
				t.Errorf("alike: %+v", d)
			}
			text := DiffText(d, DiffNames{A: evil, B: "b"})
			for _, l := range strings.Split(text, "\n") {
				if width(l) > TextWidth || l != Clean(l) {
					t.Errorf("%d columns: %q", width(l), l)
				}
			}
			if (d.First >= 0) != strings.Contains(text, "\nFIRST ") || strings.Contains(text, "nothing: every step") {
				t.Errorf("first %d:\n%s", d.First, text)
			}
			if raw := DiffJSON(d, DiffNames{A: evil}); !json.Valid(raw) || strings.ContainsAny(string(raw), "\x1b\u202e") {
				t.Errorf("JSON: %q", raw)
			}
		}
	}
}
