package istio

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// A hop is right when one variant is it, and unknown only for a reason that is one.
func TestJudge(t *testing.T) {
	l := &Log{Listener: "l", Cluster: "c", Code: 200, Details: "via_upstream"}
	ends := func(v flow.Verdict, cluster string, why flow.ReasonKind) flow.Variant {
		return flow.Variant{Verdict: v, Outcome: flow.Outcome{Listener: "l", Cluster: cluster}, Legs: []flow.Leg{{Steps: []flow.Step{{Reason: flow.Because(why)}}}}}
	}
	right, other := ends(flow.Delivered, "c", flow.WhyToWire), ends(flow.Delivered, "d", flow.WhyToWire)
	opaque, odd := ends(flow.Unknown, "", flow.WhyFilterOpaque), ends(flow.Unknown, "", flow.WhyNotModelled)
	for _, c := range []struct {
		name     string
		verdict  flow.Verdict
		variants []flow.Variant
		want     Word
	}{
		{"right", flow.Delivered, []flow.Variant{right}, Right},
		{"one of them", flow.Depends, []flow.Variant{other, right}, Right},
		{"wrong", flow.Delivered, []flow.Variant{other}, Wrong},
		{"a filter decides", flow.Unknown, []flow.Variant{other, opaque}, Unknown},
		{"a filter decides, and one way is right", flow.Unknown, []flow.Variant{right, opaque}, Unknown},
		{"a filter decides, but it went astray before", flow.Unknown, []flow.Variant{ends(flow.Unknown, "d", flow.WhyFilterOpaque)}, Wrong},
		{"not modelled", flow.Unknown, []flow.Variant{other, odd}, Wrong},
		{"right, but meshtop does not know it", flow.Unknown, []flow.Variant{right, other}, Wrong},
	} {
		if got, why := judge(&flow.Trace{Verdict: c.verdict, Variants: c.variants}, l); got != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, got, why, c.want)
		}
	}
}
