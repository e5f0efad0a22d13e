package render

import (
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/check"
	"github.com/meshtop/meshtop/rules/flow"
)

func report() check.Report {
	step := check.Decider{Leg: 1, Number: 7, Step: flow.Step{Stage: flow.Route, Subject: "r" + hostile, Reason: flow.Because(flow.WhyToWire, hostile, "x")}}
	return check.Report{
		Results: []check.Result{
			{Case: check.Case{Name: "good"}, Status: check.Met, Variants: 1, Agree: 1, Decider: step},
			{Case: check.Case{Name: "bad" + hostile, Line: 3}, Status: check.NotMet, Verdict: flow.Delivered, Variants: 1, Decider: step,
				Diffs: []check.Diff{{Field: "outcome.cluster", Want: []string{"v1", "v2"}, Got: []string{hostile}}, {Field: "netfilter", Want: []string{"a", "b"}}}},
			{Case: check.Case{Name: "open"}, Variants: 2, Agree: 1},
		},
		Coverage: []check.Coverage{{Kind: flow.Listener, Total: 12, Hit: 1, Missed: make([]check.Object, 11)}, {Kind: flow.Route, Total: 1, Missed: []check.Object{{Parent: "vh", Name: hostile, Ref: "/a/0"}}}},
	}
}

func TestCheckText(t *testing.T) {
	out := Check(report())
	noneHidden(t, []byte(out))
	for _, want := range []string{"not met  bad", "want outcome.cluster one of v1, v2", "want netfilter a, b, got none", "step 7 route", "unknown  open; met in 1 of 2",
		"1 met, 1 not met, 1 unknown\n", "coverage listeners     1 of 12", "1 more (-o json", "in vh coverage", "coverage 7.7%"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "good") {
		t.Error("a case that was met needs no line")
	}
}

func TestCheckForms(t *testing.T) {
	out := CheckJSON(report())
	noneHidden(t, out)
	var f checkForm
	if err := json.Unmarshal(out, &f); err != nil || f.Met != 1 || f.NotMet != 1 || f.Unknown != 1 || len(f.Cases) != 3 || f.Cases[0].Step != nil || f.Cases[1].Step.Number != 7 || len(f.Coverage[0].Missed) != 11 {
		t.Errorf("%v, %+v", err, f)
	}
	out = CheckJUnit(report(), hostile)
	noneHidden(t, out)
	var x junitSuites
	if err := xml.Unmarshal(out, &x); err != nil || x.Suite.Tests != 3 || x.Suite.Failures != 1 || x.Suite.Errors != 1 || x.Suite.Cases[1].Failure == nil || x.Suite.Cases[2].Error == nil || x.Suite.Cases[0].Failure != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
