package render

import (
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/diff"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// DiffSchema names the meaning of the JSON form of two traces beside each other.
const DiffSchema = "meshtop.diff/v1"

// DiffNames are what the two sides are of, such as targets.
type DiffNames struct{ A, B string }

// DiffKind is how the sides of a row stand to each other, in a word of at most 8 columns.
func DiffKind(k diff.Kind) string {
	switch k {
	case diff.Same:
		return "same"
	case diff.Renumbered:
		return "moved"
	case diff.OnlyA:
		return "only A"
	case diff.OnlyB:
		return "only B"
	}
	return "DIFFERS"
}

// DiffSide is a step of one side: its number, name and what it came to; empty where the side has
// none.
func DiffSide(s diff.Side) string {
	if s.N == 0 {
		return ""
	}
	return fmt.Sprintf("%2d %s %s", s.N, fitted(StepName(s.Leg, s.Step), 12), StepBrief(s.Leg, s.Step))
}

// fitted is s in at least n columns.
func fitted(s string, n int) string { return s + strings.Repeat(" ", max(n-width(s), 0)) }

// DiffFirst says where two traces part, in a sentence; where they do not, what is other in their
// answers, or that nothing is.
func DiffFirst(d diff.Diff) string {
	if d.First < 0 {
		if d.Alike() {
			return "nothing: every step is decided alike, and so is the answer" + unsure(d)
		}
		return "not in a step: " + strings.Join(DiffAnswers(d), "; ")
	}
	r := d.Rows[d.First]
	switch r.Kind {
	case diff.OnlyA:
		return fmt.Sprintf("at step %d of A, %s: B has no such step%s", r.A.N, stepWords(r.A), ended("B", d.Rows, d.First, func(r diff.Row) diff.Side { return r.B }))
	case diff.OnlyB:
		return fmt.Sprintf("at step %d of B, %s: A has no such step%s", r.B.N, stepWords(r.B), ended("A", d.Rows, d.First, func(r diff.Row) diff.Side { return r.A }))
	}
	at := fmt.Sprintf("at step %d", r.A.N)
	if r.A.N != r.B.N {
		at += fmt.Sprintf(" of A, %d of B", r.B.N)
	}
	return at + ", " + StepName(r.A.Leg, r.A.Step) + ": A: " + decided(r, r.A) + "; B: " + decided(r, r.B)
}

// unsure ends a sentence that says that two are alike where one holds what is not known.
func unsure(d diff.Diff) string {
	if d.Unsure() {
		return ", as far as is known: one of them holds what is not"
	}
	return ""
}

func stepWords(s diff.Side) string {
	return strings.TrimSpace(StepName(s.Leg, s.Step) + " " + StepBrief(s.Leg, s.Step))
}

// ended says that a side has no step any more.
func ended(name string, rows []diff.Row, from int, side func(diff.Row) diff.Side) string {
	for _, r := range rows[from:] {
		if side(r).N > 0 {
			return ""
		}
	}
	return ", " + name + " has ended"
}

// decided is what one side of a row came to, by that in which the sides are other.
func decided(r diff.Row, s diff.Side) string {
	var words []string
	for _, a := range r.Aspects {
		switch a {
		case diff.AspectObject:
			words = append(words, or(StepBrief(s.Leg, s.Step), "no object"))
		case diff.AspectVerdict:
			words = append(words, "is "+Mark(s.Step))
		case diff.AspectReason:
			words = append(words, or(Reason(s.Step.Reason), "gives no reason"))
		case diff.AspectFacts:
			words = append(words, or(reasons(s.Step.Facts), "holds nothing else"))
		case diff.AspectAssumed:
			words = append(words, fmt.Sprintf("assumes %d things", len(s.Step.Assumed)))
		case diff.AspectOrigin:
			words = append(words, "was made by "+or(Clean(s.Step.Origin), "nobody who says so"))
		}
	}
	return strings.Join(words, ", ")
}

func reasons(list []flow.Reason) string {
	var out []string
	for _, r := range list {
		out = append(out, Reason(r))
	}
	return strings.Join(out, ", ")
}

// DiffAnswers say in what the answers are other, one sentence each.
func DiffAnswers(d diff.Diff) []string {
	var out []string
	for _, a := range d.Aspects {
		switch a {
		case diff.AspectVerdict:
			out = append(out, "verdict: A "+d.A.Verdict.String()+", B "+d.B.Verdict.String())
		case diff.AspectOutcome:
			out = append(out, "way: A by "+or(way(d.A.Outcome), "nothing of the proxy's")+", B by "+or(way(d.B.Outcome), "nothing of the proxy's"))
		case diff.AspectCaller:
			out = append(out, "caller: A sees "+or(Symptom(d.A.Caller), "what is not known")+", B "+or(Symptom(d.B.Caller), "what is not known"))
		case diff.AspectUpstream:
			out = append(out, upstreams(d))
		case diff.AspectVariants:
			out = append(out, fmt.Sprintf("ways that it can go: A %s, B %s", waysOf(d.A), waysOf(d.B)))
		case diff.AspectIntent:
			out = append(out, "by intent: A "+or(Clean(strings.Join(d.A.Intent, ", ")), "nothing")+", B "+or(Clean(strings.Join(d.B.Intent, ", ")), "nothing"))
		}
	}
	return out
}

// upstreams say what becomes of the request.
func upstreams(d diff.Diff) string {
	switch {
	case d.B.Upstream == nil:
		return "request to an endpoint: A sends one, of B none is known"
	case d.A.Upstream == nil:
		return "request to an endpoint: of A none is known, B sends one"
	}
	return "the endpoint gets another request (-o json has both)"
}

func waysOf(t flow.Trace) string {
	if len(t.Variants) == 0 {
		return "1"
	}
	var words []string
	for _, v := range t.Variants {
		word := v.Verdict.String()
		if v.Computable {
			word = Percent(v.Probability) + " " + word
		}
		words = append(words, word)
	}
	if len(words) > 6 {
		words = append(words[:6], fmt.Sprintf("and %d more", len(words)-6))
	}
	return fmt.Sprintf("%d (%s)", len(t.Variants), strings.Join(words, ", "))
}

// way is the proxy's way in words.
func way(o flow.Outcome) string {
	var path []string
	for _, s := range []string{o.Listener, o.FilterChain, o.VirtualHost, o.Route, o.Cluster, o.Endpoint} {
		if s != "" && (len(path) == 0 || path[len(path)-1] != Clean(s)) {
			path = append(path, Clean(s))
		}
	}
	return strings.Join(path, " > ")
}

// DiffText is two traces beside each other for people: both verdicts, where they part first, and
// the rows. The first that parts is marked by a word too.
func DiffText(d diff.Diff, names DiffNames) string {
	w := &writer{}
	w.field("A", Clean(names.A)+": "+Verdict(d.A))
	w.field("B", Clean(names.B)+": "+Verdict(d.B))
	if d.Request {
		w.field("request A", Request(d.A.Request))
		w.field("request B", Request(d.B.Request))
	} else {
		w.field("request", Request(d.A.Request))
	}
	w.field("differs", DiffFirst(d))
	if d.First >= 0 {
		for _, s := range DiffAnswers(d) {
			w.field("answer", s)
		}
	}
	w.blank()
	const word, column = 10, (TextWidth - 10) / 2
	w.b.WriteString(fitted("", word) + fitted("A", column) + "B\n")
	for i, r := range d.Rows {
		kind := DiffKind(r.Kind)
		if i == d.First {
			kind = "FIRST"
		}
		a, b := columnOf(DiffSide(r.A), column-2), columnOf(DiffSide(r.B), column-2)
		for k := range max(len(a), len(b)) {
			if k > 0 {
				kind = ""
			}
			w.b.WriteString(strings.TrimRight(fitted(kind, word)+fitted(line(a, k), column)+line(b, k), " ") + "\n")
		}
	}
	return w.b.String()
}

// columnOf is text in lines of a column; those after the first stand under its beginning.
func columnOf(s string, cols int) []string {
	const under = "   "
	if width(s) <= cols {
		return []string{s}
	}
	out := wrap(s, cols-len(under))
	for i := 1; i < len(out); i++ {
		out[i] = under + strings.TrimSpace(out[i])
	}
	return out
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

type pairForm struct {
	Schema  string       `json:"schema"`
	Alike   bool         `json:"alike"`
	Unsure  bool         `json:"unsure"`
	First   int          `json:"first"`
	Why     string       `json:"why"`
	Differs []string     `json:"differs"`
	A       diffSideForm `json:"a"`
	B       diffSideForm `json:"b"`
	Rows    []rowForm    `json:"rows"`
}

type diffSideForm struct {
	Target   string        `json:"target"`
	Request  request.Form  `json:"request"`
	Verdict  string        `json:"verdict"`
	Caller   callerForm    `json:"caller"`
	Outcome  outcomeForm   `json:"outcome"`
	Upstream *upstreamForm `json:"upstream"`
	Variants []variantForm `json:"variants"`
	Intent   []string      `json:"intent,omitempty"`
}

type rowForm struct {
	Kind    string       `json:"kind"`
	Differs []string     `json:"differs,omitempty"`
	A       *rowSideForm `json:"a"`
	B       *rowSideForm `json:"b"`
}

type rowSideForm struct {
	Step    int    `json:"step"`
	Stage   string `json:"stage"`
	Subject string `json:"subject"`
	Verdict string `json:"verdict"`
	Why     string `json:"why"`
}

// DiffJSON is the same for programs (docs/architecture.md, "The JSON of a diff").
func DiffJSON(d diff.Diff, names DiffNames) []byte {
	f := pairForm{Schema: DiffSchema, Alike: d.Alike(), Unsure: d.Unsure(), First: d.First, Why: DiffFirst(d), Differs: aspectsOf(d.Aspects), Rows: []rowForm{},
		A: diffSideOf(d.A, names.A), B: diffSideOf(d.B, names.B)}
	for _, r := range d.Rows {
		f.Rows = append(f.Rows, rowForm{r.Kind.String(), aspectsOf(r.Aspects), rowSideOf(r.A), rowSideOf(r.B)})
	}
	return encode(f)
}

func aspectsOf(list []diff.Aspect) []string {
	out := []string{}
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

func diffSideOf(t flow.Trace, target string) diffSideForm {
	f := diffSideForm{Target: Clean(target), Request: request.FormOf(t.Request), Verdict: t.Verdict.String(), Caller: callerOf(t.Caller), Outcome: outcomeOf(t.Outcome),
		Upstream: upstreamOf(t.Upstream), Variants: []variantForm{}, Intent: cleanAll(append([]string(nil), t.Intent...))}
	for _, v := range t.Variants {
		f.Variants = append(f.Variants, variantOf(v))
	}
	return f
}

func rowSideOf(s diff.Side) *rowSideForm {
	if s.N == 0 {
		return nil
	}
	return &rowSideForm{s.N, s.Step.Stage.String(), s.Step.Subject, s.Step.Verdict.String(), Reason(s.Step.Reason)}
}
