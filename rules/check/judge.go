package check

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// Status is how a case came out.
type Status uint8

const (
	Unknown Status = iota // it cannot be told, or chance decides
	Met
	NotMet
)

// String is the word of the status.
func (s Status) String() string {
	switch s {
	case Met:
		return "met"
	case NotMet:
		return "not met"
	}
	return "unknown"
}

// Diff is one thing that is not as it was wanted.
type Diff struct {
	Field     string // such as "outcome.cluster"
	Want, Got []string
}

// Decider is the step that decided it, numbered as the text form numbers steps.
type Decider struct {
	Leg, Number int // from 1; 0: there is no step
	Step        flow.Step
}

// Result is what became of one case.
type Result struct {
	Case    Case
	Status  Status
	Verdict flow.Verdict // of the whole trace
	// Of how many variants that the trace has how many met it.
	Variants, Agree int
	// Of the first variant that did not meet it.
	Diffs   []Diff
	Decider Decider
}

// Judge compares a trace with what was wanted. A case is met when every variant meets it
// and not met when none does.
func Judge(c Case, t flow.Trace) Result {
	r := Result{Case: c, Verdict: t.Verdict}
	any := slices.Contains(c.Want.Verdict, t.Verdict.String())
	vs := t.Variants
	if len(vs) == 0 {
		vs = []flow.Variant{{Legs: t.Legs, Verdict: t.Verdict, Outcome: t.Outcome, Caller: t.Caller, Upstream: t.Upstream}}
	}
	against := 0
	for _, v := range vs {
		j := judgement{want: c.Want, v: v, verdictOK: any}
		j.run()
		switch {
		case len(j.diffs) > 0:
			against++
			if r.Diffs == nil {
				r.Diffs, r.Decider = j.diffs, decider(v.Legs, j.diffs[0].Field)
			}
		case !j.open:
			r.Agree++
		}
	}
	r.Variants = len(vs)
	switch {
	case t.Cut: // ways that were not followed may end elsewhere
	case len(t.Intent) > 0: // what was meant to be is not known to be
	case r.Agree == len(vs):
		r.Status = Met
	case against == len(vs):
		r.Status = NotMet
	}
	if r.Status == Unknown && r.Diffs == nil {
		r.Decider = decider(vs[0].Legs, "")
	}
	return r
}

// judgement is one variant against what is wanted.
type judgement struct {
	want      Want
	v         flow.Variant
	verdictOK bool // the verdict of the whole trace is one of those wanted
	diffs     []Diff
	open      bool // something wanted is not known
}

func (j *judgement) run() {
	unknown := j.v.Verdict == flow.Unknown
	if j.want.Verdict != nil && !j.verdictOK {
		j.one("verdict", j.want.Verdict, j.v.Verdict.String(), unknown)
	}
	if j.want.To != nil {
		j.one("to", j.want.To, firstTo(j.v.Legs), len(j.v.Legs) == 0 || kernelUnknown(j.v.Legs[0]))
	}
	j.netfilter()
	for _, name := range OutcomeFields() {
		if want, ok := j.want.Outcome[name]; ok {
			got := OutcomeField(j.v.Outcome, name)
			j.one("outcome."+name, want, got, unknown && (got == "" || name == "routeIndex" && got == "-1"))
		}
	}
	for _, name := range CallerFields() {
		if want, ok := j.want.Caller[name]; ok {
			j.one("caller."+name, want, callerField(j.v.Caller, name), unknown)
		}
	}
	j.answer()
	j.upstream()
}

// one compares a field; unknown says that its value is not known where it differs.
func (j *judgement) one(field string, want []string, got string, unknown bool) {
	switch {
	case slices.Contains(want, got):
	case unknown:
		j.open = true
	default:
		j.diffs = append(j.diffs, Diff{Field: field, Want: want, Got: []string{got}})
	}
}

func (j *judgement) netfilter() {
	if j.want.Netfilter == nil {
		return
	}
	var got []string
	unknown := len(j.v.Legs) == 0
	if !unknown {
		got, unknown = RulesHit(j.v.Legs[0]), kernelUnknown(j.v.Legs[0])
	}
	if slices.Equal(got, j.want.Netfilter) && !unknown {
		return
	}
	if unknown && len(got) <= len(j.want.Netfilter) && slices.Equal(got, j.want.Netfilter[:len(got)]) {
		j.open = true
		return
	}
	j.diffs = append(j.diffs, Diff{Field: "netfilter", Want: j.want.Netfilter, Got: got})
}

// RulesHit are the rules that a leg hit in order, without policies.
func RulesHit(l flow.Leg) []string {
	out := []string{}
	for _, s := range l.Steps {
		if s.Stage == flow.Netfilter && s.Verdict != flow.Unknown && !strings.HasSuffix(s.Subject, " policy") {
			out = append(out, s.Subject)
		}
	}
	return out
}

// kernelUnknown says whether the kernel's part of a leg ends in something unknown.
func kernelUnknown(l flow.Leg) bool {
	for _, s := range l.Steps {
		if s.Verdict == flow.Unknown && (s.Stage == flow.Netfilter || s.Stage == flow.RouteLookup || s.Stage == flow.Socket) {
			return true
		}
	}
	return false
}

func firstTo(legs []flow.Leg) string {
	if len(legs) == 0 {
		return ""
	}
	return request.AddrPort(legs[0].To.Dst)
}

// OutcomeField is a field of an outcome by its JSON name.
func OutcomeField(o flow.Outcome, name string) string {
	switch name {
	case "listener":
		return o.Listener
	case "filterChain":
		return o.FilterChain
	case "routeConfig":
		return o.RouteConfig
	case "virtualHost":
		return o.VirtualHost
	case "route":
		return o.Route
	case "routeIndex":
		return strconv.Itoa(o.RouteIndex)
	case "cluster":
		return o.Cluster
	case "endpoint":
		return o.Endpoint
	}
	return ""
}

func callerField(s flow.Symptom, name string) string {
	switch name {
	case "code":
		return strconv.Itoa(s.Code)
	case "flags":
		return s.Flags
	case "location":
		return s.Location
	case "details":
		return s.Details
	}
	return s.TCP.String()
}

// stagesOf are the stages whose step decides a field, the one that says most first.
func stagesOf(field string) []flow.Stage {
	switch field {
	case "outcome.listener":
		return []flow.Stage{flow.Handoff, flow.Listener}
	case "outcome.filterChain":
		return []flow.Stage{flow.FilterChain}
	case "outcome.routeConfig":
		return []flow.Stage{flow.RouteConfig}
	case "outcome.virtualHost":
		return []flow.Stage{flow.VirtualHost}
	case "outcome.route", "outcome.routeIndex":
		return []flow.Stage{flow.Route}
	case "outcome.cluster":
		return []flow.Stage{flow.Route, flow.NetworkFilter, flow.Cluster}
	case "outcome.endpoint":
		return []flow.Stage{flow.Endpoint}
	case "netfilter", "to":
		return []flow.Stage{flow.Netfilter}
	case "caller.location":
		return []flow.Stage{flow.Route}
	}
	if strings.HasPrefix(field, "upstream.") || strings.HasPrefix(field, "caller.headers.") {
		return []flow.Stage{flow.Route}
	}
	return nil
}

// decider is the last step on the first pass of the first stage that decides field and was
// met, else the first step that does not go on, else the last one.
func decider(legs []flow.Leg, field string) Decider {
	var stop, last Decider
	stages, n := stagesOf(field), 0
	byStage := make([]Decider, len(stages))
	for i, l := range legs {
		for _, s := range l.Steps {
			n++
			last = Decider{Leg: i + 1, Number: n, Step: s}
			if k := slices.Index(stages, s.Stage); i == 0 && k >= 0 {
				byStage[k] = last
			}
			if stop.Number == 0 && s.Verdict != flow.Continue {
				stop = last
			}
		}
	}
	for _, d := range append(byStage, stop) {
		if d.Number > 0 {
			return d
		}
	}
	return last
}
