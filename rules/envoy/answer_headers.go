package envoy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// answerHeaders are the headers of an answer as far as a route changes them, in the order in
// which they are met.
type answerHeaders struct {
	forwarded bool // the answer is an endpoint's, with headers of its own
	list      []answerHeader
}

type answerHeader struct {
	name   string
	values []flow.AnswerValue
	own    bool        // the endpoint's own, if it sends one, is there too
	there  flow.Answer // whether a value is, after the changes so far
}

func (a *answerHeaders) of(name string) *answerHeader {
	name = lower(name)
	for i := range a.list {
		if a.list[i].name == name {
			return &a.list[i]
		}
	}
	h := answerHeader{name: name, own: a.forwarded, there: flow.No}
	if a.forwarded {
		h.there = flow.Maybe
	}
	a.list = append(a.list, h)
	return &a.list[len(a.list)-1]
}

// change applies response_headers_to_remove and then response_headers_to_add of one level,
// as changeHeaders does with those of a request.
func (a *answerHeaders) change(n tree.Node) {
	for _, name := range n.Field("response_headers_to_remove").All() {
		h := a.of(name.Str())
		h.values, h.own, h.there = nil, false, flow.No
	}
	adds := n.Field("response_headers_to_add").List()
	there := make([]flow.Answer, len(adds)) // asked of all before the first change
	for i, o := range adds {
		there[i] = a.of(o.Path("header", "key").Str()).there
	}
	for _, sets := range []bool{true, false} {
		for i, o := range adds {
			if overwrites(o) == sets {
				a.of(o.Path("header", "key").Str()).add(o, there[i])
			}
		}
	}
}

// overwrites says whether a HeaderValueOption takes the place of what is there.
func overwrites(o tree.Node) bool {
	switch o.Field("append_action").Enum() {
	case "OVERWRITE_IF_EXISTS_OR_ADD", "2", "OVERWRITE_IF_EXISTS", "3":
		return true
	case "ADD_IF_ABSENT", "1":
		return false
	}
	return !o.Field("append").Bool(true)
}

func (h *answerHeader) add(o tree.Node, there flow.Answer) {
	v := o.Path("header", "value").Str()
	if v == "" && !o.Path("header", "raw_value").Exists() && !o.Field("keep_empty_value").Bool(false) {
		return
	}
	val := flow.AnswerValue{Text: strings.ReplaceAll(v, "%%", "%")}
	if strings.Contains(strings.ReplaceAll(v, "%%", ""), "%") || o.Path("header", "raw_value").Exists() {
		val = flow.AnswerValue{Text: v, When: flow.AnswerLate}
	}
	maybe := func(when string) flow.AnswerValue {
		if val.When == flow.AnswerAlways {
			return flow.AnswerValue{Text: val.Text, When: when}
		}
		return val
	}
	switch action := o.Field("append_action").Enum(); {
	case action == "ADD_IF_ABSENT" || action == "1":
		switch there {
		case flow.No:
			h.values = append(h.values, val)
		case flow.Maybe:
			h.values = append(h.values, maybe(flow.AnswerIfNone))
		}
		h.there = flow.Yes
	case action == "OVERWRITE_IF_EXISTS" || action == "3":
		switch there {
		case flow.Yes:
			h.values, h.own = []flow.AnswerValue{val}, false
		case flow.Maybe:
			h.values = append(h.onlyWithout(), maybe(flow.AnswerInPlace))
		}
	case overwrites(o):
		h.values, h.own, h.there = []flow.AnswerValue{val}, false, flow.Yes
	default:
		h.values, h.there = append(h.values, val), flow.Yes
	}
}

// onlyWithout are the values that stay where a later one takes the place of the endpoint's own.
func (h *answerHeader) onlyWithout() (out []flow.AnswerValue) {
	for _, v := range h.values {
		switch v.When {
		case flow.AnswerAlways:
			out = append(out, flow.AnswerValue{Text: v.Text, When: flow.AnswerIfNone})
		case flow.AnswerLate:
			out = append(out, v)
		}
	}
	return out
}

// maxAnswerFacts bounds the values of headers that a step tells.
const maxAnswerFacts = 8

// unsayAnswer takes back what the route's step says of the answer's headers: a redirect and a
// direct response change them themselves, not where a filter answers in their place.
// (DownstreamFilterManager::prepareLocalReplyViaFilterChain asks only a route that forwards)
func (s *stream) unsayAnswer() {
	for i := len(s.p.res.Steps) - 1; i >= 0; i-- {
		st := &s.p.res.Steps[i]
		if st.Stage != flow.Route {
			continue
		}
		st.Facts = slices.DeleteFunc(slices.Clone(st.Facts), func(f flow.Reason) bool { return ofAnswer(f.Kind) })
		return
	}
}

// ofAnswer says whether a fact is of what noteAnswer notes.
func ofAnswer(k flow.ReasonKind) bool {
	return k == flow.WhyAnswerHas || k == flow.WhyAnswerAdds || k == flow.WhyAnswerLoses || k == flow.WhyAnswerMore
}

// noteAnswer adds to the route's step what the caller sees of the headers that weighted
// entry, route, virtual host and table change. (RouteEntryImplBase::finalizeResponseHeaders)
func (s *stream) noteAnswer() {
	levels := []tree.Node{s.route.node, s.vhost.node, s.table.head}
	if s.table.specificWin {
		slices.Reverse(levels)
	}
	a := answerHeaders{forwarded: s.action.kind == actionCluster}
	a.change(s.action.entry)
	for _, n := range levels {
		a.change(n)
	}
	var facts []flow.Reason
	more := 0
	for _, h := range a.list {
		said := h.facts(a.forwarded)
		if len(facts)+len(said) > maxAnswerFacts {
			more++
			continue
		}
		facts = append(facts, said...)
	}
	if more > 0 {
		facts = append(facts, flow.Because(flow.WhyAnswerMore, strconv.Itoa(more)))
	}
	step := s.p.last()
	step.Facts = append(step.Facts, facts...)
}

// facts are one for each value, or that the header goes; none where the answer is written
// without a look at it.
func (h *answerHeader) facts(forwarded bool) (out []flow.Reason) {
	if slices.Contains(managers, h.name) {
		return nil
	}
	kind := flow.WhyAnswerHas
	if h.own {
		kind = flow.WhyAnswerAdds
	}
	for _, v := range h.values {
		out = append(out, flow.Because(kind, h.name, v.Text, v.When))
	}
	if out == nil && forwarded && !h.own {
		out = append(out, flow.Because(flow.WhyAnswerLoses, h.name))
	}
	return out
}

// managers are the headers that the connection manager and the codec write or take away after
// route and filters. (ConnectionManagerUtility::mutateResponseHeaders, ActiveStream::encodeHeaders)
var managers = []string{"alt-svc", "connection", "content-length", "date", "keep-alive", "proxy-connection", "proxy-status", "server", "transfer-encoding",
	"upgrade", "via", "x-request-id"}
