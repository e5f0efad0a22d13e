package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// header is what is known of one header.
type header struct {
	values []string
	// open says that there may be other values, or other than these.
	open bool
}

// wanted compares a header with what is wanted of it: nil, that it is not there, else that one
// of its values is among those wanted.
func (j *judgement) wanted(field string, want []string, h header) {
	switch {
	case want == nil && len(h.values) == 0 && !h.open:
	case want != nil && slices.ContainsFunc(h.values, func(v string) bool { return slices.Contains(want, v) }):
	case h.open && (want != nil || len(h.values) == 0):
		j.open = true
	default:
		j.diffs = append(j.diffs, Diff{Field: field, Want: want, Got: h.values})
	}
}

// upstream judges the request that the endpoint receives. Where there is none, nothing of it
// is as it is wanted.
func (j *judgement) upstream() {
	u := j.v.Upstream
	// Ways that were joined may differ in it, and tcp_proxy sends what it gets, whatever it is.
	unknown := j.v.Verdict == flow.Unknown || u == nil && j.v.Outcome.Endpoint != ""
	for _, name := range UpstreamFields() {
		if want, ok := j.want.Upstream[name]; ok {
			j.one("upstream."+name, want, upstreamField(u, name), unknown || u != nil && name == "version" && u.Version == "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(j.want.UpstreamHeaders)) {
		h := header{open: unknown && u == nil}
		if u != nil {
			h.open = slices.Contains(u.Unsure, name)
			for _, x := range u.Headers {
				if strings.EqualFold(x[0], name) {
					h.values = append(h.values, x[1])
				}
			}
		}
		want := j.want.UpstreamHeaders[name]
		if u == nil && want == nil && !unknown {
			want = []string{} // of a request that is not sent nothing can be said
		}
		j.wanted("upstream.headers."+name, want, h)
	}
}

func upstreamField(u *flow.HTTP, name string) string {
	switch {
	case u == nil:
	case name == "method":
		return u.Method
	case name == "authority":
		return u.Authority
	case name == "path":
		return u.Path
	case name == "version":
		return u.Version
	}
	return ""
}

// answer judges the headers that the proxy is known to put into the answer, or to take out of
// it. What else the endpoint sends, or a filter changes, is open.
func (j *judgement) answer() {
	if len(j.want.Answer) == 0 {
		return
	}
	known := flow.AnswerHeaders{Any: true}
	if len(j.v.Legs) > 0 && j.v.Verdict != flow.Unknown {
		known = flow.ReadAnswer(j.v.Legs[0].Steps)
	}
	for _, name := range slices.Sorted(maps.Keys(j.want.Answer)) {
		j.wanted("caller.headers."+name, j.want.Answer[name], answerHeader(known, name))
	}
}

// answerHeader is what is known for certain of one header of the answer. Of one that a route
// adds values to the endpoint may send its own; one that a filter may change, and one of an answer
// that is not the route's, is open.
func answerHeader(known flow.AnswerHeaders, name string) (h header) {
	a, ok := known.Named[name]
	if h.open = !ok || a.Own; known.Any || known.Local || a.Open {
		return header{open: true}
	}
	for _, v := range a.Values {
		if v.When != flow.AnswerAlways {
			h.open = true // only the answer itself tells it
			continue
		}
		h.values = append(h.values, v.Text)
	}
	return h
}
