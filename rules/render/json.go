package render

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// TraceSchema names the meaning of the JSON form of a trace. Fields may be added under
// it, never renamed.
const TraceSchema = "meshtop.trace/v1"

// passedKept is how many losers that are no near misses the JSON form holds of a step.
const passedKept = 50

type traceForm struct {
	Schema   string        `json:"schema"`
	Request  request.Form  `json:"request"`
	Verdict  string        `json:"verdict"`
	Caller   callerForm    `json:"caller"`
	Outcome  outcomeForm   `json:"outcome"`
	Legs     []legForm     `json:"legs"`
	Upstream *upstreamForm `json:"upstream"`
	Variants []variantForm `json:"variants"`
	Cut      bool          `json:"cut,omitempty"`
	Needs    []needForm    `json:"needs"`
	Gaps     []gapForm     `json:"gaps"`
	Intent   []string      `json:"intent,omitempty"`

	Unmodelled []unmodelledForm `json:"unmodelled"`
}

type callerForm struct {
	Code     int    `json:"code"`
	Flags    string `json:"flags"`
	TCP      string `json:"tcp"`
	Location string `json:"location,omitempty"`
	Details  string `json:"details,omitempty"`
}

type outcomeForm struct {
	Listener    string `json:"listener"`
	FilterChain string `json:"filterChain"`
	RouteConfig string `json:"routeConfig"`
	VirtualHost string `json:"virtualHost"`
	Route       string `json:"route"`
	RouteIndex  int    `json:"routeIndex"`
	Cluster     string `json:"cluster"`
	Endpoint    string `json:"endpoint"`
}

// upstreamForm is the request that the endpoint receives. Unsure are headers that may be there
// with a value that cannot be told.
type upstreamForm struct {
	Method    string      `json:"method"`
	Authority string      `json:"authority"`
	Path      string      `json:"path"`
	Version   string      `json:"version,omitempty"`
	Headers   [][2]string `json:"headers"`
	Unsure    []string    `json:"unsure,omitempty"`
}

type connForm struct {
	Src  string `json:"src"`
	Dst  string `json:"dst"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	In   string `json:"in"`
	Out  string `json:"out"`
	Mark uint32 `json:"mark"`
}

type legForm struct {
	Owner string     `json:"owner"`
	From  connForm   `json:"from"`
	To    connForm   `json:"to"`
	Steps []stepForm `json:"steps"`
}

type stepForm struct {
	Stage       string         `json:"stage"`
	Subject     string         `json:"subject"`
	Verdict     string         `json:"verdict"`
	Why         string         `json:"why"`
	Origin      string         `json:"origin"`
	Facts       []string       `json:"facts,omitempty"`
	Tests       []testForm     `json:"tests,omitempty"`
	Evidence    []evidenceForm `json:"evidence"`
	Passed      []passedForm   `json:"passed"`
	PassedTotal int            `json:"passedTotal"`
	Assumed     []assumedForm  `json:"assumed"`
}

type testForm struct {
	Text   string `json:"text"`
	Answer string `json:"answer"`
	Why    string `json:"why"`
}

type evidenceForm struct {
	Source string `json:"source"`
	Ref    string `json:"ref"`
	Text   string `json:"text"`
}

type passedForm struct {
	Ref    string `json:"ref"`
	Name   string `json:"name,omitempty"`
	Wanted string `json:"wanted,omitempty"`
	Why    string `json:"why"`
	Near   bool   `json:"near"`
	Text   string `json:"text,omitempty"`
}

type assumedForm struct {
	Why  string `json:"why"`
	Flag string `json:"flag"`
}

type variantForm struct {
	Probability *float64          `json:"probability"`
	When        string            `json:"when"`
	Verdict     string            `json:"verdict"`
	Outcome     outcomeForm       `json:"outcome"`
	Caller      callerForm        `json:"caller"`
	Upstream    *upstreamForm     `json:"upstream"`
	Pick        map[string]string `json:"pick"`
}

type needForm struct {
	Part string `json:"part"`
	Name string `json:"name"`
}

type gapForm struct {
	Part   string `json:"part"`
	Reason string `json:"reason"`
}

type unmodelledForm struct {
	Type  string `json:"type"`
	Count int    `json:"count"`
	Name  string `json:"name"`
	Ref   string `json:"ref"`
}

// JSON is the trace as programs read it (docs/architecture.md, "The JSON of a trace"),
// indented, with a line feed at its end. With why, every loser of every step is there. The same trace gives
// the same bytes, and no character that a terminal acts on appears raw.
func JSON(t flow.Trace, why bool) []byte { return encode(formOf(t, why)) }

func formOf(t flow.Trace, why bool) traceForm {
	f := traceForm{Schema: TraceSchema, Request: request.FormOf(t.Request), Verdict: t.Verdict.String(),
		Caller: callerOf(t.Caller), Outcome: outcomeOf(t.Outcome), Upstream: upstreamOf(t.Upstream), Cut: t.Cut, Needs: needsOf(t.Needs), Gaps: gapsOf(t.Gaps), Intent: cleanAll(slices.Clone(t.Intent))}
	f.Unmodelled = []unmodelledForm{}
	for _, u := range t.Unmodelled {
		f.Unmodelled = append(f.Unmodelled, unmodelledForm(u))
	}
	f.Legs = []legForm{}
	for _, l := range t.Legs {
		f.Legs = append(f.Legs, legOf(l, why))
	}
	f.Variants = []variantForm{}
	for _, v := range t.Variants {
		f.Variants = append(f.Variants, variantOf(v))
	}
	return f
}

func callerOf(s flow.Symptom) callerForm {
	return callerForm{Code: s.Code, Flags: s.Flags, TCP: s.TCP.String(), Location: s.Location, Details: s.Details}
}

func upstreamOf(h *flow.HTTP) *upstreamForm {
	if h == nil {
		return nil
	}
	f := &upstreamForm{Method: h.Method, Authority: h.Authority, Path: h.Path, Version: h.Version, Headers: h.Headers, Unsure: h.Unsure}
	if f.Headers == nil {
		f.Headers = [][2]string{}
	}
	return f
}

func outcomeOf(o flow.Outcome) outcomeForm { return outcomeForm(o) }

func connOf(c flow.Conn) connForm {
	return connForm{Src: request.AddrPort(c.Src), Dst: request.AddrPort(c.Dst), UID: c.UID, GID: c.GID, In: c.In, Out: c.Out, Mark: c.Mark}
}

func legOf(l flow.Leg, why bool) legForm {
	f := legForm{Owner: l.Owner.String(), From: connOf(l.From), To: connOf(l.To), Steps: []stepForm{}}
	for _, s := range l.Steps {
		f.Steps = append(f.Steps, stepOf(s, why))
	}
	return f
}

func stepOf(s flow.Step, why bool) stepForm {
	f := stepForm{Stage: s.Stage.String(), Subject: s.Subject, Verdict: s.Verdict.String(), Why: Reason(s.Reason), Origin: s.Origin,
		Evidence: []evidenceForm{}, Passed: []passedForm{}, PassedTotal: s.PassedTotal, Assumed: []assumedForm{}}
	for _, r := range s.Facts {
		f.Facts = append(f.Facts, Reason(r))
	}
	for _, t := range s.Tests {
		f.Tests = append(f.Tests, testForm{Text: t.Text, Answer: t.Answer.String(), Why: Reason(t.Reason)})
	}
	for _, e := range s.Evidence {
		f.Evidence = append(f.Evidence, evidenceForm{Source: e.Source, Ref: e.Ref, Text: e.Text})
	}
	for _, m := range kept(s, why) {
		e := s.Explain.Explain(m)
		f.Passed = append(f.Passed, passedOf(e, m.Near))
	}
	for _, a := range s.Assumed {
		f.Assumed = append(f.Assumed, assumedForm{Why: Reason(a.Reason), Flag: a.Flag})
	}
	return f
}

func passedOf(e flow.Explained, near bool) passedForm {
	f := passedForm{Ref: e.Ref, Wanted: e.Wanted, Why: Reason(e.Reason), Near: near, Text: e.Text}
	if e.Kind != flow.StageNone {
		f.Name = loserName(e)
	}
	return f
}

// kept are the losers that an answer shows: every near miss and the first fifty others,
// or all, in the order in which they were tried.
func kept(s flow.Step, all bool) []flow.Miss {
	if s.Explain == nil {
		return nil
	}
	var out []flow.Miss
	others := 0
	for _, m := range s.Passed {
		if !m.Near && !all {
			if others++; others > passedKept {
				continue
			}
		}
		out = append(out, m)
	}
	return out
}

func variantOf(v flow.Variant) variantForm {
	f := variantForm{When: v.When, Verdict: v.Verdict.String(), Outcome: outcomeOf(v.Outcome), Caller: callerOf(v.Caller), Upstream: upstreamOf(v.Upstream), Pick: map[string]string{}}
	if v.Computable {
		p := v.Probability
		f.Probability = &p
	}
	for _, c := range v.Choices {
		if c.Index >= 0 && c.Index < len(c.Choice.Options) {
			f.Pick[c.Choice.Ref] = c.Option().Value
		}
	}
	return f
}

func needsOf(needs []flow.Need) []needForm {
	out := []needForm{}
	for _, n := range needs {
		out = append(out, needForm(n))
	}
	return out
}

func gapsOf(gaps []flow.Gap) []gapForm {
	out := []gapForm{}
	for _, g := range gaps {
		out = append(out, gapForm{Part: g.Part, Reason: g.Reason})
	}
	return out
}

// encode writes v as indented JSON whose hidden characters are escapes: values stay
// exact, and a terminal acts on none of them.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		// Only a type that JSON has no form for can fail, and the forms have none.
		return []byte("{}\n")
	}
	return escapeHidden(b.Bytes())
}

// escapeHidden writes \u escapes for the characters that Clean hides. JSON holds those
// above ASCII only inside strings, where the escape means the same.
func escapeHidden(in []byte) []byte {
	var out []byte
	last := 0
	for i := 0; i < len(in); {
		r, n := utf8.DecodeRune(in[i:])
		if r == '\n' || !hidden(r) {
			i += n
			continue
		}
		out = append(append(out, in[last:i]...), unicodeEscape(r)...)
		i += n
		last = i
	}
	if last == 0 {
		return in
	}
	return append(out, in[last:]...)
}

// unicodeEscape is JSON's escape of r: above the basic plane a surrogate pair (RFC 8259, 7).
func unicodeEscape(r rune) string {
	if r < 0x10000 {
		return `\u` + hex4(uint16(r))
	}
	r -= 0x10000
	return `\u` + hex4(uint16(0xd800+r>>10)) + `\u` + hex4(uint16(0xdc00+r&0x3ff))
}

func hex4(v uint16) string {
	var b strings.Builder
	b.WriteString(hex2(byte(v >> 8)))
	b.WriteString(hex2(byte(v)))
	return b.String()
}
