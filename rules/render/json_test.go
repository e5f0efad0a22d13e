package render

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
	"go.yaml.in/yaml/v3"
)

// hostile has every kind of character that must not reach a terminal: OSC 52, C1, bidi,
// zero width, a tag above the basic plane, bytes that are no UTF-8.
const hostile = "a\x1b]52;c;aGk=\a\u009b31m\u202eb\u200bc\U000e0041\x00\x7f\xff"

type losers []string

func (l losers) Explain(m flow.Miss) flow.Explained {
	return flow.Explained{Ref: hostile + strconv.Itoa(int(m.Index)), Text: hostile, Reason: flow.Because(flow.WhyToApp, hostile, hostile)}
}

// sample is a trace with a foreign string in every field.
func sample() flow.Trace {
	ap := netip.MustParseAddrPort
	c := flow.Conn{Src: ap("10.244.1.7:0"), Dst: ap("10.107.42.16:80"), Proto: flow.TCP, In: hostile, Out: hostile}
	step := flow.Step{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 2" + hostile, Verdict: flow.Continue, Reason: flow.Because(flow.WhyToWire, hostile, hostile),
		Tests:    []flow.Test{{Text: hostile, Answer: flow.Yes, Reason: flow.Because(flow.WhyToWire, hostile, hostile)}},
		Evidence: []flow.Evidence{{Source: hostile, Ref: hostile, Text: hostile + "\nline two"}},
		Assumed:  []flow.Assumption{{Reason: flow.Because(flow.WhyToWire, hostile, hostile), Flag: hostile}}, Origin: hostile, Explain: losers{}}
	for i := range 120 {
		step.Passed = append(step.Passed, flow.Miss{Index: int32(i), Near: i >= 110})
	}
	step.PassedTotal = 120
	o := flow.Outcome{Listener: hostile, FilterChain: hostile, RouteConfig: hostile, VirtualHost: hostile, Route: hostile, Cluster: hostile, Endpoint: hostile}
	return flow.Trace{
		Request: flow.Request{Dst: c.Dst, Proto: flow.TCP, In: hostile, Pick: flow.Pick{hostile: hostile}, TLS: &flow.TLS{SNI: hostile, ALPN: []string{hostile}},
			HTTP: &flow.HTTP{Method: hostile, Authority: hostile, Path: hostile, Headers: [][2]string{{hostile, hostile}}}},
		Verdict: flow.Depends, Outcome: o, Caller: flow.Symptom{Code: 200, Flags: hostile, TCP: flow.TCPOK, Location: hostile, Details: hostile},
		Legs: []flow.Leg{{From: c, To: c, Steps: []flow.Step{step}}},
		Variants: []flow.Variant{{Probability: 0.5, Computable: true, Verdict: flow.Delivered, Outcome: o,
			Choices: []flow.Chosen{{Choice: flow.Choice{Ref: hostile, Options: []flow.Option{{Value: hostile}}}}}},
			{When: hostile, Verdict: flow.Refused}},
		Needs: []flow.Need{{Part: hostile, Name: hostile}}, Gaps: []flow.Gap{{Part: hostile, Reason: hostile}}}
}

// noneHidden fails where a character that a terminal acts on, or shows nothing for, is raw.
func noneHidden(t *testing.T, out []byte) {
	t.Helper()
	for i, r := range string(out) {
		if r != '\n' && (hidden(r) || r == '\ufffd') && !bytes.HasPrefix(out[i:], []byte("\ufffd")) {
			t.Fatalf("a raw %U at %d: %q", r, i, out[max(0, i-30):i+10])
		}
	}
}

func TestJSONHidesNothingRaw(t *testing.T) {
	out := JSON(sample(), true)
	noneHidden(t, out)
	noneHidden(t, YAML(sample(), true))
	var back traceForm
	if err := json.Unmarshal(out, &back); err != nil {
		t.Fatal(err)
	}
	// Values stay exact; only a byte that is no UTF-8 cannot be written in JSON.
	if want := strings.Replace(hostile, "\xff", "\ufffd", 1); back.Outcome.Cluster != want {
		t.Errorf("cluster %q, want %q", back.Outcome.Cluster, want)
	}
	if string(JSON(sample(), true)) != string(out) {
		t.Error("the same trace gave other bytes")
	}
}

// A reader of YAML gets what a reader of JSON gets.
func TestYAMLIsJSON(t *testing.T) {
	for _, doc := range [][]byte{JSON(sample(), false), []byte(`{"a":[],"b":{},"no":"yes","n":[[1,2],[{"x":null}],"1e3"],"":true,"é":-0.5e3}`)} {
		var fromJSON, fromYAML any
		if err := json.Unmarshal(doc, &fromJSON); err != nil {
			t.Fatal(err)
		}
		out := FromJSON(doc)
		if err := yaml.Unmarshal(out, &fromYAML); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		var back any
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(fromJSON, back) {
			t.Errorf("YAML reads otherwise:\n%s", out)
		}
	}
}

// Near misses stay however many others stand before them; of the others the first fifty.
func TestJSONPassed(t *testing.T) {
	for _, c := range []struct {
		all        bool
		want, near int
	}{{false, 60, 10}, {true, 120, 10}} {
		var back traceForm
		if err := json.Unmarshal(JSON(sample(), c.all), &back); err != nil {
			t.Fatal(err)
		}
		s, near := back.Legs[0].Steps[0], 0
		for _, p := range s.Passed {
			if p.Near {
				near++
			}
		}
		if len(s.Passed) != c.want || near != c.near || s.PassedTotal != 120 {
			t.Errorf("why %v: %d passed, %d near of %d, want %d, %d of 120", c.all, len(s.Passed), near, s.PassedTotal, c.want, c.near)
		}
		if back.Variants[0].Probability == nil || *back.Variants[0].Probability != 0.5 || back.Variants[1].Probability != nil {
			t.Error("probability: want 0.5 and null")
		}
	}
}
