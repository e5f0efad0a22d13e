package envoy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// Accept answers one connection and its request: (*envoy.Config).Accept, or a stand-in.
type Accept func(envoy.Conn, *flow.Request, *flow.Choices) envoy.Result

// Variant is one way the evaluator says that a request can go.
type Variant struct {
	envoy.Result
	Made []flow.Chosen
}

// maxVariants bounds the enumeration of one request.
const maxVariants = 2048

// Variants enumerates them as rules.Trace does.
func Variants(accept Accept, conn envoy.Conn, req *flow.Request) (out []Variant, cut bool) {
	for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
		if len(out) == maxVariants {
			return out, true
		}
		r := accept(conn, req, ch)
		out = append(out, Variant{r, ch.Made()})
	}
	return out, false
}

// Word is how one case ended.
type Word uint8

const (
	Disagree Word = iota
	Agree
	Unsure // "unknown" where Envoy did something: no wrong answer, but no answer
)

// Judgement is the word with its reason: the differing fields, or what was not known.
type Judgement struct {
	Word   Word
	Why    string
	Reason flow.ReasonKind // valid iff Word is Unsure
}

// Judge compares the variants with what Envoy did. Every observed outcome must be one of
// the definite variants, and every variant that was likely enough must have been observed.
func Judge(c *Case, vs []Variant) Judgement {
	for i := range c.Outcomes {
		o := &c.Outcomes[i]
		j := judgeOne(o, vs)
		if j.Word != Agree {
			return j
		}
	}
	if why, reason := split(vs); why != "" {
		return unsure(why, reason)
	}
	if why := unseen(c, vs); why != "" {
		return Judgement{Word: Disagree, Why: why}
	}
	return Judgement{Word: Agree}
}

// FairUnknown says whether an answer may be unknown for that reason.
func FairUnknown(why flow.ReasonKind) bool { return fairUnknown[why] }

// fairUnknown are the reasons for which an answer may be unknown: an opaque filter or a
// service outside decides, or a part is missing. Any other one is a defect.
var fairUnknown = map[flow.ReasonKind]bool{
	flow.WhyOpaque: true, flow.WhyService: true, flow.WhyFilterOpaque: true, flow.WhyAskOutside: true,
	flow.WhyNotRead: true, flow.WhyVHDS: true, flow.WhyOnDemand: true, flow.WhyDNS: true,
	flow.WhyBodyFrames:    true, // how a client cuts its body is not in its request
	flow.WhyNoProxyConfig: true, flow.WhyProxyUIDUnknown: true, flow.WhySocketsUnknown: true, flow.WhyZtunnel: true,
}

// unsure is an unknown that is fair, or a disagreement.
func unsure(why string, reason flow.ReasonKind) Judgement {
	if !fairUnknown[reason] {
		return Judgement{Word: Disagree, Why: "unknown without need: " + why}
	}
	return Judgement{Unsure, why, reason}
}

// judgeOne looks for the variant that is the outcome; else names the nearest one.
func judgeOne(o *Outcome, vs []Variant) Judgement {
	best, unknown, hope, reason := "no answer", "", false, flow.NoReason
	for i := range vs {
		d := diff(o, &vs[i].Result)
		if vs[i].Verdict == flow.Unknown {
			if !hope && (d == "" || unknown == "") {
				unknown, hope = because(&vs[i].Result), d == ""
				reason = lastReason(&vs[i].Result).Kind
			}
			continue
		}
		if d == "" {
			return Judgement{Word: Agree}
		}
		if best == "no answer" || len(d) < len(best) {
			best = d
		}
	}
	if hope {
		return unsure(unknown, reason)
	}
	if best == "no answer" && unknown != "" {
		best = "an unknown that has gone astray already: " + unknown
	}
	return Judgement{Word: Disagree, Why: best}
}

// because is the reason of the last step, in short.
func because(r *envoy.Result) string {
	if len(r.Steps) == 0 {
		return "no step"
	}
	s := r.Steps[len(r.Steps)-1]
	return fmt.Sprintf("%v %q: reason %d %q", s.Stage, s.Subject, s.Reason.Kind, s.Reason.Args)
}

// lastReason is the reason of the last step.
func lastReason(r *envoy.Result) flow.Reason {
	if len(r.Steps) == 0 {
		return flow.Reason{}
	}
	return r.Steps[len(r.Steps)-1].Reason
}

// split says which choice that meshtop cannot decide makes the variants end differently,
// and for what reason it cannot: rules.Trace calls that unknown, however well one of them
// fits.
func split(vs []Variant) (string, flow.ReasonKind) {
	stops := map[string]flow.ReasonKind{} // of choices that have an end of which nothing is known
	for i := range vs {
		for _, m := range vs[i].Made {
			if m.Option().Stop {
				stops[m.Choice.Ref] = lastReason(&vs[i].Result).Kind
			}
		}
	}
	ends := map[string]map[string]bool{}
	for i := range vs {
		open, rest, reason := "", "", flow.NoReason
		for _, m := range vs[i].Made {
			if m.Choice.Kind != flow.Unmodelled {
				rest += fmt.Sprint(m.Choice.Ref, "=", m.Index, " ")
				continue
			}
			if stop := stops[m.Choice.Ref]; open == "" || !fairUnknown[stop] {
				reason = stop
			}
			open += m.Choice.Ref + " "
		}
		if open == "" {
			continue
		}
		end := fmt.Sprint(vs[i].Verdict, vs[i].Outcome, vs[i].Caller)
		if ends[rest] == nil {
			ends[rest] = map[string]bool{}
		}
		if ends[rest][end] = true; len(ends[rest]) > 1 {
			return "choice " + open, reason
		}
	}
	return "", flow.NoReason
}

// unseen names an outcome that the evaluator thinks likely and Envoy never gave: an
// answer that is merely broad must not pass for a right one.
func unseen(c *Case, vs []Variant) string {
	if c.Request.Repeat < 2 {
		return ""
	}
	share := map[string]float64{}
	for i := range vs {
		p := 1.0
		for _, m := range vs[i].Made {
			if m.Choice.Kind != flow.Chance {
				return "" // a state decides, too
			}
			var sum uint64
			for _, o := range m.Choice.Options {
				sum += o.Weight
			}
			p *= float64(m.Option().Weight) / float64(sum)
		}
		seen := false
		for k := range c.Outcomes {
			seen = seen || diff(&c.Outcomes[k], &vs[i].Result) == ""
		}
		if !seen {
			share[vs[i].Outcome.Cluster+" "+vs[i].Outcome.Endpoint] += p
		}
	}
	for what, p := range share {
		if math.Pow(1-p, float64(c.Request.Repeat)) < 1e-4 {
			return fmt.Sprintf("%s should come with probability %.2f and never came in %d runs", what, p, c.Request.Repeat)
		}
	}
	return ""
}

// diff names the fields in which a variant differs from the outcome. Of an unknown
// variant the fields that it left empty are no claim.
func diff(o *Outcome, r *envoy.Result) string {
	d := differ{open: r.Verdict == flow.Unknown}
	if o.Log == "none" { // only the ends speak
		d.ends(o, r)
		return d.text()
	}
	d.field("listener", o.Listener, r.Outcome.Listener)
	d.field("chain", o.Chain, r.Outcome.FilterChain)
	d.field("vhost", o.VHost, r.Outcome.VirtualHost)
	d.field("route", o.Route, r.Outcome.Route)
	d.field("cluster", o.Cluster, r.Outcome.Cluster)
	d.field("host", o.Host, r.Outcome.Endpoint)
	if beyond(o, r) {
		d.failed(o, r)
		d.ends(o, r)
		return d.text()
	}
	if d.open {
		return d.text()
	}
	d.field("flags", o.Flags, r.Caller.Flags)
	d.field("details", details(o), strings.TrimPrefix(r.Caller.Details, "via_upstream"))
	if o.Log == "http" {
		d.field("code", strconv.Itoa(o.Code), strconv.Itoa(r.Caller.Code))
	}
	d.ends(o, r)
	return d.text()
}

// details are those of the response or of the connection. What the upstream answered is
// no decision of Envoy's.
func details(o *Outcome) string {
	if o.Details == "via_upstream" {
		return ""
	}
	if o.Details == "" {
		return o.Term
	}
	return o.Details
}

// beyond: Envoy chose an endpoint, and what came then is not its decision: nothing answers
// there (which comes before a network filter's refusal, since tcp_proxy dials first), what
// answers is none of the oracle's servers (Envoy itself, at an address that ORIGINAL_DST takes), the
// endpoint calls the request a protocol error, declines an upgrade or resets a connection
// that it has answered, one of both leaves a tunnel, or a silent one leaves (whose end is the first thing that a filter hears
// of it).
func beyond(o *Outcome, r *envoy.Result) bool {
	if r.Outcome.Endpoint == "" || o.Host == "" {
		return false
	}
	flags := strings.Split(o.Flags, ",")
	f := flags[0]
	silent := o.Client != nil && o.Client.Timeout && o.Log == "tcp"
	left := f == "DC" || f == "UC" && strings.HasPrefix(o.Details, "upstream_reset_after_response_started")
	reset := f == "UR" && o.Log == "tcp"
	foreign := f == "" && o.Log == "tcp" && o.Upstream == nil && o.Client != nil && o.Client.Closed
	refused := f == "UPE" || slices.Contains(flags, "UF")
	return silent || left || reset || foreign || refused || o.Details == "websocket_handshake_unsuccessful"
}

// failed compares what Envoy says of a connection to an endpoint that it could not make.
func (d *differ) failed(o *Outcome, r *envoy.Result) {
	if d.open || r.Verdict != flow.Continue || !slices.Contains(strings.Split(o.Flags, ","), "UF") {
		return
	}
	if r.Failed.Flags != "" {
		d.must("flags of a failed connection", o.Flags, r.Failed.Flags)
	}
	if o.Log == "http" && r.Failed.Code != 0 {
		d.must("code of a failed connection", strconv.Itoa(o.Code), strconv.Itoa(r.Failed.Code))
	}
}

type differ struct {
	open bool
	diff []string
}

func (d *differ) field(name, got, want string) {
	if got == want || d.open && want == "" {
		return
	}
	d.must(name, got, want)
}

// must is field for what even an unknown variant claims.
func (d *differ) must(name, got, want string) {
	if got != want {
		d.diff = append(d.diff, fmt.Sprintf("%s: envoy %q, meshtop %q", name, got, want))
	}
}

func (d *differ) text() string { return strings.Join(d.diff, "; ") }
