package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/doctor"
)

// DoctorSchema names the meaning of the JSON form of an examination.
const DoctorSchema = "meshtop.doctor/v1"

type doctorForm struct {
	Schema   string        `json:"schema"`
	Findings []findingForm `json:"findings"`
}

type findingForm struct {
	Kind     string         `json:"kind"`
	Severity string         `json:"severity"`
	What     string         `json:"what"`
	Next     string         `json:"next"`
	Facts    []string       `json:"facts"`
	Evidence []evidenceForm `json:"evidence"`
}

// Finding is what was found and the next action, as sentences without a full stop.
func Finding(f doctor.Finding) (what, next string) {
	return doctorWords(f.Kind, [3]string{Clean(f.Args[0]), Clean(f.Args[1]), Clean(f.Args[2])})
}

// DoctorJSON is the JSON form of an examination.
func DoctorJSON(fs []doctor.Finding) ([]byte, error) {
	form := doctorForm{Schema: DoctorSchema, Findings: []findingForm{}}
	for _, f := range fs {
		what, next := Finding(f)
		one := findingForm{Kind: f.Kind.String(), Severity: f.Severity.String(), What: what, Next: next, Facts: []string{}, Evidence: []evidenceForm{}}
		for _, a := range f.Args {
			if a != "" {
				one.Facts = append(one.Facts, Clean(a))
			}
		}
		for _, e := range f.Evidence {
			one.Evidence = append(one.Evidence, evidenceForm{Source: Clean(e.Source), Ref: Clean(e.Ref), Text: Clean(e.Text)})
		}
		form.Findings = append(form.Findings, one)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(form)
	return b.Bytes(), err
}

// DoctorText is an examination as text: each finding with the rules that say so and what
// to do next.
func DoctorText(fs []doctor.Finding) string {
	if len(fs) == 0 {
		return "nothing found: both directions are redirected, and nothing goes past the proxy\n"
	}
	var b strings.Builder
	for _, f := range fs {
		what, next := Finding(f)
		fmt.Fprintf(&b, "%-8s %s\n", f.Severity, what)
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "         | %s: %s\n", Clean(e.Ref), shorten(Clean(e.Text), 160))
		}
		if next != "" {
			fmt.Fprintf(&b, "         > %s\n", next)
		}
	}
	return b.String()
}

// shorten cuts s to n bytes at a rune's end.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "..."
}
