package render

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Verdict is the trace's verdict in one sentence that begins with its word in capitals,
// such as "DELIVERED to 10.107.42.16:80 by cluster outbound|myngxsvc".
func Verdict(t flow.Trace) string {
	s := verdictOf(t)
	if len(t.Intent) > 0 && t.Verdict != flow.Unknown {
		s += "," + byIntent
	}
	return s
}

// byIntent ends a verdict that rests on what was meant to be.
const byIntent = " by intent"

func verdictOf(t flow.Trace) string {
	switch {
	case t.Verdict == flow.Depends:
		return "DEPENDS: " + ways(t)
	case len(t.Variants) == 0:
		return ending(t.Verdict, t.Outcome, t.Caller, t.Legs)
	case t.Verdict == flow.Unknown:
		return "UNKNOWN: " + guesses(t)
	case t.Outcome.Endpoint == "":
		return strings.ToUpper(t.Verdict.String()) + after(" by cluster ", Clean(t.Outcome.Cluster)) + " either way: " + ways(t)
	}
	return ending(t.Verdict, t.Outcome, t.Caller, t.Legs)
}

// guesses are the points that meshtop cannot decide and that lead to different ends.
func guesses(t flow.Trace) string {
	var refs []string
	for _, v := range t.Variants {
		for _, c := range v.Choices {
			if r := Clean(c.Choice.Ref); c.Choice.Kind == flow.Unmodelled && !c.Pinned && !slices.Contains(refs, r) {
				refs = append(refs, r)
			}
		}
	}
	if len(refs) == 0 {
		return ways(t)
	}
	return "it ends differently by what meshtop cannot tell: " + strings.Join(refs, ", ")
}

// VariantVerdict is the same for one variant.
func VariantVerdict(v flow.Variant) string {
	return ending(v.Verdict, v.Outcome, v.Caller, v.Legs)
}

// ways says by what the variants differ.
func ways(t flow.Trace) string {
	var conditions []string
	seen := map[string]bool{}
	for _, v := range t.Variants {
		if w := Clean(v.When); w != "" && !seen[w] {
			seen[w] = true
			conditions = append(conditions, w)
		}
	}
	n := strconv.Itoa(len(t.Variants)) + " ways"
	if t.Cut {
		n = "more than " + n
	}
	if len(conditions) > 0 {
		return n + ", depending on: " + strings.Join(conditions, "; ")
	}
	return n + ", and chance decides"
}

// ending is how one run ends. Where the rules were not read, it holds only if they bring
// the connection to Envoy.
func ending(v flow.Verdict, o flow.Outcome, c flow.Symptom, legs []flow.Leg) string {
	s := end(v, o, c, legs)
	if v != flow.Unknown && taken(legs) {
		s += ", if intercepted"
	}
	return s
}

// taken says whether it was taken for granted, without rules, that Envoy gets it.
func taken(legs []flow.Leg) bool {
	return len(legs) > 0 && len(legs[0].Steps) > 0 && legs[0].Steps[0].Reason.Kind == flow.WhyNoRules
}

func end(v flow.Verdict, o flow.Outcome, c flow.Symptom, legs []flow.Leg) string {
	word := strings.ToUpper(v.String())
	last := lastStep(legs)
	switch v {
	case flow.Delivered:
		return word + delivered(o, c, last)
	case flow.Unknown:
		if len(legs) == 0 {
			return word + ": neither rules nor Envoy's configuration were read"
		}
		for _, l := range legs {
			for _, s := range l.Steps {
				if s.Verdict == flow.Unknown {
					return word + after(": ", Reason(s.Reason))
				}
			}
		}
	}
	if last == nil {
		return word
	}
	return word + after(": ", Reason(last.Reason))
}

// delivered says to what: an endpoint, an answer of the proxy itself, or past the proxy.
func delivered(o flow.Outcome, c flow.Symptom, last *flow.Step) string {
	switch {
	case o.Endpoint != "":
		return " to " + Clean(o.Endpoint) + after(" by cluster ", Clean(o.Cluster))
	case o.Cluster != "":
		return " by cluster " + Clean(o.Cluster)
	case o.Listener != "" && c.Code != 0:
		return ": the proxy itself answers " + strconv.Itoa(c.Code)
	case last == nil:
		return ""
	}
	why := Reason(last.Reason)
	if to, ok := strings.CutPrefix(why, "delivered "); ok {
		return " " + to
	}
	return after(": ", why)
}

func lastStep(legs []flow.Leg) *flow.Step {
	for i := len(legs) - 1; i >= 0; i-- {
		if n := len(legs[i].Steps); n > 0 {
			return &legs[i].Steps[n-1]
		}
	}
	return nil
}

// after is s behind lead, or nothing where s is empty.
func after(lead, s string) string {
	if s == "" {
		return ""
	}
	return lead + s
}

// Symptom is what the caller sees, in words; empty where it is not known.
func Symptom(c flow.Symptom) string {
	var b strings.Builder
	switch {
	case c.Code != 0:
		b.WriteString("status " + strconv.Itoa(c.Code) + after(" to ", Clean(c.Location)))
		if c.TCP != flow.TCPOK && c.TCP != flow.TCPUnknown {
			b.WriteString(", then " + tcpEnd(c.TCP))
		}
	default:
		b.WriteString(tcpEnd(c.TCP))
	}
	if f := Clean(c.Flags); f != "" && b.Len() > 0 {
		b.WriteString(" (Envoy's response flags " + f + ")")
	}
	return b.String()
}

func tcpEnd(e flow.TCPEnd) string {
	switch e {
	case flow.TCPOK:
		return "an open connection"
	case flow.TCPReset:
		return "its connection reset"
	case flow.TCPClosed:
		return "its connection closed without an answer"
	case flow.TCPRefused:
		return "its connection refused"
	case flow.TCPTimeout:
		return "nothing: it times out"
	case flow.TCPResetOrClosed:
		return "its connection reset or closed, as timing decides"
	}
	return ""
}

// StageWord is the stage as people call it.
func StageWord(s flow.Stage) string {
	switch s {
	case flow.Netfilter:
		return "kernel rule"
	case flow.RouteLookup:
		return "kernel route"
	case flow.Handoff:
		return "hand-off"
	case flow.TransportSocket:
		return "transport"
	case flow.RouteConfig:
		return "route table"
	case flow.HTTPFilter:
		return "HTTP filter"
	}
	return strings.ReplaceAll(s.String(), "-", " ")
}

// Mark is what a step does in one word.
func Mark(s flow.Step) string {
	if s.Verdict != flow.Continue {
		return s.Verdict.String()
	}
	for _, a := range s.Assumed {
		if strings.HasPrefix(a.Flag, "--pick") {
			return "depends"
		}
	}
	switch {
	case s.Stage == flow.Handoff && s.Reason.Kind != flow.WhyNoHandoff:
		return "handed over"
	case s.Stage == flow.Netfilter && redirects(s):
		return "redirected"
	}
	return "ok"
}

// redirects says whether the step's rule sends the packet elsewhere.
func redirects(s flow.Step) bool {
	for _, e := range s.Evidence {
		for _, target := range []string{"-j REDIRECT", "-j DNAT", "-j TPROXY", `"redirect"`, `"dnat"`, `"tproxy"`} {
			if strings.Contains(e.Text, target) {
				return true
			}
		}
	}
	return false
}
