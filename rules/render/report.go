package render

import (
	"fmt"
	"strconv"

	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// ReportSchema names the meaning of the JSON form of a report.
const ReportSchema = "meshtop.report/v1"

type reportForm struct {
	Schema string           `json:"schema"`
	Word   string           `json:"word"`
	Trace  traceForm        `json:"trace"`
	Steps  []reportStepForm `json:"steps"`
	Sent   *sentForm        `json:"sent"`
	Loss   lossForm         `json:"loss"`
	Counts []countForm      `json:"counters"`
}

type countForm struct {
	Stage  string `json:"stage"`
	Of     string `json:"of"`
	Name   string `json:"name"`
	Before uint64 `json:"before"`
	After  uint64 `json:"after"`
}

type reportStepForm struct {
	Leg      int            `json:"leg"`
	Step     int            `json:"step"`
	Stage    string         `json:"stage"`
	Subject  string         `json:"subject"`
	Word     string         `json:"word"`
	Why      string         `json:"why"`
	Evidence []evidenceForm `json:"evidence"`
}

type sentForm struct {
	Code int     `json:"code"`
	TCP  string  `json:"tcp"`
	MS   float64 `json:"ms"`
	Note string  `json:"note,omitempty"`
}

type lossForm struct {
	Seen    uint64    `json:"seen"`
	Dropped uint64    `json:"dropped"`
	Foreign uint64    `json:"foreign,omitempty"`
	Late    bool      `json:"late,omitempty"`
	Blind   []gapForm `json:"blind,omitempty"`
	Unread  []gapForm `json:"unread,omitempty"`
}

// ReportJSON is a report in the form of the contract, in stable order.
func ReportJSON(r confirm.Report) []byte {
	f := reportForm{Schema: ReportSchema, Word: r.Word.String(), Trace: formOf(r.Trace, false), Steps: []reportStepForm{}, Counts: []countForm{},
		Loss: lossForm{Seen: r.Loss.Seen, Dropped: r.Loss.Dropped, Foreign: r.Loss.Foreign, Late: r.Loss.Late, Blind: gapsOf(r.Loss.Blind), Unread: gapsOf(r.Loss.Unread)}}
	for _, s := range r.Steps {
		st := reportStepForm{Leg: s.Leg, Step: s.Step, Stage: s.Stage.String(), Subject: s.Subject, Word: s.Word.String(), Why: Reason(s.Why), Evidence: []evidenceForm{}}
		for _, e := range s.Evidence {
			st.Evidence = append(st.Evidence, evidenceForm{Source: e.Source, Ref: e.Ref, Text: e.Text})
		}
		f.Steps = append(f.Steps, st)
	}
	for _, n := range r.Counts {
		f.Counts = append(f.Counts, countForm{Stage: n.Stage.String(), Of: n.Of, Name: n.Name, Before: n.Before, After: n.After})
	}
	if r.Sent != nil {
		f.Sent = sentOf(r.Sent)
	}
	return encode(f)
}

func sentOf(o *flow.Observation) *sentForm {
	code, _ := strconv.Atoi(o.Fields["code"])
	ms, _ := strconv.ParseFloat(o.Fields["ms"], 64)
	return &sentForm{Code: code, TCP: o.Fields["tcp"], MS: ms, Note: o.Fields["note"]}
}

// WordMark is the mark of a step's word: confirmed, not seen, seen otherwise, not
// observable, unverifiable. The word itself always stands beside it.
func WordMark(w confirm.Word) string {
	return [...]string{"○", "●", "!", "·", "?"}[w]
}

// unlike says that what was sent came where it was to, and got another answer than an endpoint
// gives that answers well, which is all that a trace foretells of it.
func unlike(t flow.Trace, s *sentForm) string {
	want := Symptom(t.Caller)
	if want == "" || t.Verdict != flow.Delivered || s.Code == t.Caller.Code && s.TCP == t.Caller.TCP.String() {
		return ""
	}
	return ", unlike an endpoint that answers well: " + want
}

// ReportText is a report as text: the word first, then every step with what was seen of it.
func ReportText(r confirm.Report) string {
	w := &writer{}
	w.field("report", reportSentence(r))
	w.field("verdict", Verdict(r.Trace))
	w.field("request", Request(r.Trace.Request))
	if r.Sent != nil {
		s := sentOf(r.Sent)
		text := "answered " + strconv.Itoa(s.Code)
		if s.Code == 0 {
			text = "no HTTP answer"
		}
		w.field("sent", fmt.Sprintf("%s, tcp %s, %g ms%s%s", text, s.TCP, s.MS, unlike(r.Trace, s), after(". ", Clean(s.Note))))
	}
	w.field("packets", lossText(r.Loss))
	for _, g := range r.Loss.Unread {
		w.field("log", "access log "+Clean(g.Part)+" was not read: "+Clean(g.Reason))
	}
	w.blank()
	leg := -1
	for i, s := range r.Steps {
		if s.Leg != leg {
			leg = s.Leg
			w.leg(leg, r.Trace.Legs[leg])
		}
		lead := fmt.Sprintf("%3d %s %-14s ", i+1, WordMark(s.Word), s.Word)
		w.para(lead, StageWord(s.Stage)+" "+Clean(s.Subject))
		if why := Reason(s.Why); why != "" && s.Word != confirm.NotObservable {
			w.para("                     ", why)
		}
		for _, e := range s.Evidence {
			w.para("                     ", Clean(e.Source)+": "+Clean(e.Text)+after(" ", Clean(e.Ref)))
		}
	}
	w.addresses(r.Trace)
	for i, n := range r.Counts {
		if i == 0 {
			w.blank()
		}
		lead := "          "
		if i == 0 {
			lead = "counters  "
		}
		of, change := Count(n)
		w.para(lead, of+" "+change)
	}
	return w.b.String()
}

// Count says whose a counter is with its name, and how it changed.
func Count(n confirm.Count) (of, change string) {
	of = Clean(n.Of) + " packets"
	if n.Stage != flow.Netfilter {
		of = StageWord(n.Stage) + " " + Clean(n.Of) + " " + n.Name
	}
	return of, fmt.Sprintf("%d → %d", n.Before, n.After)
}

// reportSentence says the word of the whole and counts the others.
func reportSentence(r confirm.Report) string {
	head := map[confirm.Word]string{
		confirm.Confirmed:    "CONFIRMED: seen as predicted",
		confirm.Contradicted: "CONTRADICTED: predicted one way, seen another",
		confirm.NotObserved:  "NOT OBSERVED: nothing against it, but not everything was seen",
		confirm.Unverifiable: "UNVERIFIABLE: what would show it was lost, began before the watch, or was sent as somebody else",
	}[r.Word]
	return fmt.Sprintf("%s (%d confirmed, %d against, %d not seen, %d not observable, %d unverifiable)", head, r.Count(confirm.Confirmed),
		r.Count(confirm.Contradicted), r.Count(confirm.NotObserved), r.Count(confirm.NotObservable), r.Count(confirm.Unverifiable))
}

func lossText(l flow.Loss) string {
	s := fmt.Sprintf("%d seen, %d dropped", l.Seen, l.Dropped)
	if l.Foreign > 0 {
		s += fmt.Sprintf("; %d new flows to other addresses were let go", l.Foreign)
	}
	if l.Late {
		s += "; the watch began late"
	}
	for _, b := range l.Blind {
		s += "; " + Clean(b.Part) + ": " + Clean(b.Reason)
	}
	return s
}

// addresses are what is known of the addresses of a trace's steps.
func (w *writer) addresses(t flow.Trace) {
	for _, l := range t.Legs {
		for _, s := range l.Steps {
			for _, f := range s.Facts {
				if f.Kind == flow.WhyAddress || f.Kind == flow.WhyNamesPartial {
					w.field("name", Reason(f))
				}
			}
		}
	}
}
