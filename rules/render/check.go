package render

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/check"
	"github.com/meshtop/meshtop/rules/flow"
)

// CheckSchema names the meaning of the JSON form of a check's report.
const CheckSchema = "meshtop.check/v1"

// Check is the report for people: a line for each case that was not met or cannot be
// told, the counts, and what no case came by.
func Check(r check.Report) string {
	w := &writer{}
	for _, c := range r.Results {
		if c.Status == check.Met {
			continue
		}
		fmt.Fprintf(&w.b, "%-8s %s\n", c.Status, Clean(c.Case.Name)+caseWhy(c)) // one line a case, for grep
	}
	w.b.WriteString(CheckCounts(r) + "\n")
	if len(r.Coverage) > 0 {
		w.coverage(r)
	}
	return w.b.String()
}

// CheckCounts is the line that counts.
func CheckCounts(r check.Report) string {
	return fmt.Sprintf("%d met, %d not met, %d unknown", r.Count(check.Met), r.Count(check.NotMet), r.Count(check.Unknown))
}

// caseWhy is what was wanted, what came, and the step that decided.
func caseWhy(c check.Result) string {
	var b strings.Builder
	for i, d := range c.Diffs {
		b.WriteString([]string{": ", ", "}[min(i, 1)] + "want " + d.Field + " " + wanted(d) + ", got " + listed(d.Got))
	}
	if c.Variants > 1 && c.Agree < c.Variants && c.Status == check.Unknown {
		fmt.Fprintf(&b, "; met in %d of %d ways (pin one with pick)", c.Agree, c.Variants)
	}
	if d := c.Decider; d.Number > 0 {
		fmt.Fprintf(&b, "; step %d %s", d.Number, StageWord(d.Step.Stage)+after(" ", Clean(d.Step.Subject))+after(": ", Reason(d.Step.Reason)))
		b.WriteString(nearest(d.Step))
	}
	return b.String()
}

// nearest is the last loser that failed only one test: most often what was meant to win.
func nearest(s flow.Step) string {
	if s.Explain == nil {
		return ""
	}
	for i := len(s.Passed) - 1; i >= 0; i-- {
		if s.Passed[i].Near {
			e := s.Explain.Explain(s.Passed[i])
			return "; nearly " + Loser(e)
		}
	}
	return ""
}

// wanted is a list of which one will do, but for rules, which are all wanted.
func wanted(d check.Diff) string {
	if d.Field == "netfilter" || len(d.Want) < 2 {
		return listed(d.Want)
	}
	return "one of " + listed(d.Want)
}

func listed(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = or(Clean(v), `""`)
	}
	return strings.Join(out, ", ")
}

// missedShown is how many objects of a kind text names that no case covers.
const missedShown = 10

// NothingToCover is said where a snapshot holds no object that a case could cover.
const NothingToCover = "nothing to cover: no listener, filter chain, virtual host or route was read"

func (w *writer) coverage(r check.Report) {
	for _, c := range r.Coverage {
		fmt.Fprintf(&w.b, "coverage %-13s %d of %d\n", StageWord(c.Kind)+"s", c.Hit, c.Total)
		for i, o := range c.Missed {
			if i == missedShown {
				w.para("  not ", fmt.Sprintf("%d more (-o json names them)", len(c.Missed)-i))
				break
			}
			w.para("  not ", objectName(o))
		}
	}
	if percent, ok := r.Covered(); ok {
		fmt.Fprintf(&w.b, "coverage %.1f%%, by the cases that are met\n", percent)
	} else {
		w.b.WriteString("coverage: " + NothingToCover + "\n")
	}
}

// objectName names an object for people: one without a name by its number among its like,
// which its place in the dump ends in.
func objectName(o check.Object) string {
	name := Clean(o.Name)
	if name == "" {
		name = "#" + Clean(o.Ref[strings.LastIndexByte(o.Ref, '/')+1:])
	}
	return name + after(" in ", Clean(o.Parent))
}

type checkForm struct {
	Schema   string         `json:"schema"`
	Met      int            `json:"met"`
	NotMet   int            `json:"notMet"`
	Unknown  int            `json:"unknown"`
	Cases    []caseForm     `json:"cases"`
	Coverage []coverageForm `json:"coverage"`
	Covered  *float64       `json:"covered"` // null: there is nothing to cover
}

type caseForm struct {
	Name     string     `json:"name"`
	Line     int        `json:"line"`
	Status   string     `json:"status"`
	Verdict  string     `json:"verdict"`
	Variants int        `json:"variants"`
	Agree    int        `json:"agree"`
	Diffs    []diffForm `json:"diffs"`
	Step     *atForm    `json:"step"`
}

type diffForm struct {
	Field string   `json:"field"`
	Want  []string `json:"want"`
	Got   []string `json:"got"`
}

type atForm struct {
	Leg     int    `json:"leg"`
	Number  int    `json:"number"`
	Stage   string `json:"stage"`
	Subject string `json:"subject"`
	Why     string `json:"why"`
}

type coverageForm struct {
	Kind   string       `json:"kind"`
	Total  int          `json:"total"`
	Hit    int          `json:"hit"`
	Missed []objectForm `json:"missed"`
}

type objectForm struct {
	Parent string `json:"parent"`
	Name   string `json:"name"`
	Ref    string `json:"ref"`
}

// CheckJSON is the report for programs, with every case.
func CheckJSON(r check.Report) []byte {
	f := checkForm{Schema: CheckSchema, Met: r.Count(check.Met), NotMet: r.Count(check.NotMet), Unknown: r.Count(check.Unknown),
		Cases: []caseForm{}, Coverage: []coverageForm{}}
	if percent, ok := r.Covered(); ok {
		f.Covered = &percent
	}
	for _, c := range r.Results {
		one := caseForm{Name: c.Case.Name, Line: c.Case.Line, Status: c.Status.String(), Verdict: c.Verdict.String(),
			Variants: c.Variants, Agree: c.Agree, Diffs: []diffForm{}}
		for _, d := range c.Diffs {
			one.Diffs = append(one.Diffs, diffForm(d))
		}
		if d := c.Decider; d.Number > 0 && c.Status != check.Met {
			one.Step = &atForm{Leg: d.Leg, Number: d.Number, Stage: d.Step.Stage.String(), Subject: d.Step.Subject, Why: Reason(d.Step.Reason)}
		}
		f.Cases = append(f.Cases, one)
	}
	for _, c := range r.Coverage {
		one := coverageForm{Kind: c.Kind.String(), Total: c.Total, Hit: c.Hit, Missed: []objectForm{}}
		for _, o := range c.Missed {
			one.Missed = append(one.Missed, objectForm{Parent: o.Parent, Name: o.Name, Ref: o.Ref})
		}
		f.Coverage = append(f.Coverage, one)
	}
	return encode(f)
}

type junitSuites struct {
	XMLName xml.Name   `xml:"testsuites"`
	Suite   junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Cases    []junitCase `xml:"testcase"`
	Out      string      `xml:"system-out"`
}

type junitCase struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	Line    string    `xml:"line,attr"`
	Failure *junitWhy `xml:"failure"`
	Error   *junitWhy `xml:"error"`
}

type junitWhy struct {
	Message string `xml:"message,attr"`
}

// CheckJUnit is the report in the XML that build servers read: a case that is not met is
// a failure, one that cannot be told an error. suite names the file of the cases.
func CheckJUnit(r check.Report, suite string) []byte {
	s := junitSuite{Name: Clean(suite), Tests: len(r.Results), Failures: r.Count(check.NotMet), Errors: r.Count(check.Unknown)}
	for _, c := range r.Results {
		one := junitCase{Class: "meshtop.check", Name: Clean(c.Case.Name), Line: strconv.Itoa(c.Case.Line)}
		why := &junitWhy{Message: strings.TrimLeft(caseWhy(c), ":; ")}
		switch c.Status {
		case check.NotMet:
			one.Failure = why
		case check.Unknown:
			one.Error = why
		}
		s.Cases = append(s.Cases, one)
	}
	w := &writer{}
	w.coverage(r)
	s.Out = w.b.String()
	out, err := xml.MarshalIndent(junitSuites{Suite: s}, "", "  ")
	if err != nil {
		// Only a type that XML has no form for can fail, and these have one.
		return []byte(xml.Header + "<testsuites/>\n")
	}
	return append([]byte(xml.Header), append(out, '\n')...)
}
