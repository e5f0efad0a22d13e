package rules

import (
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

const (
	maxVariants = 64 // runs of one trace; beyond them Trace.Cut is set
	maxLegs     = 8  // connections of one run: a hairpin has three
)

// Trace follows one request through the pod: the kernel's rules, Envoy, and Envoy's own
// connection, until it is delivered, refused or lost. It runs once for every way in which
// chance, a state that no snapshot holds, or something that is not modelled can go. The
// same snapshot and request give the same trace.
func Trace(s *Snapshot, req flow.Request) flow.Trace {
	t := flow.Trace{Request: req, Gaps: s.Gaps, Intent: s.Meta.Intent, Unmodelled: s.Envoy.Unmodelled()}
	var variants []flow.Variant
	t.Cut = !runs(s, req, func(r *run) { variants = append(variants, r.variant()) }, func() { variants = nil })
	return Label(join(t, variants), s.Names)
}

// runs makes the runs of a trace, and says whether these are all. Where they are too many
// host by host it begins anew by groups of hosts that fare alike.
func runs(s *Snapshot, req flow.Request, do func(*run), anew func()) bool {
	known := alikes{}
	for _, group := range []bool{false, true} {
		n := 0
		ch := &flow.Choices{Pick: req.Pick}
		for ; ch != nil && n < maxVariants; ch = ch.Next() {
			r := run{s: s, req: req, ch: ch, group: group, alikes: known}
			r.first()
			do(&r)
			n++
		}
		if ch == nil {
			return true
		}
		if !group {
			anew()
		}
	}
	return false
}

// join makes the trace's answer of its variants: what all share.
func join(t flow.Trace, variants []flow.Variant) flow.Trace {
	first := variants[0]
	t.Legs, t.Verdict, t.Outcome, t.Caller, t.Needs = first.Legs, first.Verdict, first.Outcome, first.Caller, first.Needs
	merged := merge(variants)
	t.Upstream = merged[0].Upstream
	for _, v := range merged[1:] {
		t.Upstream = sharedUpstream(t.Upstream, v.Upstream)
		t.Outcome = sharedOutcome(t.Outcome, v.Outcome)
		t.Caller = sharedCaller(t.Caller, v.Caller)
		t.Needs = addNeeds(t.Needs, v.Needs)
	}
	t.Verdict = verdict(variants)
	if t.Cut && t.Verdict != flow.Unknown {
		// Ways that were not followed may end elsewhere.
		t.Verdict = flow.Unknown
	}
	if len(merged) > 1 {
		t.Variants = merged
	}
	return t
}

// verdict is the verdict that all variants share. Where they differ it is Depends if
// chance or a condition decides, and Unknown if something not modelled alone does.
func verdict(variants []flow.Variant) flow.Verdict {
	same := true
	for _, v := range variants[1:] {
		same = same && v.Verdict == variants[0].Verdict
	}
	if same {
		return variants[0].Verdict
	}
	decided := map[string]flow.Verdict{} // by the choices that are no guess
	for _, v := range variants {
		if v.Verdict == flow.Unknown {
			return flow.Unknown
		}
		key := ""
		for _, c := range v.Choices {
			if c.Choice.Kind != flow.Unmodelled {
				key += c.Choice.Ref + "=" + c.Option().Value + "\x00"
			}
		}
		if before, ok := decided[key]; ok && before != v.Verdict {
			return flow.Unknown
		}
		decided[key] = v.Verdict
	}
	return flow.Depends
}

// merge joins variants that end alike: their probabilities add up, and a condition that
// changes nothing is not told.
func merge(variants []flow.Variant) []flow.Variant {
	var out []flow.Variant
next:
	for _, v := range variants {
		for i := range out {
			o := &out[i]
			if o.Verdict != v.Verdict || o.Outcome != v.Outcome || o.Caller != v.Caller {
				continue
			}
			if o.When != v.When {
				o.When = ""
			}
			o.Probability, o.Computable = o.Probability+v.Probability, o.Computable && v.Computable
			o.Needs = addNeeds(o.Needs, v.Needs)
			o.Upstream = sharedUpstream(o.Upstream, v.Upstream)
			continue next
		}
		out = append(out, v)
	}
	for i := range out {
		if !out[i].Computable {
			out[i].Probability = 0
		}
	}
	return out
}

func sharedOutcome(a, b flow.Outcome) flow.Outcome {
	for _, f := range []struct{ a, b *string }{
		{&a.Listener, &b.Listener}, {&a.FilterChain, &b.FilterChain}, {&a.RouteConfig, &b.RouteConfig},
		{&a.VirtualHost, &b.VirtualHost}, {&a.Route, &b.Route}, {&a.Cluster, &b.Cluster}, {&a.Endpoint, &b.Endpoint},
	} {
		if *f.a != *f.b {
			*f.a = ""
		}
	}
	if a.RouteIndex != b.RouteIndex {
		a.RouteIndex = -1
	}
	return a
}

// sharedUpstream is the request if both are the same, else nil.
func sharedUpstream(a, b *flow.HTTP) *flow.HTTP {
	switch {
	case a == b:
		return a
	case a == nil || b == nil || a.Method != b.Method || a.Authority != b.Authority || a.Path != b.Path || a.Version != b.Version || a.NoHost != b.NoHost:
		return nil
	case !slices.Equal(a.Headers, b.Headers) || !slices.Equal(a.Unsure, b.Unsure):
		return nil
	}
	return a
}

func sharedCaller(a, b flow.Symptom) flow.Symptom {
	if a.Code != b.Code {
		a.Code = 0
	}
	if a.Flags != b.Flags {
		a.Flags = ""
	}
	if a.TCP != b.TCP {
		a.TCP = flow.TCPUnknown
	}
	if a.Location != b.Location {
		a.Location = ""
	}
	if a.Details != b.Details {
		a.Details = ""
	}
	return a
}

func addNeeds(have, more []flow.Need) []flow.Need {
next:
	for _, n := range more {
		for _, h := range have {
			if h == n {
				continue next
			}
		}
		have = append(have[:len(have):len(have)], n)
	}
	return have
}
