// Package diff lays two traces beside each other, step by step: what is the same, where they
// part first, and what of the answer is another. It words nothing.
package diff

import (
	"reflect"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Kind is how the two sides of a row stand to each other.
type Kind uint8

const (
	Unlike     Kind = iota // zero: a pair that nobody judged is not alike
	Same                   // the same object, decided alike
	Renumbered             // the same rule under another number of its chain
	OnlyA                  // the second trace has no such step
	OnlyB                  // the first has none
)

// String is the word of the kind.
func (k Kind) String() string {
	names := []string{"differs", "same", "renumbered", "only-a", "only-b"}
	if int(k) < len(names) {
		return names[k]
	}
	return "invalid"
}

// Kinds lists every kind, for tests and legends.
func Kinds() []Kind { return []Kind{Unlike, Same, Renumbered, OnlyA, OnlyB} }

// Side is one trace's step in a row.
type Side struct {
	N    int // its number in the trace, from 1; 0: this side has no such step
	Leg  flow.Leg
	Step flow.Step
}

// Row is a step of both, or of one.
type Row struct {
	A, B    Side
	Kind    Kind
	Aspects []Aspect // in which the step is another; of Unlike alone
}

// Aspect is a part of a step, or of an answer, in which two are compared.
type Aspect uint8

const (
	AspectNone Aspect = iota
	AspectObject
	AspectVerdict
	AspectReason
	AspectFacts
	AspectAssumed
	AspectOrigin
	AspectOutcome
	AspectCaller
	AspectUpstream
	AspectVariants
	AspectIntent
	aspects
)

// String is the aspect in a word.
func (a Aspect) String() string {
	return [aspects]string{"", "object", "verdict", "reason", "facts", "assumed", "origin", "outcome", "caller", "upstream", "variants", "intent"}[a]
}

// Diff is two traces beside each other.
type Diff struct {
	A, B flow.Trace
	Rows []Row
	// First is the first row in which they part: its number in Rows; -1: there is none. That
	// another request begins at another socket is no parting.
	First   int
	Aspects []Aspect // of the answers as wholes
	Request bool     // the requests are not the same
}

// Alike says whether the two are the same in all that is compared.
func (d Diff) Alike() bool { return d.First < 0 && len(d.Aspects) == 0 }

// Unsure says whether one of them holds what is not known, so that even two that are alike may
// differ.
func (d Diff) Unsure() bool {
	unsure := func(t flow.Trace) bool { return t.Verdict == flow.Unknown || len(t.Intent) > 0 || t.Cut }
	return unsure(d.A) || unsure(d.B)
}

// Traces compares two traces along the legs that they hold, and as wholes in all their variants.
func Traces(a, b flow.Trace) Diff {
	d := Diff{A: a, B: b, Request: !sameRequest(a.Request, b.Request)}
	d.Rows = Legs(a.Legs, b.Legs)
	d.First = slices.IndexFunc(d.Rows, func(r Row) bool {
		return r.Kind != Same && r.Kind != Renumbered && !(d.Request && begins(r))
	})
	differs := func(x Aspect, yes bool) {
		if yes {
			d.Aspects = append(d.Aspects, x)
		}
	}
	differs(AspectVerdict, a.Verdict != b.Verdict)
	differs(AspectOutcome, a.Outcome != b.Outcome)
	differs(AspectCaller, a.Caller != b.Caller)
	differs(AspectUpstream, !sameUpstream(a.Upstream, b.Upstream, d.Request))
	differs(AspectVariants, !slices.EqualFunc(a.Variants, b.Variants, sameVariant))
	differs(AspectIntent, !slices.Equal(a.Intent, b.Intent))
	return d
}

// begins says whether a row is where both requests begin, and go on.
func begins(r Row) bool {
	return r.A.N == 1 && r.B.N == 1 && r.A.Step.Stage == flow.Socket && r.B.Step.Stage == flow.Socket && r.A.Step.Verdict == r.B.Step.Verdict
}

// sameRequest compares requests without what is pinned: that is a choice of the one who asks.
func sameRequest(a, b flow.Request) bool {
	a.Pick, b.Pick = nil, nil
	return reflect.DeepEqual(a, b)
}

// sameUpstream compares what the endpoint gets. Of two requests that are not the same it is
// another anyway.
func sameUpstream(a, b *flow.HTTP, another bool) bool {
	return another && (a == nil) == (b == nil) || reflect.DeepEqual(a, b)
}

func sameVariant(a, b flow.Variant) bool {
	return a.Verdict == b.Verdict && a.Outcome == b.Outcome && a.Caller == b.Caller && a.When == b.When && a.Probability == b.Probability &&
		a.Computable == b.Computable && allSame(Legs(a.Legs, b.Legs))
}

func allSame(rows []Row) bool {
	return !slices.ContainsFunc(rows, func(r Row) bool { return r.Kind != Same && r.Kind != Renumbered })
}

// Legs aligns the steps of two paths, connection by connection.
func Legs(a, b []flow.Leg) []Row {
	var rows []Row
	na, nb := 0, 0
	for i := range max(len(a), len(b)) {
		var x, y []Side
		if i < len(a) {
			x, na = sides(a[i], na)
		}
		if i < len(b) {
			y, nb = sides(b[i], nb)
		}
		rows = append(rows, align(x, y)...)
	}
	return rows
}

// sides are the steps of a leg with their numbers, which follow n.
func sides(l flow.Leg, n int) ([]Side, int) {
	var out []Side
	for _, st := range l.Steps {
		n++
		out = append(out, Side{n, l, st})
	}
	return out, n
}

// align pairs the steps of two legs so that as much as possible is paired, in order: the longest
// common subsequence, where the same object counts more than another of its kind.
func align(a, b []Side) []Row {
	best := make([][]int, len(a)+1)
	for i := range best {
		best[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if s := kin(a[i].Step, b[j].Step); s > 0 {
				best[i][j] = max(best[i][j], s+best[i+1][j+1])
			}
		}
	}
	var rows []Row
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		s := kin(a[i].Step, b[j].Step)
		switch {
		case s > 0 && best[i][j] == s+best[i+1][j+1]:
			rows = append(rows, judge(a[i], b[j]))
			i, j = i+1, j+1
		case best[i][j] == best[i+1][j]:
			rows = append(rows, Row{A: a[i], Kind: OnlyA})
			i++
		default:
			rows = append(rows, Row{B: b[j], Kind: OnlyB})
			j++
		}
	}
	for ; i < len(a); i++ {
		rows = append(rows, Row{A: a[i], Kind: OnlyA})
	}
	for ; j < len(b); j++ {
		rows = append(rows, Row{B: b[j], Kind: OnlyB})
	}
	return rows
}

// kin is how much two steps are about the same: 0 not at all. A chain is walked once, but a
// list of filters is many steps, which are the same only by name.
func kin(a, b flow.Step) int {
	switch {
	case a.Stage != b.Stage:
		return 0
	case a.Subject == b.Subject:
		return 3
	case a.Stage == flow.Netfilter:
		if chain(a.Subject) != chain(b.Subject) {
			return 0
		}
		if text := ruleText(a); text != "" && text == ruleText(b) {
			return 3
		}
		return 2
	case a.Stage == flow.HTTPFilter, a.Stage == flow.NetworkFilter, a.Stage == flow.ListenerFilter:
		return 0
	}
	return 2
}

// chain is a rule's subject without its number.
func chain(subject string) string {
	if i := strings.LastIndexByte(subject, ' '); i > 0 {
		return subject[:i]
	}
	return subject
}

// ruleText is a rule as iptables-save writes it, without counters.
func ruleText(st flow.Step) string {
	for _, e := range st.Evidence {
		text := strings.TrimSpace(e.Text)
		if _, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(text, "[") {
			text = rest
		}
		if strings.HasPrefix(text, "-A ") {
			return text
		}
	}
	return ""
}

// judge compares two steps about the same. Counters, and where an object stands in a dump, make
// no other step.
func judge(a, b Side) Row {
	r := Row{A: a, B: b}
	x, y := a.Step, b.Step
	if x.Stage == flow.Netfilter && x.Subject != y.Subject && x.Verdict == y.Verdict && ruleText(x) != "" && ruleText(x) == ruleText(y) {
		r.Kind = Renumbered
		return r
	}
	for _, c := range []struct {
		aspect Aspect
		same   bool
	}{
		{AspectObject, x.Subject == y.Subject && ruleText(x) == ruleText(y) && (x.Stage != flow.Wire || a.Leg.To.Dst == b.Leg.To.Dst)},
		{AspectVerdict, x.Verdict == y.Verdict},
		{AspectReason, x.Reason == y.Reason},
		{AspectFacts, slices.Equal(x.Facts, y.Facts)},
		{AspectAssumed, slices.Equal(x.Assumed, y.Assumed)},
		{AspectOrigin, x.Origin == y.Origin},
	} {
		if !c.same {
			r.Aspects = append(r.Aspects, c.aspect)
		}
	}
	if len(r.Aspects) == 0 {
		r.Kind = Same
	}
	return r
}
