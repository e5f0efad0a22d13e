package envoy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

const committed = "testdata/vectors.tar.gz"

// committedVectors are the recorded cases that the repository holds.
func committedVectors(t testing.TB) []Vectors {
	t.Helper()
	fsys, err := OpenTar(committed)
	if err != nil {
		t.Fatal(err)
	}
	vs, err := ReadVectors(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return vs
}

// answer is the variant that an outcome claims: an evaluator which is always right.
func answer(o *Outcome) Variant {
	r := envoy.Result{Verdict: flow.Refused}
	if o.Upstream != nil || o.Client != nil && strings.HasPrefix(o.Client.Body, echoMark) {
		r.Verdict = flow.Continue
	}
	r.Outcome = flow.Outcome{Listener: o.Listener, FilterChain: o.Chain, VirtualHost: o.VHost, Route: o.Route,
		Cluster: o.Cluster, Endpoint: o.Host}
	r.Caller = flow.Symptom{Code: o.Code, Flags: o.Flags, Details: details(o)}
	if c := o.Client; c != nil {
		r.Caller.Location = c.Location
		route := flow.Step{Stage: flow.Route}
		for name, v := range c.Headers {
			if ofRoutes(name) {
				for line := range strings.SplitSeq(v, "\n") {
					route.Facts = append(route.Facts, flow.Because(flow.WhyAnswerHas, name, line))
				}
			}
		}
		r.Steps = append(r.Steps, route)
		switch {
		case c.Closed, c.TLSError && !c.Timeout:
			r.Caller.TCP = flow.TCPClosed
		case c.Timeout:
			r.Verdict = flow.Dropped
		}
	}
	if u := o.Upstream; u != nil {
		r.Upstream.HTTP = &flow.HTTP{Method: u.Method, Path: u.Target, Authority: u.Host, Headers: u.Headers}
	}
	return Variant{Result: r}
}

// The judge agrees with the truth in every recorded case, and mostly not with the truth of
// the case before (neighbours often end alike).
func TestJudgeIsStrict(t *testing.T) {
	var before *Variant
	wrong, tried := 0, 0
	for _, set := range committedVectors(t) {
		for i := range set.Cases {
			c := &set.Cases[i]
			if _, _, err := c.Request.Flow(); err != nil {
				t.Fatal(err)
			}
			var vs []Variant
			for k := range c.Outcomes {
				vs = append(vs, answer(&c.Outcomes[k]))
			}
			if j := Judge(c, vs); j.Word != Agree {
				t.Fatalf("%s/%s: the truth itself is judged wrong: %s", c.World, c.Request.ID, j.Why)
			}
			if before != nil {
				tried++
				if Judge(c, []Variant{*before}).Word == Disagree {
					wrong++
				}
			}
			before = &vs[0]
		}
	}
	if tried < 3000 || wrong < tried*7/10 {
		t.Errorf("%d of %d answers of another case were called wrong", wrong, tried)
	}
}

func endpointCase(hosts ...string) *Case {
	c := &Case{Request: Request{Repeat: 24}}
	for _, h := range hosts {
		c.Outcomes = append(c.Outcomes, Outcome{Log: "tcp", Host: h})
	}
	return c
}

func among(hosts ...string) (vs []Variant) {
	ch := flow.Choice{Ref: "endpoint", Kind: flow.Chance}
	for _, h := range hosts {
		ch.Options = append(ch.Options, flow.Option{Value: h, Weight: 1})
	}
	for i, h := range hosts {
		r := envoy.Result{Verdict: flow.Continue, Outcome: flow.Outcome{Endpoint: h}}
		vs = append(vs, Variant{r, []flow.Chosen{{Choice: ch, Index: i}}})
	}
	return vs
}

// An answer that holds more than what happened, or less, is not right.
func TestJudgeBreadth(t *testing.T) {
	for _, c := range []struct {
		seen []string
		vs   []Variant
		want Word
	}{
		{[]string{"a", "b"}, among("a", "b"), Agree},
		{[]string{"a", "b"}, among("a"), Disagree},
		{[]string{"a"}, among("a", "b"), Disagree},
		{[]string{"a"}, nil, Disagree},
	} {
		if got := Judge(endpointCase(c.seen...), c.vs); got.Word != c.want {
			t.Errorf("seen %v: %d %s, want %d", c.seen, got.Word, got.Why, c.want)
		}
	}
}

// Unknown is no agreement, and no excuse for fields that were claimed wrongly.
func TestJudgeUnknown(t *testing.T) {
	c := &Case{Outcomes: []Outcome{{Log: "tcp", Listener: "l", Chain: "f", Cluster: "c"}}}
	for _, k := range []struct {
		o    flow.Outcome
		why  flow.ReasonKind
		want Word
	}{
		{flow.Outcome{Listener: "l"}, flow.WhyFilterOpaque, Unsure},
		{flow.Outcome{Listener: "l", FilterChain: "f"}, flow.WhyNotRead, Unsure},
		{flow.Outcome{Listener: "l", FilterChain: "f"}, flow.WhyNotModelled, Disagree},
		{flow.Outcome{Listener: "l", FilterChain: "f"}, flow.NoReason, Disagree},
		{flow.Outcome{Listener: "l", FilterChain: "g"}, flow.WhyFilterOpaque, Disagree},
	} {
		v := Variant{Result: envoy.Result{Verdict: flow.Unknown, Outcome: k.o, Steps: []flow.Step{{Reason: flow.Because(k.why, "lua")}}}}
		if got := Judge(c, []Variant{v}); got.Word != k.want {
			t.Errorf("%+v: %d %s, want %d", k.o, got.Word, got.Why, k.want)
		}
	}
}

// A fork that meshtop cannot decide is unknown even where one prong fits, and a defect
// where nothing opaque decides it.
func TestJudgeSplit(t *testing.T) {
	c := &Case{Outcomes: []Outcome{{Log: "tcp", Cluster: "c"}}}
	fork := flow.Choice{Ref: "lua", Options: []flow.Option{{Value: "passes"}, {Value: "answers", Stop: true}}}
	a := Variant{envoy.Result{Verdict: flow.Continue, Outcome: flow.Outcome{Cluster: "c"}}, []flow.Chosen{{Choice: fork}}}
	b := Variant{envoy.Result{Verdict: flow.Unknown, Steps: []flow.Step{{Reason: flow.Because(flow.WhyFilterOpaque, "lua")}}}, []flow.Chosen{{Choice: fork, Index: 1}}}
	if got := Judge(c, []Variant{a, b}); got.Word != Unsure {
		t.Errorf("got %d %s", got.Word, got.Why)
	}
	b.Steps[0].Reason.Kind = flow.WhyNotModelled
	if got := Judge(c, []Variant{a, b}); got.Word != Disagree {
		t.Errorf("not modelled: got %d %s", got.Word, got.Why)
	}
	b.Result = envoy.Result{Verdict: flow.Continue, Outcome: flow.Outcome{Cluster: "d"}}
	b.Made[0].Choice.Options = []flow.Option{{Value: "match"}, {Value: "no-match"}}
	if got := Judge(c, []Variant{a, b}); got.Word != Disagree {
		t.Errorf("two ends and no reason: got %d %s", got.Word, got.Why)
	}
	if got := Judge(c, []Variant{a, {a.Result, b.Made}}); got.Word != Agree {
		t.Errorf("both prongs end alike: got %d %s", got.Word, got.Why)
	}
}

// What the steps say of the answer's headers is compared, and what they leave out.
func TestJudgeAnswer(t *testing.T) {
	o := Outcome{Log: "http", Code: 200, Client: &ClientSide{Status: 200, Headers: map[string]string{"x-a": "1\n2", "x-eo-addr": "a", "other": "1"}}}
	has := func(value string) flow.Reason { return flow.Because(flow.WhyAnswerHas, "x-a", value) }
	for _, c := range []struct {
		facts []flow.Reason
		right bool
	}{
		{[]flow.Reason{has("1"), has("2")}, true},
		{[]flow.Reason{has("1"), flow.Because(flow.WhyAnswerAdds, "x-a", "2", flow.AnswerIfNone), flow.Because(flow.WhyAnswerAdds, "x-a", "3", flow.AnswerInPlace)}, true},
		{[]flow.Reason{flow.Because(flow.WhyAnswerAdds, "x-a", "%PROTOCOL%", flow.AnswerLate)}, true},
		{[]flow.Reason{flow.Because(flow.WhyAnswerChanged, "x-a")}, true},
		{[]flow.Reason{flow.Because(flow.WhyAnswerMaybe, "cors", "y, x-a")}, true},
		{[]flow.Reason{has("7"), flow.Because(flow.WhyAnswerMaybe, "lua")}, true},
		{[]flow.Reason{flow.Because(flow.WhyAnswerMore, "1")}, true},
		{nil, false},
		{[]flow.Reason{has("1, 2")}, false},
		{[]flow.Reason{has("2"), has("1")}, false},
		{[]flow.Reason{flow.Because(flow.WhyAnswerLoses, "x-a")}, false},
		{[]flow.Reason{has("1"), has("2"), flow.Because(flow.WhyAnswerHas, "x-b", "1")}, false},
	} {
		r := envoy.Result{Verdict: flow.Delivered, Caller: flow.Symptom{Code: 200}, Steps: []flow.Step{{Stage: flow.Route, Facts: c.facts}}}
		if got := diff(&o, &r); (got == "") != c.right {
			t.Errorf("%v: %q", c.facts, got)
		}
	}
}

// What the endpoint got is compared in every header, in both directions.
func TestJudgeUpstream(t *testing.T) {
	o := Outcome{Log: "http", Details: "via_upstream", Code: 200, Upstream: &UpstreamSide{Method: "GET", Target: "/", Host: "h", Version: "1.1",
		Addr: "127.9.0.1:18443", TLS: &TLS{SNI: "s", ALPN: []string{"http/1.1"}}, Headers: [][2]string{{"a", "1"}, {"b", "2"}, {"a", "3"}, {"id", "x"}}}}
	right := func() *envoy.Result {
		r := answer(&o).Result
		r.Verdict = flow.Continue
		r.Upstream = envoy.Upstream{Addr: netip.MustParseAddrPort("127.9.0.1:18443"), TLS: &flow.TLS{SNI: "s", ALPN: []string{"http/1.1"}},
			HTTP: &flow.HTTP{Method: "GET", Path: "/", Authority: "h", Version: "1.1", Headers: [][2]string{{"a", "1"}, {"a", "3"}, {"b", "2"}}, Unsure: []string{"id", "other"}}}
		return &r
	}
	for _, c := range []struct {
		name  string
		spoil func(*envoy.Upstream)
		want  string // the field that differs
	}{
		{"right", func(*envoy.Upstream) {}, ""},
		{"header missing", func(u *envoy.Upstream) { u.HTTP.Headers = u.HTTP.Headers[1:] }, "upstream header a"},
		{"header too many", func(u *envoy.Upstream) { u.HTTP.Headers = append(u.HTTP.Headers, [2]string{"c", ""}) }, "upstream header c"},
		{"order of values", func(u *envoy.Upstream) { u.HTTP.Headers[0][1], u.HTTP.Headers[1][1] = "3", "1" }, "upstream header a"},
		{"not said to be unknown", func(u *envoy.Upstream) { u.HTTP.Unsure = nil }, "upstream header id"},
		{"target", func(u *envoy.Upstream) { u.HTTP.Path = "/x" }, "upstream target"},
		{"version", func(u *envoy.Upstream) { u.HTTP.Version = "2" }, "upstream version"},
		{"name", func(u *envoy.Upstream) { u.TLS.SNI = "" }, "upstream TLS"},
		{"protocols", func(u *envoy.Upstream) { u.TLS.ALPN = nil }, "upstream TLS"},
		{"plain text", func(u *envoy.Upstream) { u.TLS = nil }, "upstream TLS"},
		{"address", func(u *envoy.Upstream) { u.Addr = netip.AddrPort{} }, "upstream address"},
		{"another's address", func(u *envoy.Upstream) { u.Addr, o.Host = netip.AddrPort{}, "127.9.0.2:80" }, "host"},
	} {
		r := right()
		c.spoil(&r.Upstream)
		if got := diff(&o, r); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
