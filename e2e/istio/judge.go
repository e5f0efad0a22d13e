package istio

import (
	"fmt"
	"strings"

	oracle "github.com/meshtop/meshtop/e2e/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// Word is how one hop of a request ended.
type Word uint8

const (
	Wrong Word = iota
	Right
	Unknown
)

// judge compares a trace with what the Envoy of that hop logged: one of the variants must
// be it. One that is unknown for no good reason is wrong.
func judge(t *flow.Trace, l *Log) (Word, string) {
	variants := t.Variants
	if len(variants) == 0 {
		variants = []flow.Variant{{Verdict: t.Verdict, Outcome: t.Outcome, Caller: t.Caller, Legs: t.Legs}}
	}
	best, unknown, right, fair := "", "", false, false
	for i := range variants {
		v := &variants[i]
		d := differs(v, l)
		switch {
		case d == "" && v.Verdict == flow.Unknown:
			unknown, fair = lastStep(v.Legs), oracle.FairUnknown(lastReason(v.Legs).Kind)
		case d == "":
			right = true
		case best == "" || len(d) < len(best):
			best = d
		}
	}
	switch {
	case right && t.Verdict != flow.Unknown:
		return Right, ""
	case unknown != "" && fair:
		return Unknown, unknown
	case unknown != "":
		return Wrong, "unknown without need: " + unknown
	case right:
		return Wrong, "a choice that is not modelled decides"
	}
	return Wrong, best
}

// differs names the fields in which a variant is not what was logged.
func differs(v *flow.Variant, l *Log) string {
	var out []string
	field := func(name, logged, said string) {
		if logged != said && (v.Verdict != flow.Unknown || said != "") {
			out = append(out, fmt.Sprintf("%s: envoy %q, meshtop %q", name, logged, said))
		}
	}
	field("listener", l.Listener, v.Outcome.Listener)
	field("chain", l.Chain, v.Outcome.FilterChain)
	field("route", l.Route, v.Outcome.Route)
	field("cluster", l.Cluster, v.Outcome.Cluster)
	field("endpoint", l.Host, v.Outcome.Endpoint)
	if v.Verdict != flow.Unknown && !byUpstream(l) {
		field("code", fmt.Sprint(l.Code), fmt.Sprint(v.Caller.Code))
		field("flags", strings.TrimPrefix(l.Flags, "-"), v.Caller.Flags)
	}
	return strings.Join(out, "; ")
}

// byUpstream: the end came from behind Envoy or from the client, which no configuration
// decides.
func byUpstream(l *Log) bool {
	if l.Details == "via_upstream" || l.Details == "" && l.Code == 0 && l.Flags == "-" {
		return true
	}
	for _, f := range strings.Split(l.Flags, ",") {
		switch f {
		case "UF", "URX", "UC", "UR", "UT", "DC":
			return true
		}
	}
	return false
}

// lastReason is why the last step of all ended as it did.
func lastReason(legs []flow.Leg) flow.Reason {
	for i := len(legs) - 1; i >= 0; i-- {
		if n := len(legs[i].Steps); n > 0 {
			return legs[i].Steps[n-1].Reason
		}
	}
	return flow.Reason{}
}

func lastStep(legs []flow.Leg) string {
	for i := len(legs) - 1; i >= 0; i-- {
		if n := len(legs[i].Steps); n > 0 {
			s := legs[i].Steps[n-1]
			return fmt.Sprintf("%v %q: reason %d %q", s.Stage, s.Subject, s.Reason.Kind, s.Reason.Args)
		}
	}
	return "no step"
}
