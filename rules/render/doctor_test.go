package render

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/doctor"
	"github.com/meshtop/meshtop/rules/flow"
)

// Every kind of finding has a word, a sentence and a next action, with and without facts.
func TestEveryFindingHasWords(t *testing.T) {
	for _, k := range doctor.Kinds() {
		for _, args := range [][3]string{{"a", "b", "c"}, {}} {
			what, next := Finding(doctor.Finding{Kind: k, Args: args})
			if what == "" || next == "" {
				t.Errorf("%v %q: %q, %q", k, args, what, next)
			}
		}
		if k.String() == "" || k.String() == "invalid" {
			t.Errorf("kind %d has no word", k)
		}
	}
	for s := doctor.Unknown; s <= doctor.Problem; s++ {
		if s.String() == "invalid" {
			t.Errorf("severity %d has no word", s)
		}
	}
}

// What a pod wrote into its rules reaches neither a terminal nor a JSON reader raw.
func TestDoctorIsClean(t *testing.T) {
	evil := "x\x1b]52;c;aGk=\a\u202e"
	fs := []doctor.Finding{{Kind: doctor.Shadowed, Severity: doctor.Warning, Args: [3]string{evil, evil, evil}, Evidence: []flow.Evidence{{Source: evil, Ref: evil, Text: strings.Repeat(evil, 50)}}}}
	text := DoctorText(fs)
	raw, err := DoctorJSON(fs)
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]string{"text": text, "json": string(raw)} {
		if strings.ContainsAny(s, "\x1b\a\u202e") {
			t.Errorf("%s holds what a terminal would act on: %q", what, s)
		}
	}
	var form struct {
		Schema   string
		Findings []struct {
			Kind, Severity, What, Next string
			Facts                      []string
			Evidence                   []struct{ Source, Ref, Text string }
		}
	}
	if err := json.Unmarshal(raw, &form); err != nil || form.Schema != DoctorSchema || len(form.Findings) != 1 || len(form.Findings[0].Facts) != 3 || form.Findings[0].Kind != "shadowed-rule" {
		t.Errorf("%v: %s", err, raw)
	}
}
