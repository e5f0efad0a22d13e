package envoy

import (
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// answer compares the headers of the answer that meshtop says the route changes, and those
// that are there without a word of it. The oracle's endpoints send none of their own by
// these names.
func (d *differ) answer(c *ClientSide, r *envoy.Result) {
	if c.Status == 0 || d.open {
		return
	}
	said, more := saidOfAnswer(r)
	for name, want := range said {
		if want == unsaid {
			continue
		}
		d.must("answer's header "+name, strings.ReplaceAll(c.Headers[name], "\n", ", "), want)
	}
	for name, got := range c.Headers {
		if _, ok := said[name]; !ok && !more && ofRoutes(name) {
			d.must("answer's header "+name, got, "")
		}
	}
}

// unsaid is a value that is known only when the answer is.
const unsaid = "?"

// saidOfAnswer is what the steps say of an answer's headers; more: of some they say nothing.
func saidOfAnswer(r *envoy.Result) (said map[string]string, more bool) {
	said = map[string]string{}
	for _, s := range r.Steps {
		if s.Stage == flow.Route { // the last one counts
			said, more = map[string]string{}, false
		}
		for _, f := range s.Facts {
			switch f.Kind {
			case flow.WhyAnswerHas, flow.WhyAnswerAdds:
				said[f.Args[0]] = ownValues(f.Args[1])
			case flow.WhyAnswerLoses:
				said[f.Args[0]] = ""
			case flow.WhyAnswerMore:
				more = true
			case flow.WhyAnswerChanged:
				for _, name := range strings.Split(f.Args[0], ", ") {
					said[strings.ToLower(name)] = unsaid
				}
			}
		}
	}
	return said, more
}

// ownValues are the values where the endpoint sends none of its own.
func ownValues(list string) string {
	values := strings.Split(list, ", ")
	if slices.Contains(values, unsaid) {
		return unsaid
	}
	values = slices.DeleteFunc(values, func(v string) bool { return strings.HasSuffix(v, " (in place of the endpoint's)") })
	for i, v := range values {
		values[i] = strings.TrimSuffix(v, " (where the endpoint sends none)")
	}
	return strings.Join(values, ", ")
}

// ofRoutes says whether a header of this name comes from a route's configuration, as the
// generator and the tables name them.
func ofRoutes(name string) bool {
	return strings.HasPrefix(name, "x-") && name != "x-request-id" && !strings.HasPrefix(name, "x-envoy-") && !strings.HasPrefix(name, "x-ratelimit-") &&
		!strings.HasPrefix(name, "x-eo-") // the endpoint
}
