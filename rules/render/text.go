package render

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// TextWidth is the width that Text keeps to.
const TextWidth = 100

// TextOptions say what Text shows besides the path.
type TextOptions struct {
	Snapshot string // a line on the snapshot; empty: none
	Why      bool   // every loser, and raw evidence in full
}

// Text is the trace for people: the verdict, then numbered steps with what was decided
// and why, and who was passed over where that was close.
func Text(t flow.Trace, o TextOptions) string {
	w := &writer{}
	verdict := Verdict(t)
	w.field("verdict", verdict)
	if s := Symptom(t.Caller); s != "" && t.Verdict != flow.Depends && t.Verdict != flow.Unknown {
		w.field("caller", "sees "+s)
	}
	w.field("request", Request(t.Request))
	if o.Snapshot != "" {
		w.field("snapshot", Clean(o.Snapshot))
	}
	w.variants(t)
	n := 0
	for i, l := range t.Legs {
		w.blank()
		w.leg(i, l)
		for _, s := range l.Steps {
			n++
			w.step(n, s, o.Why)
		}
	}
	w.blank()
	if len(t.Intent) > 0 {
		w.field("intent", Clean(strings.Join(t.Intent, ", "))+": what was meant to be; what is was not looked at")
	}
	for _, g := range flow.Alike(t.Gaps) {
		w.field("gap", Clean(g.Part)+": "+Clean(g.Reason))
	}
	for _, u := range t.Unmodelled {
		w.field("skipped", NotModelled(u))
	}
	for _, d := range t.Needs {
		w.field("needs", Clean(d.Part)+" "+Clean(d.Name))
	}
	w.field("verdict", verdict)
	return w.b.String()
}

// Short is the trace in one line.
func Short(t flow.Trace) string {
	var path []string
	o := t.Outcome
	for _, s := range []string{o.Listener, o.FilterChain, o.VirtualHost, o.Route, o.Cluster, o.Endpoint} {
		if s != "" && (len(path) == 0 || path[len(path)-1] != Clean(s)) {
			path = append(path, Clean(s))
		}
	}
	line := t.Verdict.String() + "  " + Request(t.Request)
	if len(path) > 0 {
		line += "  via " + strings.Join(path, " > ")
	}
	if s := Symptom(t.Caller); s != "" && t.Verdict != flow.Depends && t.Verdict != flow.Unknown {
		line += "  caller sees " + s
	} else if len(path) == 0 || t.Verdict == flow.Unknown || t.Verdict == flow.Depends {
		_, why, _ := strings.Cut(Verdict(t), ": ")
		line += after("  ", why)
	}
	if len(t.Intent) > 0 && !strings.HasSuffix(line, byIntent) {
		line += " " + byIntent
	}
	return line + "\n"
}

// Request is a request in one line.
func Request(r flow.Request) string {
	var b strings.Builder
	switch {
	case r.HTTP != nil:
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		b.WriteString(Clean(or(r.HTTP.Method, "GET")) + " " + scheme + "://" + Clean(r.HTTP.Authority+or(r.HTTP.Path, "/")))
		b.WriteString(" to " + request.AddrPort(r.Dst))
	case r.TLS != nil:
		b.WriteString("TLS to " + request.AddrPort(r.Dst))
	default:
		b.WriteString(strings.ToUpper(r.Proto.String()) + " to " + request.AddrPort(r.Dst))
	}
	if r.TLS != nil && r.TLS.SNI != "" {
		b.WriteString(", SNI " + Clean(r.TLS.SNI))
	}
	if r.TLS != nil && len(r.TLS.ALPN) > 0 {
		b.WriteString(", ALPN " + Clean(strings.Join(r.TLS.ALPN, " ")))
	}
	if r.HTTP != nil {
		for _, h := range r.HTTP.Headers {
			b.WriteString(", " + Clean(h[0]) + ": " + Clean(h[1]))
		}
	}
	b.WriteString(", " + r.Dir.String())
	if r.Dir == flow.Outbound {
		b.WriteString(", uid " + strconv.FormatUint(uint64(r.UID), 10))
	} else if r.Src.Addr().IsValid() && !r.Src.Addr().IsUnspecified() {
		b.WriteString(", from " + r.Src.Addr().String())
	}
	return b.String()
}

// writer writes lines that fit TextWidth.
type writer struct {
	b    strings.Builder
	cols int // of a line; 0: TextWidth
}

func (w *writer) width() int {
	if w.cols > 0 {
		return w.cols
	}
	return TextWidth
}

func (w *writer) blank() { w.b.WriteByte('\n') }

// para writes s behind lead, and the lines it needs besides under its beginning.
func (w *writer) para(lead, s string) {
	pad := strings.Repeat(" ", width(lead))
	for _, line := range wrap(s, w.width()-len(pad)) {
		w.b.WriteString(strings.TrimRight(lead+line, " ") + "\n")
		lead = pad
	}
}

func (w *writer) field(name, s string) { w.para(fmt.Sprintf("%-9s ", name), s) }

func (w *writer) leg(i int, l flow.Leg) {
	who := map[flow.Owner]string{flow.OwnerApp: "of the application", flow.OwnerProxy: "of the proxy", flow.OwnerPeer: "of a peer"}[l.Owner]
	s := "connection " + strconv.Itoa(i+1) + after(" ", who) + ": " + ephemeral(l.From) + " -> " + request.AddrPort(l.From.Dst)
	if l.To.Dst.IsValid() && l.To.Dst != l.From.Dst {
		s += ", arrives at " + request.AddrPort(l.To.Dst)
	}
	w.para("", s)
}

// ephemeral is the source with * for a port that the kernel chooses.
func ephemeral(c flow.Conn) string {
	s := request.AddrPort(c.Src)
	if c.Src.Port() == 0 {
		return strings.TrimSuffix(s, "0") + "*"
	}
	return s
}

// under is where a step's lines below the first begin.
const under = "                 "

func (w *writer) step(n int, s flow.Step, why bool) {
	lead := fmt.Sprintf("%3d %-12s ", n, Mark(s))
	what := StageWord(s.Stage) + after(" ", Clean(subject(s)))
	reason := Reason(s.Reason)
	if reason != "" && width(lead)+width(what)+2+width(reason) <= TextWidth {
		what, reason = what+": "+reason, ""
	}
	w.para(lead, what)
	if reason != "" {
		w.para(under, reason)
	}
	for _, f := range s.Facts {
		w.para(under, Reason(f))
	}
	for _, e := range s.Evidence {
		w.evidence(e, s.Verdict == flow.Unknown, why)
	}
	if s.Origin != "" {
		w.para(under+"made by: ", Clean(s.Origin))
	}
	for _, a := range s.Assumed {
		w.assumed(a, s.Reason)
	}
	w.losers(s, why)
}

// subject is the step's object; a port that the kernel chooses is left out.
func subject(s flow.Step) string {
	if s.Stage == flow.Socket {
		return strings.TrimSuffix(s.Subject, ":0")
	}
	return s.Subject
}

// assumed says what was taken for granted, and which flag fixes it or says otherwise.
func (w *writer) assumed(a flow.Assumption, step flow.Reason) {
	line := "this" // what the step's own sentence says
	if a.Reason != step {
		line = Reason(a.Reason)
	}
	switch {
	case strings.HasPrefix(a.Flag, "--pick"):
		line += " (" + Clean(a.Flag) + " pins it)"
	case a.Flag != "":
		line += " (" + Clean(a.Flag) + " would tell)"
	}
	w.para(under+"assumed: ", line)
}

// evidenceLines is how much raw text an unknown step shows without --why.
const evidenceLines = 12

// evidence is the raw text where it is short, and with why all of it with its place. Of an
// unknown step the beginning is shown in every case: it is what meshtop does not know.
func (w *writer) evidence(e flow.Evidence, unknown, why bool) {
	text := strings.TrimRight(CleanLines(e.Text), "\n")
	if text == "" {
		return
	}
	lines := Dedent(strings.Split(text, "\n"))
	long := len(lines) > 1 || width(text) > 2*TextWidth
	if long && !unknown && !why {
		return
	}
	if why && long {
		w.para(under+"in ", Clean(e.Source+after(" ", e.Ref)))
	}
	for i, line := range lines {
		if i == evidenceLines && !why {
			w.para(under+"| ", fmt.Sprintf("... %d more lines (--why shows them)", len(lines)-i))
			return
		}
		if !why && width(line) > evidenceLines*TextWidth/2 {
			line = line[:breakAt(line, evidenceLines*TextWidth/2)] + " ... (--why shows all)"
		}
		w.para(under+"| ", line)
	}
}

// Dedent takes away what all lines but the first are indented by: an object cut out of a
// larger text keeps that of its surroundings. One that was cut off before its end keeps one
// column, so that what it holds stands within it.
func Dedent(lines []string) []string {
	least, closed := -1, false
	for _, l := range lines[1:] {
		rest := strings.TrimLeft(l, " ")
		if n := len(l) - len(rest); strings.Trim(rest, "…") != "" && (least < 0 || n < least) {
			least, closed = n, strings.ContainsAny(rest[:1], "}]")
		}
	}
	if !closed && strings.HasSuffix(lines[0], "{") {
		least--
	}
	for i, l := range lines[1:] {
		indent := len(l) - len(strings.TrimLeft(l, " "))
		lines[i+1] = l[min(max(least, 0), indent):]
	}
	return lines
}

func (w *writer) losers(s flow.Step, why bool) {
	if s.Explain == nil {
		return
	}
	shown := 0
	for _, m := range s.Passed {
		if !why && (!m.Near || shown == nearShown) {
			continue
		}
		shown++
		e := s.Explain.Explain(m)
		line := Loser(e)
		if m.Near {
			line += " (near miss)"
		}
		w.para(under+"not ", line)
		if why && e.Kind != flow.StageNone && e.Ref != e.Name {
			w.para(under+"    at ", Clean(e.Ref))
		}
	}
	total := max(s.PassedTotal, len(s.Passed))
	switch rest := total - shown; {
	case rest > 0 && shown > 0:
		w.para(under, "and "+plural(rest, "other")+" tried before (--why shows them)")
	case rest > 0 && !why:
		w.para(under, fmt.Sprintf("%d tried before (--why shows them)", rest))
	}
}

// nearShown is how many near misses a step shows without --why.
const nearShown = 5

func (w *writer) variants(t flow.Trace) {
	for _, v := range t.Variants {
		lead := "otherwise"
		switch {
		case v.When != "":
			lead = "if " + Clean(v.When)
		case v.Computable:
			lead = Percent(v.Probability)
		}
		s := VariantVerdict(v) + after("; the caller sees ", Symptom(v.Caller))
		if p := picks(v.Choices); p != "" {
			s += "  [" + p + "]"
		}
		w.field("way", lead+": "+s)
	}
	if t.Cut {
		w.field("way", "there are more: pin choices with --pick")
	}
}

// picks are the flags that pin a variant.
func picks(chosen []flow.Chosen) string {
	var out []string
	for _, c := range chosen {
		if c.Pinned || c.Index < 0 || c.Index >= len(c.Choice.Options) {
			continue
		}
		out = append(out, "--pick "+shellWord(Clean(c.Choice.Ref+"="+c.Option().Value)))
	}
	return strings.Join(out, " ")
}

// shellWord quotes s where a shell would take it apart.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=.,:/@%+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
