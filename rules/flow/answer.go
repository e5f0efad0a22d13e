package flow

import "strings"

// How a value of WhyAnswerHas and WhyAnswerAdds comes to be there: their third argument.
const (
	AnswerAlways  = ""
	AnswerIfNone  = "if-none"  // where the endpoint sends none of its own
	AnswerInPlace = "in-place" // in place of the endpoint's own, where it sends one
	AnswerLate    = "late"     // the value is a format: what it gives is known when the answer is
)

// AnswerValue is one value that the proxy gives a header of the answer.
type AnswerValue struct {
	Text string
	When string // one of the words above
}

// AnswerHeader is what is known of one header of the answer.
type AnswerHeader struct {
	Values []AnswerValue
	Own    bool // what the endpoint sends by this name comes, too
	Open   bool // a filter may take the values away, and put others there
}

// AnswerHeaders is what the steps of one pass through a proxy tell of the answer's headers.
// Of a header without a name in it nothing is known but what the flags say.
type AnswerHeaders struct {
	Named map[string]AnswerHeader // by names in lower case
	More  bool                    // the route changes others, too, that no fact names
	Any   bool                    // a filter may change every header
	Local bool                    // the proxy answers, not an endpoint: what a route does to answers may not hold
}

// ReadAnswer reads the facts of one pass's steps. The route that was chosen last is the one
// that changes the answer; filters change it wherever they stand, since answers meet all that
// the request has met.
func ReadAnswer(steps []Step) AnswerHeaders {
	a := AnswerHeaders{Named: map[string]AnswerHeader{}}
	var changed []string
	for _, s := range steps {
		if s.Stage == Route {
			clear(a.Named)
			a.More = false
		}
		a.Local = a.Local || s.Stage == HTTPFilter && s.Verdict != Continue
		for _, f := range s.Facts {
			switch f.Kind {
			case WhyAnswerHas, WhyAnswerAdds, WhyAnswerLoses:
				a.route(f)
			case WhyAnswerMore:
				a.More = true
			case WhyAnswerChanged:
				changed = append(changed, f.Args[0])
			case WhyAnswerMaybe:
				a.Any = a.Any || f.Args[1] == ""
				changed = append(changed, strings.Split(f.Args[1], ", ")...)
			}
		}
	}
	for _, name := range changed {
		h := a.Named[name]
		h.Open = true
		a.Named[name] = h
	}
	return a
}

func (a *AnswerHeaders) route(f Reason) {
	h := a.Named[f.Args[0]]
	if h.Own = f.Kind == WhyAnswerAdds; f.Kind != WhyAnswerLoses {
		h.Values = append(h.Values, AnswerValue{f.Args[1], f.Args[2]})
	}
	a.Named[f.Args[0]] = h
}
