package envoy

import (
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
	r.Outcome = flow.Outcome{Listener: o.Listener, FilterChain: o.Chain, VirtualHost: o.VHost, Route: o.Route,
		Cluster: o.Cluster, Endpoint: o.Host}
	r.Caller = flow.Symptom{Code: o.Code, Flags: o.Flags, Details: details(o)}
	if o.Client != nil {
		r.Caller.Location = o.Client.Location
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
		want Word
	}{
		{flow.Outcome{Listener: "l"}, Unsure},
		{flow.Outcome{Listener: "l", FilterChain: "f"}, Unsure},
		{flow.Outcome{Listener: "l", FilterChain: "g"}, Disagree},
	} {
		v := Variant{Result: envoy.Result{Verdict: flow.Unknown, Outcome: k.o}}
		if got := Judge(c, []Variant{v}); got.Word != k.want {
			t.Errorf("%+v: %d %s, want %d", k.o, got.Word, got.Why, k.want)
		}
	}
}

// A fork that meshtop cannot decide is unknown even where one prong fits.
func TestJudgeSplit(t *testing.T) {
	c := &Case{Outcomes: []Outcome{{Log: "tcp", Cluster: "c"}}}
	fork := flow.Choice{Ref: "lua", Options: []flow.Option{{Value: "match"}, {Value: "no-match"}}}
	a := Variant{envoy.Result{Verdict: flow.Continue, Outcome: flow.Outcome{Cluster: "c"}}, []flow.Chosen{{Choice: fork}}}
	b := Variant{envoy.Result{Verdict: flow.Continue, Outcome: flow.Outcome{Cluster: "d"}}, []flow.Chosen{{Choice: fork, Index: 1}}}
	if got := Judge(c, []Variant{a, b}); got.Word != Unsure {
		t.Errorf("got %d %s", got.Word, got.Why)
	}
	if got := Judge(c, []Variant{a, {a.Result, b.Made}}); got.Word != Agree {
		t.Errorf("both prongs end alike: got %d %s", got.Word, got.Why)
	}
}
