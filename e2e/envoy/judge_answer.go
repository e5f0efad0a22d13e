package envoy

import (
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
	said := flow.ReadAnswer(r.Steps)
	if said.Any {
		return
	}
	for name, h := range said.Named {
		if want, sure := alone(h); sure {
			d.must("answer's header "+name, c.Headers[name], want)
		}
	}
	for name, got := range c.Headers {
		if _, ok := said.Named[name]; !ok && !said.More && ofRoutes(name) {
			d.must("answer's header "+name, got, "")
		}
	}
}

// alone are a header's lines where the endpoint sends none of its own; false: they are not known.
func alone(h flow.AnswerHeader) (lines string, sure bool) {
	var values []string
	for _, v := range h.Values {
		switch v.When {
		case flow.AnswerLate:
			return "", false
		case flow.AnswerAlways, flow.AnswerIfNone:
			values = append(values, v.Text)
		}
	}
	return strings.Join(values, "\n"), !h.Open
}

// ofRoutes says whether a header of this name comes from a route's configuration, as the
// generator and the tables name them.
func ofRoutes(name string) bool {
	return strings.HasPrefix(name, "x-") && name != "x-request-id" && !strings.HasPrefix(name, "x-envoy-") && !strings.HasPrefix(name, "x-ratelimit-") &&
		!strings.HasPrefix(name, "x-eo-") // the endpoint
}
